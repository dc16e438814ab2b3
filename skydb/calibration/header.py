"""The zero points that images bring with them, before any is solved."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .columns import float_column, int_column
from .photcode_terms import PhotcodeTerms


def header_mcal(images: pa.Table, terms: PhotcodeTerms) -> NDArray[np.float64]:
    """Zero-point correction of every image as its header has it, `0.001 C - ZPT_OBS` as in DVO, else 0: the nominal.

    Parameters
    ----------
    images : columns `code`, `zpt_obs` of N images

    Returns
    -------
    mcal : (N,) mag
        Subtracted from magnitudes; 0 for reference images.

    Raises
    ------
    DataError
        A code that the photcode table does not hold.
    """
    rows, header = terms.rows_of(int_column(images, "code")), float_column(images, "zpt_obs")
    given = np.isfinite(header) & ~terms.is_reference[rows]
    mcal: NDArray[np.float64] = np.where(given, terms.zero_point[rows] - header, 0.0)
    return mcal
