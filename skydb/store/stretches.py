"""Long work on cells, committed stretch by stretch of the sky.

Who is stopped has done what was committed, and a race lost to another writer costs one stretch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .cells import Cell
from .snapshot import Snapshot

if TYPE_CHECKING:
    from skydb.parallel.executor import Progress

CELLS = 2_000
"""Cells of one stretch, as many as a stage has tasks."""

Stretch = NDArray[np.int64]
"""(K, 2): the ranges of object ids of some cells, in sky order."""


def stretches(cells: Sequence[Cell], progress: Progress | None = None) -> Iterator[tuple[Stretch, Progress | None]]:
    """Yield cells in stretches, each with its share of the progress."""
    ordered = sorted(cells, key=lambda c: c.lo)
    for start in range(0, len(ordered), CELLS):
        ranges = [(c.lo, c.hi) for c in ordered[start : start + CELLS]]
        yield np.array(ranges, dtype=np.int64), _share(progress, start, len(ordered))


def cells_in(snapshot: Snapshot, stretch: Stretch) -> list[Cell]:
    """Return the cells of a snapshot that share sky with a stretch: those that it was made of, or what they became."""
    cells = snapshot.cells()
    los, his = (np.array([getattr(c, name) for c in cells], dtype=np.int64) for name in ("lo", "hi"))
    place = np.searchsorted(stretch[:, 1], los, side="right")
    inside = place < len(stretch)
    inside[inside] = stretch[place[inside], 0] < his[inside]
    return [cells[i] for i in np.flatnonzero(inside).tolist()]


def _share(progress: Progress | None, before: int, total: int) -> Progress | None:
    def show(done: int, _: int) -> None:
        assert progress
        progress(min(before + done, total), total)

    return show if progress else None
