"""Second step of a merge: which object of this database each object of the other one is, or that it is a new one.

The other's objects are associated as the detections of one image are: nearest first, one to one, once and whole where
a component crosses cells (`linking`); each asks for its own id. Objects that an earlier merge has brought together stay
together: they take no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.columns import int_column
from skydb.calibration.mapped import save_mapped
from skydb.kernels.distinct import is_among
from skydb.parallel.executor import Executor, Progress
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.layout import new_name
from skydb.store.snapshot import Snapshot

from ..linking import LinkTask, link_cells
from ..reach import Reach
from ..roaming import with_cells_of, with_motions
from ..spill import slices_of
from ..tracks import Images
from ..writing import CellRows, CellWork
from .spilling import Spilled

FOUNDER = ("object_id", "founder_image_id", "founder_det_id")


@dataclass(frozen=True)
class Pairs:
    """Objects that are one since an earlier merge; every array is (K,).

    `theirs` lies in a spill of objects, at `row`; `ours` is its id here, of an object that lives or has retired.
    """

    theirs: np.ndarray
    ours: np.ndarray
    spill: np.ndarray
    row: np.ndarray

    @staticmethod
    def concat(parts: Sequence[Pairs]) -> Pairs:
        """Return the pairs of several cells."""
        none = np.empty(0, dtype=np.int64)
        return Pairs(*(np.concatenate([none, *(getattr(p, f.name) for p in parts)]) for f in fields(Pairs)))


def pair_objects(
    base: Snapshot, reach: Reach, spilled: Spilled, folder: Path, executor: Executor, *, source_id: str,
    radius_arcsec: float, progress: Progress | None = None,
) -> tuple[tuple[CellWork, ...], Reach]:  # fmt: skip
    """Return, cell by cell, which objects of the spills go there and which ids they get; founders found new objects.

    The reach is returned with the cells of the objects here that come near on their way.

    Parameters
    ----------
    reach
        The cells that may take objects.
    source_id
        The database from which they come.
    """
    find = partial(_pairs_of_cell, base=base, spilled=spilled, source_id=source_id)
    pairs = Pairs.concat(list(map_cells(executor, find, base, reach.cells)))
    one, none = np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64)
    task = LinkTask(
        base, folder, spilled.objects, one, one, Images(np.array([radius_arcsec])), {}, np.ones(1, dtype=bool), none,
        one_to_many=False, keeps_ids=True, paired=_save(pairs, folder),
    )  # fmt: skip
    task, reach = with_motions(task, reach, spilled.pixels, executor)
    reach = replace(reach, cells=with_cells_of(base, reach.cells, pairs.ours))
    linked = link_cells(reach.cells, task, executor, progress=progress)
    return _with_pairs(linked.cells, reach, pairs, folder), reach


def _save(pairs: Pairs, folder: Path) -> Path | None:
    if not len(pairs.theirs):
        return None
    path = folder / f"{new_name()}.arrow"
    save_mapped(path, {"theirs": np.sort(pairs.theirs), "ours": np.sort(pairs.ours)})
    return path


def _pairs_of_cell(cell: Cell, *, base: Snapshot, spilled: Spilled, source_id: str) -> Pairs:
    """Find which objects of the spills in one cell are here already: under another id, or under their own.

    An id stands for another since the source was merged into this database, or this one into the source.
    """
    aliases = base.read_cell("object_aliases", cell)
    came = _given_by(aliases, source_id)
    went = [_given_by(piece.rows, base.database_id) for piece in slices_of(spilled.aliases, cell.lo, cell.hi)]
    seeds, parts = base.read_cell("object_seeds", cell, list(FOUNDER)), []
    for piece in slices_of(spilled.objects, cell.lo, cell.hi):
        ids, row = int_column(piece.rows, "object_id"), piece.start + np.arange(piece.rows.num_rows)
        left = np.ones(len(ids), dtype=bool)
        for theirs, ours in (came, *((new, old) for old, new in went), _kept(piece.rows, seeds)):
            order = np.argsort(theirs, kind="stable")
            hit = np.flatnonzero(left & is_among(ids, theirs[order]))
            left[hit] = False
            found = ours[order][np.searchsorted(theirs[order], ids[hit])]
            parts.append(Pairs(ids[hit], found, np.full(len(hit), piece.spill, dtype=np.int64), row[hit]))
    return Pairs.concat(parts)


def _given_by(aliases: pa.Table, database_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids that one database gave, and those that they stand for."""
    own = aliases.filter(pc.equal(aliases.column("database_id"), database_id))
    return int_column(own, "object_id"), int_column(own, "stands_for")


def _kept(objects: pa.Table, seeds: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects that are here under their own ids, founded by the same detections."""
    ours, theirs = ([int_column(rows, name) for name in FOUNDER] for rows in (seeds, objects))
    order = np.argsort(ours[0])
    there = np.flatnonzero(is_among(theirs[0], ours[0][order]))
    at = order[np.searchsorted(ours[0][order], theirs[0][there])]
    same = there[(ours[1][at] == theirs[1][there]) & (ours[2][at] == theirs[2][there])]
    return theirs[0][same], theirs[0][same]


def _with_pairs(work: Sequence[CellWork], reach: Reach, pairs: Pairs, folder: Path) -> tuple[CellWork, ...]:
    """Return the work of all cells with the pairs that belong there."""
    todo = {w.cell.key: w for w in work}
    for cell in reach.cells:
        mine = np.flatnonzero((pairs.ours >= cell.lo) & (pairs.ours < cell.hi))
        if len(mine):
            known = todo.get(cell.key) or CellWork(cell, _no_rows(folder), _rows(pairs, mine[:0]))
            both = CellRows.concat([known.border, _rows(pairs, mine)])
            todo[cell.key] = replace(known, border=both)
    return tuple(todo[c.key] for c in reach.cells if c.key in todo)


def _rows(pairs: Pairs, which: np.ndarray) -> CellRows:
    flags = np.zeros(len(which), dtype=np.uint32)
    return CellRows(pairs.spill[which], pairs.row[which], pairs.ours[which], flags, flags.astype(bool))


def _no_rows(folder: Path) -> Path:
    path = folder / f"{new_name()}.npz"
    none = np.empty(0, dtype=np.int64)
    CellRows(none, none, none, none.astype(np.uint32), none.astype(bool)).save(path)
    return path
