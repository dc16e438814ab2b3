from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skydb.calib.robust import Weighting, factor, median, precisions, reweight


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(-10, 10)))
def test_median_is_numpys(values: np.ndarray) -> None:
    assert median(values, np.empty_like(values)) == np.median(values)


@pytest.mark.parametrize("weighting", [Weighting.HUBER, Weighting.HAMPEL])
def test_weights_are_one_to_three_sigma_then_fall_without_a_step(weighting: Weighting) -> None:
    pull = np.linspace(0, 10, 10_001)
    weight = np.array([factor(t, int(weighting)) for t in pull])
    assert np.all(weight[pull <= 3] == 1)
    assert np.all(np.diff(weight) <= 0)
    assert np.abs(np.diff(weight)).max() < 1e-3


def test_hampel_rejects_from_six_sigma() -> None:
    assert factor(6.0, int(Weighting.HAMPEL)) == 0
    assert factor(-5.9, int(Weighting.HAMPEL)) > 0


def test_weights_lose_less_than_a_thousandth_on_gaussian_noise() -> None:
    t = np.linspace(-8, 8, 160_001)
    density = np.exp(-0.5 * t**2)
    density /= density.sum()
    influence = t * np.array([factor(x, int(Weighting.HAMPEL)) for x in t])
    slope = np.gradient(influence, t)
    efficiency = (slope @ density) ** 2 / (influence**2 @ density)
    assert efficiency > 0.999


def test_residuals_about_a_mean_have_unit_pulls() -> None:
    rng = np.random.default_rng(3)
    weight = np.array([100.0, 400.0, 900.0])
    precision = np.empty(3)
    precisions(weight, precision)
    data = rng.standard_normal((40_000, 3)) / np.sqrt(weight)
    off = data - (data @ weight / weight.sum())[:, None]
    np.testing.assert_allclose((off * precision).std(axis=0), 1.0, atol=0.02)


def test_one_outlier_among_five_does_not_move_the_centre() -> None:
    residual, weight = np.array([0.0, 0.01, -0.01, 0.005, 5.0]), np.full(5, 1e4)
    precision, robust = np.empty(5), np.empty(5)
    precisions(weight, precision)
    centre = reweight(residual, weight, precision, (int(Weighting.HAMPEL), 1.0), robust)
    assert abs(centre - 0.00125) < 1e-9
    assert robust.tolist() == [1e4, 1e4, 1e4, 1e4, 0]
