"""Rows of declared tables that a file has beside its detections: psphot's sibling tables, and columns of its own table.

A declared table says where psphot keeps it: in a sibling of the detections' table (`psphot = "XRAD"`), or, where it
says nothing, in columns of that table itself. A row belongs to the detection that has its number (IPP_IDET).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.declaration import KEYS
from skydb.schema.model import Column, Table

from .detections import Mask, errors_of, whole_numbers
from .fits_tables import Hdu, TableLayout, column_values

ROW = "_row"
"""The row of its detection among those of a chunk."""

Records = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Companions:
    """Rows of one declared table: its columns without keys, and `ROW`. `n_in` counts those that the file has."""

    rows: pa.Table
    n_in: int

    def moved(self, by: int) -> Companions:
        """Return the rows of detections that lie further down by so many rows."""
        place = self.rows.column_names.index(ROW)
        return Companions(self.rows.set_column(place, ROW, pc.add(self.rows.column(ROW), by)), self.n_in)


def joined(parts: Sequence[tuple[int, Mapping[str, Companions]]]) -> dict[str, Companions]:
    """Return the companions of parts of a chunk, each with the number of detections before it."""
    found: dict[str, Companions] = {}
    for name in dict.fromkeys(name for _, of_part in parts for name in of_part):
        mine = [of_part[name].moved(before) for before, of_part in parts if name in of_part]
        rows = pa.concat_tables([each.rows for each in mine], promote_options="default")
        found[name] = Companions(rows, sum(each.n_in for each in mine))
    return found


def siblings_of(named: Mapping[str, Sequence[Hdu]], table: Hdu, tables: Iterable[Table]) -> dict[str, Hdu]:
    """Return the sibling tables of a table of detections that declared tables are kept in, by their kind (XRAD …).

    They are named by its XRADNAME …, or else like it, with the last three letters replaced by the kind. `named` are the
    HDUs of the file by EXTNAME; of several the last counts.

    Raises
    ------
    DataError
        A sibling that the header names is not there.
    """
    found = {}
    for kind in {declared.psphot for declared in tables if declared.psphot}:
        said = table.word(f"{kind}NAME")
        *_, hdu = (None, *named.get(said or f"{table.word('EXTNAME')[:-3]}{kind.lower()}", ()))
        if said and hdu is None:
            raise DataError(f"its table {said!r} ({kind}NAME) is missing", table.where, "copy the file again")
        if hdu is not None and hdu.word("XTENSION") == "BINTABLE":
            found[kind] = hdu
    return found


def own_companions(records: Records, hdu: Hdu, kept: Mask, tables: Iterable[Table]) -> dict[str, Companions]:
    """Return the rows of declared tables that are columns of the detections' own table; rows without a value are none.

    Parameters
    ----------
    records, hdu
        The rows, N in all, of tables that are all laid out as this one.
    kept
        (N,) Which of them are detections.
    """
    found = {}
    for table in tables:
        columns = [] if table.psphot else _columns_there(table, hdu.layout)
        if columns:
            rows = _typed(table, columns, records, hdu.layout, hdu.where)
            filled = np.logical_or.reduce([np.asarray(rows.column(c.name).is_valid()) for c in columns])
            place = np.cumsum(kept) - 1
            chosen = pa.array(np.flatnonzero(filled & kept))
            found[table.name] = Companions(
                rows.take(chosen).append_column(ROW, pa.array(place[filled & kept])), int(filled.sum())
            )
    return found


def sibling_companions(
    hdu: Hdu, records: NDArray[Any], table: Table, det_id: NDArray[np.int64], *, count: bool
) -> Companions:
    """Return the rows of a sibling that belong to some detections of its image.

    Parameters
    ----------
    hdu, records
        The sibling, and its rows.
    det_id
        (N,) The detections, in their order in the chunk.
    count
        Whether its rows are counted here, and not with other detections of the image.

    Raises
    ------
    DataError
        The sibling has no IPP_IDET, or lacks a column that tells the rows of one detection apart.
    """
    layout = hdu.layout
    absent = [c.psphot or c.name for c in table if c.required and c.name not in KEYS["measurement"]
              and c.psphot not in layout.columns]  # fmt: skip
    absent += [name for name in ("IPP_IDET",) if name not in layout.columns]
    if absent:
        raise DataError(f"the table has no column {absent[0]}", hdu.where, "write the file again")
    owner = column_values([records], layout, "IPP_IDET")[0].astype(np.int64)
    order = np.argsort(det_id, kind="stable")
    at = np.searchsorted(det_id, owner, sorter=order).clip(max=max(len(det_id) - 1, 0))
    mine = det_id[order[at]] == owner if len(det_id) else np.zeros(len(owner), dtype=bool)
    rows = _typed(table, _columns_there(table, layout), [records[mine]], layout, hdu.where)
    place = order[at[mine]] if len(det_id) else np.empty(0, dtype=np.int64)
    return Companions(rows.append_column(ROW, pa.array(place.astype(np.int64))), len(records) if count else 0)


def _columns_there(table: Table, layout: TableLayout) -> list[Column]:
    keys = KEYS["measurement"]
    return [c for c in table if c.name not in keys and c.psphot is not None and c.psphot in layout.columns]


def _typed(table: Table, columns: Sequence[Column], records: Records, layout: TableLayout, where: str) -> pa.Table:
    """Return columns of the file as they are declared."""
    try:
        arrays = [_as_declared(c, *column_values(records, layout, str(c.psphot))) for c in columns]
    except DataError as error:
        raise DataError(error.what, where, error.todo) from error
    return pa.Table.from_arrays(arrays, schema=table.select(c.name for c in columns).remove_metadata())


def _as_declared(column: Column, values: NDArray[Any], null: Mask | None) -> pa.Array[Any]:
    kind = column.arrow.type
    if values.dtype.kind not in "iuf" and not pa.types.is_string(kind):
        raise DataError(f"the values of {column.psphot} are no numbers", None, "write the file again")
    if pa.types.is_list(kind):
        flat = values.reshape(len(values), -1)
        ends = np.arange(len(values) + 1, dtype=np.int32) * flat.shape[1]
        numbers = flat.ravel().astype(np.float64)
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(numbers, mask=~np.isfinite(numbers)))
    if values.ndim > 1:
        raise DataError(f"{column.psphot} holds vectors", None, f"declare {column.name} as a list")
    if pa.types.is_string(kind):
        words = [value.decode("latin-1").strip() if isinstance(value, bytes) else str(value) for value in values]
        return pa.array([word or None for word in words], kind)
    if pa.types.is_floating(kind):
        numbers = values.astype(np.float64)
        numbers = errors_of(numbers) if column.is_error else numbers
        gone = ~np.isfinite(numbers)
        return pa.array(numbers, kind, mask=gone if null is None else gone | null)
    whole, beyond = whole_numbers(values, np.dtype(kind.to_pandas_dtype()), str(column.psphot))
    masks = [mask for mask in (null, beyond) if mask is not None]
    return pa.array(whole, kind, mask=np.logical_or.reduce(masks) if masks else None)
