"""Projections about a point of the sky, exact at the poles and across RA 0: unit vectors, no spherical triangles.

The gnomonic one (TAN) is that of nearly all images. The others differ from it in one function only, of the distance
from the centre (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1): with zenith distance z, R is sin z (SIN),
2 tan(z/2) (STG), z (ARC), 2 sin(z/2) (ZEA), or a polynomial in z (ZPN).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

PROJECTIONS = {"TAN": 0, "SIN": 1, "STG": 2, "ARC": 3, "ZEA": 4, "ZPN": 5}
_TAN, _SIN, _STG, _ARC, _ZEA, _ZPN = PROJECTIONS.values()
_STEPS = 50


def tangent_to_sky(xi: Array, eta: Array, ra0: float, dec0: float) -> tuple[Array, Array]:
    """Positions of points on the plane that touches the sky at (ra0, dec0).

    Parameters
    ----------
    xi, eta : (N,) deg
        Standard coordinates, towards east and north.
    ra0, dec0 : deg
        Tangent point. At a pole, north is the direction of ra0 + 180° (dec0 = 90) or of ra0 (dec0 = -90).

    Returns
    -------
    ra, dec : (N,) deg
        ra in [0, 360). NaN where xi or eta is NaN.
    """
    return projected_to_sky(xi, eta, ra0, dec0)


def sky_to_tangent(ra: Array, dec: Array, ra0: float, dec0: float) -> tuple[Array, Array]:
    """Standard coordinates of positions, about the tangent point (ra0, dec0).

    Parameters
    ----------
    ra, dec : (N,) deg
    ra0, dec0 : deg

    Returns
    -------
    xi, eta : (N,) deg
        NaN at 90° and more from the tangent point.
    """
    return sky_to_projected(ra, dec, ra0, dec0)


def projected_to_sky(
    xi: Array, eta: Array, ra0: float, dec0: float, projection: str = "TAN", radial: tuple[float, ...] = ()
) -> tuple[Array, Array]:
    """Positions of points on a plane, as `tangent_to_sky`; NaN also where the projection has no point.

    Parameters
    ----------
    xi, eta : (N,) deg
    ra0, dec0 : deg
        The centre.
    projection
        One of `PROJECTIONS`.
    radial
        Coefficients of ZPN, from that of z⁰ on, for z in radians.
    """
    ra, dec = np.empty_like(xi), np.empty_like(eta)
    _to_sky(xi, eta, ra0, dec0, PROJECTIONS[projection], np.array(radial, dtype=np.float64), ra, dec)
    return ra, dec


def sky_to_projected(
    ra: Array, dec: Array, ra0: float, dec0: float, projection: str = "TAN", radial: tuple[float, ...] = ()
) -> tuple[Array, Array]:
    """Points on a plane of positions, as `sky_to_tangent`; NaN where the projection does not show the position."""
    xi, eta = np.empty_like(ra), np.empty_like(dec)
    _to_plane(ra, dec, ra0, dec0, PROJECTIONS[projection], np.array(radial, dtype=np.float64), xi, eta)
    return xi, eta


@njit(cache=True)
def _polynomial(radial, z):  # type: ignore[no-untyped-def]  # numba infers them
    """ZPN's distance from the centre, and its slope."""
    value, slope = 0.0, 0.0
    for k in range(len(radial) - 1, -1, -1):
        slope = slope * z + value
        value = value * z + radial[k]
    return value, slope


@njit(cache=True)
def _radius(kind, radial, z):  # type: ignore[no-untyped-def]  # numba infers them
    """The distance from the centre (radians) of zenith distance z; NaN where it is not shown."""
    if kind == _SIN:
        return math.sin(z) if z <= math.pi / 2 else np.nan
    if kind == _STG:
        return 2.0 * math.tan(z / 2) if z < math.pi else np.nan
    if kind == _ARC:
        return z
    if kind == _ZEA:
        return 2.0 * math.sin(z / 2)
    # ZPN shows the sky as far as its polynomial grows.
    for k in range(1, 65):
        if not _polynomial(radial, z * k / 64)[1] > 0.0:
            return np.nan
    return _polynomial(radial, z)[0]


@njit(cache=True)
def _zenith(kind, radial, r):  # type: ignore[no-untyped-def]  # numba infers them
    """The zenith distance of distance r (radians) from the centre; NaN where there is none."""
    if kind == _SIN:
        return math.asin(r) if r <= 1.0 else np.nan
    if kind == _STG:
        return 2.0 * math.atan(r / 2)
    if kind == _ARC:
        return r if r <= math.pi else np.nan
    if kind == _ZEA:
        return 2.0 * math.asin(r / 2) if r <= 2.0 else np.nan
    z = min(r / radial[1], 3.0)
    for _ in range(_STEPS):
        value, slope = _polynomial(radial, z)
        if not slope > 0.0:
            return np.nan
        step = (value - r) / slope
        z -= step
        if abs(step) <= 1e-15 * (1.0 + z):
            return z if 0.0 <= z <= math.pi and _radius(kind, radial, z) >= 0.0 else np.nan
    return np.nan


@njit(cache=True)
def _to_sky(xi, eta, ra0, dec0, kind, radial, ra, dec):  # type: ignore[no-untyped-def]  # numba infers them
    # In the meridian frame of the centre: x towards (ra0, dec 0), y towards east, z towards the pole.
    sd, cd = math.sin(math.radians(dec0)), math.cos(math.radians(dec0))
    for k in range(xi.size):
        east, north, depth = math.radians(xi[k]), math.radians(eta[k]), 1.0
        if kind != _TAN:
            r = math.hypot(east, north)
            if r > 0.0:
                zenith = _zenith(kind, radial, r)
                depth = math.cos(zenith)
                east, north = east * (math.sin(zenith) / r), north * (math.sin(zenith) / r)
        x, z = depth * cd - north * sd, depth * sd + north * cd
        angle = (ra0 + math.degrees(math.atan2(east, x))) % 360.0
        ra[k] = 0.0 if angle >= 360.0 else angle
        dec[k] = math.degrees(math.atan2(z, math.hypot(x, east)))


@njit(cache=True)
def _to_plane(ra, dec, ra0, dec0, kind, radial, xi, eta):  # type: ignore[no-untyped-def]  # numba infers them
    sd, cd = math.sin(math.radians(dec0)), math.cos(math.radians(dec0))
    for k in range(ra.size):
        angle, d = math.radians(ra[k] - ra0), math.radians(dec[k])
        c = math.cos(d)
        x, east, z = c * math.cos(angle), c * math.sin(angle), math.sin(d)
        depth, north = cd * x + sd * z, cd * z - sd * x
        if kind != _TAN:
            sine = math.hypot(east, north)
            r = _radius(kind, radial, math.atan2(sine, depth))
            if sine > 0.0:
                east, north = east * (r / sine), north * (r / sine)
            xi[k], eta[k] = math.degrees(east), math.degrees(north)
        elif depth > 0.0:
            xi[k], eta[k] = math.degrees(east / depth), math.degrees(north / depth)
        else:
            xi[k], eta[k] = np.nan, np.nan
