"""Zero points of headers, and what is none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from skydb.calibration.header import header_mcal, header_zero_points
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.schema.tables import PHOTCODES

CALIBRATED, RELATIVE, REFERENCE = 10, 11, 20
CODES = [
    {"code": CALIBRATED, "name": "C.g", "kind": "DEP", "zero_point_mmag": 24500},
    {"code": RELATIVE, "name": "C.r", "kind": "DEP", "zero_point_mmag": 0},
    {"code": REFERENCE, "name": "SDSS.g", "kind": "REF"},
]
TERMS = PhotcodeTerms.from_table(pa.Table.from_pylist(CODES, schema=PHOTCODES.arrow))


def images_of(code: int, *zpt_obs: float | None) -> pa.Table:
    return pa.table({"code": [code] * len(zpt_obs), "zpt_obs": pa.array(zpt_obs, pa.float64())})


@pytest.mark.parametrize("value", [None, np.nan, np.inf, 0.0, -0.0, -999.0, 99.99, 1e300])
def test_what_is_no_zero_point_counts_as_absent(value: float | None) -> None:
    images = images_of(CALIBRATED, value, 24.4)
    assert np.isnan(header_zero_points(images, TERMS)).tolist() == [True, False]
    assert header_mcal(images, TERMS) == pytest.approx([0.0, 0.1])


def test_zero_is_a_zero_point_where_the_nominal_one_is_near() -> None:
    images = images_of(RELATIVE, 0.0, -0.3, 25.0)
    assert header_zero_points(images, TERMS).tolist() == [0.0, -0.3, 25.0]
    assert header_mcal(images, TERMS).tolist() == [0.0, 0.3, -25.0]


def test_a_reference_has_no_zero_point() -> None:
    images = images_of(REFERENCE, 24.0)
    assert np.isnan(header_zero_points(images, TERMS)).all()
    assert not header_mcal(images, TERMS).any()
