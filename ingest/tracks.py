"""Objects from before, the images that look for them, and where the objects are when each image does."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skydb.sky.partition import unit_vectors

RADIANS_PER_ARCSEC = np.pi / 648_000.0
_MAS_PER_ARCSEC = 1000.0

_SLACK = 0.05
"""Part of the largest radius by which an object may stray from its track points; it lengthens the links by as much."""

_SMALLEST_RADIUS_ARCSEC = 1e-3
"""Radii below this count as this in steps of tracks, so that their number stays bounded."""

_NO_SURVEY = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True)
class Images:
    """The images of a whole batch in the order of association; every array is (R,), or empty where said.

    Attributes
    ----------
    radius_arcsec : arcsec
        Association radius.
    span : yr
        First and last Julian epoch of their detections; None: objects do not move.
    survey
        One bit for each reference survey of the batch, 0 for an image of none; empty: none is of a reference survey.
        An object that holds a row of a survey is no candidate for another image of it.
    """

    radius_arcsec: NDArray[np.float64]
    span: tuple[float, float] | None = None
    survey: NDArray[np.uint64] = field(default_factory=_NO_SURVEY.copy)

    @property
    def largest_radius_arcsec(self) -> float:
        """The largest association radius of the batch."""
        return float(self.radius_arcsec.max(initial=0.0))


@dataclass(frozen=True)
class Seeds:
    """Objects from before, in any order; every array is (M,), or empty where said.

    Attributes
    ----------
    object_id
        Each once.
    ra, dec : deg
        Association position at `epoch`.
    epoch, pm_ra, pm_dec : yr, mas/yr, mas/yr
        Motion, pm_ra times cos(dec); NaN in any: none. All three empty: nothing moves.
    held
        Bits of the reference surveys of which the object holds a row; empty: none.
    """

    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    epoch: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    pm_ra: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    pm_dec: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    held: NDArray[np.uint64] = field(default_factory=_NO_SURVEY.copy)

    @property
    def speed_arcsec(self) -> NDArray[np.float64]:
        """Proper motion (M,) in arcsec/yr; 0 where none is known."""
        if not len(self.pm_ra):
            return np.zeros(len(self.object_id))
        known = np.isfinite(self.epoch)
        return np.where(known, np.nan_to_num(np.hypot(self.pm_ra, self.pm_dec)), 0.0) / _MAS_PER_ARCSEC

    def velocities(self) -> NDArray[np.float64]:
        """Motion (M, 3) in radians per year, tangent to the sphere; 0 where none is known.

        A function of each object's own bits alone, as `unit_vectors` are.
        """
        if not len(self.pm_ra):
            return np.zeros((len(self.object_id), 3))
        zero = np.zeros(len(self.object_id))
        (cos_ra, sin_ra, _), (cos_dec, _, sin_dec) = unit_vectors(self.ra, zero).T, unit_vectors(zero, self.dec).T
        east = np.stack((-sin_ra, cos_ra, zero), axis=1)
        north = np.stack((-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec), axis=1)
        known = ~np.isnan(np.hypot(self.pm_ra, self.pm_dec))
        east_mas, north_mas = np.where(known, self.pm_ra, 0.0), np.where(known, self.pm_dec, 0.0)
        motion = east_mas[:, None] * east + north_mas[:, None] * north
        return np.asarray(motion / _MAS_PER_ARCSEC * RADIANS_PER_ARCSEC)


@dataclass(frozen=True)
class Tracks:
    """Points (T,) that stand for objects while links are sought: one for most, a chain along the way of a fast one.

    `seed` numbers the object of each point, ascending; `link_arcsec` is a linking length that makes up for the steps.
    """

    seed: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    link_arcsec: float


def seed_tracks(seeds: Seeds, images: Images) -> Tracks:
    """Points that stand for the objects over the time of a batch.

    An object whose way from the first to the last epoch is short compared with the radius has one, in its middle; a
    faster one has a chain. Any place on the way is within `link_arcsec` minus the largest radius of a point. The
    linking length depends on the batch's images alone, so that all cells use one.
    """
    radius = images.largest_radius_arcsec
    if images.span is None:
        return Tracks(np.arange(len(seeds.object_id)), seeds.ra, seeds.dec, radius)
    begin, end = images.span
    slack = _SLACK * max(radius, _SMALLEST_RADIUS_ARCSEC)
    way = seeds.speed_arcsec * (end - begin)
    pieces = np.maximum(np.ceil(way / (2.0 * slack)), 1.0).astype(np.int64)
    seed = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(seed)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ra, dec = places_at(seeds, seed, begin + (end - begin) * (number + 0.5) / pieces[seed])
    return Tracks(seed, ra, dec, radius + slack)


def places_at(
    seeds: Seeds, which: NDArray[np.int64], epoch: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination (deg) of some objects (T,) at epochs (T,); those at rest keep theirs exactly."""
    moving = (seeds.speed_arcsec > 0)[which]
    ra, dec = np.array(seeds.ra, dtype=np.float64)[which], np.array(seeds.dec, dtype=np.float64)[which]
    rows = which[moving]
    years = (epoch[moving] - seeds.epoch[rows])[:, None]
    x, y, z = (unit_vectors(seeds.ra, seeds.dec)[rows] + years * seeds.velocities()[rows]).T
    ra[moving], dec[moving] = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    return ra, dec
