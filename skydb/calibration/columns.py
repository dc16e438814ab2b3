"""Columns of an Arrow table as the numpy arrays that the calibration computes with, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.kernels.row_order import measurement_order


def float_column(table: pa.Table, name: str, dtype: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """Return a numeric column with NaN for NULL; all NaN where the table lacks it."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan, dtype)
    return np.asarray(table.column(name).to_numpy(), dtype)


def int_column(table: pa.Table, name: str, dtype: type[np.integer[Any]] = np.int64, missing: int = 0) -> NDArray[Any]:
    """Return an integer column with `missing` for NULL, and where the table lacks it."""
    if name not in table.column_names:
        return np.full(table.num_rows, missing, dtype)
    column = table.column(name)
    return np.asarray((column.fill_null(missing) if column.null_count else column).to_numpy(), dtype)


def arrow_column(values: NDArray[Any], type_: pa.DataType) -> pa.Array:
    """Return an array as an Arrow column of the type; NULL for NaN and for what is too large for the type."""
    with np.errstate(over="ignore"):
        narrow = np.asarray(values, type_.to_pandas_dtype())
    if narrow.dtype.kind == "f" and np.isinf(narrow).any():
        narrow = np.where(np.isinf(narrow), np.nan, narrow)
    return pa.array(narrow, from_pandas=True)


def order_of_measurements(rows: pa.Table) -> NDArray[np.int64] | None:
    """Return the order (N,) that sorts rows of `measurements` as they are stored; None: they lie in it."""
    ids, image, det = (int_column(rows, name) for name in ("object_id", "image_id", "det_id"))
    order = measurement_order(ids, float_column(rows, "mjd"), image, det)
    return None if (order[1:] > order[:-1]).all() else order
