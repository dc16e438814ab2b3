"""Times as numbers: modified Julian dates (TAI) and Julian epochs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MJD_J2000_TT = 51544.5
TT_MINUS_TAI_DAYS = 32.184 / 86400.0
DAYS_PER_YEAR = 365.25


def julian_epoch(mjd: ArrayLike) -> NDArray[np.float64]:
    """Return the Julian epoch (years, TT) of modified Julian dates (days, TAI); NaN stays NaN.

    >>> round(float(julian_epoch(51544.5 - 32.184 / 86400)), 9)
    2000.0
    """
    days = np.asarray(mjd, dtype=np.float64) + TT_MINUS_TAI_DAYS - MJD_J2000_TT
    return 2000.0 + days / DAYS_PER_YEAR


def mjd_of_epoch(epoch: ArrayLike) -> NDArray[np.float64]:
    """Return the modified Julian date (days, TAI) of Julian epochs (years, TT).

    >>> float(julian_epoch(mjd_of_epoch(2015.5)))
    2015.5
    """
    years = np.asarray(epoch, dtype=np.float64) - 2000.0
    return MJD_J2000_TT - TT_MINUS_TAI_DAYS + years * DAYS_PER_YEAR
