"""Arrow tables as astropy tables: units, descriptions, UCDs, masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.schema.model import Column

if TYPE_CHECKING:
    from astropy.table import Table


def astropy_table(rows: pa.Table, declared: Mapping[str, Column]) -> Table:
    """Return an astropy Table of Arrow rows; NULLs are masked.

    Parameters
    ----------
    rows : Arrow table
        Its names differ.
    declared : declarations by column name
        Give unit, description and `meta["ucd"]`.
    """
    from astropy import table as astropy
    from astropy import units

    rows = plain_numbers(rows)
    made = astropy.Table()
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        data, mask = arrays(values)
        kind = astropy.MaskedColumn if mask.any() else astropy.Column
        column = kind(data, name=name, mask=mask) if mask.any() else kind(data, name=name)
        declaration = declared.get(name)
        if declaration is not None:
            column.description = declaration.meaning
            column.meta["ucd"] = declaration.ucd
            column.unit = units.Unit(declaration.unit) if declaration.unit else None
        made.add_column(column)
    return made


def plain_numbers(rows: pa.Table) -> pa.Table:
    """Return the rows with decimals, DuckDB's sums of whole numbers among them, as int64 where exact, else float64."""
    return pa.Table.from_arrays(
        [_plain(c) if pa.types.is_decimal(c.type) else c for c in rows.columns], names=rows.column_names
    )


def _plain(values: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    if values.type.scale == 0:
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:
            return values.cast(pa.float64())
    return values.cast(pa.float64())


def arrays(values: pa.ChunkedArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values of a column as NumPy holds them, and True where they are NULL.

    Numbers keep their type; a list column whose lists have one length becomes two-dimensional; what NumPy has no type
    for becomes text.
    """
    mask = np.asarray(values.is_null().to_numpy())
    kind = values.type
    if pa.types.is_boolean(kind):
        return values.fill_null(False).to_numpy(), mask
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return values.fill_null(0).to_numpy(), mask
    if (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and _is_number(kind.value_type):
        return _lists(values), mask
    if not len(values):
        return np.empty(0, dtype="U1"), mask
    return np.array(["" if v is None else v for v in as_text(values).to_pylist()], dtype=np.str_), mask


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _lists(values: pa.ChunkedArray[Any]) -> NDArray[Any]:
    """Return lists of numbers as rows of an array if all have one length, else as an array of arrays."""
    dtype = np.float64 if pa.types.is_decimal(values.type.value_type) else values.type.value_type.to_pandas_dtype()
    if not len(values):
        return np.empty(0, dtype=dtype)
    kept = [np.array([np.nan if v is None else v for v in item or ()], dtype=np.float64) for item in values.to_pylist()]
    whole = not any(np.isnan(item).any() for item in kept)
    kept = [item.astype(dtype) for item in kept] if whole else kept
    if len({len(item) for item in kept}) == 1 and len(kept[0]):
        return np.stack(kept)
    ragged = np.empty(len(kept), dtype=object)
    ragged[:] = kept
    return ragged


def as_text(values: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Return a column as text: dates and times in ISO 8601, nested values as JSON."""
    kind = values.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_interval(kind):
        return pa.chunked_array([[None if v is None else _json(v) for v in values.to_pylist()]], pa.string())
    return pc.cast(values, pa.string())


def _json(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else json.dumps(value, default=str)
