"""What rows of a cell stand for: those of the user's own tables for objects and measurements, old ids for objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.calibration.columns import int_column
from skydb.kernels.distinct import distinct, is_among
from skydb.parallel.executor import Executor
from skydb.schema.model import Table
from skydb.sky.partition import merge_ranges
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.snapshot import Snapshot

from .findings import Finding
from .keys import Ints, among
from .under_check import CellUnderCheck, check_once

ALIASES = "object_aliases"
NAMES = ("object_id", "image_id", "det_id")
"""What names a measurement."""


def link_names(table: Table) -> tuple[str, ...]:
    """Return the columns by which rows of a user's own table are tied to an object or a measurement."""
    return NAMES if table.keyed_by == "measurement" else NAMES[:1]


def linked(rows: pa.Table, table: Table, objects: Ints, measured: Sequence[Ints]) -> NDArray[np.bool_]:
    """Say which rows of a user's own table are tied to something that is there.

    Parameters
    ----------
    objects : (N,)
        Ids of the objects of the cell, live and retired, ascending.
    measured
        `NAMES` of its measurements.
    """
    keys = [int_column(rows, name) for name in link_names(table)]
    return is_among(keys[0], objects) if len(keys) == 1 else among(keys, measured)


def check_declared(at: CellUnderCheck, rows: dict[str, Ints], *, complete: bool) -> None:
    """Check the rows of the user's own tables, file by file; `rows` are the keys of the cell's measurements."""
    objects = np.sort(_seeds(at)) if at.snapshot.declared else np.empty(0, np.int64)
    measured = [rows[name] for name in NAMES]
    for name, table in at.snapshot.declared.items():
        check_once(at, "row-twice", name, at.rows(name, table.sort))
        if not (complete if table.keyed_by == "measurement" else at.whole("object_seeds")):
            continue
        for file in (f for f in at.files[name] if f.name in at.usable):
            keys = at.read(file, link_names(table))
            lost = np.flatnonzero(~linked(keys, table, objects, measured))
            if len(lost):
                example = keys.slice(int(lost[0]), 1).to_pylist()[0]
                what = f"{len(lost)} rows are about no {table.keyed_by} that is there, such as {example}"
                at.found("row-unlinked", what, name, rows=len(lost), file=file)


def _seeds(at: CellUnderCheck) -> Ints:
    return int_column(at.rows("object_seeds", ["object_id"]), "object_id")


def check_aliases(at: CellUnderCheck) -> Ints:
    """Check that old ids stand for objects; return those of other cells, ascending."""
    if not at.files[ALIASES]:
        return np.empty(0, np.int64)
    check_once(at, "row-twice", ALIASES, at.rows(ALIASES, ["object_id", "database_id"]))
    wanted = distinct(int_column(at.rows(ALIASES, ["stands_for"]), "stands_for"))
    inside = (wanted >= at.cell.lo) & (wanted < at.cell.hi)
    if at.whole("object_seeds"):
        at.findings += _unknown(at.cell, wanted[inside], _seeds(at))
    return wanted[~inside]


def _unknown(cell: Cell, wanted: Ints, seeds: Ints) -> Iterator[Finding]:
    lost = wanted[~is_among(wanted, np.sort(seeds))]
    if len(lost):
        what = f"old ids stand for {len(lost)} objects of the cell that are not there, such as {lost[0]}"
        yield Finding("alias-broken", what, ALIASES, str(cell), rows=len(lost))


@dataclass(frozen=True)
class WantedObjects:
    """Objects (N,) of a cell for which old ids of other cells stand."""

    cell: Cell
    ids: Ints


def check_elsewhere(snapshot: Snapshot, wanted: Ints, executor: Executor) -> Iterator[Finding]:
    """Check that objects (N,), for which old ids of other cells stand, are in theirs; few are so near a border."""
    wanted, cells = distinct(wanted), snapshot.cells(merge_ranges(np.stack([wanted, wanted + 1], axis=1)))
    ends = np.searchsorted(wanted, cells.lo), np.searchsorted(wanted, cells.hi)
    todo = [WantedObjects(c, wanted[lo:hi]) for c, lo, hi in zip(cells, *ends, strict=True) if lo < hi]
    homeless = len(wanted) - sum(len(item.ids) for item in todo)
    if homeless:
        yield Finding("alias-broken", f"old ids stand for {homeless} objects of no cell", ALIASES, rows=homeless)
    for found in map_cells(executor, partial(check_wanted, snapshot=snapshot), snapshot, todo):
        yield from found


def check_wanted(item: WantedObjects, *, snapshot: Snapshot) -> list[Finding]:
    """Look for objects in the seeds of their cell, which can be read."""
    seeds = snapshot.read_cell("object_seeds", item.cell, ["object_id"])
    return list(_unknown(item.cell, item.ids, int_column(seeds, "object_id")))
