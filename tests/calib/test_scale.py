"""Speed of the solver on five million measurements of 7,500 images; seconds are CPU seconds of this process."""

from __future__ import annotations

import time

import numpy as np
import pytest

from skydb.calib.normal import Weights, accumulate
from skydb.calib.robust import Weighting
from skydb.calib.zeropoints import in_process, solve_zero_points
from skydb.flags import ImageFlags

from .synthetic import Layout, Survey, survey, whole

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def large() -> Survey:
    return survey(Layout(side=24, epochs=12, stars=800), outliers=0.02)


def test_kernel_takes_five_million_measurements_a_second(large: Survey) -> None:
    (cell,) = whole(large)
    zero = np.zeros(len(cell.image_id))
    accumulate(cell, zero, weights=Weights(int(Weighting.HAMPEL), 1.0))
    begin = time.process_time()
    accumulate(cell, zero, weights=Weights(int(Weighting.HAMPEL), 1.0))
    assert len(cell) / (time.process_time() - begin) > 5e6


def test_all_passes_and_errors_take_less_than_fifteen_seconds(large: Survey) -> None:
    cells = whole(large)
    found = solve_zero_points(in_process(cells, large.images), large.images, clock=time.process_time)
    assert found.converged
    assert sum(p.seconds for p in found.passes) < 15
    enough = found.images.flags & ImageFlags.PHOTOM_FEW == 0
    off, error = (found.images.mcal - large.truth)[enough], found.images.mcal_err[enough]
    assert 0.9 < np.std((off - np.average(off, weights=error**-2)) / error) < 1.1
