"""Ids of objects that were published by another database, before it was merged into this one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct, is_among
from skydb.sky.partition import merge_ranges

from .arrays import numbers_of
from .snapshot import Snapshot

Ids = NDArray[np.int64]


def current_ids(snapshot: Snapshot, ids: Ids) -> Ids:
    """Return the ids (N,) that some ids (N,) have now: those of objects, and such as stand for nothing, are kept.

    An id that several databases gave to different objects stands for none of them.
    """
    now, wanted = ids.copy(), distinct(ids)
    ranges = merge_ranges(np.stack([wanted, wanted + 1], axis=1))
    cells = snapshot.cells(ranges)
    for cell, files in zip(cells, snapshot.files_of_cells("object_aliases", cells), strict=True):
        if not files:
            continue
        mine = (ids >= cell.lo) & (ids < cell.hi)
        aliases = snapshot.read_cell("object_aliases", cell, ["object_id", "stands_for"], ranges=ranges)
        if aliases.num_rows:
            old, new = _unambiguous(aliases)
            objects = snapshot.read_cell("object_seeds", cell, ["object_id"], ranges=ranges)
            own = is_among(old, np.sort(numbers_of(objects.column("object_id"))))
            old, new = old[~own], new[~own]
            rows = np.flatnonzero(mine)[is_among(ids[mine], old)]
            now[rows] = new[np.searchsorted(old, ids[rows])]
    return now


def _unambiguous(aliases: pa.Table) -> tuple[Ids, Ids]:
    """Return the ids that stand for one object, ascending, and those objects."""
    pairs = np.unique(np.stack([numbers_of(column) for column in aliases.columns], axis=1), axis=0)
    old, first, count = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    once = count == 1
    return old[once], pairs[first[once], 1]
