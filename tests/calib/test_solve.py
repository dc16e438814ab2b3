from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import block_diag, csc_array

from skydb.calib.components import components
from skydb.calib.normal import NormalEquations, accumulate, combine
from skydb.calib.solve import Gauge, SolveLimits, solve
from skydb.errors import DataError

from .oracles import constrained_covariance, least_squares, marginalised
from .synthetic import Layout, survey, whole


def equations(layout: Layout) -> NormalEquations:
    made = survey(layout)
    return combine([accumulate(c, np.zeros(len(c.image_id))) for c in whole(made)], made.images)


def gauge_of(normal: NormalEquations) -> Gauge:
    label = components(normal.matrix())
    return Gauge(label, normal.weight(), np.ones(len(label)))


def test_solution_is_lapacks_least_squares_to_a_micromagnitude() -> None:
    made = survey(Layout(side=2, epochs=6, stars=40))
    normal = equations(Layout(side=2, epochs=6, stars=40))
    gauge = gauge_of(normal)
    exact = gauge.centred(least_squares(whole(made)[0]))
    found = solve(normal.matrix(), normal.right_side(), gauge)
    np.testing.assert_allclose(found.value, exact, atol=1e-9)


def test_errors_are_those_of_the_constrained_normal_matrix() -> None:
    normal = equations(Layout(side=3, epochs=6, stars=40))
    gauge = gauge_of(normal)
    found = solve(normal.matrix(), normal.right_side(), gauge, errors=True)
    covariance = constrained_covariance(normal.matrix().toarray(), gauge.weight)
    np.testing.assert_allclose(found.error, np.sqrt(np.diag(covariance)), rtol=1e-9)


def test_constraint_holds_in_every_component_and_components_do_not_mix() -> None:
    normal = equations(Layout(side=2, epochs=5, islands=3, stars=30))
    gauge = gauge_of(normal)
    matrix, right = normal.matrix(), normal.right_side()
    found = solve(matrix, right, gauge, errors=True)
    assert gauge.label.max() == 2
    for c in range(3):
        inside = np.flatnonzero(gauge.label == c)
        assert abs(gauge.weight[inside] @ found.value[inside]) < 1e-9 * gauge.weight[inside].sum()
        alone = Gauge(np.zeros(len(inside), np.int32), gauge.weight[inside], gauge.null[inside])
        apart = solve(csc_array(matrix[inside][:, inside]), right[inside], alone, errors=True)
        np.testing.assert_allclose(found.value[inside], apart.value, atol=1e-12)
        np.testing.assert_allclose(found.error[inside], apart.error, rtol=1e-9)


def test_untied_unknowns_stay_at_zero_with_nan_error() -> None:
    matrix = csc_array(block_diag([csc_array([[2.0, -2.0], [-2.0, 2.0]]), csc_array((2, 2))]))
    gauge = Gauge(components(matrix), np.array([1.0, 3.0, 1.0, 1.0]), np.ones(4))
    found = solve(matrix, np.array([1.0, -1.0, 0.0, 0.0]), gauge, errors=True)
    np.testing.assert_allclose(found.value, [0.375, -0.125, 0, 0])
    np.testing.assert_allclose(found.error[:2], np.sqrt(0.5) * np.array([0.75, 0.25]))
    assert np.isnan(found.error[2:]).all()


def test_nothing_tied_is_solved_as_nothing() -> None:
    gauge = Gauge(np.full(3, -1, np.int32), np.zeros(3), np.ones(3))
    found = solve(csc_array((3, 3)), np.zeros(3), gauge, errors=True)
    assert np.isnan(found.error).all()
    assert not found.value.any()


def test_conjugate_gradients_give_the_same_answer_when_memory_is_short() -> None:
    normal = equations(Layout(side=4, epochs=6, stars=30))
    gauge = gauge_of(normal)
    direct = solve(normal.matrix(), normal.right_side(), gauge, errors=True)
    limits = SolveLimits(max_factor_bytes=0, n_draws=400)
    drawn = solve(normal.matrix(), normal.right_side(), gauge, limits, errors=True)
    assert (direct.method, drawn.method) == ("direct", "iterative")
    np.testing.assert_allclose(drawn.value, direct.value, atol=1e-8)
    ratio = drawn.error / direct.error
    assert abs(ratio.mean() - 1) < 0.03
    assert ratio.std() < 0.06


