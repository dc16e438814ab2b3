"""What falls on the chips of one exposure: places and noise-free counts of stars, blends merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from . import atmosphere
from .camera import CHIP_PIXELS, GAP_PIXELS, PIXEL_ARCSEC, PIXEL_MICRON, flat_at
from .photometry import counts_of, psf_fraction
from .schedule import EXPTIME
from .sky import Stars, brightness_at, positions_at
from .survey import Conditions

Array = NDArray[np.float64]

EDGE_PIXELS = 3.0
"""Sources nearer to the edge of a chip are not detected."""

BLEND_FWHM = 0.8
"""Sources closer than this many full widths at half maximum are detected as one."""

MOVED_DEG = 0.01
"""More than any star moves during a survey."""

EXPOSURE_MAG = 2.5 * np.log10(EXPTIME)


class Truth(IntFlag):
    """What is true of a detection; bits of `flags` in the truth."""

    OUTLIER = 1
    VARIABLE = 2
    BLEND = 4
    SPURIOUS = 8
    GALAXY = 16
    SATURATED = 32
    FORCED = 64


@dataclass(frozen=True)
class Sources:
    """Rows: sources of one exposure. `counts` is what a perfect PSF fit finds, `total` the whole light.

    `half_light` in pixels, 0 for stars; `star_id` of the brightest star, -1 where there is none; `blend_id` of the
    next, or -1; `zero_point` with the exposure time, without the flat; `flat` (mag) is to be subtracted.
    """

    chip: NDArray[np.int64]
    x: Array
    y: Array
    counts: Array
    total: Array
    half_light: Array
    zero_point: Array
    flat: Array
    star_id: NDArray[np.int64]
    blend_id: NDArray[np.int64]
    flags: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.chip.size)

    def take(self, rows: NDArray[Any]) -> Sources:
        """Return some rows."""
        return Sources(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def near(stars: Stars, ra: float, dec: float, radius: float) -> Stars:
    """Return the stars within a radius (deg); `stars` are sorted by declination."""
    first, last = np.searchsorted(stars.dec, (dec - radius, dec + radius))
    a, d = np.radians(stars.ra[first:last] - ra), np.radians(stars.dec[first:last])
    cosine = np.sin(np.radians(dec)) * np.sin(d) + np.cos(np.radians(dec)) * np.cos(d) * np.cos(a)
    return stars.take(first + np.flatnonzero(cosine > np.cos(np.radians(radius))))


def stars_in_field(conditions: Conditions, stars: Stars) -> Stars:
    """Return the stars that may fall on the chips of an exposure."""
    radius = 0.72 * conditions.survey.camera.width + MOVED_DEG
    return near(stars, conditions.pointing.ra, conditions.pointing.dec, radius)


def find_sources(conditions: Conditions, stars: Stars) -> Sources:
    """Place the stars of a patch on the chips of an exposure, with their noise-free counts.

    Parameters
    ----------
    stars : rows sorted by declination
    """
    stars = stars_in_field(conditions, stars)
    ra, dec = positions_at(stars, conditions.mjd_tai)
    row, chip, x, y = _on_chips(conditions, ra, dec)
    stars, band = stars.take(row), conditions.pointing.band
    secant = atmosphere.airmass(ra[row], dec[row], conditions.sidereal)
    zero_point = conditions.zero_point(chip, secant) + EXPOSURE_MAG
    mag = brightness_at(stars, conditions.mjd_tai, conditions.band, stars.mag[:, band])
    flat = _flats(conditions, chip, x, y)
    half_light = stars.half_light / PIXEL_ARCSEC
    total = counts_of(mag + flat, zero_point)
    counts = total * psf_fraction(conditions.sigma[chip], half_light)
    flags = Truth.VARIABLE * (stars.period > 0) + Truth.GALAXY * (half_light > 0)
    none = np.full(len(stars), -1)
    found = Sources(
        chip, x, y, counts, total, half_light, zero_point, flat, stars.star_id, none, flags.astype(np.int64)
    )
    return merge_blends(found, BLEND_FWHM * 2.3548 * float(conditions.sigma.mean()))


def _on_chips(
    conditions: Conditions, ra: Array, dec: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array, Array]:
    """Rows of the positions that fall on a chip, the chip, and the pixels there."""
    focal_x, focal_y = conditions.focal.to_focal(ra, dec)
    reach, half = GAP_PIXELS * PIXEL_MICRON, CHIP_PIXELS * PIXEL_MICRON / 2.0
    parts = []
    for k, chip in enumerate(conditions.chips):
        middle_x, middle_y = chip.map.to_focal(CHIP_PIXELS / 2, CHIP_PIXELS / 2)
        may = (np.abs(focal_x - middle_x) < half + reach) & (np.abs(focal_y - middle_y) < half + reach)
        rows = np.flatnonzero(may)
        true_chip = conditions.true_model(k).chip or chip.map
        x, y = true_chip.to_pixel(focal_x[rows], focal_y[rows])
        inside = (np.minimum(x, y) >= EDGE_PIXELS) & (np.maximum(x, y) < CHIP_PIXELS - EDGE_PIXELS)
        parts.append((rows[inside], np.full(int(inside.sum()), k), x[inside], y[inside]))
    row, number, x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    return row, number, x, y


def _flats(conditions: Conditions, chip: NDArray[np.int64], x: Array, y: Array) -> Array:
    """Flat-field structure at pixels; `chip` is in order."""
    edges = np.searchsorted(chip, np.arange(len(conditions.chips) + 1))
    band = conditions.pointing.band
    return np.concatenate([
        flat_at(c.flat[band], x[i:j], y[i:j])
        for c, i, j in zip(conditions.chips, edges[:-1], edges[1:], strict=True)
    ])


def merge_blends(sources: Sources, radius: float) -> Sources:
    """Merge sources of a chip that lie closer than a radius (pixel), chains included.

    Counts add up; the place is their mean, weighted by counts; all else is the brightest one's.
    """
    far_apart = 2.0 * CHIP_PIXELS * sources.chip
    pairs = cKDTree(np.column_stack([sources.x + far_apart, sources.y])).query_pairs(radius, output_type="ndarray")
    if not len(pairs):
        return sources
    size = len(sources)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    group = connected_components(links, directed=False)[1]
    order = np.lexsort((-sources.counts, group))
    first = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    sorted_ = sources.take(order)
    many = np.diff(np.r_[first, size]) > 1
    merged = sorted_.take(first)
    counts, total = np.add.reduceat(sorted_.counts, first), np.add.reduceat(sorted_.total, first)
    second = sorted_.star_id[np.minimum(first + 1, size - 1)]
    merged = replace(
        merged,
        x=np.where(many, np.add.reduceat(sorted_.x * sorted_.counts, first) / counts, merged.x),
        y=np.where(many, np.add.reduceat(sorted_.y * sorted_.counts, first) / counts, merged.y),
        counts=np.where(many, counts, merged.counts), total=np.where(many, total, merged.total),
        blend_id=np.where(many, second, -1), flags=merged.flags | (Truth.BLEND * many),
    )
    return merged.take(np.lexsort((merged.star_id, merged.chip)))
