"""The partitions of a release: HEALPix pixels by current position, and the empty pixels between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct
from skydb.sky.partition import DEEPEST_PLANNED, FINEST_ORDER, cell_range, pixel_of, plan_cells
from skydb.store.cells import Cell
from skydb.store.snapshot import Snapshot

Ints = NDArray[np.int64]
Source = tuple[Cell, bool]
"""A cell that holds rows of a partition, and whether all its rows belong there."""


@dataclass(frozen=True, eq=False)
class CellCounts:
    """What one cell holds, by current position: objects and measurements in each of K pixels of order 12, sorted.

    `bands` are the (band, source) pairs of its means.
    """

    pixel: Ints
    objects: Ints
    measurements: Ints
    bands: frozenset[tuple[str, str]]


def count_cell(cell: Cell, *, snapshot: Snapshot) -> CellCounts:
    """Count a cell's objects and measurements by the objects' current positions."""
    rows = snapshot.read_cell("objects", cell, ["ra", "dec", "n_measurements"])
    at = pixel_of(rows["ra"].to_numpy(), rows["dec"].to_numpy(), DEEPEST_PLANNED)
    pixel, inverse, objects = np.unique(at, return_inverse=True, return_counts=True)
    weight = rows["n_measurements"].cast(pa.int64()).fill_null(0).to_numpy()
    measurements = np.zeros(len(pixel), dtype=np.int64)
    np.add.at(measurements, inverse, weight)
    means = snapshot.read_cell("object_bands", cell, ["band", "source"]).group_by(["band", "source"]).aggregate([])
    bands = frozenset((row["band"], row["source"]) for row in means.to_pylist())
    return CellCounts(pixel, objects.astype(np.int64), measurements, bands)


def total_counts(counts: Sequence[CellCounts]) -> CellCounts:
    """Add up the counts of cells."""
    pixel, inverse = np.unique(np.concatenate([c.pixel for c in counts]), return_inverse=True)
    objects, measurements = np.zeros((2, len(pixel)), dtype=np.int64)
    np.add.at(objects, inverse, np.concatenate([c.objects for c in counts]))
    np.add.at(measurements, inverse, np.concatenate([c.measurements for c in counts]))
    return CellCounts(pixel, objects, measurements, frozenset().union(*(c.bands for c in counts)))


@dataclass(frozen=True, eq=False)
class PixelTree:
    """Disjoint pixels that tile the whole sky, in nested order.

    Parameters
    ----------
    norder, npix : (P,)
        Orders and nested pixel numbers.
    occupied : (P,)
        True for partitions, False for the sky between them that holds no object.
    """

    norder: Ints
    npix: Ints
    occupied: NDArray[np.bool_]

    @classmethod
    def around(cls, partitions: Sequence[tuple[int, int]]) -> PixelTree:
        """Return the tree of some disjoint pixels and of the fewest pixels that fill the rest of the sky."""
        taken = sorted(partitions, key=lambda pixel: cell_range(*pixel))
        edges = [0, *(edge for pixel in taken for edge in cell_range(*pixel)), cell_range(0, 12)[0]]
        empty = [p for low, high in zip(edges[::2], edges[1::2], strict=True) for p in _pixels_of_gap(low, high)]
        every = sorted([(*p, True) for p in taken] + [(*p, False) for p in empty], key=lambda p: cell_range(*p[:2]))
        norder, npix, occupied = zip(*every, strict=True)
        return cls(np.array(norder, np.int64), np.array(npix, np.int64), np.array(occupied, np.bool_))

    @cached_property
    def low(self) -> Ints:
        """(P,) first order-29 pixel of each."""
        return np.asarray(self.npix << 2 * (FINEST_ORDER - self.norder))

    def index_of(self, pix29: Ints) -> Ints:
        """Return which pixel of the tree holds each order-29 pixel."""
        return np.asarray(np.searchsorted(self.low, pix29, side="right") - 1)

    def pixel(self, index: int) -> tuple[int, int]:
        """Return order and number of one pixel."""
        return int(self.norder[index]), int(self.npix[index])

    @property
    def partitions(self) -> list[int]:
        """The indices of the partitions."""
        return [int(i) for i in np.flatnonzero(self.occupied)]

    @property
    def sky_fraction(self) -> float:
        """Part of the sky that the partitions cover."""
        return float((0.25 ** self.norder[self.occupied]).sum() / 12.0)


def _pixels_of_gap(low: int, high: int) -> list[tuple[int, int]]:
    """Fewest pixels (norder, npix) that tile a half-open range of order-29 pixels: largest aligned ones first."""
    pixels = []
    while low < high:
        levels = min(FINEST_ORDER, ((low & -low).bit_length() - 1) // 2) if low else FINEST_ORDER
        while low + (1 << 2 * levels) > high:
            levels -= 1
        pixels.append((FINEST_ORDER - levels, low >> 2 * levels))
        low += 1 << 2 * levels
    return pixels


def plan_tree(counts: CellCounts, *, objects: int, measurements: int) -> PixelTree:
    """Plan partitions: the largest pixels that hold at most so many objects and measurements (none beyond order 12).

    Measurements weigh against their limit as objects against theirs; the heavier of both counts in each order-12 pixel.
    """
    weights = np.maximum(counts.objects * measurements, counts.measurements * objects)
    return PixelTree.around(plan_cells([], counts.pixel, weights, objects * measurements))


def sources_of(cells: Sequence[Cell], counts: Sequence[CellCounts], tree: PixelTree) -> dict[int, list[Source]]:
    """Return, for every partition of the tree, the cells that hold objects positioned in it."""
    sources: dict[int, list[Source]] = {index: [] for index in tree.partitions}
    for cell, count in zip(cells, counts, strict=True):
        held = distinct(tree.index_of(count.pixel << 2 * (FINEST_ORDER - DEEPEST_PLANNED)))
        for index in held.tolist():
            sources[index].append((cell, len(held) == 1))
    return sources
