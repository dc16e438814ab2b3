"""Small offsets about many tangent points at once: one point per run of rows.

Gnomonic, with the differences taken before the trigonometry, so that an offset of 1 mas keeps 9 digits; exact at the
poles and across RA 0.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAS = math.radians(1.0) / 3.6e6


def run_offsets(ra: Floats, dec: Floats, centre: tuple[Floats, Floats], starts: Ints) -> tuple[Floats, Floats]:
    """Offsets of N positions from the centre of their run.

    Parameters
    ----------
    ra, dec : (N,) deg
    centre : two of (K,) deg
        Right ascension and declination of the tangent point of every run.
    starts : (K+1,) rows

    Returns
    -------
    xi, eta : (N,) mas
        Towards east and north; NaN at 90° or more, and where the position is NaN.
    """
    xi, eta = np.empty(ra.size), np.empty(ra.size)
    _offsets(ra, dec, centre[0], centre[1], starts, xi, eta)
    return xi, eta


def at_offset(centre: tuple[Floats, Floats], xi: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """Positions at an offset from each of K centres: the inverse of `run_offsets`.

    Parameters
    ----------
    centre : two of (K,) deg
    xi, eta : (K,) mas

    Returns
    -------
    ra, dec : (K,) deg
        ra in [0, 360).
    """
    sin_dec, cos_dec = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    east, north = MAS * xi, MAS * eta
    depth = cos_dec - north * sin_dec
    ra = (centre[0] + np.degrees(np.arctan2(east, depth))) % 360.0 % 360.0
    return ra, np.degrees(np.arctan2(sin_dec + north * cos_dec, np.hypot(depth, east)))


@njit(cache=True)
def _sine(x):  # type: ignore[no-untyped-def]  # numba specialises it
    # Five arcminutes hold nearly all offsets; there the next term is below the last bit (saves 14 ns a row).
    return x * (1.0 - x * x / 6.0 * (1.0 - x * x / 20.0)) if abs(x) < 1.5e-3 else math.sin(x)


@njit(cache=True)
def _offsets(ra, dec, ra0, dec0, starts, xi, eta):  # type: ignore[no-untyped-def]  # numba specialises it
    for k in range(starts.size - 1):
        sin_dec0, cos_dec0 = math.sin(math.radians(dec0[k])), math.cos(math.radians(dec0[k]))
        for i in range(starts[k], starts[k + 1]):
            turn = ra[i] - ra0[k]
            angle = math.radians(turn - 360.0 if turn > 180.0 else turn + 360.0 if turn < -180.0 else turn)
            lift = math.radians(dec[i] - dec0[k])
            up, forth = _sine(lift), 1.0 - 2.0 * _sine(0.5 * lift) ** 2
            cos_dec = cos_dec0 * forth - sin_dec0 * up
            bend = 2.0 * cos_dec * _sine(0.5 * angle) ** 2
            depth = forth - bend * cos_dec0
            if depth > 0.0:
                xi[i] = cos_dec * _sine(angle) / depth / MAS
                eta[i] = (up + sin_dec0 * bend) / depth / MAS
            else:
                xi[i], eta[i] = np.nan, np.nan
