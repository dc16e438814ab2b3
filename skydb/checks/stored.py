"""One stored file against its row of the catalog: every byte, its footer, its schema, its rows' order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.model import Table
from skydb.schema.tables import TABLES
from skydb.store.cells import Cell
from skydb.store.checksums import Footer, footer_of
from skydb.store.files import DataFile, StoredFile, digest_of

from .findings import Finding


@dataclass(frozen=True)
class Checked:
    """What the check of one file found, and whether its rows can be read and are its own."""

    findings: tuple[Finding, ...]
    usable: bool


def check_file(file: DataFile, stored: StoredFile, database_id: str) -> Checked:
    """Check one file; of one that is damaged nothing further is said."""
    broken = list(byte_findings(file, stored))
    if broken:
        return Checked(tuple(broken), usable=False)
    footer = footer_of(stored)
    strange = [*_identity(file, footer, database_id), *_schema(file, footer)]
    if strange:
        return Checked(tuple(strange), usable=False)
    rows = [*_bounds(file, footer)]
    try:
        rows += _row_findings(file, footer)
    except (OSError, pa.ArrowException) as error:
        return Checked((_finding("file-damaged", file, f"a page does not decode: {error}"),), usable=False)
    return Checked(tuple(rows), usable=not rows)


def byte_findings(file: DataFile, stored: StoredFile) -> Iterator[Finding]:
    """Yield the one finding of a file that is missing, or not byte for byte as it was written."""
    try:
        size = stored.path.stat().st_size
    except FileNotFoundError:
        yield _finding("file-missing", file, "it is not there")
        return
    except OSError as error:
        yield _finding("file-damaged", file, str(error.strerror))
        return
    if size != stored.bytes:
        yield _finding("file-damaged", file, f"it has {size} bytes of {stored.bytes}")
        return
    try:
        if digest_of(stored.path) != file.digest:
            yield _finding("file-damaged", file, f"digest; {_damaged_part(stored)}")
        elif (part := _damaged_part(stored)) != _NOTHING_ELSE:
            yield _finding("file-damaged", file, part)
    except OSError as error:
        yield _finding("file-damaged", file, str(error.strerror))


_NOTHING_ELSE = "no row is affected"


def _damaged_part(stored: StoredFile) -> str:
    """Name the columns, or the tail, whose checksum differs."""
    try:
        footer = footer_of(stored)
    except DataError as error:
        return error.what.removeprefix("a stored file is damaged: ")
    bad = []
    for column in footer.leaves:
        try:
            footer.require_whole(range(footer.metadata.num_row_groups), [column])
        except DataError:
            bad.append(column)
    return f"column{'s' if len(bad) > 1 else ''} {', '.join(bad)}, checksum" if bad else _NOTHING_ELSE


def _identity(file: DataFile, footer: Footer, database_id: str) -> Iterator[Finding]:
    """Compare the footer's key-value metadata with the catalog."""
    notes = {k.decode(): v.decode() for k, v in (footer.metadata.metadata or {}).items()}
    cell = "" if file.norder is None else f"{file.norder}/{file.npix}"
    expected = {"database": database_id, "table": file.table, "cell": cell, "base": file.base or ""}
    for key, value in expected.items():
        if notes.get(f"skydb.{key}") != value:
            said = notes.get(f"skydb.{key}")
            yield _finding("file-foreign", file, f"its {key} is {said!r}, the catalog says {value!r}")


def _schema(file: DataFile, footer: Footer) -> Iterator[Finding]:
    """Compare the columns and their types with those declared."""
    declared = {f.name: f.type for f in TABLES[file.table].arrow}
    there = {f.name: f.type for f in footer.metadata.schema.to_arrow_schema()}
    for name in dict.fromkeys([*declared, *there]):
        if declared.get(name) != there.get(name):
            yield _finding("file-schema", file, f"column {name} is {there.get(name)}, declared is {declared.get(name)}")


def _bounds(file: DataFile, footer: Footer) -> Iterator[Finding]:
    if footer.metadata.num_rows != file.rows:
        yield _finding("file-bounds", file, f"it has {footer.metadata.num_rows} rows, the catalog says {file.rows}")


