"""Airmass of every detection, from where and when it was observed."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray


def airmass(
    ra: ArrayLike, dec: ArrayLike, sidereal_time_h: ArrayLike, latitude_deg: ArrayLike
) -> NDArray[np.float64]:
    """Plane-parallel airmass, the secant of the true zenith distance.

    X = 1 / (sin φ sin δ + cos φ cos δ cos h), h the hour angle. This is the airmass in which DVO's K and most headers
    are given. A curved, refracting atmosphere has less air: the secant is too large by 0.4% at X = 2, 1.0% at 3,
    1.9% at 4, 11% at 10 (against Young 1994, Applied Optics 33, 1108); at K = -0.15 that is 1, 5, 11 and 150 mmag.

    Parameters
    ----------
    ra, dec : deg
        Positions; all four arguments broadcast.
    sidereal_time_h : h
        Local sidereal time at mid-exposure.
    latitude_deg : deg
        Latitude of the site, north positive.

    Returns
    -------
    airmass : as broadcast
        1 at the zenith; NaN on and below the horizon and where an argument is NaN.

    Examples
    --------
    >>> airmass(30.0, [20.0, -40.0], 2.0, 20.0).round(6).tolist()
    [1.0, 2.0]
    """
    arrays = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (ra, dec, sidereal_time_h, latitude_deg)))
    result = np.empty(arrays[0].size)
    _fill(*(np.ravel(a) for a in arrays), result)
    return result.reshape(arrays[0].shape)


@njit(cache=True)
def _secant(hour_angle, dec, latitude):  # type: ignore[no-untyped-def]  # numba specialises it
    altitude = math.sin(latitude) * math.sin(dec) + math.cos(latitude) * math.cos(dec) * math.cos(hour_angle)
    return max(1.0, 1.0 / altitude) if altitude > 0.0 else math.nan


@njit(cache=True)
def _fill(ra, dec, sidereal_time_h, latitude_deg, result):  # type: ignore[no-untyped-def]  # numba specialises it
    for i in range(result.size):
        hour_angle = math.radians(15.0 * sidereal_time_h[i] - ra[i])
        result[i] = _secant(hour_angle, math.radians(dec[i]), math.radians(latitude_deg[i]))
