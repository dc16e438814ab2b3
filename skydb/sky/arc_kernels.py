"""Compiled loops over positions: separations, cones, polygons, distances to arcs of circles; all in degrees."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import haversine
from .haversine import DEGREE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

separation_deg = njit(cache=True, nogil=True)(haversine.separation_deg)
"""Angle between two positions, for use in compiled code."""


@njit(cache=True, nogil=True)
def separations(ra1: Floats, dec1: Floats, ra2: Floats, dec2: Floats) -> Floats:  # pragma: no cover - compiled
    """Angle between every two positions, degrees."""
    out = np.empty(len(ra1))
    for i in range(len(ra1)):
        out[i] = separation_deg(ra1[i], dec1[i], ra2[i], dec2[i])
    return out


@njit(cache=True, nogil=True)
def within_circle(ra: Floats, dec: Floats, ra0: float, dec0: float, radius: float) -> Bools:  # pragma: no cover
    """True for every position within `radius` of (ra0, dec0); degrees."""
    inside = np.zeros(len(ra), dtype=np.bool_)
    for i in range(len(ra)):
        inside[i] = separation_deg(ra[i], dec[i], ra0, dec0) <= radius
    return inside


@njit(cache=True, nogil=True)
def distance_to_meridian(ra: Floats, dec: Floats, ra0: float, dec1: float, dec2: float) -> Floats:  # pragma: no cover
    """Distance of every position to the arc of the meridian `ra0` from dec1 to dec2; degrees."""
    out = np.empty(len(ra))
    for i in range(len(ra)):
        out[i] = min(separation_deg(ra[i], dec[i], ra0, dec1), separation_deg(ra[i], dec[i], ra0, dec2))
        turn = (ra[i] - ra0) * DEGREE
        delta = dec[i] * DEGREE
        foot = math.atan2(math.sin(delta), math.cos(delta) * math.cos(turn)) / DEGREE
        if dec1 < foot < dec2:
            out[i] = min(out[i], separation_deg(ra[i], dec[i], ra0, foot))
    return out


@njit(cache=True, nogil=True)
def _vector(ra: float, dec: float) -> tuple[float, float, float]:  # pragma: no cover - compiled
    alpha, delta = ra % 360.0 * DEGREE, dec * DEGREE
    parallel = math.cos(delta)
    return parallel * math.cos(alpha), parallel * math.sin(alpha), math.sin(delta)


@njit(cache=True, nogil=True)
def within_polygon(ra: Floats, dec: Floats, frame: Floats, edges: Floats, least: float) -> Bools:  # pragma: no cover
    """True for every position from which a ray crosses an odd number of edges.

    The ray is level on the map that shows great circles as straight lines. Each vertex is above or below it once and
    for all, and an edge with one end above counts where it passes to the right: sure from its ends alone if both lie
    on one side, so that a point in line with a level edge is not taken for one on it.

    Parameters
    ----------
    ra, dec : (N,) deg
        Positions.
    frame : (3, 3)
        Pole of a hemisphere that holds the polygon, the map's centre; its vertical; its horizontal.
    edges : (E, 9)
        Vertical, horizontal and pole components of both ends of each edge; and the edge's normal.
    least : cosine
        Pole component of the vertex farthest from the pole, less rounding: no point beyond it is inside.
    """
    inside = np.zeros(len(ra), dtype=np.bool_)
    for i in range(len(ra)):
        x, y, z = _vector(ra[i], dec[i])
        depth = x * frame[0, 0] + y * frame[0, 1] + z * frame[0, 2]
        height = x * frame[1, 0] + y * frame[1, 1] + z * frame[1, 2]
        across = x * frame[2, 0] + y * frame[2, 1] + z * frame[2, 2]
        if not depth >= least:
            continue
        odd = False
        for e in range(len(edges)):
            a_above = edges[e, 0] * depth > height * edges[e, 2]
            b_above = edges[e, 3] * depth > height * edges[e, 5]
            if a_above != b_above:
                a_right = edges[e, 1] * depth > across * edges[e, 2]
                b_right = edges[e, 4] * depth > across * edges[e, 5]
                left = x * edges[e, 6] + y * edges[e, 7] + z * edges[e, 8] > 0.0
                odd ^= a_right if a_right == b_right else left == b_above
        inside[i] = odd
    return inside


@njit(cache=True, nogil=True)
def _angle(u: Floats, v: Floats) -> float:  # pragma: no cover - compiled
    """Angle between two unit vectors, radians (Kahan's formula, good for every angle)."""
    apart, along = u - v, u + v
    return 2.0 * math.atan2(math.sqrt((apart * apart).sum()), math.sqrt((along * along).sum()))


@njit(cache=True, nogil=True)
def distance_to_outline(ra: Floats, dec: Floats, corners: Floats, normals: Floats) -> Floats:  # pragma: no cover
    """Distance of every position to the nearest of some great-circle arcs, degrees.

    Parameters
    ----------
    ra, dec : (N,) deg
        Positions.
    corners : (E, 3)
        Unit vectors of the corners; arc e runs from corner e to the next.
    normals : (E, 3)
        Unit normal of every arc.
    """
    out = np.empty(len(ra))
    for i in range(len(ra)):
        point = np.array(_vector(ra[i], dec[i]))
        best = math.pi
        for e in range(len(corners)):
            start, stop, normal = corners[e], corners[(e + 1) % len(corners)], normals[e]
            best = min(best, _angle(point, start))
            if np.dot(np.cross(normal, start), point) >= 0.0 and np.dot(np.cross(stop, normal), point) >= 0.0:
                off = np.cross(normal, point)
                best = min(best, math.atan2(abs(np.dot(normal, point)), math.sqrt((off * off).sum())))
        out[i] = best / DEGREE
    return out
