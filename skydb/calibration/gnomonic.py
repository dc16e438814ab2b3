"""The gnomonic projection, exact at the poles and across RA 0: unit vectors, no spherical triangles."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    ra, dec = np.empty_like(xi), np.empty_like(eta)
    _to_sky(xi, eta, ra0, dec0, ra, dec)
    return ra, dec


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
    xi, eta = np.empty_like(ra), np.empty_like(dec)
    _to_tangent(ra, dec, ra0, dec0, xi, eta)
    return xi, eta


@njit(cache=True)
def _to_sky(xi, eta, ra0, dec0, ra, dec):  # type: ignore[no-untyped-def]  # numba infers them
    # In the meridian frame of the tangent point: x towards (ra0, dec 0), y towards east, z towards the pole.
    sd, cd = math.sin(math.radians(dec0)), math.cos(math.radians(dec0))
    for k in range(xi.size):
        east, north = math.radians(xi[k]), math.radians(eta[k])
        x, z = cd - north * sd, sd + north * cd
        angle = (ra0 + math.degrees(math.atan2(east, x))) % 360.0
        ra[k] = 0.0 if angle >= 360.0 else angle
        dec[k] = math.degrees(math.atan2(z, math.hypot(x, east)))


@njit(cache=True)
def _to_tangent(ra, dec, ra0, dec0, xi, eta):  # type: ignore[no-untyped-def]  # numba infers them
    sd, cd = math.sin(math.radians(dec0)), math.cos(math.radians(dec0))
    for k in range(ra.size):
        angle, d = math.radians(ra[k] - ra0), math.radians(dec[k])
        c = math.cos(d)
        x, east, z = c * math.cos(angle), c * math.sin(angle), math.sin(d)
        depth = cd * x + sd * z
        if depth > 0.0:
            xi[k] = math.degrees(east / depth)
            eta[k] = math.degrees((cd * z - sd * x) / depth)
        else:
            xi[k], eta[k] = np.nan, np.nan
