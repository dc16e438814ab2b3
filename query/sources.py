"""Rows of a sky table, cell after cell, as an Arrow stream: read when asked for, never all in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from skydb.errors import SkydbError
from skydb.sky.regions import Region
from skydb.store.arrays import numbers_of, row_numbers
from skydb.store.files import DataFile
from skydb.store.parquet import read_file
from skydb.store.snapshot import Snapshot

from .atlas import CellPart

if TYPE_CHECKING:
    from .gathering import Gathering
    from .row_filters import RowFilter

MOST_THREADS = 4
"""Cells read at once at most, each up to 150 MB where all columns of a full one are asked for."""

MOST_FETCHED = 8
"""The same of cells that lie on servers, where threads wait most of the time."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CellRows:
    """Reads the rows of one cell: here, or wherever it is sent.

    `columns` are stored ones; `region`, if there is one, keeps the rows whose `ra` and `dec`, which must be among them,
    lie inside; `row_filter`, those that meet its conditions.
    """

    snapshot: Snapshot
    table: str
    columns: tuple[str, ...]
    region: Region | None = None
    row_filter: RowFilter | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self.snapshot.empty_rows(self.table, self.columns).schema

    def __call__(self, part: CellPart) -> list[pa.Table]:
        """Return the rows of a part, file by file."""
        rows = self.snapshot.cell_parts(self.table, part.cell, self.columns, ranges=part.ranges)
        return [self._kept(r.cast(self.schema)) for r in rows]

    def _kept(self, rows: pa.Table) -> pa.Table:
        if self.row_filter is not None:
            rows = self.row_filter.kept(rows)
        if self.region is None:
            return rows
        inside = np.flatnonzero(self.region.contains(*(numbers_of(rows.column(name)) for name in ("ra", "dec"))))
        return rows if len(inside) == rows.num_rows else rows.take(row_numbers(inside))


@dataclass(frozen=True)
class CellStream:
    """Rows of cells as an Arrow stream that can be read again and again.

    DuckDB asks it for its schema and for a stream through the Arrow PyCapsule interface. Cells are read in threads of
    this process; with `workers`, by those, who send the rows.
    """

    rows: CellRows
    parts: tuple[CellPart, ...]
    workers: Gathering | None = None
    failures: list[SkydbError] = field(default_factory=list, compare=False, repr=False)

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self.rows.schema

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows by cell, in sky order; some cells are read ahead."""
        with _noted(self.failures):
            for tables in self._by_cell():
                yield from tables

    def _by_cell(self) -> Iterator[list[pa.Table]]:
        if self.workers is not None:
            return self.workers.gathered(self.rows, self.rows.snapshot, self.parts)
        return in_threads(self.rows, self.parts, at_once=_threads_for(self.rows.snapshot))

    def read(self) -> pa.Table:
        """Return all rows."""
        return pa.concat_tables([pa.Table.from_batches([], self.schema), *self.tables()])

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return _stream(self.schema, self.tables(), requested_schema)


@dataclass(frozen=True)
class FileStream:
    """Rows of files of one table as an Arrow stream that can be read again and again."""

    snapshot: Snapshot
    table: str
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]
    schema: pa.Schema = field(init=False)
    failures: list[SkydbError] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.snapshot.empty_rows(self.table, self.columns).schema)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of file after file; some are read ahead."""
        with _noted(self.failures):
            yield from in_threads(self._of_file, self.files, at_once=_threads_for(self.snapshot))

    def _of_file(self, file: DataFile) -> pa.Table:
        rows = read_file(self.snapshot.stored(file), self.columns)
        return rows.select(self.columns).replace_schema_metadata().cast(self.schema)

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return _stream(self.schema, self.tables(), requested_schema)


def _stream(schema: pa.Schema, tables: Iterable[pa.Table], requested_schema: object | None) -> object:
    batches = (batch for table in tables for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__(requested_schema)


@contextmanager
def _noted(failures: list[SkydbError]) -> Iterator[None]:
    """Note an error of skydb on its way through DuckDB, which makes a text of it."""
    try:
        yield
    except SkydbError as error:
        failures.append(error)
        raise


def in_threads(
    task: Callable[[Item], Answer], items: Iterable[Item], *, at_once: int | None = None
) -> Iterator[Answer]:
    """Yield the answers to a task in the order of its items, as many computed ahead as there are threads.

    Decoding leaves Python's lock alone. One item is done here, because a thread takes 0.1 ms to wake. `at_once` is the
    number of threads; None: as many as decode side by side.
    """
    todo, count = list(items), at_once or _thread_count()
    if len(todo) < 2:
        yield from map(task, todo)
        return
    waiting: deque[Future[Answer]] = deque()
    try:
        for item in todo:
            waiting.append(_threads(count).submit(task, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="skydb-read")


def _threads_for(snapshot: Snapshot) -> int:
    return MOST_FETCHED if snapshot.is_far else _thread_count()


def _thread_count() -> int:
    return min(MOST_THREADS, os.cpu_count() or 1)
