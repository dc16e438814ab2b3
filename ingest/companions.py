"""Rows of declared tables that come with detections: spilled beside them, and stored in the cells of their objects.

Every spill of detections has one of each such table; a row says which row of the spill of detections it belongs to. So
it goes where its detection goes, whatever that is linked to, and into the same commit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.kernels.distinct import by_value, distinct
from skydb.schema.model import Table
from skydb.store.arrow_files import map_arrow, write_arrow

from .readers.companions import ROW, Companions

FILE = "_file"
"""Number of the input file of a row."""

NO_MEASUREMENT, DUPLICATE, NO_KEY = "no measurement", "duplicate", "no key"


def rows_digest(table: str, content: str) -> str:
    """Return the digest of a file's content for a table: another table may take rows of the same file."""
    return hashlib.blake2b(f"{table} {content}".encode(), digest_size=16).hexdigest()


def spill_companions(
    path: Path, companions: Mapping[str, Companions], files: np.ndarray, order: np.ndarray
) -> tuple[tuple[str, Path], ...]:
    """Write companions beside a spill of detections; returns their tables' names and files.

    Parameters
    ----------
    path
        The spill of detections.
    companions
        Rows by table; `ROW` counts detections in the order in which they were read.
    files
        (N,) The number of the input file of each detection, in that order.
    order
        (N,) Which of them each row of the spill is.
    """
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    written = []
    for name, each in companions.items():
        if not each.rows.num_rows:
            continue
        owner = each.rows.column(ROW).to_numpy()
        rows = each.rows.drop_columns([ROW]).append_column(ROW, pa.array(place[owner]))
        rows = rows.append_column(FILE, pa.array(files[owner], pa.int32()))
        target = path.with_name(f"{path.stem}.{name}.arrow")
        write_arrow(rows.take(pa.array(np.argsort(place[owner], kind="stable"))).combine_chunks(), target)
        written.append((name, target))
    return tuple(written)


@dataclass(frozen=True)
class CompanionCounts:
    """What became of companions of one table, by number of the input file: how many were stored, and why others not."""

    stored: Counter[int] = field(default_factory=Counter)
    rejected: dict[str, Counter[int]] = field(default_factory=dict)

    def update(self, other: CompanionCounts) -> None:
        """Add what became of others."""
        self.stored.update(other.stored)
        for reason, by_file in other.rejected.items():
            self.rejected.setdefault(reason, Counter()).update(by_file)


@dataclass(frozen=True)
class Placed:
    """Where some detections lie in the spills, and what they are: (N,) each."""

    spill: np.ndarray
    row: np.ndarray
    object_id: np.ndarray
    image_id: np.ndarray
    det_id: np.ndarray


def companions_of(
    placed: Placed, spilled: Sequence[tuple[tuple[str, Path], ...]], table: Table
) -> tuple[pa.Table, CompanionCounts]:
    """Return the rows of a declared table that go with some detections, sorted, and what became of all.

    Parameters
    ----------
    placed
        The detections.
    spilled
        Of every spill of detections, the files of its companions by table.
    table
        The table as it is declared now: columns that it has no more are left out.
    """
    parts = []
    for number in distinct(placed.spill):
        path = dict(spilled[int(number)]).get(table.name)
        if path is not None:
            parts.append(_of_spill(placed, np.flatnonzero(placed.spill == number), map_arrow(path), table))
    if not parts:
        return table.empty(), CompanionCounts()
    rows = pa.concat_tables(parts, promote_options="default")
    files = rows.column(FILE).to_numpy()
    whole = np.ones(rows.num_rows, dtype=bool)
    for name in table.sort:
        whole &= np.asarray(rows.column(name).is_valid())
    order = np.asarray(pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in table.sort]))
    order = order[whole[order]]
    first = _first_of_each(rows.take(pa.array(order)), table.sort)
    kept = order[first]
    counts = CompanionCounts(
        by_value(files[kept]), {NO_KEY: by_value(files[~whole]), DUPLICATE: by_value(files[order[~first]])}
    )
    return table.conform(rows.take(pa.array(kept)).drop_columns([FILE])), counts


def _of_spill(placed: Placed, which: np.ndarray, rows: pa.Table, table: Table) -> pa.Table:
    """Take the companions of some detections out of one file, with their keys."""
    owner = rows.column(ROW).to_numpy()
    starts, ends = (np.searchsorted(owner, placed.row[which], side=side) for side in ("left", "right"))
    counts = ends - starts
    at = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    detection = np.repeat(which, counts)
    chosen = rows.select([n for n in rows.column_names if n in table or n == FILE]).take(pa.array(at))
    for name in ("object_id", "image_id", "det_id"):
        chosen = chosen.append_column(name, pa.array(getattr(placed, name)[detection]))
    absent = [name for name in table.sort if name not in chosen.column_names]
    for name in absent:
        chosen = chosen.append_column(name, pa.nulls(chosen.num_rows, table[name].arrow.type))
    return chosen


def _first_of_each(rows: pa.Table, keys: Sequence[str]) -> np.ndarray:
    """Return which of sorted rows are the first of their keys."""
    first = np.zeros(rows.num_rows, dtype=bool)
    first[:1] = True
    for name in keys:
        column = rows.column(name).combine_chunks()
        first[1:] |= np.asarray(pc.not_equal(column[1:], column[:-1]))
    return first
