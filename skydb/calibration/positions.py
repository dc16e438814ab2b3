"""Errors of measured positions on the sky: what the source gives, softened as its photcode says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .columns import float_column, int_column
from .photcode_terms import PhotcodeTerms

DEFAULT_POSITION_ERR_MAS = 100.0
"""Error per axis of a position of which neither the source nor its photcode says anything: seeing over ten."""


def position_errors(raw: pa.Table, terms: PhotcodeTerms) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Errors of right ascension (times cos dec) and declination.

    err² = sys² + (scale observed)² + (mag_scale inst_mag_err)², observed from the sky errors where the source gives
    them, else from x_err and y_err times the plate scale: x for ra and y for dec, the chip is not turned (as in DVO).

    Parameters
    ----------
    raw : N rows of table `measurements`
        An error of 0 counts as missing; columns may be absent.

    Returns
    -------
    ra_err, dec_err : (N,) mas
        `DEFAULT_POSITION_ERR_MAS` where nothing is known; never NaN.

    Raises
    ------
    DataError
        A measurement of an unknown photcode.
    """
    rows = terms.rows_of(int_column(raw, "code"))
    mag_part = np.nan_to_num(terms.astrometry_err_mag_scale_mas[rows] * float_column(raw, "inst_mag_err"))
    fixed = terms.astrometry_err_sys_mas[rows] ** 2 + mag_part**2
    pixel_mas = 1000.0 * np.abs(float_column(raw, "pltscale"))
    scale = terms.astrometry_err_scale[rows]
    on_chip = float_column(raw, "x_err") * pixel_mas, float_column(raw, "y_err") * pixel_mas
    ra_err = _softened(float_column(raw, "ra_raw_err"), on_chip[0], scale, fixed)
    return ra_err, _softened(float_column(raw, "dec_raw_err"), on_chip[1], scale, fixed)


def _softened(
    on_sky: NDArray[Any], on_chip: NDArray[Any], scale: NDArray[Any], fixed: NDArray[Any]
) -> NDArray[np.float32]:
    observed = np.where(on_sky > 0, on_sky, np.where(on_chip > 0, on_chip, 0.0))
    err = np.sqrt(fixed + (scale * observed) ** 2)
    return np.where(err > 0, err, DEFAULT_POSITION_ERR_MAS).astype(np.float32)
