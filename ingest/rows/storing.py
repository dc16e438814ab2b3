"""Matched rows stored: spilled by object, written cell by cell, without those that are there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skydb.kernels.distinct import distinct, is_among
from skydb.schema.model import Table
from skydb.sky.partition import merge_ranges
from skydb.store.arrays import numbers_of
from skydb.store.cells import Cell, Cells
from skydb.store.files import DataFile
from skydb.store.layout import new_name
from skydb.store.parquet import row_groups_of
from skydb.store.scratch import Scratch
from skydb.store.snapshot import Snapshot

from .matching import DUPLICATE, FINE, NO_KEY, NO_OBJECT, REASONS, Match, Matched, living_seeds
from .reading import RowBlock, RowFile, blocks_of

ROW = "_row"
"""Number of a row in its file; -1 for one that is stored already."""

SPILL_GROUP_ROWS = 32_768


@dataclass
class Spilled:
    """The rows of a file that have an object, on disk by object id, and what became of the others."""

    cells: Cells
    paths: list[Path]
    reasons: Counter[str]
    touched: set[int]
    n_in: int = 0
    n_nulled: int = 0

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) each: first object id of every cell, and one past the last."""
        return self.cells.lo, self.cells.hi

    @property
    def touched_cells(self) -> list[Cell]:
        """The cells that get rows."""
        return [self.cells[i] for i in sorted(self.touched)]

    def add(self, block: RowBlock, matched: Matched, table: Table, folder: Path) -> None:
        """Spill one block."""
        lows, highs = self.bounds
        cell = np.searchsorted(highs, matched.object_id, side="right").clip(max=max(len(lows) - 1, 0))
        inside = matched.object_id >= lows[cell] if len(lows) else np.zeros(len(matched.object_id), np.bool_)
        inside &= matched.object_id < highs[cell] if len(lows) else False
        reason = np.where((matched.reason == FINE) & ~inside, NO_OBJECT, matched.reason)
        rows = _declared(block, matched, table)
        has_keys = np.ones(rows.num_rows, np.bool_)
        for name in table.sort:
            has_keys &= np.asarray(rows.column(name).is_valid())
        reason = np.where((reason == FINE) & ~has_keys, NO_KEY, reason)
        kept = np.flatnonzero(reason == FINE)
        self.n_in += len(reason)
        self.n_nulled += block.n_nulled
        self.reasons.update({REASONS[r]: int(n) for r, n in zip(*np.unique(reason[reason != FINE], return_counts=True),
                                                               strict=True)})  # fmt: skip
        if len(kept):
            self.touched |= set(np.unique(cell[kept]).tolist())
            path = folder / f"{new_name()}.rows"
            kept = kept[np.argsort(matched.object_id[kept], kind="stable")]
            pq.write_table(rows.take(pa.array(kept)), path, row_group_size=SPILL_GROUP_ROWS, compression="zstd")
            self.paths.append(path)


def _declared(block: RowBlock, matched: Matched, table: Table) -> pa.Table:
    """Return a block's rows with all declared columns, and their numbers."""
    keys = {"object_id": matched.object_id, **matched.keys}
    columns = {name: block.rows.column(name) for name in block.rows.column_names}
    columns |= {name: pa.chunked_array([pa.array(values)]) for name, values in keys.items()}
    arrays = [columns[c.name] if c.name in columns else pa.nulls(len(matched.object_id), c.arrow.type) for c in table]
    number = block.first + np.arange(len(matched.object_id), dtype=np.int64)
    return pa.table([*arrays, pa.array(number)], names=[*table.names, ROW])


def spill(file: RowFile, match: Match, snapshot: Snapshot, folder: Path) -> Spilled:
    """Read a file, find the objects of its rows and put them on disk."""
    spilled = Spilled(snapshot.cells(), [], Counter(), set())
    for block in blocks_of(file):
        spilled.add(block, match(block.first, block.keys), file.table, folder)
    return spilled


@dataclass(frozen=True)
class RowsTask:
    """What a worker needs to store the rows of a cell."""

    snapshot: Snapshot
    place: Scratch
    table: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class StoredRows:
    """What became of a cell's rows: their file, if any was stored, and how many were rejected, by reason."""

    file: DataFile | None
    n_stored: int
    reasons: dict[str, int]


def store_cell(cell: Cell, *, task: RowsTask) -> StoredRows:
    """Store the spilled rows of one cell that have an object there, and of equal keys the first."""
    table = task.snapshot.table(task.table)
    rows = _spilled(task.paths, cell)
    ids = numbers_of(rows.column("object_id"))
    known = is_among(ids, distinct(numbers_of(living_seeds(task.snapshot, cell).column("object_id"))))
    rows = rows.filter(pa.array(known))
    fresh = _fresh(rows, task.snapshot, table, cell)
    counts = {REASONS[NO_OBJECT]: int((~known).sum()), REASONS[DUPLICATE]: rows.num_rows - fresh.num_rows}
    reasons = {reason: count for reason, count in counts.items() if count}
    if not fresh.num_rows:
        return StoredRows(None, 0, reasons)
    return StoredRows(task.place.store(task.snapshot, fresh, table.name, cell=cell), fresh.num_rows, reasons)


def _spilled(paths: Sequence[Path], cell: Cell) -> pa.Table:
    """Return the rows of one cell, of all spills."""
    ranges = np.array([[cell.lo, cell.hi]], dtype=np.int64)
    parts = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            part = file.read_row_groups(row_groups_of(file.metadata, ranges))
        ids = numbers_of(part.column("object_id"))
        parts.append(part.filter(pa.array((ids >= cell.lo) & (ids < cell.hi))))
    return pa.concat_tables(parts)


def new_rows(rows: pa.Table, snapshot: Snapshot, table: Table, cell: Cell) -> pa.Table:
    """Return the rows of one cell whose keys are not stored, of equal keys the first, in declared order."""
    return _fresh(rows.append_column(ROW, pa.array(np.arange(rows.num_rows))), snapshot, table, cell)


def _fresh(rows: pa.Table, snapshot: Snapshot, table: Table, cell: Cell) -> pa.Table:
    """Return the rows in declared order without those whose keys are stored, or came before."""
    ids = distinct(numbers_of(rows.column("object_id")))
    ranges = merge_ranges(np.stack([ids, ids + 1], axis=1))
    stored = snapshot.read_cell(table.name, cell, list(table.sort), ranges=ranges)
    keys = rows.select([*table.sort, ROW]).append_column("_at", pa.array(np.arange(rows.num_rows)))
    minus = pa.array(np.full(stored.num_rows, -1))
    before = stored.append_column(ROW, minus).append_column("_at", minus).cast(keys.schema)
    both = pa.concat_tables([before, keys]).sort_by([(name, "ascending") for name in (*table.sort, ROW)])
    again = np.zeros(both.num_rows, np.bool_)
    if both.num_rows > 1:
        same = [pc.equal(both.column(n).slice(1), both.column(n).slice(0, both.num_rows - 1)) for n in table.sort]
        again[1:] = np.logical_and.reduce([np.asarray(s) for s in same])
    kept = np.asarray(both.column("_at"))[~again]
    return rows.take(pa.array(kept[kept >= 0])).drop_columns([ROW])
