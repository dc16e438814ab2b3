"""Pixels, cells, ranges and borders against healpy, sets and brute force."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import DataError, UsageError
from skydb.sky.partition import (
    STEEPEST,
    cell_of,
    cell_range,
    centre_of,
    in_ranges,
    intersect_ranges,
    merge_ranges,
    near_border,
    pixel_of,
    plan_cells,
    separation_arcsec,
    unit_vectors,
)

TRANSITION = float(np.degrees(np.arcsin(2 / 3)))
OLD_CELLS = st.lists(
    st.sampled_from([0, 1, 3, 11, 13, 14]).flatmap(
        lambda norder: st.tuples(st.just(norder), st.integers(0, min(40, 12 * 4**norder - 1)))
    ),
    max_size=6,
)
SMALL_RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=8).map(
    lambda pairs: np.array(pairs, dtype=np.int64).reshape(-1, 2)
)


def on_sphere(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def moved(ra: np.ndarray, dec: np.ndarray, arcsec: float, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions exactly so far away along a great circle, in tangent-plane directions `angle`."""
    at = unit_vectors(ra, dec)
    helper = np.where(np.abs(at[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    east = np.cross(helper, at)
    east /= np.linalg.norm(east, axis=1)[:, None]
    north = np.cross(at, east)
    step = np.radians(arcsec / 3600)
    to = np.cos(step) * at + np.sin(step) * (np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north)
    return np.degrees(np.arctan2(to[:, 1], to[:, 0])), np.degrees(np.arctan2(to[:, 2], np.hypot(to[:, 0], to[:, 1])))


def awkward_places(rng: np.random.Generator, norder: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions on borders and corners of pixels, at poles, on RA 0 and where belt and caps meet."""
    npix = rng.integers(0, 12 * 4**norder, n)
    vectors = np.concatenate([healpy.boundaries(1 << norder, int(p), step=3, nest=True).T for p in npix])
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
    dec = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    special_ra = np.concatenate((rng.integers(0, 8, n) * 45.0, rng.uniform(0, 360, n), np.zeros(n)))
    special_dec = np.concatenate(
        (rng.choice([90.0, -90.0, 0.0, TRANSITION, -TRANSITION], 2 * n), rng.uniform(-90, 90, n))
    )
    return np.concatenate((ra, special_ra)), np.clip(np.concatenate((dec, special_dec)), -90, 90)


@pytest.mark.parametrize("order", [0, 5, 14, 29])
def test_pixels_are_those_of_healpy(order: int) -> None:
    ra, dec = on_sphere(np.random.default_rng(1), 20_000)
    np.testing.assert_array_equal(pixel_of(ra, dec, order), healpy.ang2pix(1 << order, ra, dec, nest=True, lonlat=True))


def test_pixels_at_poles_and_ra_0_are_those_of_healpy() -> None:
    ra = np.tile(np.arange(0.0, 360.0, 15.0), 4)
    dec = np.repeat([90.0, -90.0, 89.9999999, -89.9999999], 24)
    np.testing.assert_array_equal(pixel_of(ra, dec), healpy.ang2pix(1 << 29, ra, dec, nest=True, lonlat=True))


def test_any_turn_of_ra_is_the_same_place() -> None:
    ra, dec = np.arange(0.0, 360.0, 0.25), np.linspace(-90, 90, 1440)
    for turn in (-720.0, -360.0, 360.0):
        np.testing.assert_array_equal(pixel_of(ra + turn, dec), pixel_of(ra, dec))
        np.testing.assert_array_equal(unit_vectors(ra + turn, dec), unit_vectors(ra, dec))


def test_a_coarse_pixel_is_the_ancestor_of_the_fine_one_even_on_borders() -> None:
    ra, dec = awkward_places(np.random.default_rng(2), 6, 300)
    for order in (0, 6, 12, 20):
        np.testing.assert_array_equal(pixel_of(ra, dec, order), cell_of(pixel_of(ra, dec), order))


@pytest.mark.parametrize(("ra", "dec"), [(np.nan, 0.0), (np.inf, 0.0), (0.0, 90.0001), (0.0, np.nan)])
def test_no_place_on_the_sky_is_a_data_error(ra: float, dec: float) -> None:
    for function in (pixel_of, unit_vectors):
        with pytest.raises(DataError, match="position 1"):
            function(np.array([1.0, ra]), np.array([1.0, dec]))


def test_centres_lie_in_their_pixels() -> None:
    pixels = np.random.default_rng(3).integers(0, 12 * 4**29, 2000)
    np.testing.assert_array_equal(pixel_of(*centre_of(pixels)), pixels)


def test_a_cell_range_holds_exactly_its_pixels() -> None:
    ra, dec = on_sphere(np.random.default_rng(4), 5000)
    pix29 = pixel_of(ra, dec)
    for norder, npix in ((0, 4), (2, 77), (29, int(pix29[0]))):
        low, high = cell_range(norder, npix)
        np.testing.assert_array_equal((pix29 >= low) & (pix29 < high), cell_of(pix29, norder) == npix)


@pytest.mark.parametrize("arcsec", [1e-4, 1e-2, 1.0, 3600.0, 90 * 3600.0, 179.9999 * 3600.0])
def test_separation_is_exact_from_tiny_to_antipodal(arcsec: float) -> None:
    rng = np.random.default_rng(5)
    along = rng.uniform(-90, 90, 500)
    np.testing.assert_allclose(separation_arcsec(12.0, along, 12.0, along), np.zeros(500), atol=1e-12)
    alpha = rng.uniform(0, 360 - arcsec / 3600, 500)
    found = separation_arcsec(alpha, 0.0, alpha + arcsec / 3600, 0.0)
    np.testing.assert_allclose(found, arcsec, atol=3e-10, rtol=1e-12)


def test_separation_across_the_pole_and_ra_0() -> None:
    second = 1 / 3600
    assert separation_arcsec(10.0, 90 - second, 190.0, 90 - second) == pytest.approx(2.0, abs=1e-9)
    assert separation_arcsec(360 - second, 0.0, second, 0.0) == pytest.approx(2.0, abs=1e-9)
    assert separation_arcsec(0.0, 90.0, 123.0, 90.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("norder", range(15))
@pytest.mark.parametrize("radius", [0.01, 1.0, 600.0])
def test_no_point_away_from_the_border_has_a_neighbour_in_another_pixel(norder: int, radius: float) -> None:
    rng = np.random.default_rng(norder)
    places = [on_sphere(rng, 4000), awkward_places(rng, norder, 120)]
    ra, dec = (np.concatenate(both) for both in zip(*places, strict=True))
    # Half of the points start up to 1.5 radii from an awkward place, so that the limit itself is tried.
    ra, dec = moved(ra, dec, 1.5 * radius * rng.uniform(), rng.uniform(0, 2 * np.pi, len(ra)))
    pix29 = pixel_of(ra, dec)
    far = ~near_border(pix29, norder, radius)
    for _ in range(8):
        to = pixel_of(*moved(ra, dec, 0.999999 * radius, rng.uniform(0, 2 * np.pi, len(ra))))
        assert not (far & (cell_of(to, norder) != cell_of(pix29, norder))).any()


def test_the_bound_on_the_gradient_is_reached_at_the_pole_and_nowhere_passed() -> None:
    """Brute force: how far x and y of order-29 pixels move over 20 arcsec, everywhere on the sky."""
    rng = np.random.default_rng(7)
    ra, dec = on_sphere(rng, 40_000)
    polar = np.clip(90 - np.abs(rng.normal(0, 0.05, 40_000)), -90, 90)
    ra, dec = np.concatenate((ra, ra)), np.concatenate((dec, polar))
    to_ra, to_dec = moved(ra, dec, 20.0, rng.uniform(0, 2 * np.pi, len(ra)))
    x, y, face = (np.asarray(part) for part in healpy.pix2xyf(1 << 29, pixel_of(ra, dec), nest=True))
    to_x, to_y, to_face = (np.asarray(part) for part in healpy.pix2xyf(1 << 29, pixel_of(to_ra, to_dec), nest=True))
    same = face == to_face
    steepest = np.maximum(abs(x - to_x), abs(y - to_y))[same].max() / 2**29 / np.radians(20 / 3600)
    assert 0.99 * STEEPEST < steepest <= STEEPEST * (1 + 1e-6)


def test_few_points_of_a_large_cell_are_near_its_border() -> None:
    pix29 = pixel_of(*on_sphere(np.random.default_rng(8), 200_000))
    side = np.degrees(healpy.nside2resol(1 << 5)) * 3600
    assert near_border(pix29, 5, 10.0).mean() < 1.9 * 4 * 10.0 / side


@given(SMALL_RANGES)
@settings(deadline=None)
def test_merged_ranges_are_sorted_disjoint_and_cover_the_same(ranges: np.ndarray) -> None:
    merged = merge_ranges(ranges)
    assert (merged[:, 0] < merged[:, 1]).all()
    assert (merged[1:, 0] > merged[:-1, 1]).all()
    assert covered(merged) == covered(ranges)
    np.testing.assert_array_equal(in_ranges(np.arange(41), ranges), [n in covered(ranges) for n in range(41)])


@given(SMALL_RANGES, SMALL_RANGES)
@settings(deadline=None)
def test_intersected_ranges_cover_what_both_cover(one: np.ndarray, other: np.ndarray) -> None:
    both = intersect_ranges(one, other)
    assert (both[:, 0] < both[:, 1]).all()
    assert covered(both) == covered(one) & covered(other)


def covered(ranges: np.ndarray) -> set[int]:
    return {n for low, high in ranges for n in range(low, high)}


def in_cells(cells: list[tuple[int, int]], pixels12: np.ndarray) -> np.ndarray:
    """Number of cells that overlap each order-12 pixel, and whether they cover it whole, by brute force."""
    fine = pixels12[:, None] * 16 + np.arange(16)
    inside = np.zeros(fine.shape, dtype=int)
    for norder, npix in cells:
        low, high = (end >> 30 for end in cell_range(norder, npix))
        inside += (fine >= low) & (fine < high)
    return inside


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_planned_cells_are_disjoint_keep_the_old_and_cover_the_new(data: st.DataObject) -> None:
    old = disjoint(data.draw(OLD_CELLS))
    coarse = data.draw(st.lists(st.integers(0, 12 * 4**12 - 1) | st.integers(0, 60), max_size=20, unique=True))
    pixels = np.array(sorted(coarse), dtype=np.int64)
    n = len(pixels)
    counts = np.array(data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)), dtype=np.int64)
    limit = data.draw(st.integers(1, 30))
    cells = plan_cells(old, pixels, counts, limit)
    assert set(old) <= set(cells)
    assert (in_cells(cells, pixels) == 1).all()
    assert disjoint(cells) == cells
    for norder, npix in set(cells) - set(old):
        low, high = cell_range(norder, npix)
        rows = counts[(pixels << 34 >= low) & (pixels << 34 < high)].sum()
        assert rows <= limit or norder >= 12
        if norder > 0:
            assert parent_could_not_hold(old, pixels, counts, limit=limit, cell=(norder, npix))


def parent_could_not_hold(
    old: list[tuple[int, int]], pixels: np.ndarray, counts: np.ndarray, *, limit: int, cell: tuple[int, int]
) -> bool:
    low, high = cell_range(cell[0] - 1, cell[1] // 4)
    holds_old = any(low < cell_range(*other)[1] and cell_range(*other)[0] < high for other in old)
    return holds_old or counts[(pixels << 34 >= low) & (pixels << 34 < high)].sum() > limit


def disjoint(cells: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for cell in sorted(cells, key=lambda cell: cell_range(*cell)):
        if not kept or cell_range(*cell)[0] >= cell_range(*kept[-1])[1]:
            kept.append(cell)
    return kept


def test_a_plan_for_few_rows_takes_base_pixels() -> None:
    assert plan_cells([], np.array([0, 4**12, 4**12 + 5]), np.array([1, 2, 3]), 100) == [(0, 0), (0, 1)]


def test_overlapping_old_cells_and_a_limit_of_nothing_are_usage_errors() -> None:
    none = np.zeros(0, dtype=np.int64)
    with pytest.raises(UsageError, match="overlap"):
        plan_cells([(0, 0), (1, 2)], none, none, 10)
    with pytest.raises(UsageError, match="at least one row"):
        plan_cells([], none, none, 0)
