"""The zero points that images bring with them, before any is solved."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .columns import float_column, int_column
from .photcode_terms import PhotcodeTerms

F64 = NDArray[np.float64]

LARGEST_ZERO_POINT = 50.0
"""Mag: those of telescopes lie between 15 and 35, relative ones about 0; what stands for none is -999, 99.99, 1e300."""
ZERO_IS_NONE = 5.0
"""Mag: a header of exactly 0 says that there is none, unless the nominal zero point is nearer to 0 than this (as where
magnitudes come calibrated, and the nominal one is 0)."""


def header_zero_points(images: pa.Table, terms: PhotcodeTerms) -> F64:
    """Zero point of every image as its header has it.

    What is judged here is the number alone, so that an image's first zero point does not depend on the images that
    come with it; `relcal` then compares them (`skydb.calib.bands`).

    Parameters
    ----------
    images : columns `code`, `zpt_obs` of N images

    Returns
    -------
    zero_point : (N,) mag
        NaN where there is none, where it is no zero point (`LARGEST_ZERO_POINT`, `ZERO_IS_NONE`), for references.

    Raises
    ------
    DataError
        A code that the photcode table does not hold.
    """
    rows, header = terms.rows_of(int_column(images, "code")), float_column(images, "zpt_obs")
    with np.errstate(invalid="ignore"):
        none = ~(np.abs(header) <= LARGEST_ZERO_POINT) | terms.is_reference[rows]
    none |= (header == 0.0) & (np.abs(terms.zero_point[rows]) > ZERO_IS_NONE)
    return np.where(none, np.nan, header)


def header_mcal(images: pa.Table, terms: PhotcodeTerms) -> F64:
    """Zero-point correction of every image as its header has it, `0.001 C - ZPT_OBS` as in DVO, else 0: the nominal.

    Parameters
    ----------
    images : columns `code`, `zpt_obs` of N images

    Returns
    -------
    mcal : (N,) mag
        Subtracted from magnitudes; 0 for reference images, and where `header_zero_points` has none.

    Raises
    ------
    DataError
        A code that the photcode table does not hold.
    """
    header = header_zero_points(images, terms)
    nominal = terms.zero_point[terms.rows_of(int_column(images, "code"))]
    return np.where(np.isfinite(header), nominal - header, 0.0)
