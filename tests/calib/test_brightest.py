from __future__ import annotations

import numpy as np
import pytest

from skydb.calib.bandimages import BandImages, band_images
from skydb.calib.brightest import count_brightness, with_faint_limits
from skydb.calib.select import Reason, select
from skydb.errors import UsageError

from .synthetic import OPEN, PLAIN, Layout, Survey, survey, with_rows


def limited(made: Survey, cells: list[np.ndarray], brightest: int) -> BandImages:
    counts = [count_brightness(type(made.rows)(**{n: getattr(made.rows, n)[c] for n in made.rows.__dataclass_fields__}),
                               made.images, PLAIN, OPEN) for c in cells]
    return with_faint_limits(made.images, counts, brightest)


def test_each_image_keeps_at_least_its_brightest_and_a_bin_more_at_most() -> None:
    made = survey(Layout(side=3, epochs=4, stars=80))
    images = limited(made, [np.arange(len(made.rows))], 30)
    row = images.rows_of(made.rows.image_id)
    for i, limit in enumerate(images.faint_limit):
        mags = np.sort(made.rows.sys_mag[row == i])
        if len(mags) < 30:
            assert np.isinf(limit)
        else:
            assert 0 <= limit - mags[29] <= 0.05 + 1e-9


def test_limits_do_not_depend_on_the_cut() -> None:
    made = survey(Layout(side=3, epochs=4, stars=80))
    cell = made.rows.object_id % 7
    many = limited(made, [np.flatnonzero(cell == c) for c in range(7)], 30)
    np.testing.assert_array_equal(limited(made, [np.arange(len(made.rows))], 30).faint_limit, many.faint_limit)


def test_selection_obeys_the_limits_and_counts_what_it_leaves_out() -> None:
    made = survey(Layout(side=3, epochs=4, stars=80))
    images = limited(made, [np.arange(len(made.rows))], 30)
    chosen = select(made.rows, images, PLAIN, OPEN)
    faint = made.rows.sys_mag > images.faint_limit[images.rows_of(made.rows.image_id)]
    assert chosen.rejected[:, Reason.TOO_FAINT].sum() == faint.sum() > 0


def test_unusable_measurements_are_not_counted() -> None:
    made = survey(Layout(side=2, epochs=3))
    rows = with_rows(made.rows, sys_mag=np.full(len(made.rows), np.nan))
    counts = count_brightness(rows, made.images, PLAIN, OPEN)
    assert counts.count.sum() == 0
    assert np.isinf(with_faint_limits(made.images, [counts], 5).faint_limit).all()


def test_no_cells_leave_no_limit_and_a_silly_number_is_refused() -> None:
    images = band_images(np.array([1, 2]), np.zeros(2))
    assert np.isinf(with_faint_limits(images, [], 5).faint_limit).all()
    with pytest.raises(UsageError, match="brightest is 0"):
        with_faint_limits(images, [], 0)
