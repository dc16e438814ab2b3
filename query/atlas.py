"""The cells of one snapshot as arrays: which of them, and which of their objects, a question can touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct
from skydb.sky.partition import intersect_ranges
from skydb.sky.pixels import centres, largest_radius_deg
from skydb.sky.regions import Region
from skydb.store.cells import Cell, Cells
from skydb.store.files import DataFile
from skydb.store.snapshot import Snapshot

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

COVER_RANGES = 128
"""Ranges in which a region is covered: 1000 take 6 ms where these take 2, and save few rows."""

_FINEST_PAD_ARCSEC = 2.0**-10
_ROUNDING_DEG = 1e-9


@dataclass(frozen=True)
class CellPart:
    """One cell of a question: `ranges` (K, 2) of object ids that may matter; None: all of the cell."""

    cell: Cell
    ranges: Ints | None


class Atlas:
    """The cells of a snapshot and their files, looked up for as long as a connection lasts."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @cached_property
    def cells(self) -> Cells:
        """All cells, in sky order."""
        return self.snapshot.cells()

    @cached_property
    def _bounds(self) -> tuple[Ints, Ints]:
        """(N,) each: first object id of every cell, and one past the last."""
        return self.cells.lo, self.cells.hi

    @cached_property
    def _pads(self) -> Floats:
        """(N,) arcsec: drift of every cell, rounded up to a power of two so that cells share covers."""
        drift = np.maximum(self.cells.drift_arcsec, _FINEST_PAD_ARCSEC)
        return np.asarray(2.0 ** np.ceil(np.log2(drift * 1.000001)))

    @cached_property
    def _circles(self) -> tuple[Floats, Floats, Floats]:
        """(N,) deg each: centre and radius of a circle that holds every object and measurement of a cell."""
        order, pixel = self.cells.norder, self.cells.npix
        ra, dec, radius = (np.empty(len(order)) for _ in range(3))
        for each in np.unique(order).tolist():
            here = order == each
            ra[here], dec[here] = centres(pixel[here], each)
            radius[here] = largest_radius_deg(each)
        return ra, dec, radius + self._pads / 3600.0 + _ROUNDING_DEG

    def parts_of_region(self, region: Region | None) -> list[CellPart]:
        """Return every cell that may hold rows inside a region, and which of its objects may.

        An object or measurement lies within its cell's drift of where its object was founded, so the region is
        widened by that much for every cell.
        """
        if region is None:
            return [CellPart(c, None) for c in self.cells]
        ra, dec, radius = self._circles
        covers: dict[float, Ints] = {}
        parts = []
        for i in np.flatnonzero(region.distance(ra, dec) <= radius).tolist():
            cell, pad = self.cells[i], float(self._pads[i])
            if pad not in covers:
                covers[pad] = region.ranges(pad_arcsec=pad, max_ranges=COVER_RANGES)
            parts.extend(_part(cell, clip(covers[pad], cell.lo, cell.hi)))
        return parts

    def parts_of_ranges(self, ranges: Ints) -> list[CellPart]:
        """Return the cells that hold objects with ids in sorted half-open ranges (K, 2), and those ids."""
        lows, highs = self._bounds
        starts = np.zeros(len(lows) + 1, dtype=np.int64)
        np.add.at(starts, np.searchsorted(highs, ranges[:, 0], side="right"), 1)
        np.add.at(starts, np.searchsorted(lows, ranges[:, 1], side="left"), -1)
        touched = [self.cells[i] for i in np.flatnonzero(np.cumsum(starts[:-1])).tolist()]
        return [part for c in touched for part in _part(c, clip(ranges, c.lo, c.hi))]

    def parts_of_objects(self, object_ids: Sequence[int] | Ints) -> list[CellPart]:
        """Return the cells that hold some objects."""
        ids = np.asarray(object_ids, dtype=np.int64)
        ids = distinct(ids[(ids >= 0) & (ids < np.iinfo(np.int64).max)])
        return self.parts_of_ranges(np.stack([ids, ids + 1], axis=1))

    def files(self, table: str, parts: Sequence[CellPart]) -> list[list[DataFile]]:
        """Return the live files of a stored table in each of some cells."""
        return self.snapshot.files_of_cells(table, [part.cell for part in parts])


def clip(ranges: Ints, lo: int, hi: int) -> Ints:
    """Return the part of sorted half-open ranges (K, 2) that lies in [lo, hi)."""
    first = int(np.searchsorted(ranges[:, 1], lo, side="right"))
    last = int(np.searchsorted(ranges[:, 0], hi, side="left"))
    return np.clip(ranges[first:last], lo, hi)


def common_parts(one: Sequence[CellPart], other: Sequence[CellPart]) -> list[CellPart]:
    """Return what two lists of parts share, in the order of the first."""
    theirs = {p.cell.key: p.ranges for p in other}
    found: list[CellPart] = []
    for part in one:
        if part.cell.key in theirs:
            found.extend(_shared(part, theirs[part.cell.key]))
    return found


def _shared(part: CellPart, ranges: Ints | None) -> list[CellPart]:
    if part.ranges is None or ranges is None:
        return [CellPart(part.cell, part.ranges if ranges is None else ranges)]
    shared = intersect_ranges(part.ranges, ranges)
    return [CellPart(part.cell, shared)] if len(shared) else []


def _part(cell: Cell, ranges: Ints) -> list[CellPart]:
    """Return the part of a cell, none if there are no ranges; one range that is all of the cell is no limit."""
    if not len(ranges):
        return []
    whole = len(ranges) == 1 and ranges[0, 0] == cell.lo and ranges[0, 1] == cell.hi
    return [CellPart(cell, None if whole else ranges)]
