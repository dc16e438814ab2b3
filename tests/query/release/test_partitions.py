"""The partitions tile what they should, and hold what they may."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.query.release.partitions import CellCounts, PixelTree, plan_tree, total_counts
from skydb.sky.partition import cell_range

ORDER_12 = st.integers(0, 12 * 4**12 - 1)


def counts_of(pixels: list[int], objects: int = 1, measurements: int = 0) -> CellCounts:
    pixel, count = np.unique(np.array(pixels, np.int64), return_counts=True)
    return CellCounts(pixel, count * objects, count * measurements, frozenset({("g", "chip")}))


def assert_tiles_the_sky(tree: PixelTree) -> None:
    edges = [cell_range(*tree.pixel(i)) for i in range(len(tree.npix))]
    assert edges[0][0] == 0
    assert edges[-1][1] == 12 << 58
    assert all(a[1] == b[0] for a, b in pairwise(edges))


@settings(deadline=None)
@given(st.lists(ORDER_12, min_size=1, max_size=60), st.integers(1, 8))
def test_planned_pixels_tile_the_sky_and_hold_at_most_the_limit(pixels: list[int], limit: int) -> None:
    counts = counts_of(pixels)
    tree = plan_tree(counts, objects=limit, measurements=1)
    assert_tiles_the_sky(tree)
    index = tree.index_of(counts.pixel << 34)
    assert tree.occupied[index].all()
    assert set(index.tolist()) == set(tree.partitions)
    held = np.bincount(index, counts.objects, len(tree.npix))
    assert (held[tree.norder < 12] <= limit).all()


def test_sky_without_objects_is_tiled_by_the_fewest_pixels() -> None:
    partitions = [(0, 0), (1, 7), (2, 80), (2, 81), (6, 48_000), (12, 200_000_000)]
    tree = PixelTree.around(partitions)
    assert_tiles_the_sky(tree)
    assert [tree.pixel(i) for i in tree.partitions] == sorted(partitions, key=lambda p: cell_range(*p))
    for norder, npix in (tree.pixel(int(i)) for i in np.flatnonzero(~tree.occupied)):
        low, high = cell_range(norder - 1, npix >> 2) if norder else (0, 0)
        assert norder == 0 or any(low <= cell_range(*p)[0] < high for p in partitions)


def test_many_measurements_divide_a_partition_as_many_objects_do() -> None:
    counts = counts_of([0, 4**11, 2 * 4**11], objects=1, measurements=50)
    assert len(plan_tree(counts, objects=10, measurements=1_000).partitions) == 1
    assert len(plan_tree(counts, objects=10, measurements=100).partitions) == 3


def test_counts_of_cells_add_up() -> None:
    total = total_counts([counts_of([5, 5, 9], 1, 2), counts_of([9, 11], 10, 0)])
    assert total.pixel.tolist() == [5, 9, 11]
    assert total.objects.tolist() == [2, 11, 10]
    assert total.measurements.tolist() == [4, 2, 0]


def test_fraction_of_the_sky_is_that_of_the_partitions() -> None:
    assert PixelTree.around([(0, 3), (1, 0)]).sky_fraction == pytest.approx(1.25 / 12)
