"""One stored file against its row of the catalog: every byte, its footer, its schema, its rows' order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from skydb.errors import DataError, SkydbError
from skydb.schema.model import ARROW_TYPES, Table
from skydb.store.cells import LOCAL, Cell
from skydb.store.checksums import footer_of
from skydb.store.fetching import fetch_whole
from skydb.store.files import DataFile, StoredFile, digest_of
from skydb.store.snapshot import Snapshot

from .findings import Finding


@dataclass(frozen=True)
class Checked:
    """What the check of one file found, and a copy whose rows can be read and are its own; None: there is none.

    Rows that are only out of order are checked like others.
    """

    findings: tuple[Finding, ...]
    whole: StoredFile | None


def check_file(file: DataFile, snapshot: Snapshot, away: frozenset[str] = frozenset()) -> Checked:
    """Check one file by the first of its copies that is whole; of one that is damaged nothing further is said.

    `away` are hosts that are not there: of copies on them nothing is said. Second copies are looked at where the first
    is not whole; `copies.py` says what is wrong with them.
    """
    found, whole = _first_whole(file, snapshot, away)
    if whole is None:
        return Checked(found, None)
    table = snapshot.table(file.table)
    try:
        with _opened(whole) as opened:
            strange = [*_identity(file, opened.metadata, snapshot.database_id), *_schema(file, table, opened)]
            wrong = strange or [*_bounds(file, opened.metadata), *_row_findings(file, table, opened)]
    except (OSError, pa.ArrowException) as error:
        wrong = [_finding("file-damaged", file, f"a page does not decode: {error}")]
    readable = all(finding.kind == "file-unsorted" for finding in wrong)
    return Checked((*found, *wrong), whole if readable else None)


def _first_whole(
    file: DataFile, snapshot: Snapshot, away: frozenset[str]
) -> tuple[tuple[Finding, ...], StoredFile | None]:
    """Return the first copy that is byte for byte as it was written, and what is wrong with the file's own.

    Where there is none, a copy that could not be read may be.
    """
    found: list[Finding] = []
    unread: list[Finding] = []
    for copy in snapshot.stored(file).each_copy():
        if copy.place.host in away:
            continue
        fault = fault_of(copy, file.digest)
        if fault is None:
            return tuple(found), copy
        unread += [copy_finding("file-unread", file, copy.place.host, fault)] if fault.is_unread else []
        if copy.place.host == file.host:
            kind = "file-missing" if fault.is_missing else "file-damaged"
            found.append(copy_finding(kind, file, copy.place.host, fault))
    return tuple(unread or found), None


def copy_finding(kind: str, file: DataFile, host: str, fault: Fault) -> Finding:
    """Return what is wrong with one copy of a file as a finding."""
    return _finding(kind, file, fault.what if host == LOCAL else f"on host {host}: {fault.what}")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a copy: it is not there, could not be read, or else has other bytes than were written."""

    what: str
    is_missing: bool = False
    is_unread: bool = False


_MISSING = Fault("it is not there", is_missing=True)


def fault_of(copy: StoredFile, digest: str) -> Fault | None:
    """Return what is wrong with the bytes of one copy of a file; None: nothing."""
    try:
        if not copy.place.is_local:
            content = fetch_whole(copy.place)
            same = hashlib.blake2b(content, digest_size=16).hexdigest() == digest
            return None if same else Fault(f"digest, of {len(content)} bytes of {copy.bytes}")
        size = copy.path.stat().st_size
        if size != copy.bytes:
            return Fault(f"it has {size} bytes of {copy.bytes}")
        same = digest_of(copy.path) == digest
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        return Fault(str(error.strerror), is_unread=True)
    except SkydbError as error:
        return _MISSING if "missing" in error.what else Fault(error.what, is_unread=True)
    part = _damaged_part(copy)
    if same:
        return Fault(part) if part else None
    return Fault(f"digest; {part}" if part else "digest")


def _damaged_part(copy: StoredFile) -> str | None:
    """Name the columns, or the tail, whose checksum differs."""
    try:
        footer = footer_of(copy)
    except DataError as error:
        return error.what.removeprefix("a stored file is damaged: ")
    bad = []
    for column in footer.leaves:
        try:
            footer.require_whole(range(footer.metadata.num_row_groups), [column])
        except DataError:
            bad.append(column)
    return f"column{'s' if len(bad) > 1 else ''} {', '.join(bad)}, checksum" if bad else None


@contextmanager
def _opened(whole: StoredFile) -> Iterator[pq.ParquetFile]:
    """Open a copy to decode it with its page checksums."""
    if whole.place.is_local:
        source: Any = whole.path
    else:
        source = pa.BufferReader(fetch_whole(whole.place))
    with pq.ParquetFile(source, memory_map=True, page_checksum_verification=True) as opened:
        yield opened


def _identity(file: DataFile, metadata: pq.FileMetaData, database_id: str) -> Iterator[Finding]:
    """Compare the footer's key-value metadata with the catalog."""
    notes = {k.decode(): v.decode() for k, v in (metadata.metadata or {}).items()}
    cell = "" if file.norder is None else f"{file.norder}/{file.npix}"
    expected = {
        "database": database_id, "table": file.table, "cell": cell, "base": file.base or "",
        "schema_version": str(file.schema_version),
    }  # fmt: skip
    for key, value in expected.items():
        if notes.get(f"skydb.{key}") != value:
            said = notes.get(f"skydb.{key}")
            yield _finding("file-foreign", file, f"its {key} is {said!r}, the catalog says {value!r}")


def _schema(file: DataFile, table: Table, opened: pq.ParquetFile) -> Iterator[Finding]:
    """Compare the columns and their types with those declared for the version of the file."""
    version = file.schema_version
    declared = {c.name: ARROW_TYPES[c.type_in(version)] for c in table if c.since <= version}
    there = {f.name: f.type for f in opened.schema_arrow}
    for name in dict.fromkeys([*declared, *there]):
        if declared.get(name) != there.get(name):
            yield _finding("file-schema", file, f"column {name} is {there.get(name)}, declared is {declared.get(name)}")


def _bounds(file: DataFile, metadata: pq.FileMetaData) -> Iterator[Finding]:
    if metadata.num_rows != file.rows:
        yield _finding("file-bounds", file, f"it has {metadata.num_rows} rows, the catalog says {file.rows}")


@dataclass
class _Seen:
    """What the row groups of a file have shown so far."""

    last: pa.Table | None = None
    low: Any = None
    high: Any = None
    unsorted: int = 0
    outside: int = 0
    nulls: frozenset[str] = frozenset()


def _row_findings(file: DataFile, table: Table, opened: pq.ParquetFile) -> list[Finding]:
    """Decode every row group, all columns, and check order, keys and required values.

    Raises
    ------
    OSError, pa.ArrowException
        A page does not decode, or its checksum is wrong.
    """
    seen = _Seen()
    for group in range(opened.metadata.num_row_groups):
        _look(seen, table, file, opened.read_row_group(group, use_threads=False).replace_schema_metadata())
    return list(_said(file, table, seen))


def _look(seen: _Seen, table: Table, file: DataFile, rows: pa.Table) -> None:
    """Add one row group to what was seen."""
    required = {c.name for c in table if c.required} & set(rows.column_names)
    seen.nulls |= {name for name in required if rows[name].null_count}
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
