from __future__ import annotations

import numpy as np
import pytest

from skydb.calib.bandimages import band_images
from skydb.calib.select import Candidates, PhotcodeTraits, Reason, SelectionRules, select
from skydb.errors import DataError, UsageError

from .synthetic import OPEN, PLAIN, Layout, cut, survey, whole, with_rows

TRAITS = PhotcodeTraits(
    np.array([1, 5], np.int32), np.array([0.0, 0.02]), np.array([0, 0x8], np.uint32), np.array([0, 0x1], np.uint32)
)


def rows_of(object_id: list[int], image_id: list[int], **columns: object) -> Candidates:
    n = len(object_id)
    base = {
        "object_id": np.array(object_id, np.int64), "image_id": np.array(image_id, np.int64),
        "det_id": np.arange(n), "code": np.full(n, 5, np.int32), "sys_mag": np.full(n, 16.0),
        "mag_err": np.full(n, 0.01), "airmass": np.ones(n, np.float32), "photflags": np.zeros(n, np.uint32),
        "psf_qf": np.ones(n, np.float32),
    }
    return Candidates(**{**base, **columns})  # type: ignore[arg-type]  # a test gives what it likes


IMAGES = band_images(np.array([10, 20, 30]), np.array([0.1, 0.0, 0.0]))


def test_systematic_floor_adds_in_quadrature_and_the_error_has_a_floor() -> None:
    code, error = np.array([1, 5, 1, 5], np.int32), np.array([1e-9, 1e-9, 0.01, 0.01])
    rows = rows_of([1, 1, 2, 2], [10, 20, 10, 20], code=code, mag_err=error)
    chosen = select(rows, IMAGES, TRAITS, SelectionRules(min_error=0.001))
    np.testing.assert_allclose(chosen.weight, 1 / np.array([1e-6, 4e-4, 1e-4, 5e-4]), rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("sys_mag", [np.nan, 16, 16], Reason.NOT_FINITE),
        ("sys_mag", [-1e6, 16, 16], Reason.IMPLAUSIBLE_MAG),
        ("sys_mag", [61, 16, 16], Reason.IMPLAUSIBLE_MAG),
        ("mag_err", [np.inf, 0.01, 0.01], Reason.NOT_FINITE),
        ("mag_err", [-0.01, 0.01, 0.01], Reason.NOT_FINITE),
        ("mag_err", [0.06, 0.01, 0.01], Reason.LARGE_ERROR),
        ("photflags", [0x8, 0, 0], Reason.BAD_FLAGS),
        ("photflags", [0x1, 0, 0], Reason.POOR_FLAGS),
        ("psf_qf", [0.85, 1, 1], Reason.LOW_PSF_QF),
    ],
)
def test_each_rule_rejects_and_is_counted(column: str, values: list[float], reason: Reason) -> None:
    rows = rows_of([1, 1, 1], [10, 20, 30])
    rows = with_rows(rows, **{column: np.array(values, getattr(rows, column).dtype)})
    chosen = select(rows, IMAGES, TRAITS, SelectionRules())
    assert chosen.image_id[chosen.image].tolist() == [20, 30]
    assert chosen.rejected[0, reason] == 1
    assert chosen.rejected.sum() == 1


def test_psf_qf_that_was_not_measured_passes() -> None:
    rows = rows_of([1, 1], [10, 20], psf_qf=np.array([np.nan, 1], np.float32))
    assert len(select(rows, IMAGES, TRAITS, SelectionRules())) == 2


def test_star_seen_twice_by_one_image_alone_does_not_enter() -> None:
    chosen = select(rows_of([1, 1, 2, 2, 2], [10, 10, 10, 10, 20]), IMAGES, TRAITS, SelectionRules())
    assert chosen.object_id.tolist() == [2]
    assert chosen.rejected[:, Reason.SINGLE_IMAGE].tolist() == [2, 0]


def test_every_candidate_enters_or_is_counted_once() -> None:
    made = survey(Layout(side=3, epochs=4))
    rng = np.random.default_rng(5)
    n = len(made.rows)
    rows = with_rows(
        made.rows,
        sys_mag=np.where(rng.random(n) < 0.1, np.nan, made.rows.sys_mag),
        psf_qf=rng.uniform(0.8, 1.0, n).astype(np.float32),
    )
    chosen = select(rows, made.images, PLAIN, SelectionRules(max_mag_err=0.03))
    entering = np.bincount(chosen.image, minlength=len(chosen.image_id))
    np.testing.assert_array_equal(entering + chosen.rejected.sum(axis=1), chosen.n_candidates)
    assert chosen.n_candidates.sum() == n


def test_excluded_images_and_faint_limits_are_obeyed() -> None:
    images = band_images(np.array([10, 20, 30]), np.zeros(3))
    images.excluded[0], images.faint_limit[1] = True, 15.0
    chosen = select(rows_of([1, 1, 1], [10, 20, 30]), images, TRAITS, SelectionRules())
    assert len(chosen) == 0
    assert chosen.rejected[0, Reason.IMAGE_EXCLUDED] == 1
    assert chosen.rejected[1, Reason.TOO_FAINT] == 1
    assert chosen.rejected[2, Reason.SINGLE_IMAGE] == 1


def test_residuals_are_about_the_current_mcal_of_their_image() -> None:
    rows = rows_of([1, 1], [10, 20], sys_mag=np.array([16.1, 16.0]))
    residual = select(rows, IMAGES, TRAITS, SelectionRules()).residual
    assert residual[0] == pytest.approx(residual[1], abs=1e-7)


def test_rows_of_a_star_are_the_same_bits_however_the_cell_is_cut_and_ordered() -> None:
    made = survey(Layout(side=3, epochs=5, stars=30))
    (one,) = whole(made)
    parts = {int(s): cell.residual[a:b].tobytes() for cell in cut(made, 5)
             for s, a, b in zip(cell.object_id, cell.starts[:-1], cell.starts[1:], strict=True)}
    for star, a, b in zip(one.object_id, one.starts[:-1], one.starts[1:], strict=True):
        assert parts[int(star)] == one.residual[a:b].tobytes()


def test_no_rows_give_an_empty_selection() -> None:
    chosen = select(rows_of([], []), IMAGES, TRAITS, OPEN)
    assert (len(chosen), chosen.starts.tolist()) == (0, [0])


def test_unknown_images_and_photcodes_are_named() -> None:
    with pytest.raises(DataError, match="image 11 is not in the band's image table"):
        select(rows_of([1], [11]), IMAGES, TRAITS, OPEN)
    with pytest.raises(DataError, match="photcode 3 is not one of the band's"):
        select(rows_of([1], [10], code=np.array([3], np.int32)), IMAGES, TRAITS, OPEN)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(UsageError, match="differ in length"):
        rows_of([1, 2], [10, 20], sys_mag=np.zeros(3))


def test_images_without_a_finite_mcal_are_named() -> None:
    with pytest.raises(DataError, match="image 20 has no finite mcal"):
        band_images(np.array([10, 20]), np.array([0.0, np.nan]))


def test_error_of_zero_means_unknown_and_does_not_enter() -> None:
    rows = rows_of([1, 1, 2, 2], [10, 20, 10, 20], mag_err=np.array([0.0, 0.02, 0.02, 0.02]))
    chosen = select(rows, IMAGES, TRAITS, SelectionRules())
    assert len(chosen.weight) == 2
    assert chosen.rejected[:, Reason.NOT_FINITE].sum() == 1
