"""What relcal's solution promises, on made-up surveys whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from skydb.calib.report import ZeroPointSolution
from skydb.calib.select import Selection, SelectionRules, select
from skydb.calib.verdict import Outcome
from skydb.calib.zeropoints import ZeroPointRules, in_process, solve_zero_points
from skydb.errors import UsageError
from skydb.flags import ImageFlags

from .oracles import constrained_covariance, least_squares, marginalised
from .synthetic import OPEN, PLAIN, Layout, Survey, cut, survey, whole, with_rows

F64 = NDArray[np.float64]
PLAIN_LSQ = ZeroPointRules(robust=False)
WIDE = Layout(side=5, epochs=8, stars=60)
SKY = Layout(side=3, epochs=10, stars=60)


def solved(
    made: Survey, rules: ZeroPointRules | None = None, cells: list[Selection] | None = None
) -> ZeroPointSolution:
    chosen = whole(made) if cells is None else cells
    return solve_zero_points(in_process(chosen, made.images), made.images, rules or ZeroPointRules())


def off_truth(made: Survey, found: ZeroPointSolution, weight: F64) -> F64:
    """mcal minus truth, the gauge removed once per component."""
    off = found.images.mcal - made.truth
    for c in range(len(found.gauge.weight)):
        inside = found.images.component == c
        off[inside] -= np.average(off[inside], weights=weight[inside])
    return off


def bound(made: Survey) -> tuple[F64, F64]:
    """Cramer-Rao bound on every zero point of a connected survey under the gauge, and the gauge's weights."""
    (cell,) = whole(made)
    matrix, _ = marginalised(cell)
    weight = np.bincount(cell.image, cell.weight.astype(np.float64), len(cell.image_id))
    return np.sqrt(np.diag(constrained_covariance(matrix, weight))), weight


@pytest.fixture(scope="module")
def cramer_rao() -> tuple[F64, F64]:
    return bound(survey(SKY))


def test_cloud_makes_mcal_positive_and_its_subtraction_restores_the_star() -> None:
    made = survey(Layout(side=2, epochs=4))
    clear = with_rows(made.rows, mag_err=np.full(len(made.rows), 0.01))
    clouded = made.images.image_id[3]
    dimmed = with_rows(clear, sys_mag=clear.sys_mag + np.where(clear.image_id == clouded, 0.5, 0.0))
    before, after = (
        solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images).images.mcal
        for rows in (clear, dimmed)
    )
    change = after - before
    assert change[3] - np.delete(change, 3).mean() == pytest.approx(0.5, abs=1e-6)


@dataclass(frozen=True)
class Draws:
    """Statistics of many noise draws on one sky: error over the Cramer-Rao bound, and over the stated error."""

    ratio: float
    pull: float
    mean: float


def drawn(rules: ZeroPointRules, outliers: float, cramer_rao: tuple[F64, F64]) -> Draws:
    """Statistics of the images that have measurements enough, over 60 draws (their own error is some 0.012)."""
    squares, pulls = [], []
    for draw in range(60):
        made = survey(SKY, noise_seed=draw, outliers=outliers)
        found = solved(made, rules)
        off = off_truth(made, found, cramer_rao[1])
        enough = found.images.flags & ImageFlags.PHOTOM_FEW == 0
        squares.append(np.mean((off / cramer_rao[0])[enough] ** 2))
        pulls.append((off / found.images.mcal_err)[enough])
    widths, means = np.array([(np.std(p), np.mean(p)) for p in pulls]).T
    return Draws(float(np.sqrt(np.mean(squares))), float(np.mean(widths)), float(np.mean(means)))


@pytest.fixture(scope="module")
def plain(cramer_rao: tuple[F64, F64]) -> Draws:
    return drawn(PLAIN_LSQ, 0.0, cramer_rao)


@pytest.fixture(scope="module")
def robust(cramer_rao: tuple[F64, F64]) -> Draws:
    return drawn(ZeroPointRules(), 0.0, cramer_rao)


