"""Which headers are believed, before the solution and after it."""

from __future__ import annotations

import numpy as np
import pytest

from skydb.calib.gauge import deviant_headers, gauge_images, plausible

ONE = np.zeros(6, np.int64)
ALL = np.ones(6, np.bool_)


def test_clouds_are_plausible_and_depth_beyond_a_clear_night_is_not() -> None:
    mcal = np.array([0.0, 0.02, 0.05, 5.0, -2.9, -3.1])
    assert plausible(ONE, mcal, ALL).tolist() == [True, True, True, True, True, False]


def test_survey_whose_nominal_zero_point_is_unknown_is_plausible_but_for_its_odd_image() -> None:
    mcal = -25.0 + np.array([0.0, 0.02, 0.3, -0.1, 2.0, 14.5])
    assert plausible(ONE, mcal, ALL).tolist() == [True] * 5 + [False]


def test_photcodes_are_judged_apart_and_images_without_header_not_at_all() -> None:
    code = np.array([1, 1, 1, 2, 2, 2])
    mcal = np.array([0.0, 0.1, 0.2, 24.0, 24.1, 0.0])
    given = np.array([True, True, False, True, True, False])
    assert plausible(code, mcal, given).tolist() == [True, True, False, True, True, False]
    assert plausible(code, mcal, ALL).tolist() == [True, True, True, True, True, False]


@pytest.mark.parametrize("other", [14.5, -14.5])
def test_of_two_images_the_one_nearer_to_nominal_is_plausible(other: float) -> None:
    assert plausible(ONE[:2], np.array([other, 0.4]), ALL[:2]).tolist() == [False, True]


def test_image_alone_with_its_photcode_is_plausible() -> None:
    assert plausible(ONE[:1], np.array([-25.0]), ALL[:1]).tolist() == [True]


def test_headers_that_agree_fix_the_constant_whatever_constant_the_solution_has() -> None:
    label = np.zeros(6, np.int32)
    change = 7.0 + np.array([0.01, -0.02, 0.0, 0.03, 0.09, 1.3])
    assert gauge_images(label, change, ALL).tolist() == [True] * 5 + [False]


def test_every_component_is_judged_alone_and_keeps_an_image() -> None:
    label = np.array([0, 0, 0, 1, 1, -1], np.int32)
    change = np.array([0.0, 0.01, 9.0, 0.0, 9.0, 0.0])
    assert gauge_images(label, change, ALL).tolist() == [True, True, False, True, True, False]


def test_nominal_zero_points_count_only_where_no_image_has_a_header() -> None:
    label = np.array([0, 0, 0, 1, 1, 1], np.int32)
    header = np.array([True, False, False, False, False, False])
    assert gauge_images(label, np.zeros(6), header).tolist() == [True, False, False, True, True, True]


def test_headers_far_from_the_others_are_deviant_and_a_wide_scatter_is_not() -> None:
    label = np.zeros(6, np.int32)
    row, off = deviant_headers(label, np.array([0.01, -0.02, 0.0, 0.03, 0.4, 1.3]), ALL)
    assert (row.tolist(), off.tolist()) == ([5], [pytest.approx(1.28)])
    assert deviant_headers(label, np.array([-0.6, -0.3, 0.0, 0.3, 0.6, 0.9]), ALL)[0].size == 0


def test_of_two_headers_that_contradict_each_other_both_are_deviant() -> None:
    row, off = deviant_headers(np.zeros(2, np.int32), np.array([0.0, 0.6]), ALL[:2])
    assert (row.tolist(), off.tolist()) == ([0, 1], [pytest.approx(-0.3), pytest.approx(0.3)])
    assert deviant_headers(np.zeros(2, np.int32), np.array([0.0, 0.4]), ALL[:2])[0].size == 0
