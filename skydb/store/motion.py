"""How fast objects move: one bound for all of a database, so that who looks for them looks far enough.

The bound is a setting of the catalog. Who stores the seed of a faster object raises it in the same commit; who relies
on it claims it against other writers (`Changes.uses_settings`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .catalog import reading
from .changes import Setting

MOTION = "motion"
"""The setting that holds the bound."""

SEED_MOTIONS = ("assoc_epoch", "assoc_pm_ra", "assoc_pm_dec")
"""Columns of `object_seeds` that move an object."""

FASTEST_ARCSEC = 20.0
"""Per year: a faster motion is no star's (Barnard's has 10.4) and moves no object; it stays in `measurements`."""

_MAS_PER_ARCSEC = 1000.0


@dataclass(frozen=True)
class MotionBound:
    """No object moves faster than `speed_arcsec` (per year); those that move have epochs (yr) from `first` to `last`.

    Bounds are rounded outwards, to powers of two and whole years, so that they are seldom raised.
    """

    speed_arcsec: float
    first: float
    last: float

    @classmethod
    def of(cls, seeds: pa.Table) -> MotionBound | None:
        """Return the bound of some rows of `object_seeds`; None: nothing moves."""
        epoch, pm_ra, pm_dec = (seeds.column(name).to_numpy() for name in SEED_MOTIONS)
        speed = np.hypot(pm_ra.astype(np.float64), pm_dec) / _MAS_PER_ARCSEC
        moves = (speed > 0) & np.isfinite(epoch)
        if not moves.any():
            return None
        years = epoch[moves]
        highest = float(2.0 ** np.ceil(np.log2(speed[moves].max())))
        return cls(highest, float(np.floor(years.min())), float(np.ceil(years.max())))

    @classmethod
    def joined(cls, bounds: Iterable[MotionBound | None]) -> MotionBound | None:
        """Return the bound of all objects of several."""
        some = [bound for bound in bounds if bound is not None]
        if not some:
            return None
        return cls(max(b.speed_arcsec for b in some), min(b.first for b in some), max(b.last for b in some))

    @property
    def text(self) -> str:
        """The bound in words."""
        return f"{self.speed_arcsec:g} arcsec per year at epochs {self.first:g} to {self.last:g}"

    def way_arcsec(self, span: tuple[float, float]) -> float:
        """Return how far an object may be, at most, from its association position in a span of epochs (yr).

        >>> MotionBound(2.0, 1991.0, 2016.0).way_arcsec((2010.0, 2026.0))
        70.0
        """
        return self.speed_arcsec * max(span[1] - self.first, self.last - span[0], 0.0)


def stored_bound(root: Path) -> MotionBound | None:
    """Return the bound of a database; None: nothing in it moves."""
    with reading(root) as connection:
        query = "SELECT value FROM settings WHERE key = ? AND end_snapshot IS NULL"
        row = connection.execute(query, (MOTION,)).fetchone()
    return MotionBound(**json.loads(row[0])) if row else None


def raised_bound(
    root: Path, written: Iterable[MotionBound | None]
) -> tuple[tuple[Setting, ...], tuple[str, ...]]:  # fmt: skip
    """Return the settings that begin and the keys of those that end when objects of some bounds are stored."""
    old = stored_bound(root)
    new = MotionBound.joined([old, *written])
    if new is None or new == old:
        return (), ()
    return (Setting(MOTION, json.dumps(asdict(new))),), ((MOTION,) if old else ())
