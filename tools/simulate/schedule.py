"""Which field is observed when: patches cut into pointings, pointings dealt out to nights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skydb.calibration.zenithal import tangent_to_sky
from skydb.errors import UsageError

from . import atmosphere
from .presets import MJD_BEGIN, SCHEDULE, Patch, Preset, stream

Array = NDArray[np.float64]

EXPTIME, OVERHEAD = 43.0, 17.0
GRID_STEP = 0.8
"""Distance of neighbouring pointings in fields of view: they overlap by a fifth."""

DITHER = 0.3
"""Largest shift of a layer, in grid steps."""

AIRMASS_LIMIT, SUN_LIMIT = 2.0, -15.0
SLOT_MINUTES = 30.0


@dataclass(frozen=True)
class Pointing:
    """One exposure: what it looks at, in which band, and when it starts (MJD, UTC)."""

    number: int
    patch: int
    band: int
    layer: int
    ra: float
    dec: float
    angle: float
    mjd_utc: float
    night: int

    @property
    def noon(self) -> int:
        """Modified Julian day, UTC, at the local noon before it."""
        return night_of(self.mjd_utc)

    @property
    def name(self) -> str:
        """The stem of its file name."""
        return f"e{self.number:06d}"


@dataclass(frozen=True)
class _Block:
    """Pointings that are observed one after another: one row of a patch's grid, or a part of it."""

    patch: int
    band: int
    layer: int
    ra: Array
    dec: Array
    angle: float


def night_of(mjd_utc: float) -> int:
    """Modified Julian day, UTC, at the local noon before a time."""
    noon = np.floor(mjd_utc + atmosphere.LONGITUDE / 360.0 - 0.5) + 0.5 - atmosphere.LONGITUDE / 360.0
    return int(np.floor(noon))


def draw_schedule(seed: int, preset: Preset, field_width: float) -> tuple[Pointing, ...]:
    """Draw the survey's exposures, in order of time.

    Parameters
    ----------
    field_width : deg
        Side of the camera's field of view.
    """
    rng = stream(seed, SCHEDULE)
    blocks = list(_blocks(rng, preset, field_width))
    starts = _start_times(rng, preset, blocks)
    plans = []
    for block, start in zip(blocks, starts, strict=True):
        times = start + (np.arange(block.ra.size) * (EXPTIME + OVERHEAD) + rng.uniform(0.0, 20.0)) / atmosphere.DAY
        plans += [(float(t), block, i) for i, t in enumerate(times)]
    plans.sort(key=lambda plan: plan[0])
    nights = {night: i for i, night in enumerate(sorted({night_of(t) for t, _, _ in plans}))}
    return tuple(
        Pointing(k, b.patch, b.band, b.layer, float(b.ra[i]), float(b.dec[i]), b.angle, t, nights[night_of(t)])
        for k, (t, b, i) in enumerate(plans, 1)
    )


def patch_extent(patch: Patch, field_width: float) -> tuple[float, float]:
    """Half width and half height (deg, in the tangent plane) of the sky that a patch's exposures can reach."""
    step = GRID_STEP * field_width
    margin = 0.52 * field_width + DITHER * step
    return (patch.columns - 1) * step / 2.0 + margin, (patch.rows - 1) * step / 2.0 + margin


def _blocks(rng: np.random.Generator, preset: Preset, field_width: float) -> Iterator[_Block]:
    step = GRID_STEP * field_width
    for p, patch in enumerate(preset.patches):
        xi = (np.arange(patch.columns) - (patch.columns - 1) / 2.0) * step
        eta = (np.arange(patch.rows) - (patch.rows - 1) / 2.0) * step
        for band in range(len(preset.bands)):
            for layer in range(preset.layers):
                shift = rng.uniform(-DITHER, DITHER, 2) * step
                angle = float(90.0 * rng.integers(4) + 0.2 * rng.standard_normal())
                for row in eta:
                    ra, dec = tangent_to_sky(xi + shift[0], np.full(xi.size, row + shift[1]), patch.ra, patch.dec)
                    for part in np.array_split(np.arange(xi.size), -(-xi.size // 25)):
                        yield _Block(p, band, layer, ra[part], dec[part], angle)


def _start_times(rng: np.random.Generator, preset: Preset, blocks: list[_Block]) -> list[float]:
    """Deal blocks out to the emptiest nights on which their patch stands high enough.

    Nights are added where the preset's own do not suffice.
    """
    days = MJD_BEGIN + rng.permutation(preset.span_days)
    slots = days[:, None] - atmosphere.LONGITUDE / 360.0 + (np.arange(-12, 12) * SLOT_MINUTES + 15.0) / 1440.0
    sun = np.maximum(atmosphere.sun_altitude(slots), atmosphere.sun_altitude(slots + SLOT_MINUTES / 1440.0))
    free = sun < SUN_LIMIT
    high = [_airmass_of(patch, slots) < AIRMASS_LIMIT for patch in preset.patches]
    used = np.where(np.arange(days.size) < preset.nights, 0, -1)
    starts = np.zeros(len(blocks))
    for k in rng.permutation(len(blocks)):
        fit = free & high[blocks[k].patch]
        night, slot = _choose(rng, fit, used)
        starts[k] = slots[night, slot]
        free[night, slot] = False
        used[night] = max(used[night], 0) + 1
    return [float(s) for s in starts]


def _airmass_of(patch: Patch, mjd_utc: Array) -> Array:
    return atmosphere.airmass(patch.ra, patch.dec, atmosphere.sidereal_time(mjd_utc))


def _choose(rng: np.random.Generator, fit: NDArray[np.bool_], used: NDArray[np.int64]) -> tuple[int, int]:
    """Choose a slot of the emptiest night that has one, or of the first unused night (`used` -1) that has one."""
    some = fit.any(axis=1)
    if not some.any():
        raise UsageError("the survey does not fit into its nights", "simulate", "ask for fewer detections")
    opened = some & (used >= 0)
    nights = np.flatnonzero(opened & (used == used[opened].min())) if opened.any() else np.flatnonzero(some)[:1]
    choice = [(int(n), int(s)) for n in nights for s in np.flatnonzero(fit[n])]
    return choice[rng.integers(len(choice))]
