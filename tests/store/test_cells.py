"""Cells as columns behave as the list of them would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.store.cells import Cell, Cells

MIXED = [Cell(1, 3, "far", 0.1, True), Cell(0, 5), Cell(2, 4, drift_arcsec=2.5), Cell(0, 11, "b")]


def rows(cells: list[Cell]) -> list[tuple[int, int, str, float, int]]:
    return [(c.norder, c.npix, c.host, c.drift_arcsec, int(c.stale)) for c in cells]


def test_cells_are_in_sky_order_whatever_their_order_in_the_catalog() -> None:
    in_order = sorted(MIXED, key=lambda c: c.lo)
    assert list(Cells.of(rows(MIXED))) == in_order
    assert Cells.of(rows(MIXED[::-1])) == Cells.of(rows(MIXED)) == in_order != MIXED


def test_cells_are_indexed_and_sliced_as_a_list_is() -> None:
    cells, in_order = Cells.of(rows(MIXED)), sorted(MIXED, key=lambda c: c.lo)
    assert [cells[i] for i in range(-4, 4)] == [in_order[i] for i in range(-4, 4)]
    assert cells[1:3] == in_order[1:3]
    assert MIXED[0] in cells
    assert Cell(0, 0) not in cells
    with pytest.raises(IndexError):
        cells[4]


def test_columns_are_those_of_the_cells() -> None:
    cells = Cells.of(rows(MIXED))
    for name in ("norder", "npix", "drift_arcsec", "lo", "hi"):
        assert getattr(cells, name).tolist() == [getattr(c, name) for c in cells]


def test_no_cells_are_none() -> None:
    assert Cells.of([]) == []
    assert len(Cells.of([]).overlapping(np.array([[0, 12 << 58]]))) == 0


EDGES = st.lists(st.integers(0, 12 << 6), unique=True, max_size=8).map(sorted)


@settings(deadline=None)
@given(EDGES)
def test_overlapping_cells_are_those_of_brute_force(edges: list[int]) -> None:
    ranges = np.array(edges[: len(edges) // 2 * 2], dtype=np.int64).reshape(-1, 2) << 52
    cells = Cells.of(rows(MIXED))
    assert cells.overlapping(ranges) == [c for c in cells if any(lo < c.hi and c.lo < hi for lo, hi in ranges.tolist())]
