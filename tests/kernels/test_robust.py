"""Weighted and robust means against slow numpy, and against truth in simulated samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.kernels.robust import RunMeans, median_of, robust_means, weighted_means
from skydb.kernels.robust_plane import PlaneMeans, robust_points

NUMBER = st.one_of(st.just(np.nan), st.just(30.0), st.floats(-1e3, 1e3))
WEIGHT = st.one_of(st.just(np.nan), st.just(0.0), st.floats(1e-2, 1e2))


def slow_mask(points: np.ndarray, weights: np.ndarray, *, clean: float, median: float) -> np.ndarray:
    """Rows kept of points (N, D) with weights (N, D): the scheme as the module's docstring states it."""
    kept = (weights > 0).all(axis=1) & np.isfinite(points).all(axis=1)

    def squares(centre: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(kept, (weights * (points - centre) ** 2).sum(axis=1), np.nan))

    def mean(w: np.ndarray) -> np.ndarray:
        return np.asarray((w[kept] * points[kept]).sum(axis=0) / w[kept].sum(axis=0))

    for _ in range(5):
        if kept.sum() < 3 or np.nanmax(squares(mean(weights))) <= clean**2:
            break
        centre = np.median(points[kept], axis=0)
        formal = np.sqrt(1 / weights[kept].sum(axis=0))
        scale = 2.385**2 * max(1.0, np.nanmedian(squares(centre)) / median)
        for _ in range(10):
            before = centre
            centre = mean(weights / (1 + squares(centre) / scale)[:, None])
            if (((centre - before) / formal) ** 2).sum() <= 1e-6:
                break
        u = 1 + squares(centre) / scale
        masked = kept & (0.3 * u > 1 + np.nanmedian(squares(centre)) / scale)
        kept = kept & ~masked
        if not masked.any() or scale == 2.385**2:
            break
    return np.asarray(kept)


def check_run(found: RunMeans, k: int, y: np.ndarray, w: np.ndarray, kept: np.ndarray) -> None:
    n, y, w = int(kept.sum()), y[kept], w[kept]
    assert found.n_used[k] == n
    if n == 0:
        assert np.isnan([found.mean[k], found.err[k], found.stdev[k], found.chi2[k], found.smallest[k]]).all()
        return
    mean = np.average(y, weights=w)
    chi2 = (w * (y - mean) ** 2).sum() / (n - 1) if n > 1 else np.nan
    expected = [mean, np.sqrt(max(1.0, chi2 if n > 1 else 1.0) / w.sum()), np.sqrt(chi2 * n / w.sum()), chi2]
    got = [found.mean[k], found.err[k], found.stdev[k], found.chi2[k]]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    assert (found.smallest[k], found.largest[k]) == (y.min(), y.max())


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.tuples(NUMBER, WEIGHT), max_size=9), max_size=5))
def test_means_of_runs_equal_the_slow_ones(runs: list[list[tuple[float, float]]]) -> None:
    starts = np.concatenate([[0], np.cumsum([len(run) for run in runs])]).astype(np.int64)
    y = np.array([v for run in runs for v, _ in run], np.float64)
    w = np.array([v for run in runs for _, v in run], np.float64)
    plain, robust = weighted_means(y, w, starts), robust_means(y, w, starts)
    for k, (a, b) in enumerate(itertools.pairwise(starts)):
        check_run(plain, k, y[a:b], w[a:b], (w[a:b] > 0) & np.isfinite(y[a:b]))
        np.testing.assert_array_equal(plain.used[a:b], (w[a:b] > 0) & np.isfinite(y[a:b]))
        kept = slow_mask(y[a:b, None], w[a:b, None], clean=2.5, median=0.454936423)
        np.testing.assert_array_equal(robust.used[a:b], kept)
        check_run(robust, k, y[a:b], w[a:b], kept)