@dataclass
class _Seen:
    """What the row groups of a file have shown so far."""

    last: pa.Table | None = None
    low: Any = None
    high: Any = None
    unsorted: int = 0
    outside: int = 0
    nulls: frozenset[str] = frozenset()


def _row_findings(file: DataFile, footer: Footer) -> list[Finding]:
    """Decode every row group, all columns, and check order, keys and required values.

    Raises
    ------
    OSError, pa.ArrowException
        A page does not decode, or its checksum is wrong.
    """
    table, seen = TABLES[file.table], _Seen()
    path = footer.file.path
    with pq.ParquetFile(path, metadata=footer.metadata, memory_map=True, page_checksum_verification=True) as opened:
        for group in range(opened.metadata.num_row_groups):
            _look(seen, table, file, opened.read_row_group(group, use_threads=False).replace_schema_metadata())
    return list(_said(file, table, seen))


def _look(seen: _Seen, table: Table, file: DataFile, rows: pa.Table) -> None:
    """Add one row group to what was seen."""
    seen.nulls |= {c.name for c in table if c.required and rows[c.name].null_count}
    keys = rows.select(list(table.sort))
    if not rows.num_rows:
        return
    both = keys if seen.last is None else pa.concat_tables([seen.last, keys])
    seen.unsorted += out_of_order([sortable(both[name]) for name in table.sort])
    if seen.last is None:
        seen.low = keys[0][0].as_py()
    seen.last, seen.high = keys.slice(rows.num_rows - 1), keys[0][-1].as_py()
    if file.norder is not None and file.npix is not None and not rows["object_id"].null_count:
        cell, ids = Cell(file.norder, file.npix), rows["object_id"].to_numpy()
        seen.outside += int(((ids < cell.lo) | (ids >= cell.hi)).sum())


def _said(file: DataFile, table: Table, seen: _Seen) -> Iterator[Finding]:
    if seen.nulls:
        yield _finding("null-required", file, f"NULL in {', '.join(sorted(seen.nulls))}")
    if seen.outside:
        what = f"{seen.outside} rows have an object_id of another cell"
        yield _finding("id-outside", file, what, rows=seen.outside)
    if seen.unsorted:
        what = f"{seen.unsorted} rows come before the one that they follow, by {', '.join(table.sort)}"
        yield _finding("file-unsorted", file, what, rows=seen.unsorted)
    known = isinstance(seen.low, int | float) and isinstance(seen.high, int | float)
    found = (int(seen.low), int(seen.high)) if known else (None, None)
    if found != (file.min_key, file.max_key) and not seen.unsorted:
        what = f"its keys go from {found[0]} to {found[1]}, the catalog says {file.min_key} to {file.max_key}"
        yield _finding("file-bounds", file, what)


def sortable(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as numbers that sort as its values do: texts by their rank, NULL last.

    >>> sortable(pa.chunked_array([["b", "a", None]])).tolist()
    [1, 0, 2]
    """
    if not pa.types.is_string(column.type):
        values = column.to_numpy()
        return np.where(np.isnan(values), np.inf, values) if values.dtype.kind == "f" else values
    coded = column.combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    rank = np.argsort(np.argsort(np.array(words, dtype=object))) if words else np.empty(0, np.int64)
    codes = coded.indices.fill_null(len(words)).to_numpy()
    return np.asarray(np.append(rank, len(words))[codes])


def out_of_order(keys: list[NDArray[Any]]) -> int:
    """Return how many rows are less than the one before, by the first key in which they differ.

    >>> out_of_order([np.array([1, 1, 2]), np.array([5, 4, 0])])
    1
    """
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    count = 0
    for key in keys:
        count += int((tied & (key[1:] < key[:-1])).sum())
        tied &= key[1:] == key[:-1]
    return count


def _finding(kind: str, file: DataFile, what: str, *, rows: int | None = None) -> Finding:
    cell = None if file.norder is None else f"{file.norder}/{file.npix}"
    return Finding(kind, what, file.table, cell, file.path, rows)