def test_stated_errors_are_the_cramer_rao_bound(cramer_rao: tuple[F64, F64]) -> None:
    found = solved(survey(SKY), PLAIN_LSQ)
    np.testing.assert_allclose(found.images.mcal_err, cramer_rao[0], rtol=1e-6)


def test_errors_reach_the_cramer_rao_bound_and_pulls_are_one(plain: Draws, robust: Draws) -> None:
    for found in (plain, robust):
        assert 0.95 < found.ratio < 1.05
        assert 0.95 < found.pull < 1.05


def test_robust_weights_cost_no_precision_on_clean_data(plain: Draws, robust: Draws) -> None:
    assert robust.ratio / plain.ratio < 1.005


def test_two_percent_of_gross_outliers_leave_errors_and_pulls_unharmed(cramer_rao: tuple[F64, F64]) -> None:
    found = drawn(ZeroPointRules(), 0.02, cramer_rao)
    assert found.ratio < 1.06
    assert 0.95 < found.pull < 1.05
    assert abs(found.mean) < 0.05


def test_solution_is_within_a_twentieth_of_a_millimagnitude_of_dense_least_squares() -> None:
    made = survey(Layout(side=3, epochs=6, stars=40))
    (cell,) = whole(made)
    found, exact = solved(made, PLAIN_LSQ, [cell]).images.mcal, least_squares(cell)
    weight = np.bincount(cell.image, cell.weight.astype(np.float64))
    assert np.abs(found - (exact - np.average(exact, weights=weight))).max() < 5e-8


@pytest.mark.parametrize("n_cells", [8, 64])
def test_solution_is_the_same_bits_however_the_sky_is_cut(n_cells: int) -> None:
    made = survey(Layout(side=4, epochs=6, stars=40, islands=2), outliers=0.05, prior=True)
    one = solved(made)
    for seed in range(2):
        many = solved(made, cells=cut(made, n_cells, seed)[:: 1 - 2 * seed])
        for name in one.images.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one.images, name), getattr(many.images, name), err_msg=name)


def test_components_keep_the_weighted_mean_that_they_had() -> None:
    made = survey(Layout(side=3, epochs=5, islands=3), prior=True)
    found = solved(made)
    (cell,) = whole(made)
    weight = np.bincount(cell.image, cell.weight.astype(np.float64))
    plain = solved(made, PLAIN_LSQ)
    assert len(found.gauge.mean_mcal) == 3
    for c in range(3):
        inside = plain.images.component == c
        before = np.average(made.images.mcal[inside], weights=weight[inside])
        assert np.average(plain.images.mcal[inside], weights=weight[inside]) == pytest.approx(before, abs=1e-8)
        assert plain.gauge.mean_mcal[c] == pytest.approx(before, abs=1e-8)


def test_one_wrong_header_moves_no_other_image() -> None:
    made = survey(Layout(side=3, epochs=5), prior=True)
    wrong = replace(made.images, mcal=made.images.mcal + 5.0 * (np.arange(len(made.images)) == 4))
    right = solved(made)
    found = solve_zero_points(in_process([select(made.rows, wrong, PLAIN, OPEN)], wrong), wrong)
    np.testing.assert_allclose(found.images.mcal, right.images.mcal, atol=0.002)
    assert found.gauge.n_fixing[0] == right.gauge.n_fixing[0] - 1 == found.gauge.n_images[0] - 1
    assert found.passes[-1].max_shift < 1e-6


def test_constraint_holds_over_the_headers_that_agree_alone() -> None:
    made = survey(Layout(side=3, epochs=5), prior=True)
    wrong = replace(made.images, mcal=made.images.mcal + 1.3 * (np.arange(len(made.images)) == 4))
    (cell,) = [select(made.rows, wrong, PLAIN, OPEN)]
    found = solve_zero_points(in_process([cell], wrong), wrong, PLAIN_LSQ)
    weight = np.bincount(cell.image, cell.weight.astype(np.float64))
    weight[4] = 0.0
    assert np.average(found.images.mcal - wrong.mcal, weights=weight) == pytest.approx(0.0, abs=1e-8)
    errors = np.sqrt(np.diag(constrained_covariance(marginalised(cell)[0], weight)))
    np.testing.assert_allclose(found.images.mcal_err, errors, rtol=1e-4)


