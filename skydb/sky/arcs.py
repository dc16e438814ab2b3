"""Angles between positions, and which lie in a cone.

A few points are tested by plain Python: loading numba takes a quarter of a second, as long as answering a small
question does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .haversine import separation_deg

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DEC_MARGIN_DEG = 1e-9
"""Rounding allowed to the quick test in declination that goes before the exact one."""

FEW = 1000
"""Points that are tested one by one in Python, 1.5 µs each."""


def separation(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> Floats:
    """Angle between positions, all in degrees; shapes broadcast.

    The haversine of the separation and that of its supplement, each a sum of positive terms, so that every angle
    from 0 to 180 degrees is good to its last digits.

    Returns
    -------
    separation : deg
        NaN where a coordinate is not finite.

    Examples
    --------
    >>> separation([359.5, 0.0], [0.0, 90.0], [0.5, 7.0], [0.0, -90.0]).tolist()
    [1.0, 180.0]
    """
    from .arc_kernels import separations

    shape = np.broadcast_shapes(np.shape(ra1), np.shape(dec1), np.shape(ra2), np.shape(dec2))
    parts = [np.ascontiguousarray(np.broadcast_to(np.asarray(v, dtype=np.float64), shape)).ravel()
             for v in (ra1, dec1, ra2, dec2)]
    return np.asarray(separations(*parts)).reshape(shape)


def coordinates(ra: ArrayLike, dec: ArrayLike) -> tuple[Floats, Floats]:
    """Return two flat float64 arrays of one length."""
    ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
    return np.ascontiguousarray(ra).ravel(), np.ascontiguousarray(dec).ravel()


def separation_from(ra: Floats, dec: Floats, ra0: float, dec0: float) -> Floats:
    """Angle of positions from one point, all in degrees, by NumPy: it may differ from `separation` in the last bits."""
    half_turn = np.radians(np.abs(ra - ra0) % 360.0) / 2.0
    parallels = np.cos(np.radians(dec)) * math.cos(math.radians(dec0))
    apart = np.sin(np.radians(dec - dec0) / 2.0) ** 2 + parallels * np.sin(half_turn) ** 2
    opposite = np.sin(np.radians(dec + dec0) / 2.0) ** 2 + parallels * np.cos(half_turn) ** 2
    return np.asarray(np.degrees(2.0 * np.arctan2(np.sqrt(apart), np.sqrt(opposite))))


def within_cone(ra: Floats, dec: Floats, ra0: float, dec0: float, radius: float) -> Bools:
    """True for every position within `radius` of (ra0, dec0); degrees."""
    near = np.flatnonzero((dec >= dec0 - radius - DEC_MARGIN_DEG) & (dec <= dec0 + radius + DEC_MARGIN_DEG))
    inside = np.zeros(len(ra), dtype=np.bool_)
    if len(near) <= FEW:
        points = zip(ra[near].tolist(), dec[near].tolist(), strict=True)
        inside[near] = [separation_deg(a, d, ra0, dec0) <= radius for a, d in points]
        return inside
    from .arc_kernels import within_circle

    inside[near] = within_circle(ra[near], dec[near], ra0, dec0, radius)
    return inside
