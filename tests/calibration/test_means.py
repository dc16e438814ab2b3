"""The derived tables of objects: what is averaged, what is flagged, and that nothing but an object's rows matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.calibration.means import derive, object_bands, objects
from skydb.calibration.measurement_rows import SOURCES, MeasurementRows, Seeds, source_codes
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.positions import DEFAULT_POSITION_ERR_MAS, position_errors
from skydb.errors import DataError, UsageError
from skydb.flags import ORIGINS, MeasurementFlags, ObjectBandFlags, ObjectFlags, Origin, decode
from skydb.schema.tables import MEASUREMENTS, OBJECT_BANDS, OBJECTS, PHOTCODES
from skydb.sky.epochs import julian_epoch

G_CHIP, R_CHIP, NO_BAND, SDSS = 10, 11, 12, 20
POOR, BAD = 0x10, 0x1000
CODES: list[dict[str, Any]] = [
    {"code": 1, "name": "g", "kind": "SEC", "band": "g"}, {"code": 2, "name": "r", "kind": "SEC", "band": "r"},
    {"code": G_CHIP, "name": "C.g", "kind": "DEP", "band": "g",
     "photometry_poor_mask": POOR, "photometry_bad_mask": BAD, "photometry_err_sys": 0.01,
     "astrometry_poor_mask": POOR, "astrometry_bad_mask": BAD, "astrometry_err_sys": 0.02,
     "astrometry_err_scale": 2.0, "astrometry_err_mag_scale": 0.5},
    {"code": R_CHIP, "name": "C.r", "kind": "DEP", "band": "r", "photometry_bad_mask": BAD},
    {"code": NO_BAND, "name": "C.x", "kind": "DEP"},
    {"code": SDSS, "name": "SDSS.g", "kind": "REF", "band": "SDSS.g"},
]  # fmt: skip
TERMS = PhotcodeTerms.from_table(pa.Table.from_pylist(CODES, schema=PHOTCODES.arrow))
ROW: dict[str, Any] = {
    "object_id": 7, "code": G_CHIP, "source": "chip", "mjd": 55000.0, "ra": 10.0, "dec": 20.0,
    "ra_err": 50.0, "dec_err": 50.0, "mag": 20.0, "mag_err": 0.02, "flux": 36000.0, "flux_err": 700.0, "ap_mag": 20.1,
    "ap_mag_err": 0.03, "kron_mag": 20.2, "kron_mag_err": 0.04, "photflags": 0, "psf_qf": 0.99,
}  # fmt: skip
DTYPES = {"object_id": np.int64, "code": np.int32, "photflags": np.uint32, "mjd": float, "ra": float, "dec": float}


def rows_of(*changed: dict[str, Any]) -> MeasurementRows:
    full = [ROW | change for change in changed]
    columns = {n: np.array([r[n] for r in full], DTYPES.get(n, np.float32)) for n in ROW if n != "source"}
    return MeasurementRows(source=source_codes([r["source"] for r in full]), **columns)


def seeds_of(rows: MeasurementRows) -> Seeds:
    ids, first = np.unique(rows.object_id, return_index=True)
    return Seeds(ids, rows.ra[first], rows.dec[first], np.full(ids.size, 2010.0))


def bands_of(*changed: dict[str, Any]) -> list[dict[str, Any]]:
    return list(object_bands(rows_of(*changed), TERMS).table.to_pylist())


def object_of(*changed: dict[str, Any]) -> dict[str, Any]:
    rows = rows_of(*changed)
    return dict(objects(rows, seeds_of(rows), TERMS).table.to_pylist()[0])


def names(flags: int) -> set[str]:
    return set(decode(MeasurementFlags, int(flags)))


def test_the_tables_have_the_declared_schemas() -> None:
    rows = rows_of({}, {"code": R_CHIP}, {"object_id": 8})
    found = derive(rows, seeds_of(rows), TERMS)
    assert found.objects.schema.equals(OBJECTS.arrow, check_metadata=True)
    assert found.object_bands.schema.equals(OBJECT_BANDS.arrow, check_metadata=True)
    found.objects.validate(full=True)
    found.object_bands.validate(full=True)


def test_no_measurements_make_empty_tables() -> None:
    rows = rows_of()
    found = derive(rows, seeds_of(rows), TERMS)
    assert (found.objects.num_rows, found.object_bands.num_rows, found.db_flags.size) == (0, 0, 0)


def test_there_is_one_row_per_object_band_and_source_in_order() -> None:
    given_rows: list[dict[str, Any]] = [
        {"code": R_CHIP}, {"source": "warp"}, {"source": "stack"}, {"code": SDSS, "source": "reference"}, {}, {},
        {"code": NO_BAND}, {"object_id": 8, "code": R_CHIP},
    ]  # fmt: skip
    found = [(r["object_id"], r["band"], r["source"], r["n_measurements"]) for r in bands_of(*given_rows)]
    assert found == [
        (7, "SDSS.g", "reference", 1), (7, "g", "chip", 2), (7, "g", "stack", 1), (7, "g", "warp", 1),
        (7, "r", "chip", 1), (8, "r", "chip", 1),
    ]  # fmt: skip
    assert found == sorted(found)


def test_magnitudes_are_weighted_by_both_errors() -> None:
    (found,) = bands_of({"mag": 20.00, "mag_err": 0.03}, {"mag": 20.05, "mag_err": 0.07})
    weights = np.array([1 / (0.03**2 + 0.01**2), 1 / (0.07**2 + 0.01**2)])
    mean = np.average([20.00, 20.05], weights=weights)
    assert found["mag"] == pytest.approx(mean, abs=2e-6)
    assert found["mag_err"] == pytest.approx(weights.sum() ** -0.5, rel=1e-5)
    assert found["chi2"] == pytest.approx((weights * (np.array([20.0, 20.05]) - mean) ** 2).sum(), rel=1e-4)
    assert (found["mag_min"], found["mag_max"]) == (pytest.approx(20.0), pytest.approx(20.05))
    assert (found["n_used"], found["n_used_flux"], found["n_measurements"]) == (2, 2, 2)


def test_one_measurement_has_no_scatter() -> None:
    (found,) = bands_of({})
    assert (found["mag_stdev"], found["chi2"]) == (None, None)
    assert found["mag_err"] == pytest.approx(np.hypot(0.02, 0.01), rel=1e-6)
    assert (found["ap_mag"], found["kron_mag"]) == (pytest.approx(20.1), pytest.approx(20.2))


def test_what_no_column_can_hold_is_missing() -> None:
    (found,) = bands_of({"mag": -1e20}, {})
    assert (found["chi2"], found["n_used"]) == (None, 2)
    assert found["mag_min"] == pytest.approx(-1e20)


def test_negative_fluxes_enter_the_mean_flux_and_no_magnitude() -> None:
    faint = {"code": R_CHIP, "mag": np.nan, "flux_err": 100.0}
    (found,) = bands_of(faint | {"flux": -60.0}, faint | {"flux": 100.0}, faint | {"flux": -10.0})
    assert found["flux"] == pytest.approx(10.0)
    assert found["flux_err"] == pytest.approx(100 / np.sqrt(3))
    assert (found["mag"], found["n_used"], found["n_used_flux"]) == (None, 0, 3)
    assert decode(ObjectBandFlags, found["flags"]) == ["RANK_4"]


def test_outliers_are_masked_and_flagged() -> None:
    rows = rows_of({}, {"mag": 20.01}, {"mag": 19.99}, {"mag": 17.0})
    found = object_bands(rows, TERMS)
    assert found.table["mag"][0].as_py() == pytest.approx(20.0, abs=2e-6)
    assert found.table["n_used"][0].as_py() == 3
    assert {"PHOTOM_PSF", "PHOTOM_APER", "PHOTOM_KRON"} <= names(found.db_flags[0])
    assert names(found.db_flags[3]) == {"MASKED_PSF", "PHOTOM_APER", "PHOTOM_KRON"}


@pytest.mark.parametrize(("worse", "rank"), [
    ({}, "RANK_0"), ({"photflags": POOR}, "RANK_1"), ({"psf_qf": 0.85}, "RANK_2"), ({"photflags": BAD}, "RANK_3"),
    ({"photflags": POOR | BAD, "psf_qf": 0.1}, "RANK_3"),
])  # fmt: skip
def test_only_the_best_rank_present_is_averaged(worse: dict[str, Any], rank: str) -> None:
    (alone,) = bands_of(worse | {"mag": 20.5})
    assert alone["mag"] == pytest.approx(20.5)
    assert decode(ObjectBandFlags, alone["flags"]) == [rank]
    if worse:
        (both,) = bands_of({}, worse | {"mag": 20.5})
        assert (both["mag"], both["n_used"], both["n_measurements"]) == (pytest.approx(20.0), 1, 2)
        assert decode(ObjectBandFlags, both["flags"]) == ["RANK_0"]


def test_an_unknown_psf_qf_is_no_fault() -> None:
    (found,) = bands_of({"psf_qf": np.nan})
    assert (decode(ObjectBandFlags, found["flags"]), found["psf_qf_max"]) == (["RANK_0"], None)


def test_magnitudes_without_errors_are_averaged_alike() -> None:
    no_error = {"code": SDSS, "source": "reference", "mag_err": np.nan}
    (one,) = bands_of(no_error)
    assert (one["mag"], one["mag_err"], one["chi2"]) == (pytest.approx(20.0), None, None)
    (three,) = bands_of(no_error, no_error | {"mag": 20.1}, no_error | {"mag": 20.2})
    assert three["mag"] == pytest.approx(20.1)
    assert three["mag_err"] == pytest.approx(0.1 / np.sqrt(3), rel=1e-4)
    (mixed,) = bands_of(no_error | {"mag": 25.0}, {"code": SDSS, "source": "reference"})
    assert (mixed["mag"], mixed["n_used"]) == (pytest.approx(20.0), 1)


@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_a_measurement_without_error_is_left_out_where_others_have_one_whatever_the_systematic_error(
    missing: float,
) -> None:
    given_rows = [{"mag_err": 0.05}, {"mag_err": 0.05}, {"mag": 20.08, "mag_err": missing}, {"mag_err": 0.05}]
    found = object_bands(rows_of(*given_rows), TERMS)  # photcode with a systematic error of 0.01 mag
    (band,) = found.table.to_pylist()
    assert (band["mag"], band["chi2"]) == (pytest.approx(20.0), pytest.approx(0.0))
    assert (band["n_used"], band["n_measurements"]) == (3, 4)
    assert band["mag_err"] == pytest.approx(np.hypot(0.05, 0.01) / np.sqrt(3), rel=1e-5)
    photom = {"PHOTOM_PSF", "MASKED_PSF"}
    assert [names(f) & photom for f in found.db_flags.tolist()] == [{"PHOTOM_PSF"}] * 2 + [set()] + [{"PHOTOM_PSF"}]


def test_magnitudes_without_errors_are_averaged_alike_whatever_the_systematic_error() -> None:
    (found,) = bands_of(*({"mag": mag, "mag_err": 0.0} for mag in (20.0, 20.1, 20.2)))
    assert (found["mag"], found["n_used"], found["chi2"]) == (pytest.approx(20.1), 3, None)
    assert found["mag_err"] == pytest.approx(0.1 / np.sqrt(3), rel=1e-4)


def test_the_mean_position_is_weighted_and_right_across_ra_zero() -> None:
    found = object_of(
        {"ra": 359.99999, "dec": 60.0, "ra_err": 10.0, "mjd": 55000.0},
        {"ra": 0.00002, "dec": 60.00002, "mjd": 55365.25},
    )
    shift = 3e-5 * 10**2 / (10**2 + 50**2)
    assert found["ra"] == pytest.approx(359.99999 + shift, abs=1e-9)
    assert found["dec"] == pytest.approx(60.00001, abs=1e-9)
    assert (found["mjd_first"], found["mjd_last"]) == (55000.0, 55365.25)
    weights = np.array([1 / 100 + 1 / 2500, 2 / 2500])
    first = float(julian_epoch(55000.0))
    assert found["epoch"] == pytest.approx(np.average([first, first + 1], weights=weights), abs=1e-9)
    assert (found["n_position"], found["n_measurements"]) == (2, 2)
    assert [found[name] for name in ("pm_ra", "pm_dec", "parallax", "parallax_err")] == [None] * 4


def test_the_mean_position_is_right_at_the_pole() -> None:
    around = [{"ra": ra, "dec": 90 - 1e-4} for ra in (0.0, 90.0, 180.0, 270.0)]
    found = object_of(*around)
    assert found["dec"] == pytest.approx(90.0, abs=1e-10)
    assert found["position_scatter"] == pytest.approx(360 * np.sqrt(4 / 6), rel=1e-6)


def test_position_errors_and_scatter_follow_the_measurements() -> None:
    offsets_mas = np.array([-60.0, 0.0, 60.0])
    found = object_of(*({"dec": 20.0 + d / 3.6e6} for d in offsets_mas))
    chi2 = (offsets_mas**2 / 50**2).sum() / 4
    assert found["position_chi2"] == pytest.approx(chi2, rel=1e-5)
    assert found["dec_err"] == pytest.approx(50 / np.sqrt(3) * max(1, chi2) ** 0.5, rel=1e-5)
    assert found["position_scatter"] == pytest.approx(np.sqrt(7200 / 4), rel=1e-5)


def test_a_wrong_position_is_masked_and_flagged() -> None:
    rows = rows_of({}, {}, {}, {"dec": 20.0003})
    found = objects(rows, seeds_of(rows), TERMS)
    assert found.table["n_position"][0].as_py() == 3
    assert names(found.db_flags[0]) == {"USED_OBJ", "UNMASKED_ASTRO"}
    assert names(found.db_flags[3]) == {"USED_OBJ", "POOR_ASTROM"}
    assert decode(ObjectFlags, found.table["flags"][0].as_py()) == ["FIT_AVE", "USE_AVE"]


def test_stacks_and_warps_give_a_position_only_where_no_chip_does() -> None:
    stack, warp = {"source": "stack", "dec": 20.0001}, {"source": "warp", "dec": 20.0002}
    assert object_of({}, stack, warp)["dec"] == pytest.approx(20.0, abs=1e-10)
    alone = object_of(warp, stack)
    assert alone["dec"] == pytest.approx(20.0001, abs=1e-10)
    assert "STACK_FOR_MEAN" in decode(ObjectFlags, alone["flags"])
    assert object_of(warp)["dec"] == pytest.approx(20.0002, abs=1e-10)
    assert object_of({"photflags": BAD, "dec": 20.00005}, stack)["dec"] == pytest.approx(20.00005, abs=1e-10)


def test_an_object_without_a_usable_position_keeps_its_association_position() -> None:
    rows = rows_of({"ra": np.nan})
    found = objects(rows, Seeds(np.array([7]), np.array([33.0]), np.array([-5.0]), np.array([2003.5])), TERMS)
    row = found.table.to_pylist()[0]
    assert (row["ra"], row["dec"], row["epoch"], row["ra_err"], row["n_position"]) == (33.0, -5.0, 2003.5, None, 0)
    assert decode(ObjectFlags, row["flags"]) == ["NO_MEAN_ASTROM"]


def test_an_object_without_a_seed_is_named() -> None:
    with pytest.raises(DataError, match="object 7 "):
        objects(rows_of({}), Seeds(*(np.array([v]) for v in (8, 0.0, 0.0, 2000.0))), TERMS)


def test_unsorted_measurements_are_refused() -> None:
    with pytest.raises(UsageError, match="not sorted"):
        rows_of({"object_id": 8}, {})


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UsageError, match="stak"):
        source_codes(["chip", "stak"])


def test_position_errors_are_softened_as_the_photcode_says() -> None:
    columns = {
        "code": [G_CHIP, R_CHIP, R_CHIP, G_CHIP], "x_err": [0.1, 0.1, None, None], "y_err": [0.2, 0.2, None, None],
        "pltscale": [-0.25, 0.25, 0.25, None], "inst_mag_err": [0.04, 0.04, None, None],
        "ra_raw_err": [None, 3.0, None, None], "dec_raw_err": [None, 4.0, 0.0, None],
    }  # fmt: skip
    raw = pa.Table.from_pydict(columns, schema=MEASUREMENTS.select(columns))
    ra_err, dec_err = position_errors(raw, TERMS)
    expected = [np.sqrt(20**2 + 50**2 + 20**2), 3.0, DEFAULT_POSITION_ERR_MAS, 20.0]
    np.testing.assert_allclose(ra_err, expected, rtol=1e-6)
    np.testing.assert_allclose(dec_err[:2], [np.sqrt(20**2 + 100**2 + 20**2), 4.0], rtol=1e-6)


def random_rows(rng: np.random.Generator, n_objects: int) -> MeasurementRows:
    ids = np.repeat(np.arange(n_objects) * 11, rng.integers(1, 15, n_objects))
    n = ids.size

    def maybe(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(n) < 0.1, np.nan, values).astype(np.float32)

    mags = [maybe(20 + rng.standard_t(2, n) * 0.05) for _ in range(3)]
    errs = [maybe(rng.uniform(0, 0.1, n)) for _ in range(3)]
    return MeasurementRows(
        object_id=ids, code=rng.choice([G_CHIP, R_CHIP, NO_BAND, SDSS], n).astype(np.int32),
        source=rng.integers(0, 4, n).astype(np.int8), mjd=55000 + rng.uniform(0, 3000, n),
        ra=(ids * 0.01 + rng.normal(size=n) * 2e-5) % 360, dec=rng.normal(size=n) * 2e-5,
        ra_err=maybe(rng.uniform(0, 100, n)), dec_err=maybe(rng.uniform(0, 100, n)),
        mag=mags[0], mag_err=errs[0], flux=maybe(rng.normal(size=n) * 300), flux_err=maybe(rng.uniform(0, 300, n)),
        ap_mag=mags[1], ap_mag_err=errs[1], kron_mag=mags[2], kron_mag_err=errs[2],
        photflags=rng.choice([0, 0, 0, POOR, BAD], n).astype(np.uint32), psf_qf=maybe(rng.uniform(0.8, 1, n)),
    )  # fmt: skip


def part(rows: MeasurementRows, where: np.ndarray) -> MeasurementRows:
    return MeasurementRows(**{name: column[where] for name, column in vars(rows).items()})


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_an_object_depends_on_its_own_measurements_alone(seed: int, n_objects: int) -> None:
    rows = random_rows(np.random.default_rng(seed), n_objects)
    seeds = seeds_of(rows)
    whole = derive(rows, seeds, TERMS)
    parts = [derive(part(rows, rows.object_id == i), seeds, TERMS) for i in np.unique(rows.object_id)]
    assert pa.concat_tables([p.objects for p in parts]).equals(whole.objects)
    assert pa.concat_tables([p.object_bands for p in parts]).equals(whole.object_bands)
    np.testing.assert_array_equal(np.concatenate([p.db_flags for p in parts]), whole.db_flags)
    assert not (whole.db_flags & ~np.uint32(ORIGINS[MeasurementFlags][Origin.DERIVED])).any()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_published_means_follow_from_the_rows_flagged_as_used(seed: int) -> None:
    rows = random_rows(np.random.default_rng(seed), 8)
    found = object_bands(rows, TERMS)
    places = TERMS.rows_of(rows.code)
    band = np.array([*TERMS.bands, ""])[TERMS.band[places]]
    used = found.db_flags & int(MeasurementFlags.PHOTOM_PSF) > 0
    variance = rows.mag_err.astype(float) ** 2 + TERMS.photometry_err_sys[places] ** 2
    for row in found.table.to_pylist():
        mine = (rows.object_id == row["object_id"]) & (band == row["band"])
        mine &= rows.source == SOURCES.index(row["source"])
        take = mine & used
        assert (row["n_measurements"], row["n_used"]) == (mine.sum(), take.sum())
        if take.any():
            weights = 1 / variance[take] if (variance[take] > 0).all() else np.ones(take.sum())
            assert row["mag"] == pytest.approx(np.average(rows.mag[take].astype(float), weights=weights), abs=3e-6)
            assert row["mag_min"] == rows.mag[take].min()


def test_the_columns_are_read_from_a_joined_table() -> None:
    columns = [c for c in MeasurementRows.names() if c not in ("kron_mag", "kron_mag_err")]
    second = dict.fromkeys(columns) | {"object_id": 7, "code": G_CHIP}
    table = pa.table({name: pa.array([ROW[name], second[name]]) for name in columns})
    found = MeasurementRows.from_table(table, source_codes(["chip", "chip"]))
    assert found.object_id.tolist() == [7, 7]
    assert (found.photflags.tolist(), found.photflags.dtype.name) == ([0, 0], "uint32")
    assert np.isnan([found.mag[1], found.kron_mag[0], found.ra[1]]).all()


def test_flags_that_are_declared_as_set_are_those_that_means_set() -> None:
    good: list[dict[str, Any]] = [{"mjd": 55000.0 + night} for night in range(8)]
    outlier = {"mag": 23.0, "ap_mag": 23.0, "kron_mag": 23.0, "dec": 20.01, "mjd": 55020.0}
    changes: list[dict[str, Any]] = [
        {}, {"photflags": POOR}, {"psf_qf": 0.5}, {"photflags": BAD}, {"mag": np.nan}, {"source": "warp"},
        {"source": "stack"}, {"ra": np.nan, "dec": np.nan},
    ]  # fmt: skip
    alone = [{"object_id": 8 + number} | change for number, change in enumerate(changes)]
    rows = rows_of(*good, outlier, *alone)
    found = derive(rows, seeds_of(rows), TERMS)
    bands, positions = (np.array(table["flags"]) for table in (found.object_bands, found.objects))
    assert np.bitwise_or.reduce(found.db_flags) == ORIGINS[MeasurementFlags][Origin.DERIVED]
    assert np.bitwise_or.reduce(bands) == ORIGINS[ObjectBandFlags][Origin.STORED]
    assert np.bitwise_or.reduce(positions) == ORIGINS[ObjectFlags][Origin.STORED]