def test_images_without_headers_do_not_fix_the_mean_where_others_have_one() -> None:
    made = survey(Layout(side=3, epochs=5), prior=True)
    bare = np.arange(len(made.images)) % 2 == 0
    nominal = replace(made.images, mcal=np.where(bare, 25.0, made.images.mcal), from_header=~bare)
    found = solve_zero_points(in_process([select(made.rows, nominal, PLAIN, OPEN)], nominal), nominal)
    np.testing.assert_allclose(found.images.mcal, solved(made).images.mcal, atol=0.02)
    assert found.gauge.n_fixing[0] == np.sum(~bare)


def test_components_never_mix() -> None:
    made = survey(Layout(side=3, epochs=5, islands=2), prior=True)
    found = solved(made)
    second = found.images.component == 1
    shifted = with_rows(
        made.rows, sys_mag=made.rows.sys_mag + 0.3 * np.isin(made.rows.image_id, made.images.image_id[second])
    )
    moved = solve_zero_points(in_process([select(shifted, made.images, PLAIN, OPEN)], made.images), made.images)
    np.testing.assert_array_equal(moved.images.component, found.images.component)
    np.testing.assert_allclose(moved.images.mcal, found.images.mcal, atol=1e-6)


def test_start_does_not_matter_within_a_component() -> None:
    made = survey(WIDE, outliers=0.02)
    near = replace(made.images, mcal=made.truth)
    far = solved(made).images.mcal
    close = solve_zero_points(in_process([select(made.rows, near, PLAIN, OPEN)], near), near).images.mcal
    difference = far - close
    assert np.ptp(difference) < 2e-5


def test_record_shows_convergence_outliers_and_an_exact_last_pass() -> None:
    made = survey(WIDE, outliers=0.02)
    found = solved(made)
    assert found.converged
    assert [p.number for p in found.passes] == list(range(1, len(found.passes) + 1))
    assert [p.weighting for p in found.passes[:3]] == ["none", "huber", "hampel"]
    last = found.passes[-1]
    assert last.frozen
    assert last.max_shift < 1e-8
    assert last.chi2 == pytest.approx(1.0, abs=0.05)
    assert 0.8 * made.outlier.sum() < last.n_rejected < 1.2 * made.outlier.sum()
    assert np.median(found.images.chi2) == pytest.approx(1.0, abs=0.1)


def test_errors_stated_too_small_are_seen_in_chi2_and_do_not_reject_good_data() -> None:
    made = survey(WIDE)
    rows = with_rows(made.rows, mag_err=made.rows.mag_err / 2)
    found = solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images)
    last = found.passes[-1]
    assert last.scale == pytest.approx(2.0, rel=0.05)
    assert last.n_rejected < 1e-3 * last.n_used
    assert last.chi2 == pytest.approx(4.0, rel=0.1)


def test_image_without_shared_stars_keeps_its_prior_and_says_why() -> None:
    made = survey(Layout(side=2, epochs=4), prior=True)
    lonely = made.images.image_id[2]
    object_id = np.where(made.rows.image_id == lonely, made.rows.object_id + 1, made.rows.object_id)
    rows = with_rows(made.rows, object_id=object_id)
    found = solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images).images
    assert found.outcome[2] == Outcome.NO_SHARED_STARS
    assert (found.component[2], found.n_used[2]) == (-1, 0)
    assert found.mcal[2] == made.images.mcal[2]
    assert np.isnan(found.mcal_err[2])
    assert found.flags[2] & ImageFlags.PHOTOM_FEW
    assert np.all(np.delete(found.outcome, 2) == Outcome.SOLVED)


