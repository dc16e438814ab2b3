from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.calib import pairsum
from skydb.calib.bandimages import band_images
from skydb.calib.normal import ALONE, BOUND, OUTLIERS, USED, Partial, Weights, accumulate, combine
from skydb.calib.robust import Weighting
from skydb.calib.select import Reason, Selection
from skydb.errors import DataError

from .oracles import marginalised
from .synthetic import Layout, cut, survey, whole

HAMPEL = Weights(int(Weighting.HAMPEL), 1.0)


def equations(cells: list[Selection], images: object, **how: object):  # type: ignore[no-untyped-def]  # a test gives what it likes
    return combine((accumulate(c, np.zeros(len(c.image_id)), **how) for c in cells), images)  # type: ignore[arg-type]  # a test gives what it likes


def test_kernel_equals_the_dense_schur_complement() -> None:
    made = survey(Layout(side=2, epochs=6, stars=20))
    normal = equations(whole(made), made.images)
    matrix, right = marginalised(whole(made)[0])
    np.testing.assert_allclose(normal.matrix().toarray(), matrix, atol=1e-4, rtol=1e-8)
    np.testing.assert_allclose(normal.right_side(), right, atol=1e-4, rtol=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_kernel_equals_the_oracle_on_ragged_cells(seed: int) -> None:
    cell = ragged_cell(seed)
    n = len(cell.image_id)
    normal = equations([cell], band_images(cell.image_id, np.zeros(n)))
    matrix, right = marginalised(cell)
    np.testing.assert_allclose(normal.matrix().toarray(), matrix, atol=2e-4, rtol=1e-8)
    np.testing.assert_allclose(normal.right_side(), right, atol=2e-4, rtol=1e-8)


def ragged_cell(seed: int) -> Selection:
    """Stars of 2 to 12 measurements, some of them twice on one image."""
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(2, 15)), int(rng.integers(1, 30))
    runs = [np.sort(rng.integers(0, m, rng.integers(2, 13))) for _ in range(k)]
    runs = [r for r in runs if r[0] != r[-1]] or [np.array([0, 1])]
    image = np.concatenate(runs).astype(np.int32)
    starts = np.append(0, np.cumsum([len(r) for r in runs])).astype(np.int64)
    n = len(image)
    return Selection(
        starts, np.arange(len(runs)), image, rng.normal(0, 0.1, n).astype(np.float32),
        rng.uniform(100, 1e4, n).astype(np.float32), np.ones(n, np.float32), np.arange(m) * 7,
        np.bincount(image, minlength=m), np.zeros((m, len(Reason)), np.int64),
    )


def test_stars_that_overflow_the_block_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = survey(Layout(side=4, epochs=8, stars=10))
    (cell,) = whole(made)
    usual = accumulate(cell, np.zeros(len(cell.image_id)))
    monkeypatch.setattr(pairsum, "_BLOCK", 8)
    monkeypatch.setattr(pairsum, "_BLOCK_LIMIT", 8)
    assert len(pairsum.new_block(200, 8).image) == 8
    tight = accumulate(cell, np.zeros(len(cell.image_id)))
    np.testing.assert_array_equal(usual.pair, tight.pair)
    np.testing.assert_array_equal(usual.coupling, tight.coupling)


def test_table_grows_past_its_first_size() -> None:
    rng = np.random.default_rng(2)
    image = np.sort(np.array([rng.choice(600, 12, replace=False) for _ in range(400)]), axis=1).astype(np.int32)
    n = image.size
    cell = Selection(
        np.arange(0, n + 1, 12), np.arange(400), image.ravel(), np.zeros(n, np.float32), np.full(n, 100, np.float32),
        np.ones(n, np.float32), np.arange(600), np.bincount(image.ravel(), minlength=600),
        np.zeros((600, len(Reason)), np.int64),
    )
    matrix, _ = marginalised(cell)
    normal = equations([cell], band_images(np.arange(600), np.zeros(600)))
    assert len(normal.coupling) > 4096
    np.testing.assert_allclose(normal.matrix().toarray(), matrix, atol=1e-3)


def test_a_common_constant_is_exactly_without_effect() -> None:
    made = survey(Layout(side=3, epochs=6))
    normal = equations(whole(made), made.images, weights=HAMPEL)
    rows = np.zeros(len(made.images), np.int64)
    np.add.at(rows, normal.lower, -normal.coupling)
    np.add.at(rows, normal.upper, -normal.coupling)
    assert np.array_equal(rows + normal.diagonal(), np.zeros_like(rows))