@pytest.mark.parametrize("outliers", [0.0, 0.05, 0.3])
def test_points_on_a_plane_equal_the_slow_ones(outliers: float) -> None:
    rng = np.random.default_rng(7)
    sizes = rng.integers(0, 20, 300)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    err = rng.uniform(0.5, 2, (starts[-1], 2))
    points = 3 * rng.normal(size=err.shape) * err
    points[rng.random(len(points)) < outliers] += 60
    points[rng.random(len(points)) < 0.05, 0] = np.nan
    weights = err**-2.0
    weights[rng.random(len(points)) < 0.05, 1] = 0
    found: PlaneMeans = robust_points(points[:, 0], points[:, 1], (weights[:, 0], weights[:, 1]), starts)
    for k, (a, b) in enumerate(itertools.pairwise(starts)):
        kept = slow_mask(points[a:b], weights[a:b], clean=3.0, median=1.386294361)
        np.testing.assert_array_equal(found.used[a:b], kept)
        p, w, n = points[a:b][kept], weights[a:b][kept], int(kept.sum())
        assert found.n_used[k] == n
        if n > 1:
            mean = (w * p).sum(axis=0) / w.sum(axis=0)
            chi2 = (w * (p - mean) ** 2).sum() / (2 * n - 2)
            errors = np.sqrt(max(1.0, chi2) / w.sum(axis=0))
            scatter = np.sqrt(((p - mean) ** 2).sum() / (2 * n - 2))
            got = (found.x[k], found.y[k], found.x_err[k], found.y_err[k], found.scatter[k], found.chi2[k])
            np.testing.assert_allclose(got, [*mean, *errors, scatter, chi2], rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_the_median_is_that_of_numpy(values: list[float]) -> None:
    assert median_of(np.array(values)) == np.median(values)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_run_does_not_depend_on_its_neighbours(n_runs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(1, 12, n_runs))]).astype(np.int64)
    y, w = rng.standard_cauchy(starts[-1]), rng.uniform(0.1, 10, starts[-1])
    whole = robust_means(y, w, starts)
    for k, (a, b) in enumerate(itertools.pairwise(starts)):
        alone = robust_means(y[a:b].copy(), w[a:b].copy(), np.array([0, b - a]))
        assert (alone.mean[0], alone.err[0]) == (whole.mean[k], whole.err[k])


def test_a_dropped_measurement_does_not_count() -> None:
    found = robust_means(np.array([1.0, np.nan, 3.0, 9.0]), np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 4]))
    assert (found.mean[0], found.n_used[0], found.used.tolist()) == (2.0, 2, [True, False, True, False])


def test_a_wrong_value_with_a_tiny_error_does_not_win() -> None:
    y = np.array([20.0, 20.1, 19.9, 20.05, 19.95, 18.0])
    found = robust_means(y, np.array([1e2] * 5 + [1e6]), np.array([0, 6]))
    assert found.used.tolist() == [True] * 5 + [False]


@pytest.mark.parametrize(("n", "too_small", "outliers", "pull"), [
    (12, 1.0, 0.0, (0.90, 1.0)), (12, 10.0, 0.0, (0.95, 1.6)), (12, 1.0, 0.05, (0.90, 1.05)),
    (5, 1.0, 0.05, (0.85, 1.05)), (3, 1.0, 0.0, (0.80, 1.0)),
])  # fmt: skip
def test_errors_of_means_are_honest(n: int, too_small: float, outliers: float, pull: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    runs = 4000
    y = rng.normal(size=n * runs) * too_small
    y += np.where(rng.random(y.size) < outliers, rng.normal(size=y.size) * 100, 0.0)
    found = robust_means(y, np.ones(y.size), np.arange(0, y.size + 1, n))
    pulls = found.mean / found.err
    assert pull[0] <= np.sqrt(np.mean(pulls**2)) <= pull[1]


def test_half_of_the_rows_may_be_outliers() -> None:
    rng = np.random.default_rng(4)
    y = np.concatenate([rng.normal(size=(500, 100)), rng.uniform(-50, 50, (500, 100))], axis=1).ravel()
    found = robust_means(y, np.ones(y.size), np.arange(0, y.size + 1, 200))
    assert np.sqrt(np.mean(found.mean**2)) < 0.135  # plain mean 1.45; relphot's own test: 0.135


def least_squares_start(y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Means of (K, N) by relphot's scheme: from the weighted mean, residuals in units of the given errors."""
    mean = (w * y).sum(axis=1) / w.sum(axis=1)
    for _ in range(10):
        u = w / (1 + w * (y - mean[:, None]) ** 2 / 2.385**2)
        mean = (u * y).sum(axis=1) / u.sum(axis=1)
    return np.asarray(mean)


@pytest.mark.parametrize(
    ("case", "gain"), [("errors 10 times too small", 1.3), ("one wrong value with a tiny error", 50)]
)
def test_the_scheme_beats_a_least_squares_start_with_given_errors(case: str, gain: float) -> None:
    rng = np.random.default_rng(1)
    runs, n = 4000, 12
    sigma = 10 ** rng.uniform(-1, 1, (runs, n)) if "tiny" in case else np.ones((runs, n))
    y, w = rng.normal(size=(runs, n)) * sigma, sigma**-2
    if "tiny" in case:
        y[:, 0], w[:, 0] = 50.0, 0.05**-2
    else:
        w = 100 * w
    mine = robust_means(y.ravel(), w.ravel(), np.arange(0, y.size + 1, n)).mean
    theirs = least_squares_start(y, w)
    assert np.sqrt(np.mean(theirs**2)) > gain * np.sqrt(np.mean(mine**2))
