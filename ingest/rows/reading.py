"""Files with rows of a declared table, Parquet or FITS, read in blocks of typed columns.

A column of the file is taken for the declared one of its name, in any case, or else of its DVO or psphot name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skydb.errors import DataError
from skydb.schema.declaration import KEYS
from skydb.schema.model import Column, Table

from ..readers.mapping_rules import FileRule
from ..readers.quantities import conversion
from ..readers.table_arrays import open_hdus
from ..readers.table_files import open_table

BLOCK_ROWS = 500_000
"""Rows that are read at once."""

_MAGIC = {b"PAR1": "parquet", b"SIMP": "fits", b"\x1f\x8b": "fits"}
_POSITION: tuple[Column, ...] = (
    Column("ra", "float64", "deg", "pos.eq.ra", "right ascension of the row"),
    Column("dec", "float64", "deg", "pos.eq.dec", "declination of the row"),
)
_IMAGE: tuple[Column, ...] = (Column("image", "string", None, "meta.id", "name of the row's image"),)


@dataclass(frozen=True)
class RowFile:
    """A file and what its columns are.

    `columns` names the file's column of each declared one that it has; `keys` are the columns by which its rows find
    their objects, `key_columns` the file's; `unused` those that nothing is taken from.
    """

    path: Path
    format: str
    table: Table
    columns: dict[str, str]
    keys: tuple[Column, ...]
    key_columns: dict[str, str]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class RowBlock:
    """Some consecutive rows: their number from `first`, declared columns, keys, and how many values became NULL."""

    first: int
    rows: pa.Table
    keys: pa.Table
    n_nulled: int


def row_file(path: Path, table: Table, *, by_position: bool) -> RowFile:
    """Find out what the columns of a file are.

    Parameters
    ----------
    by_position
        Rows find their objects by position, even where the file has their ids.

    Raises
    ------
    DataError
        The file is no Parquet or FITS table, or lacks the columns that say what its rows are about.
    """
    kind = _format_of(path)
    names = _names(path, kind)
    by_name = {name.lower(): name for name in reversed(names)}
    keys = _keys(path, table, by_name, by_position=by_position)
    own = [c for c in table if c.name not in KEYS["measurement"]]
    columns = {c.name: found for c in own if (found := _found(c, by_name))}
    absent = [c.name for c in own if c.required and c.name not in columns]
    if absent:
        raise DataError(f"no column {absent[0]!r}, a key of table {table.name}", str(path), "add it, or rename one")
    key_columns = {c.name: found for c in keys if (found := _found(c, by_name))}
    used = {*columns.values(), *key_columns.values()}
    return RowFile(path, kind, table, columns, keys, key_columns, tuple(n for n in names if n not in used))


def _format_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", str(path), "check the path") from error
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    raise DataError("neither Parquet nor FITS", str(path), "convert it to one of them")


def _names(path: Path, kind: str) -> list[str]:
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        from astropy.io import fits

        with open_hdus(path) as hdus:
            tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
            return list(tables[0].columns.names) if tables else []
    except Exception as error:  # a damaged file finds many ways to fail
        raise DataError(f"cannot be read as {kind}: {error}", str(path), "copy or write it again") from error


def _keys(path: Path, table: Table, names: dict[str, str], *, by_position: bool) -> tuple[Column, ...]:
    """Return the columns by which the rows of a file find their objects."""
    wanted: tuple[Column, ...]
    if table.keyed_by == "measurement":
        image = (table["image_id"],) if _found(table["image_id"], names) else _IMAGE
        wanted, todo = (*image, table["det_id"]), "give image_id, or image (its name), and det_id"
    elif _found(table["object_id"], names) and not by_position:
        return (table["object_id"],)
    else:
        wanted, todo = _POSITION, "give object_id, or ra and dec"
    absent = [c.name for c in wanted if not _found(c, names)]
    if absent:
        raise DataError(f"no column {absent[0]!r} says what the rows of table {table.name} are about", str(path), todo)
    return wanted


def _found(column: Column, names: dict[str, str]) -> str | None:
    """Return the file's column that is the declared one, by its own name first."""
    for name in (column.name, column.dvo, column.psphot):
        if name and name.lower() in names:
            return names[name.lower()]
    return None


def blocks_of(file: RowFile, *, only_keys: bool = False) -> Iterator[RowBlock]:
    """Yield the rows of a file, block by block.

    Raises
    ------
    DataError
        The file is damaged, or a value does not fit its column.
    """
    columns = {} if only_keys else file.columns
    wanted = dict.fromkeys([*columns.values(), *file.key_columns.values()])
    opened = open_table(file.path, FileRule(file.format), wanted, rows=BLOCK_ROWS)
    first = 0
    for block in opened.blocks:
        values, n_nulled = _typed(file, [file.table[n] for n in columns], columns, block.rows, opened.units)
        keys, _ = _typed(file, file.keys, file.key_columns, block.rows, opened.units)
        yield RowBlock(first, values, keys, n_nulled)
        first += block.rows.num_rows


def _typed(
    file: RowFile, columns: Sequence[Column], names: dict[str, str], rows: pa.Table, units: dict[str, str]
) -> tuple[pa.Table, int]:
    """Return columns as they are declared, and how many of their values became NULL."""
    arrays, n_nulled = [], 0
    for column in columns:
        name = names[column.name]
        values, nulled = _of_column(column, rows.column(name), units.get(name), f"{file.path}, column {name}")
        arrays.append(values)
        n_nulled += nulled
    return pa.Table.from_arrays(arrays, names=[c.name for c in columns]), n_nulled


def _of_column(column: Column, values: pa.ChunkedArray, unit: str | None, where: str) -> tuple[pa.ChunkedArray, int]:
    kind, before = column.arrow.type, values.null_count
    if column.name in KEYS["measurement"] and pa.types.is_floating(values.type):
        raise DataError("an id as floating-point numbers has lost its last digits", where, "write whole numbers")
    if unit and column.unit and unit != column.unit:
        factor = conversion(unit, column.unit, where)
        values = values if factor == 1.0 else pc.multiply(values.cast(pa.float64()), factor)
    try:
        values = _finite(_finite(values).cast(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = f"a value does not fit {column.type}, the declared type of {column.name}: {error}"
        raise DataError(what, where, "correct the file, or widen the column") from error
    if column.is_error and not pa.types.is_list(kind):
        values = _without(values, pc.less(values, 0))
    return values, values.null_count - before


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Make NaN and infinities NULL."""
    return _without(values, pc.invert(pc.is_finite(values))) if pa.types.is_floating(values.type) else values


def _without(values: pa.ChunkedArray, bad: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.fill_null(bad, False), pa.scalar(None, values.type), values)