@pytest.mark.parametrize("n_cells", [8, 64])
def test_sums_are_the_same_bits_however_the_sky_is_cut(n_cells: int) -> None:
    made = survey(Layout(side=4, epochs=6, stars=40), outliers=0.05)
    one = equations(whole(made), made.images, weights=HAMPEL)
    cells = cut(made, n_cells)[::-1]
    many = equations(cells, made.images, weights=HAMPEL)
    for name in ("lower", "upper", "coupling", "sums", "pulls", "n_stars", "n_candidates", "rejected"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name), err_msg=name)


def test_cells_that_wait_to_be_merged_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = survey(Layout(side=3, epochs=5, stars=30))
    one = equations(whole(made), made.images)
    monkeypatch.setattr(pairsum, "_MERGE_FROM", 50)
    many = equations(cut(made, 20), made.images)
    for name in ("lower", "upper", "coupling"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


def test_gross_outlier_has_no_weight_and_is_counted() -> None:
    cell = five_images(np.array([0.0, 0.001, -0.001, 0.002, 0.9]))
    part = accumulate(cell, np.zeros(5), weights=HAMPEL)
    assert part.sums[:, USED].tolist() == [1, 1, 1, 1, 0]
    assert part.sums[4, OUTLIERS] == 1
    assert not np.any(part.pair & 0xFFFFFFFF == 4)


def test_two_discordant_measurements_of_a_star_are_both_rejected() -> None:
    part = accumulate(pair_of_images(0.0, 0.2), np.zeros(2), weights=HAMPEL)
    assert part.sums[:, OUTLIERS].tolist() == [1, 1]
    assert part.n_stars == 0


def test_last_measurement_left_of_a_star_is_counted_as_alone() -> None:
    image = np.array([0, 1, 1], np.int32)
    cell = Selection(
        np.array([0, 3]), np.array([1]), image, np.array([0.9, 0.0, 0.0], np.float32), np.full(3, 1e4, np.float32),
        np.ones(3, np.float32), np.array([10, 20]), np.array([1, 2]), np.zeros((2, len(Reason)), np.int64),
    )
    part = accumulate(cell, np.zeros(2), weights=HAMPEL)
    assert part.sums[:, [USED, OUTLIERS, ALONE]].tolist() == [[0, 1, 0], [0, 0, 2]]


def test_frozen_weights_stay_when_the_solution_moves() -> None:
    made = survey(Layout(side=2, epochs=5), outliers=0.05)
    (cell,) = whole(made)
    zero, moved = np.zeros(len(cell.image_id)), np.random.default_rng(1).normal(0, 0.1, len(cell.image_id))
    first = accumulate(cell, zero, weights=HAMPEL)
    second = accumulate(cell, moved, weights_at=zero, weights=HAMPEL)
    np.testing.assert_array_equal(first.coupling, second.coupling)
    normal, after = (combine([p], made.images) for p in (first, second))
    np.testing.assert_allclose(after.right_side(), normal.right_side() - normal.matrix() @ moved, atol=1e-2, rtol=1e-6)


def test_empty_cell_adds_nothing() -> None:
    made = survey(Layout(side=2, epochs=3))
    empty = cut(made, 4000)
    assert any(len(c) == 0 for c in empty)
    np.testing.assert_array_equal(equations(empty, made.images).sums, equations(whole(made), made.images).sums)


def test_sums_that_might_overflow_are_refused() -> None:
    part = accumulate(pair_of_images(0.0, 0.1), np.zeros(2))
    part.sums[1, BOUND] = 2**45
    with pytest.raises(DataError, match="image 20 has weights or residuals too large"):
        combine([part], band_images(np.array([10, 20]), np.zeros(2)))


def test_image_whose_sums_might_overflow_is_called_by_its_name() -> None:
    part = accumulate(pair_of_images(0.0, 0.1), np.zeros(2))
    part.sums[1, BOUND] = 2**45
    images = replace(band_images(np.array([10, 20]), np.zeros(2)), name=np.array(["", "o5432g0001o.XY33"]))
    with pytest.raises(DataError, match=r"image 20 \(o5432g0001o.XY33\) has weights"):
        combine([part], images)


def test_cell_with_an_unknown_image_is_refused() -> None:
    part = accumulate(pair_of_images(0.0, 0.1), np.zeros(2))
    assert isinstance(part, Partial)
    with pytest.raises(DataError, match="image 20 is not in the band"):
        combine([part], band_images(np.array([10, 30]), np.zeros(2)))


def five_images(residual: np.ndarray) -> Selection:
    n = len(residual)
    return Selection(
        np.array([0, n]), np.array([1]), np.arange(n, dtype=np.int32), residual.astype(np.float32),
        np.full(n, 1e4, np.float32), np.ones(n, np.float32), 10 * np.arange(1, n + 1), np.ones(n, np.int64),
        np.zeros((n, len(Reason)), np.int64),
    )


def pair_of_images(first: float, second: float) -> Selection:
    return five_images(np.array([first, second]))
