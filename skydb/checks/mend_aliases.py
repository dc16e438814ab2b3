"""Old ids whose object is there no more, given up; when all cells are mended, for they reach from cell to cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import int_column
from skydb.calibration.rewriting import RewrittenCell
from skydb.kernels.distinct import distinct, is_among
from skydb.parallel.executor import Executor
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.parquet import read_file, sort_rows
from skydb.store.scratch import Scratch
from skydb.store.snapshot import Snapshot

from .keys import Ints
from .ledger import LostRows
from .links import ALIASES


@dataclass(frozen=True)
class NamedCell:
    """A cell, its files of seeds and of old ids as they are to be, and (N,) objects to look for among the seeds."""

    cell: Cell
    seeds: tuple[DataFile, ...]
    aliases: tuple[DataFile, ...]
    wanted: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class MendedAliases:
    """A cell without the old ids that are given up, and these."""

    written: RewrittenCell
    lost: LostRows


def mend_aliases(
    snapshot: Snapshot, place: Scratch, cells: Sequence[NamedCell], executor: Executor
) -> list[MendedAliases]:
    """Give up the old ids, of all cells (in sky order), whose object has no seed."""
    named = [at for at in cells if at.aliases]
    parts = list(map_cells(executor, partial(stood_for, snapshot=snapshot), snapshot, named))
    none = np.empty(0, np.int64)
    elsewhere = distinct(np.concatenate([none, *(other for _, other in parts)]))
    first, last = (np.searchsorted(elsewhere, [getattr(at.cell, end) for at in cells]) for end in ("lo", "hi"))
    asked = [replace(at, wanted=elsewhere[a:b]) for at, a, b in zip(cells, first, last, strict=True) if a < b]
    homed = np.concatenate([none, *(at.wanted for at in asked)])
    missing = map_cells(executor, partial(seedless, snapshot=snapshot), snapshot, asked)
    lost = [*(own for own, _ in parts), elsewhere[~is_among(elsewhere, homed)], *missing]
    gone = np.sort(np.concatenate([none, *lost]))
    task = partial(without_objects, snapshot=snapshot, place=place, gone=gone)
    return [m for m in map_cells(executor, task, snapshot, named if len(gone) else []) if m is not None]


def stood_for(at: NamedCell, *, snapshot: Snapshot) -> tuple[Ints, Ints]:
    """Return the objects that a cell's old ids stand for: those of it that have no seed, and all of other cells."""
    wanted = distinct(int_column(_rows(at.aliases, snapshot), "stands_for"))
    inside = (wanted >= at.cell.lo) & (wanted < at.cell.hi)
    return seedless(replace(at, wanted=wanted[inside]), snapshot=snapshot), wanted[~inside]


def seedless(at: NamedCell, *, snapshot: Snapshot) -> Ints:
    """Return the wanted objects that a cell has no seed of."""
    parts = [int_column(read_file(snapshot.stored(f), ["object_id"]), "object_id") for f in at.seeds]
    return at.wanted[~is_among(at.wanted, np.sort(np.concatenate([np.empty(0, np.int64), *parts])))]


def without_objects(at: NamedCell, *, snapshot: Snapshot, place: Scratch, gone: Ints) -> MendedAliases | None:
    """Store a cell's old ids without those that stand for objects (ascending) that are gone; None: there are none."""
    rows = _rows(at.aliases, snapshot)
    lost = is_among(int_column(rows, "stands_for"), gone)
    if not lost.any():
        return None
    left = rows.filter(pa.array(~lost))
    adds = (place.store(snapshot, sort_rows(left, ALIASES), ALIASES, cell=at.cell),) if left.num_rows else ()
    names = tuple(map(str, rows["object_id"].filter(pa.array(lost)).to_pylist()))
    written = RewrittenCell(at.cell, adds, tuple(f.name for f in at.aliases))
    return MendedAliases(written, LostRows(ALIASES, len(names), str(at.cell), names=names))


def _rows(files: Sequence[DataFile], snapshot: Snapshot) -> pa.Table:
    return pa.concat_tables(read_file(snapshot.stored(f)).replace_schema_metadata() for f in files)
