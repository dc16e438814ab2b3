"""Photometric calibration: signs, DVO's worked example, errors, references, missing values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.photometric import (
    AB_NJY,
    CalibratedPhotometry,
    Corrections,
    RawPhotometry,
    calibrate,
    color_term,
    nominal_zero_point,
)
from skydb.errors import DataError
from skydb.schema.tables import MEASUREMENTS, PHOTCODES

G, R, CHIP, NO_SLOPE, VEGA_CHIP, SDSS, VT = 1, 2, 10, 11, 12, 20, 21
ROWS: list[dict[str, Any]] = [
    {"code": CHIP, "name": "GPC1.g.XY01", "kind": "DEP", "band": "g", "zero_point_mmag": 24563, "airmass_slope": -0.147,
     "color_offset_mmag": 50, "color_1": "g", "color_2": "r", "color_terms": [0.02, -0.005]},
    {"code": G, "name": "g", "kind": "SEC", "band": "g"},
    {"code": R, "name": "r", "kind": "SEC", "band": "r"},
    {"code": G, "name": "g_vega", "kind": "ALT", "band": "g"},
    {"code": NO_SLOPE, "name": "CAM.g", "kind": "DEP", "band": "g", "zero_point_mmag": 25000, "airmass_slope": 0.0},
    {"code": VEGA_CHIP, "name": "CAM.V", "kind": "DEP", "band": "g", "zero_point_mmag": 25000, "system": "Vega"},
    {"code": SDSS, "name": "SDSS.g", "kind": "REF", "band": "SDSS.g", "zero_point_mmag": 30000},
    {"code": VT, "name": "VT", "kind": "REF", "band": "VT", "system": "Vega"},
]
TERMS = PhotcodeTerms.from_table(pa.Table.from_pylist(ROWS, schema=PHOTCODES.arrow))
COLUMNS = {
    "exptime": 43.0, "airmass": 1.2, "inst_mag": -10.0, "inst_mag_err": 0.02, "inst_flux": 1e4, "inst_flux_err": 200.0,
    "inst_ap_mag": -10.1, "inst_ap_flux": 1.1e4, "inst_ap_flux_err": 110.0, "inst_kron_flux": 1e4,
    "inst_kron_flux_err": 300.0,
}


def raw(code: int = CHIP, **changed: float) -> RawPhotometry:
    return RawPhotometry(np.array([code]), **{k: np.array([v]) for k, v in (COLUMNS | changed).items()})


def one(values: RawPhotometry, **corrections: float) -> dict[str, float]:
    given = {k: np.array([v]) for k, v in ({"mcal": 0.0} | corrections).items()}
    found: CalibratedPhotometry = calibrate(values, TERMS, Corrections(**given))
    return {name: float(column[0]) for name, column in found.columns().items()}


def test_the_worked_example_of_dvo_comes_out() -> None:
    mcal = 0.001 * 24563 - 24.50
    exposure = 2.5 * np.log10(43.0)
    nominal = nominal_zero_point(TERMS, np.array([CHIP]), np.array([1.2]))[0]
    cat = one(raw())["mag"]
    rel = one(raw(), mcal=mcal, mflat=0.010)
    assert mcal == pytest.approx(0.063)
    assert exposure == pytest.approx(4.083671, abs=1e-6)
    assert -10.0 + 25.0 + exposure == pytest.approx(19.083671, abs=1e-6)  # DVO's stored M
    assert cat - exposure - nominal == pytest.approx(-10.0, abs=2e-6)  # DVO's inst
    assert cat == pytest.approx(18.617271, abs=2e-6)
    assert rel["mag"] == pytest.approx(18.544271, abs=2e-6)
    counts_per_second = 1e4 / 43.0
    assert counts_per_second == pytest.approx(232.5581, abs=1e-4)
    assert nominal - rel["mcal"] - rel["mflat"] == pytest.approx(24.4606, abs=1e-6)
    assert rel["flux"] == pytest.approx(1.38769e-4 * 1e9, rel=1e-5)  # Jy to nJy


def test_the_color_term_of_the_worked_example_comes_out() -> None:
    assert color_term(TERMS, np.array([CHIP]), np.array([0.60]))[0] == pytest.approx(0.0094875)


def test_cloud_and_flat_are_subtracted_and_the_color_term_added() -> None:
    plain = one(raw())
    assert one(raw(), mcal=0.5)["mag"] == pytest.approx(plain["mag"] - 0.5, abs=2e-6)
    assert one(raw(), mflat=0.5)["mag"] == pytest.approx(plain["mag"] - 0.5, abs=2e-6)
    assert one(raw(), color_term=0.5)["mag"] == pytest.approx(plain["mag"] + 0.5, abs=2e-6)
    assert one(raw(), mcal=0.5)["flux"] == pytest.approx(plain["flux"] * 10**0.2, rel=1e-6)


def test_more_air_makes_the_same_counts_a_brighter_star() -> None:
    assert one(raw(airmass=2.0))["mag"] == pytest.approx(one(raw(airmass=1.0))["mag"] - 0.147, abs=2e-6)


def test_mcal_follows_the_airmass_of_each_row() -> None:
    found = one(raw(airmass=1.5), mcal=0.10, mcal_slope=0.04, image_airmass=1.25)
    assert found["mcal"] == pytest.approx(0.11)
    z, k = 0.10 - 0.04 * 0.25, 0.04
    assert one(raw(airmass=1.5), mcal=z, mcal_slope=k)["mcal"] == pytest.approx(0.11)
    assert one(raw(airmass=np.nan), mcal=0.10, mcal_slope=0.04, image_airmass=1.25)["mcal"] == pytest.approx(0.10)


def test_magnitude_and_flux_of_the_same_counts_agree() -> None:
    found = one(raw(), mcal=0.1, mflat=0.02, color_term=0.003)
    assert found["flux"] == pytest.approx(10 ** (-0.4 * (found["mag"] - AB_NJY)), rel=1e-5)


def test_a_flux_without_counts_follows_from_the_magnitude() -> None:
    found = one(raw(inst_flux=np.nan, inst_flux_err=np.nan))
    assert found["flux"] == pytest.approx(one(raw())["flux"], rel=1e-6)
    assert found["flux_err"] == pytest.approx(found["flux"] * 0.02 * np.log(10) / 2.5, rel=1e-6)


def test_a_negative_flux_stays_and_has_no_magnitude() -> None:
    found = one(raw(inst_mag=np.nan, inst_flux=-50.0, inst_kron_flux=-3.0, inst_ap_flux=-1.0))
    assert np.isnan([found["mag"], found["kron_mag"], found["kron_mag_err"], found["ap_mag_err"]]).all()
    assert found["flux"] == pytest.approx(-50.0 / 1e4 * one(raw())["flux"], rel=1e-6)
    assert found["flux_err"] == pytest.approx(one(raw())["flux_err"])


def test_magnitude_errors_carry_the_factor_that_dvo_leaves_out() -> None:
    found = one(raw())
    assert found["ap_mag_err"] == pytest.approx(2.5 / np.log(10) * 110.0 / 1.1e4)
    assert found["kron_mag_err"] == pytest.approx(2.5 / np.log(10) * 300.0 / 1e4)


def test_an_aperture_magnitude_without_counts_has_the_error_of_the_psf() -> None:
    assert one(raw(inst_ap_flux=np.nan, inst_ap_flux_err=np.nan))["ap_mag_err"] == pytest.approx(0.02)


def test_kron_magnitude_comes_from_its_counts() -> None:
    assert one(raw(), mcal=0.3)["kron_mag"] == pytest.approx(one(raw(), mcal=0.3)["mag"], abs=2e-6)


def test_references_are_returned_unchanged() -> None:
    reference = raw(SDSS, inst_mag=17.25, inst_flux=np.nan, inst_flux_err=np.nan, exptime=np.nan, airmass=np.nan)
    found = one(reference, mcal=0.5, mflat=0.5, color_term=0.5)
    assert (found["mag"], found["mcal"], found["mflat"]) == (17.25, 0.0, 0.0)
    assert found["flux"] == pytest.approx(10 ** (-0.4 * (17.25 - 31.4)), rel=1e-6)
    given_flux = one(replace(reference, inst_flux=np.array([-12.0]), inst_flux_err=np.array([3.0])))
    assert (given_flux["flux"], given_flux["flux_err"]) == (-12.0, 3.0)


@pytest.mark.parametrize("code", [VT, VEGA_CHIP])
def test_a_magnitude_of_another_system_gives_no_flux_in_njy(code: int) -> None:
    found = one(raw(code, inst_mag=11.0, inst_flux=np.nan, inst_flux_err=np.nan))
    assert np.isfinite(found["mag"])
    assert np.isnan([found["flux"], found["flux_err"]]).all()


def test_missing_values_propagate() -> None:
    assert np.isnan(one(raw(exptime=np.nan))["mag"])
    assert np.isnan(one(raw(airmass=np.nan))["mag"])
    assert np.isnan(one(raw(inst_mag=np.nan))["mag"])
    assert np.isfinite(one(raw(NO_SLOPE, airmass=np.nan))["mag"])


def test_an_unknown_flat_or_color_counts_as_zero() -> None:
    assert one(raw(), mflat=np.nan, color_term=np.nan) == one(raw())
    assert color_term(TERMS, np.array([CHIP, NO_SLOPE, SDSS]), np.array([np.nan, 0.6, 0.6])).tolist() == [0, 0, 0]


def test_an_exposure_time_of_zero_means_counts_per_second() -> None:
    assert one(raw(exptime=0.0))["mag"] == one(raw(exptime=1.0))["mag"]


def test_an_unknown_photcode_is_named() -> None:
    with pytest.raises(DataError, match="999"):
        one(raw(999))


def test_a_photcode_number_given_twice_is_refused() -> None:
    with pytest.raises(DataError, match="occurs twice"):
        PhotcodeTerms.from_table(pa.Table.from_pylist([ROWS[0], ROWS[0]], schema=PHOTCODES.arrow))


def test_raw_photometry_reads_nulls_as_nan_and_absent_columns_as_nan() -> None:
    schema = MEASUREMENTS.select(["code", "airmass", "inst_mag"])
    columns = {"code": [CHIP, CHIP], "airmass": [1.2, None], "inst_mag": [None, -9.0]}
    table = pa.Table.from_pydict(columns, schema=schema)
    found = RawPhotometry.from_table(table, np.array([30.0, 30.0]))
    np.testing.assert_array_equal(found.inst_mag, [np.nan, -9.0])
    assert np.isnan(found.inst_flux).all()


def test_what_no_stored_number_can_hold_is_missing() -> None:
    found = one(raw(inst_ap_mag=-9.0, inst_ap_flux=1e-44, inst_ap_flux_err=20.0))
    assert np.isnan(found["ap_mag_err"])
    assert np.isfinite(found["ap_mag"])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([CHIP, NO_SLOPE, SDSS, VT, VEGA_CHIP]), min_size=1, max_size=20), st.data())
def test_every_row_is_calibrated_alone(codes: list[int], data: st.DataObject) -> None:
    number = st.one_of(st.just(np.nan), st.floats(-20, 20, width=32))
    columns = {k: np.array([data.draw(number) for _ in codes], np.float64) for k in COLUMNS}
    mcal = np.array([data.draw(number) for _ in codes], np.float64)
    whole = calibrate(RawPhotometry(np.array(codes), **columns), TERMS, Corrections(mcal)).columns()
    for i, code in enumerate(codes):
        alone = RawPhotometry(np.array([code]), **{k: v[i : i + 1] for k, v in columns.items()})
        for name, column in calibrate(alone, TERMS, Corrections(mcal[i : i + 1])).columns().items():
            np.testing.assert_array_equal(column, whole[name][i : i + 1])
