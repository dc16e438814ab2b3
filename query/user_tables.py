"""Tables that a user brings: an Arrow, pandas or astropy table under a name that SQL may use."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa

from skydb.errors import UsageError

from .views import Views


def require_free_name(name: str, views: Views) -> None:
    """Refuse a name that SQL cannot use for a user's table.

    Raises
    ------
    UsageError
        It is that of a table of the database or its DVO name, or is no plain identifier.
    """
    if views.table_named(name) is not None:
        raise UsageError(f"{name!r} is a table of skydb", None, "choose another name")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"{name!r} is no name of a table", None, "use letters, digits and '_', a letter first")


def arrow_of(table: object) -> pa.Table:
    """Return an Arrow, pandas or astropy table as Arrow.

    Masked values of an astropy table become NULL; its big-endian columns, as FITS has them, are swapped.

    Raises
    ------
    UsageError
        Something else.
    """
    if isinstance(table, pa.Table):
        return table
    if hasattr(table, "__arrow_c_stream__"):
        return pa.table(table)
    if hasattr(table, "colnames"):
        return _of_astropy(table)
    raise UsageError(f"{type(table).__name__} is not a table", None, "give an Arrow, pandas or astropy table")


def _of_astropy(table: Any) -> pa.Table:
    return pa.table({name: _of_column(table[name]) for name in table.colnames})


def _of_column(column: Any) -> pa.Array:
    values = np.asarray(getattr(column, "value", column))
    if values.ndim > 1:
        return pa.array(values.tolist())
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    mask = getattr(column, "mask", None)
    native = values.astype(values.dtype.newbyteorder("=")) if values.dtype.kind != "O" else values
    return pa.array(native, mask=None if mask is None else np.broadcast_to(np.asarray(mask), values.shape))
