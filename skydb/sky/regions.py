"""Regions of the sky as values: which points they contain, and which pixels cover them.

All angles are in degrees. Borders belong to cones and boxes; a point on the border of a polygon may fall on either
side of it. A position that is not finite lies in no region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydb.errors import UsageError

from . import arcs
from .cover import cover
from .partition import FINEST_ORDER, unit_vectors

MAX_RANGES = 1000
"""Ranges of a cover at most, unless asked for otherwise."""

_HEMISPHERE_MARGIN = 1e-6
"""Cosine of the angle between pole and farthest vertex of a polygon, at least."""


class Region(Protocol):
    """A part of the sky."""

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position inside, in the shape that the coordinates broadcast to."""

    def distance(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return the distance to the border in degrees: positive outside, negative inside, never too large in size."""

    def ranges(
        self, order: int = FINEST_ORDER, pad_arcsec: float = 0.0, max_ranges: int = MAX_RANGES
    ) -> NDArray[np.int64]:
        """Return (K, 2) half-open ranges of order-29 pixels that hold every point within the pad of the region."""


class _Covered:
    """The cover that every region has by its distance."""

    def ranges(
        self: Region, order: int = FINEST_ORDER, pad_arcsec: float = 0.0, max_ranges: int = MAX_RANGES
    ) -> NDArray[np.int64]:
        """Return half-open ranges of nested order-29 pixels that hold every point within a pad of the region.

        Parameters
        ----------
        order : from 0 to 29
            The finest pixels used.
        pad_arcsec : arcsec
            How far beyond the region points count.
        max_ranges : ranges
            At most this many (or the ranges of order 0, if those are more).

        Returns
        -------
        ranges : (K, 2)
            Sorted and disjoint; never too few pixels, at the border a few too many.
        """
        return cover(self.distance, order, pad_arcsec, max_ranges)


@dataclass(frozen=True)
class AllSky(_Covered):
    """The whole sky."""

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every finite position."""
        return np.isfinite(ra) & np.isfinite(dec)

    def distance(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return -180 degrees everywhere: there is no border."""
        return np.full(np.broadcast_shapes(np.shape(ra), np.shape(dec)), -180.0)


@dataclass(frozen=True)
class Cone(_Covered):
    """All points within `radius_deg` (0 to 180) of a position.

    >>> Cone(0.0, 89.9, 0.3).contains([0.0, 180.0, 180.0], [90.0, 89.9, 89.7]).tolist()
    [True, True, False]
    """

    ra: float
    dec: float
    radius_deg: float

    def __post_init__(self) -> None:
        _require_position(self.ra, self.dec, "the centre of a cone")
        if not 0 <= self.radius_deg <= 180:
            raise UsageError(f"radius of {self.radius_deg:g} degrees", "cone", "give a radius from 0 to 180 degrees")

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position at most the radius away."""
        shape = np.broadcast_shapes(np.shape(ra), np.shape(dec))
        inside = arcs.within_cone(*arcs.coordinates(ra, dec), self.ra, self.dec, self.radius_deg)
        return np.asarray(inside).reshape(shape)

    def distance(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return the distance to the circle in degrees, negative inside."""
        return arcs.separation_from(np.asarray(ra), np.asarray(dec), self.ra, self.dec) - self.radius_deg


@dataclass(frozen=True)
class Box(_Covered):
    """All points between two meridians and two parallels.

    It runs east from ra1 to ra2, across RA 0 if ra1 > ra2, and all around if ra2 - ra1 is 360 or more.

    >>> Box(350.0, 10.0, -5.0, 5.0).contains([355.0, 360.0, 10.1], 0.0).tolist()
    [True, True, False]
    """

    ra1: float
    ra2: float
    dec1: float
    dec2: float

    def __post_init__(self) -> None:
        _require_position(self.ra1, self.dec1, "the first corner of a box")
        _require_position(self.ra2, self.dec2, "the second corner of a box")
        if self.dec1 > self.dec2:
            raise UsageError(f"dec1 {self.dec1:g} is above dec2 {self.dec2:g}", "box", "swap them")

    @property
    def _all_around(self) -> bool:
        return self.ra2 - self.ra1 >= 360

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position between the limits, limits included."""
        ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
        return np.asarray((dec >= self.dec1) & (dec <= self.dec2) & self._contains_ra(ra))

    def _contains_ra(self, ra: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self._all_around:
            return np.isfinite(ra)
        west, east, ra = _one_turn(self.ra1), _one_turn(self.ra2), _one_turn(ra)
        if west <= east:
            return np.asarray((ra >= west) & (ra <= east))
        return np.asarray((ra >= west) | (ra <= east))

    def distance(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return the distance to the border in degrees, negative inside."""
        from .arc_kernels import distance_to_meridian

        ra, dec = arcs.coordinates(ra, dec)
        sides = np.full(len(ra), np.inf)
        if not self._all_around:
            for meridian in (self.ra1, self.ra2):
                sides = np.minimum(sides, distance_to_meridian(ra, dec, meridian, self.dec1, self.dec2))
        north = self.dec2 - dec if self.dec2 < 90 else np.full(len(ra), np.inf)
        south = dec - self.dec1 if self.dec1 > -90 else np.full(len(ra), np.inf)
        parallels = np.minimum(north, south)
        outside = np.where(self._contains_ra(ra), -parallels, sides)
        return np.where(self.contains(ra, dec), -np.minimum(parallels, sides), outside)


@dataclass(frozen=True)
class Polygon(_Covered):
    """All points inside a closed line of great-circle arcs, in whichever direction it winds.

    The vertices must fit inside a hemisphere, all less than 90 degrees from one point; the polygon is the bounded
    side of the line, the one within that hemisphere. Where the line crosses itself, points with an odd number of
    turns about them are inside.

    Parameters
    ----------
    vertices : (N, 2) deg
        Right ascension and declination of 3 or more corners; the last may repeat the first.

    Examples
    --------
    >>> cap = Polygon(((0.0, 80.0), (120.0, 80.0), (240.0, 80.0)))
    >>> cap.contains([0.0, 60.0, 60.0], [90.0, 85.0, 84.9]).tolist()
    [True, True, False]
    """

    vertices: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        pairs = tuple((float(ra), float(dec)) for ra, dec in self.vertices)
        object.__setattr__(self, "vertices", pairs)
        for number, (ra, dec) in enumerate(pairs, 1):
            _require_position(ra, dec, f"vertex {number} of a polygon")
        if len(self._corners) < 3:
            raise UsageError(f"{len(self._corners)} different vertices", "polygon", "give 3 or more")
        if (self._corners @ self.pole).min() < _HEMISPHERE_MARGIN:
            raise UsageError("the vertices do not fit inside a hemisphere", "polygon", "divide it into smaller ones")

    @cached_property
    def _all_corners(self) -> NDArray[np.float64]:
        ra, dec = np.array(self.vertices, dtype=np.float64).reshape(-1, 2).T
        return unit_vectors(ra, dec)

    @cached_property
    def _corners(self) -> NDArray[np.float64]:
        """(E, 3) unit vectors of the vertices without repetitions of the one before."""
        corners = self._all_corners
        return np.asarray(corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)])

    @cached_property
    def pole_is_mean(self) -> bool:
        """True if the mean direction of the vertices is less than 90 degrees from all of them."""
        mean = self._all_corners.sum(axis=0)
        size = np.linalg.norm(mean)
        return bool(size > 0 and (self._all_corners @ mean).min() > _HEMISPHERE_MARGIN * size)

    @cached_property
    def pole(self) -> NDArray[np.float64]:
        """(3,) unit vector less than 90 degrees from every vertex: their mean, or the centre of their smallest circle.

        The centre is the point of the vertices' convex hull nearest to the origin (Lawson & Hanson 1974, ch. 23).
        """
        pole = self._all_corners.sum(axis=0)
        if not self.pole_is_mean:
            from scipy.optimize import nnls  # takes half a second, for polygons that are rare

            system = np.vstack((self._all_corners.T, np.ones(len(self._all_corners))))
            weights, _ = nnls(system, np.array([0.0, 0.0, 0.0, 1.0]))
            pole = self._all_corners.T @ weights
        size = np.linalg.norm(pole)
        return np.asarray(pole / size) if size > 0 else np.zeros(3)

    @cached_property
    def _frame(self) -> NDArray[np.float64]:
        """(3, 3) the pole, and two directions across it: the vertical and the horizontal of the map."""
        x, y, z = self.pole
        level = (-y, x, 0.0) if abs(z) < 0.9 else (0.0, -z, y)
        return np.stack((self.pole, np.cross(self.pole, level), level))

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """(E, 9) what the crossing test needs of every edge; the normal from sum and difference, exact when short."""
        start, stop = self._corners, np.roll(self._corners, -1, axis=0)
        axes = self._frame[[1, 2, 0]].T
        return np.column_stack((start @ axes, stop @ axes, np.cross(start + stop, stop - start) / 2))

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position about which the line turns an odd number of times."""
        from .arc_kernels import within_polygon

        shape = np.broadcast_shapes(np.shape(ra), np.shape(dec))
        least = float((self._corners @ self.pole).min()) - 1e-12
        inside = within_polygon(*arcs.coordinates(ra, dec), self._frame, self._edges, least)
        return np.asarray(inside).reshape(shape)

    def distance(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return the distance to the line in degrees, negative inside."""
        from .arc_kernels import distance_to_outline

        ra, dec = arcs.coordinates(ra, dec)
        normals = self._edges[:, 6:]
        units = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        away = distance_to_outline(ra, dec, np.ascontiguousarray(self._corners), np.ascontiguousarray(units))
        return np.asarray(np.where(self.contains(ra, dec), -away, away))


@dataclass(frozen=True)
class Intersection(_Covered):
    """All points that lie in every one of some regions."""

    regions: tuple[Region, ...]

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position inside all regions."""
        return np.asarray(np.logical_and.reduce([region.contains(ra, dec) for region in self.regions]))

    def distance(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return the largest of the regions' distances: outside, the true one may be larger."""
        return np.asarray(np.maximum.reduce([region.distance(ra, dec) for region in self.regions]))


def _one_turn(ra: ArrayLike) -> NDArray[np.float64]:
    """Right ascension within 0 to 360; one that lies there keeps its bits."""
    with np.errstate(invalid="ignore"):
        rest = np.fmod(ra, 360.0)
    return np.asarray(np.where(rest < 0, rest + 360.0, rest))


def _require_position(ra: float, dec: float, what: str) -> None:
    if not (math.isfinite(ra) and -90 <= dec <= 90):
        raise UsageError(f"ra {ra:g}, dec {dec:g} is no place on the sky", what, "give degrees, dec from -90 to 90")