def test_image_whose_measurements_are_all_bad_keeps_its_prior_and_says_why() -> None:
    made = survey(Layout(side=2, epochs=4), prior=True)
    bad = made.rows.image_id == made.images.image_id[1]
    rows = with_rows(made.rows, sys_mag=np.where(bad, np.nan, made.rows.sys_mag))
    found = solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images).images
    assert found.outcome[1] == Outcome.ALL_REJECTED
    assert found.mcal[1] == made.images.mcal[1]
    assert found.rejected[1].sum() == found.n_candidates[1] == bad.sum()


def test_image_whose_measurements_contradict_each_other_is_left_out() -> None:
    made = survey(Layout(side=2, epochs=8, stars=40))
    busiest = int(np.bincount(made.images.rows_of(made.rows.image_id)).argmax())
    wild = made.rows.image_id == made.images.image_id[busiest]
    noise = np.random.default_rng(3).normal(0.0, 30.0, len(wild))
    rows = with_rows(made.rows, sys_mag=made.rows.sys_mag + np.where(wild, noise, 0))
    found = solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images).images
    good = np.delete(np.arange(len(made.images)), busiest)
    off = (found.mcal - made.truth)[good]
    weight = 1 / found.mcal_err[good] ** 2
    assert found.n_used[busiest] < 0.1 * wild.sum()
    assert found.flags[busiest] & (ImageFlags.PHOTOM_FEW | ImageFlags.PHOTOM_POOR)
    assert np.std((off - np.average(off, weights=weight)) * np.sqrt(weight)) < 1.3


def test_two_images_and_one_star_are_solved_and_flagged() -> None:
    made = survey(Layout(side=2, epochs=4))
    star = made.rows.object_id == made.rows.object_id[0]
    two = np.flatnonzero(star)[:2]
    rows = type(made.rows)(**{name: getattr(made.rows, name)[two] for name in made.rows.__dataclass_fields__})
    found = solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images).images
    tied = found.component == 0
    assert tied.sum() == 2
    assert np.ptp(found.mcal[tied]) == pytest.approx(abs(rows.sys_mag[0] - rows.sys_mag[1]), abs=1e-6)
    assert np.all(found.flags[tied] & ImageFlags.PHOTOM_FEW)
    assert np.all(found.outcome[~tied] == Outcome.NO_CANDIDATES)


def test_no_measurements_at_all_leave_every_prior() -> None:
    made = survey(Layout(side=2, epochs=2), prior=True)
    chosen = [select(made.rows, made.images, PLAIN, SelectionRules(max_mag_err=0.0))]
    found = solved(made, cells=chosen)
    np.testing.assert_array_equal(found.images.mcal, made.images.mcal)
    assert np.all(found.images.outcome == Outcome.ALL_REJECTED)
    assert found.gauge.n_unsolved == len(made.images)
    assert found.gauge.first_image_id.size == 0


def test_poor_images_are_flagged() -> None:
    made = survey(WIDE)
    cloudy = made.images.image_id[7]
    rows = with_rows(made.rows, sys_mag=made.rows.sys_mag + np.where(made.rows.image_id == cloudy, 2.0, 0.0))
    found = solve_zero_points(in_process([select(rows, made.images, PLAIN, OPEN)], made.images), made.images).images
    assert found.flags[7] & ImageFlags.PHOTOM_POOR
    assert np.mean(found.flags & ImageFlags.PHOTOM_POOR > 0) < 0.05


def test_loop_stops_at_its_limit_and_says_so() -> None:
    made = survey(WIDE, outliers=0.05)
    found = solved(made, ZeroPointRules(max_passes=2))
    assert not found.converged
    assert found.passes[-1].frozen
    with pytest.raises(UsageError, match="max_passes is 0"):
        ZeroPointRules(max_passes=0)


def test_record_takes_its_seconds_from_the_clock() -> None:
    made = survey(Layout(side=2, epochs=3))
    ticks = iter(range(1000))
    found = solve_zero_points(
        in_process(whole(made), made.images), made.images, PLAIN_LSQ, clock=lambda: float(next(ticks))
    )
    assert [p.seconds for p in found.passes] == [1.0, 1.0]