def test_large_matrix_is_first_tried_with_conjugate_gradients_and_factored_where_they_fail() -> None:
    normal = equations(Layout(side=4, epochs=6, stars=30))
    gauge = gauge_of(normal)
    direct = solve(normal.matrix(), normal.right_side(), gauge)
    quick = solve(normal.matrix(), normal.right_side(), gauge, SolveLimits(iterate_from=0))
    hasty = solve(normal.matrix(), normal.right_side(), gauge, SolveLimits(iterate_from=0, first_iterations=2))
    assert (quick.method, hasty.method) == ("iterative", "direct")
    np.testing.assert_allclose(quick.value, direct.value, atol=1e-8)
    np.testing.assert_array_equal(hasty.value, direct.value)


def test_iteration_that_does_not_converge_is_an_error() -> None:
    normal = equations(Layout(side=4, epochs=6, stars=30))
    limits = SolveLimits(max_factor_bytes=0, max_iterations=2)
    with pytest.raises(DataError, match="did not converge in 2 iterations"):
        solve(normal.matrix(), normal.right_side(), gauge_of(normal), limits)


def test_values_that_are_not_finite_are_refused() -> None:
    normal = equations(Layout(side=2, epochs=3))
    right = normal.right_side()
    right[0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        solve(normal.matrix(), right, gauge_of(normal))


def test_nights_and_airmass_slopes_are_a_projection_of_the_image_equations() -> None:
    made = survey(Layout(side=3, epochs=8, stars=40))
    normal = combine([accumulate(c, np.zeros(len(c.image_id))) for c in whole(made)], made.images)
    rng = np.random.default_rng(6)
    n = len(made.images)
    night, airmass = np.arange(n) % 4, rng.uniform(0, 1, n)
    to_image = np.column_stack([night[:, None] == np.arange(4), airmass]).astype(float)
    matrix = csc_array(to_image.T @ normal.matrix().toarray() @ to_image)
    null = np.array([1.0, 1, 1, 1, 0])
    weight = np.append(np.ones(4), 0)
    found = solve(matrix, to_image.T @ normal.right_side(), Gauge(np.zeros(5, np.int32), weight, null), errors=True)
    full, right = marginalised(whole(made)[0])
    bordered = np.block([[to_image.T @ full @ to_image, weight[:, None]], [weight, np.zeros((1, 1))]])
    exact = np.linalg.solve(bordered, np.append(to_image.T @ right, 0))[:5]
    np.testing.assert_allclose(found.value, exact, atol=1e-9)
    np.testing.assert_allclose(found.error, np.sqrt(np.diag(np.linalg.inv(bordered))[:5]), rtol=1e-8)


@pytest.mark.parametrize("layout", [Layout(side=2, epochs=3), Layout(side=4, epochs=5, islands=2, stars=30)])
def test_weakest_modes_are_the_smallest_eigenvalues_above_the_gauges(layout: Layout) -> None:
    normal = equations(layout)
    gauge = gauge_of(normal)
    found = solve(normal.matrix(), normal.right_side(), gauge, errors=True)
    root = np.sqrt(normal.matrix().diagonal())
    values = np.linalg.eigvalsh(normal.matrix().toarray() / np.outer(root, root))
    np.testing.assert_allclose([m.eigenvalue for m in found.modes], values[layout.islands:][:3], rtol=1e-3)
    assert all(gauge.label[m.row] == m.component for m in found.modes)


def test_a_component_tied_by_one_thread_shows_as_its_weakest_mode() -> None:
    normal = equations(Layout(side=2, epochs=5, islands=2, stars=30))
    label = components(normal.matrix())
    ends = np.flatnonzero(label == 0)[0], np.flatnonzero(label == 1)[0]
    tied = replace(normal, lower=np.append(normal.lower, min(ends)), upper=np.append(normal.upper, max(ends)),
                   coupling=np.append(normal.coupling, 100 << 20))
    gauge = gauge_of(tied)
    found = solve(tied.matrix(), tied.right_side(), gauge, errors=True)
    assert gauge.label.max() == 0
    assert found.modes[0].rms == pytest.approx(0.05, rel=0.1)
    assert found.modes[0].eigenvalue < 0.01 * found.modes[1].eigenvalue
