"""Which cells a batch may touch: those that hold its new rows, planned where there were none, and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skydb.kernels.distinct import distinct
from skydb.sky.partition import merge_ranges, plan_cells
from skydb.store.cells import Cell
from skydb.store.changes import NOWHERE, WHOLE_SKY
from skydb.store.placement import hosts_of_new_cells
from skydb.store.snapshot import Snapshot

from .routing import PLAN_ORDER

_PIXELS_PER_RADIUS = 4
"""How many association radii the pixels measure by which a batch is widened."""

_MOST_PIXELS = 50_000
"""Pixels that describe the reach of a batch at most; a larger batch is described by larger ones."""


@dataclass(frozen=True)
class Reach:
    """The cells that a batch may read and write, in sky order, and the sky (K, 2) that its answer depends on."""

    cells: tuple[Cell, ...]
    reads: np.ndarray


def reach_of(
    snapshot: Snapshot, counted: tuple[np.ndarray, np.ndarray], *, radius_arcsec: float, cell_rows: int
) -> Reach:
    """Return the reach of new rows.

    Parameters
    ----------
    snapshot
        What is there.
    counted
        Pixels (N,) of order `PLAN_ORDER` that hold new rows, ascending, and the rows (N,) in each.
    radius_arcsec : arcsec
        The largest association radius.
    cell_rows
        New rows that a new cell holds at most.
    """
    pixels, counts = counted
    reads = sky_around(pixels, radius_arcsec)
    live = {c.key: c for c in snapshot.cells()}
    near = {c.key for c in snapshot.cells(reads)}
    planned = plan_cells(list(live), pixels, counts, cell_rows)
    new = hosts_of_new_cells(snapshot, [key for key in planned if key not in live])
    cells = (live.get(key) or Cell(*key, new[key]) for key in planned if key in near or key in new)
    return Reach(tuple(cells), reads)


def sky_around(pixels: np.ndarray, radius_arcsec: float) -> np.ndarray:
    """Return ranges (K, 2) of order-29 pixels that hold some pixels of order `PLAN_ORDER` and all sky within a radius.

    The pixels are widened to an order whose pixels are larger than the radius, and joined by their neighbours.
    """
    import healpy

    if not len(pixels):
        return NOWHERE
    order, wide = PLAN_ORDER, pixels
    while healpy.max_pixrad(1 << order, degrees=True) * 3600 < _PIXELS_PER_RADIUS * radius_arcsec or (
        len(wide) > _MOST_PIXELS
    ):
        if order == 0:
            return WHOLE_SKY
        order, wide = order - 1, distinct(wide >> 2)
    around = healpy.get_all_neighbours(1 << order, wide, nest=True)
    every = distinct(np.concatenate([wide, around[around >= 0]]).astype(np.int64))
    shift = 2 * (29 - order)
    return merge_ranges(np.stack([every << shift, (every + 1) << shift], axis=1))
