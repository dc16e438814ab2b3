"""Arrow and NumPy arrays into each other without pandas, which pyarrow's own conversions load: half a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def row_numbers(rows: NDArray[np.int64]) -> pa.Array:
    """Return row numbers as Arrow, sharing memory."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])


def numbers_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of numbers as NumPy, sharing memory if it has one chunk; NULL becomes NaN, or 0 in whole numbers.

    >>> numbers_of(pa.chunked_array([[1.5, None], [2.0]])).tolist()
    [1.5, nan, 2.0]
    """
    dtype = np.dtype(column.type.to_pandas_dtype())
    if column.null_count:
        column = column.fill_null(np.nan if dtype.kind == "f" else 0)
    parts = [_values(chunk, dtype) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])


def _values(chunk: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = chunk.buffers()[1]
    if not len(chunk) or values is None:
        return np.empty(0, dtype)
    return np.frombuffer(values, dtype)[chunk.offset: chunk.offset + len(chunk)]
