"""What a database should hold, as plain dictionaries: the rules told again, slowly, without the code under test.

Association is that of `tests.ingest.association_oracle`; magnitudes follow from the formula of the photometric system.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import log10
from pathlib import Path

import numpy as np

from skydb.ingest.associate import Detections
from skydb.ingest.tracks import Images, Seeds
from skydb.sky.partition import pixel_of
from tests.ingest.association_oracle import associate_slowly, near

Key = tuple[int, int]
"""Exposure and number of a detection in it."""

RADIUS_ARCSEC = 1.0
EXPTIME, ZERO_POINT = 60.0, 24.5
FIRST_MJD = 57_000.0


@dataclass(frozen=True)
class Exposure:
    """One file: a table of detections of one image. `at` (N, 2) are degrees, `mag` (N,) instrumental.

    Files of the same `image` are reductions of one image: a database takes one of them.
    """

    number: int
    image: int
    path: Path
    at: np.ndarray
    mag: np.ndarray

    @property
    def mjd(self) -> float:
        """When it began."""
        return FIRST_MJD + self.image


def write_exposures(
    folder: Path, *, place: tuple[float, float], seed: int, count: int, per_image: int
) -> list[Exposure]:
    """Write exposures of one crowded field: the same stars with noise, some missing, some met once.

    There are two reductions of every image: `count` first ones, then as many second ones.
    """
    rng = np.random.default_rng(seed)
    stars = near(rng, per_image, place=place, width_arcsec=30.0, grid=False)
    made = []
    for number in range(2 * count):
        seen = stars[rng.random(per_image) < 0.8]
        shift = rng.normal(0.0, 0.25 / 3600.0, seen.shape)
        shift[:, 0] /= max(np.cos(np.radians(place[1])), 1e-3)
        at = np.concatenate([seen + shift, near(rng, 2, place=place, width_arcsec=30.0, grid=False)])
        at = np.column_stack([at[:, 0] % 360.0, np.clip(at[:, 1], -90.0, 90.0)])
        mag = np.round(rng.uniform(-12, -6, len(at)), 3)
        exposure = Exposure(number, number % count, folder / f"{number}.csv", at, mag)
        lines = [f"{float(ra)!r},{float(dec)!r},{exposure.mjd},{m}" for (ra, dec), m in zip(at, mag, strict=True)]
        exposure.path.write_text("\n".join(["ra,dec,mjd,mag", *lines]) + "\n")
        made.append(exposure)
    return made


@dataclass(frozen=True)
class Model:
    """One state of the database. Every method returns the next one.

    Attributes
    ----------
    object_of
        The object of every stored measurement.
    seeds
        Where each object was founded: ra, dec in degrees.
    retired
        Ids of objects that have lost all measurements.
    mcal
        The zero-point correction of every stored exposure.
    stale
        Some derived tables wait for a refresh.
    aliases
        Ids that objects of merged databases had, and that stand for others: nobody gets them.
    """

    object_of: dict[Key, int] = field(default_factory=dict)
    seeds: dict[int, tuple[float, float]] = field(default_factory=dict)
    retired: frozenset[int] = frozenset()
    mcal: dict[int, float] = field(default_factory=dict)
    stale: bool = False
    aliases: frozenset[int] = frozenset()

    def ingested(self, exposures: list[Exposure], *, defer: bool) -> Model:
        """Ingest files in one call: those that are known change nothing, the others associate by their starts."""
        new = sorted((e for e in exposures if e.number not in self.mcal), key=lambda e: e.mjd)
        if not new:
            return self
        rank = np.concatenate([np.full(len(e.at), n) for n, e in enumerate(new)])
        det_id = np.concatenate([np.arange(len(e.at)) for e in new])
        ra, dec = np.concatenate([e.at for e in new]).T
        wishes = pixel_of(ra, dec)
        live = {i: at for i, at in self.seeds.items() if i not in self.retired}
        places = np.array(list(live.values())).reshape(-1, 2)
        answer = associate_slowly(
            Detections(ra, dec, rank, det_id, wishes), Images(np.full(len(new), RADIUS_ARCSEC)),
            Seeds(np.array(list(live), dtype=np.int64), places[:, 0], places[:, 1]), taken=tuple(self.aliases),
            retired=tuple(self.retired),
        )  # fmt: skip
        object_of, seeds = dict(self.object_of), dict(self.seeds)
        for row, number in enumerate(answer.object_id.tolist()):
            object_of[new[rank[row]].number, int(det_id[row])] = number
            if answer.is_new[row]:
                seeds[number] = (float(ra[row]), float(dec[row]))
        revived = self.retired - set(answer.object_id.tolist())
        mcal = self.mcal | dict.fromkeys((e.number for e in new), 0.0)
        return Model(object_of, seeds, frozenset(revived), mcal, self.stale or defer, self.aliases)

    def merged(self, other: Model) -> Model:
        """Merge a database of other exposures: its objects are associated as the detections of one image are.

        One that the same detection founded here too is that one, also if it has retired.
        """
        same = {i for i, at in other.seeds.items() if self.seeds.get(i) == at}
        ids = np.array(sorted(other.seeds.keys() - same), dtype=np.int64)
        ra, dec = np.array([other.seeds[i] for i in ids.tolist()]).reshape(-1, 2).T
        live = {i: at for i, at in self.seeds.items() if i not in self.retired | same}
        places = np.array(list(live.values())).reshape(-1, 2)
        answer = associate_slowly(
            Detections(ra, dec, np.zeros(len(ids), dtype=np.int64), ids, ids), Images(np.array([RADIUS_ARCSEC])),
            Seeds(np.array(list(live), dtype=np.int64), places[:, 0], places[:, 1]),
            taken=(*self.aliases, *same), retired=tuple(self.retired - same),
        )  # fmt: skip
        now = dict(zip(ids.tolist(), answer.object_id.tolist(), strict=True)) | {i: i for i in same}
        founded = {now[i]: other.seeds[i] for i, new in zip(ids.tolist(), answer.is_new, strict=True) if new}
        founded |= {i: other.seeds[i] for i in same & self.retired}
        return Model(
            self.object_of | {key: now[number] for key, number in other.object_of.items()}, self.seeds | founded,
            self.retired - set(founded), self.mcal | other.mcal, self.stale,
            self.aliases | {old for old, new in now.items() if old != new},
        )  # fmt: skip

    def calibrated(self, mcal: dict[int, float]) -> Model:
        """Apply a calibration to all images; it derives everything anew."""
        return replace(self, mcal={e: mcal.get(e, old) for e, old in self.mcal.items()}, stale=False)

    def refreshed(self) -> Model:
        """Derive what waits for it."""
        return replace(self, stale=False)

    def deleted(self, exposures: set[int]) -> Model:
        """Delete exposures; objects that have lost all measurements retire."""
        object_of = {key: number for key, number in self.object_of.items() if key[0] not in exposures}
        retired = frozenset(self.seeds) - frozenset(object_of.values())
        mcal = {e: value for e, value in self.mcal.items() if e not in exposures}
        return Model(object_of, self.seeds, retired, mcal, self.stale, self.aliases)

    def counts(self) -> dict[int, int]:
        """Number of measurements of every object."""
        found: dict[int, int] = {}
        for number in self.object_of.values():
            found[number] = found.get(number, 0) + 1
        return found

    def mag(self, exposure: Exposure, det_id: int) -> float:
        """The calibrated magnitude of a measurement."""
        return float(exposure.mag[det_id]) + 2.5 * log10(EXPTIME) + ZERO_POINT - self.mcal[exposure.number]
