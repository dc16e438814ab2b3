import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy.io import fits
from astropy.time import Time

from skydb.calibration.astrometric import AstrometricModel
from skydb.errors import DataError, UsageError
from skydb.ingest.readers import assemble, reader_for
from skydb.ingest.readers.interface import DetectionFilter, ReadRequest, check_chunk
from skydb.schema.identity import image_id
from skydb.schema.photcodes import read_photcodes_text
from skydb.schema.psphot import COLUMN_OF_TTYPE
from tests.ingest.catalog_files import CHIP, PHOTCODES, PHU, TAN, Chip, column, read, rows, write_cmf, write_smf


def only(path, **request):
    (chunk,) = read(path, **request)
    return chunk


@pytest.fixture
def golden(data_dir):
    folder = data_dir / "golden_smf"
    codes = read_photcodes_text(folder / "photcodes.dat")
    return {path.name: (path, only(path, photcodes=codes)) for path in sorted(folder.glob("*.smf"))}


@pytest.mark.data
def test_golden_positions_come_from_the_header(golden, data_dir: Path):
    expected = list(csv.DictReader((data_dir / "golden_smf" / "expected_positions.csv").read_text().splitlines()))
    assert len(expected) == 337
    for name, (_, chunk) in golden.items():
        images = chunk.images.to_pylist()
        id_of = {row["name"].split("[")[1][:-5]: row["image_id"] for row in images}
        keys = zip(column(chunk, "image_id"), column(chunk, "det_id"), strict=True)
        place = {key: k for k, key in enumerate(keys)}
        mine = [row for row in expected if row["file"] == name]
        at = [place[id_of[row["extname"][:-4]], int(row["ipp_idet"])] for row in mine]
        ra, dec = (np.array([float(row[c]) for row in mine]) for c in ("ra_deg", "dec_deg"))
        d_ra = (column(chunk, "ra_raw")[at] - ra + 180) % 360 - 180
        assert np.abs(d_ra * np.cos(np.radians(dec))).max() * 3600 < 1e-6
        assert np.abs(column(chunk, "dec_raw")[at] - dec).max() * 3600 < 1e-6
        off = (column(chunk, "file_ra")[at] - ra + 180) % 360 - 180
        assert np.median(np.hypot(off * np.cos(np.radians(dec)), column(chunk, "file_dec")[at] - dec)) * 3600 > 0.03


@pytest.mark.data
def test_golden_columns_equal_what_astropy_reads(golden):
    n_rows, n_nan = 0, 0
    for path, chunk in golden.values():
        with fits.open(path, memmap=False) as hdus:
            tables = [np.array(hdu.data) for hdu in hdus if hdu.header.get("EXTTYPE") == "PS1_V4"]
            values = {name: np.concatenate([hdu.data[name] for hdu in hdus if hdu.header.get("EXTTYPE") == "PS1_V4"])
                      for name in COLUMN_OF_TTYPE if name in tables[0].dtype.names}
        kept = np.isfinite(values["X_PSF"]) & np.isfinite(values["Y_PSF"])
        assert len(values) == 53
        for ttype, theirs in values.items():
            mine = chunk.detections[COLUMN_OF_TTYPE[ttype]]
            theirs = theirs[kept]
            gone = ~np.isfinite(theirs) if theirs.dtype.kind == "f" else np.zeros(len(theirs), bool)
            assert np.array_equal(pc.is_null(mine).to_numpy(), gone), ttype
            n_nan += gone.sum()
            assert np.array_equal(mine.drop_null().to_numpy(), theirs[~gone]), ttype
        assert chunk.n_in == len(kept)
        assert chunk.rejected == ({"no_position": int((~kept).sum())} if not kept.all() else {})
        n_rows += kept.sum()
    assert sum(chunk.n_nulled for _, chunk in golden.values()) == n_nan
    assert n_rows == 2667


@pytest.mark.data
def test_golden_images_say_what_their_headers_say(golden):
    chunk = golden["e000001.smf"][1]
    assert chunk.images.num_rows == 16
    empty = next(row for row in chunk.images.to_pylist() if row["chip"] == "XY30")
    assert empty["n_detections"] == 0
    (exposure,) = chunk.exposures.to_pylist()
    assert exposure["name"] == "o000001"
    assert exposure["night"] == 56899
    for row in chunk.images.to_pylist():
        assert row["name"] == f"e000001.smf[{row['chip']}.hdr]"
        assert row["exposure_id"] == exposure["exposure_id"]
        assert row["image_id"] == image_id(row["image_key"])
        assert row["utc_start"] == 56900.330550131395
        time = Time(56900.330550131395, format="mjd", scale="utc").tai.mjd + 21.5 / 86400
        assert row["mjd"] == pytest.approx(time, abs=1e-10)
        assert np.hypot((row["ra"] + 180) % 360 - 180, row["dec"] - 20) < 1
    n_in = {row["image_id"]: row["n_detections"] for row in chunk.images.to_pylist()}
    assert sum(n_in.values()) == chunk.n_in


@pytest.mark.data
def test_golden_airmass_is_that_of_every_detection(golden):
    """The header's airmass of a chip is that at its centre; detections vary about it."""
    chunk = golden["e000001.smf"][1]
    for row in chunk.images.to_pylist():
        mine = column(chunk, "airmass")[column(chunk, "image_id") == row["image_id"]]
        if len(mine):
            assert np.abs(mine - row["airmass"]).max() < 0.004
    assert len(np.unique(column(chunk, "airmass"))) > 2000


def test_tables_are_paired_by_name_not_by_order(tmp_path):
    chips = (Chip("XY01", rows(5, 1)), Chip("XY02", rows(7, 2), {"PHOTCODE": "CAM.g.XY02", "CRVAL1": 9000.0}))
    straight = only(write_smf(tmp_path / "a.smf", chips))
    shuffled = only(write_smf(tmp_path / "b.smf", chips, order=[3, 0, 2, 1]))
    key = [("image_id", "ascending"), ("det_id", "ascending")]
    assert straight.detections.sort_by(key).equals(shuffled.detections.sort_by(key))
    assert set(column(straight, "code")) == {100, 101}


CONTRADICTIONS = {
    # what is overwritten in the headers of XY01 (HDU 1, 2) and XY02 (HDU 3, 4) → what is said
    "heads announce each other's tables": {1: {"EXTDATA": "XY02.psf"}, 3: {"EXTDATA": "XY01.psf"}},
    "tables name each other's heads": {2: {"EXTHEAD": "XY02.hdr"}, 4: {"EXTHEAD": "XY01.hdr"}},
    "two heads announce one table": {1: {"EXTDATA": "XY02.psf"}},
    "two tables name one head": {2: {"EXTHEAD": "XY02.hdr"}},
    "a head announces no table of detections": {1: {"EXTDATA": "XY01.hdr"}},
    "two heads have one name": {1: {"EXTNAME": "XY02.hdr"}},
    "two tables have one name": {2: {"EXTNAME": "XY02.psf"}, 1: {"EXTDATA": "XY02.psf"}},
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_pairing_that_contradicts_itself_is_refused(tmp_path, case):
    chips = (Chip("XY01", rows(5, 1)), Chip("XY02", rows(7, 2), {"PHOTCODE": "CAM.g.XY02", "CRVAL1": 9000.0}))
    path = write_smf(tmp_path / "a.smf", chips)
    with fits.open(path, mode="update", memmap=False) as hdus:
        for number, cards in CONTRADICTIONS[case].items():
            hdus[number].header.update(cards)
    said = "its EXTNAME is that of HDU" if "have one name" in case else "EXTHEAD is '.*EXTDATA of HDU"
    with pytest.raises(DataError, match=rf"HDU \d \(.*{said} \d"):
        read(path)


def test_a_head_that_announces_no_table_needs_none(tmp_path):
    path = write_smf(tmp_path / "a.smf")
    with fits.open(path, mode="update", memmap=False) as hdus:
        del hdus[1].header["EXTDATA"], hdus[1].header["EXTTYPE"]
    assert only(path).n_in == 20


def test_a_chip_without_rows_gives_its_image(tmp_path):
    chunk = only(write_smf(tmp_path / "a.smf", (Chip("XY01", rows(0)), Chip("XY02", rows(3), {"CRVAL1": 1.0}))))
    assert chunk.images["chip"].to_pylist() == ["XY01", "XY02"]
    assert chunk.n_in == chunk.detections.num_rows == 3
    chunk = only(write_smf(tmp_path / "b.smf", (Chip("XY01", rows(0)),)))
    assert (chunk.images.num_rows, chunk.n_in, chunk.detections.num_rows) == (1, 0, 0)


def test_unsigned_columns_read_the_same_with_and_without_tzero(tmp_path):
    table = rows(50)
    for tzero in (True, False):
        chunk = only(write_smf(tmp_path / "a.smf", (Chip(table=table),), tzero=tzero))
        for ttype in ("FLAGS", "FLAGS2", "N_FRAMES"):
            assert np.array_equal(column(chunk, COLUMN_OF_TTYPE[ttype]), table[ttype]), (ttype, tzero)


def test_detection_numbers_above_31_bits_are_kept(tmp_path):
    table = rows(3, IPP_IDET=np.array([1, 2**31 - 1, -1], dtype=np.int32))
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(table=table),)))
    assert column(chunk, "det_id").tolist() == [1, 2**31 - 1, 2**32 - 1]


def test_older_versions_are_read_by_column_name(tmp_path):
    table = rows(8)
    for name in ("PSF_INST_FLUX", "PSF_INST_FLUX_SIG", "KRON_FLUX", "FLAGS2"):
        del table[name]
    table["RA_PSF"] = table["RA_PSF"].astype("f4")
    table["PSF_INST_MAG"][3] = np.nan
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(table=table, exttype="PS1_V1"),)))
    assert "inst_kron_flux" not in chunk.detections.column_names
    assert "photflags2" not in chunk.detections.column_names
    flux = 10 ** (-0.4 * table["PSF_INST_MAG"].astype(float))
    got = chunk.detections["inst_flux"].to_pylist()
    assert got[3] is None
    np.testing.assert_allclose([f for f in got if f is not None], np.delete(flux, 3), rtol=1e-6)
    flux_err = flux[0] * table["PSF_INST_MAG_SIG"][0] * 0.4 * np.log(10)
    assert chunk.detections["inst_flux_err"].to_pylist()[0] == pytest.approx(flux_err, rel=1e-6)


def test_a_deteff_table_that_calls_itself_ps1_v2_is_skipped(tmp_path):
    path = write_smf(tmp_path / "a.smf", (Chip(exttype="PS1_V2"),))
    with fits.open(path, memmap=False) as hdus:
        names = ("OFFSET", "COUNTS", "FRACTION", "E1", "E2")
        wrong = fits.BinTableHDU.from_columns([fits.Column(n, "E", array=np.zeros(4, "f4")) for n in names])
        wrong.header["EXTTYPE"], wrong.header["EXTHEAD"] = "PS1_V2", "XY01.hdr"
        fits.HDUList([*hdus, wrong]).writeto(tmp_path / "b.smf")
    assert only(tmp_path / "b.smf").detections.equals(only(path).detections)


def test_stacks_are_known_by_format_and_by_photcode(tmp_path):
    def kind(**chip):
        return only(write_smf(tmp_path / "a.smf", (Chip(**chip),))).images["kind"][0].as_py()

    assert kind() == "chip"
    assert kind(exttype="PS1_SV4") == "stack"
    assert kind(header={"PHOTCODE": "STACK.g"}) == "stack"


def test_a_single_chip_file_has_its_header_in_front(tmp_path):
    path = write_cmf(tmp_path / "night.cmf", header={"EXTNAME": "ccd7", "CCDNUM": 7})
    chunk = only(path)
    (image,) = chunk.images.to_pylist()
    assert image["name"] == "night.cmf"
    assert image["ccdnum"] == 7
    model = AstrometricModel.from_headers(TAN)
    ra, dec = model.pixel_to_sky(column(chunk, "x"), column(chunk, "y"))
    assert np.array_equal(column(chunk, "ra_raw"), ra)
    assert np.array_equal(column(chunk, "dec_raw"), dec)
    assert AstrometricModel.from_json(image["astrometry"]) == model


def test_footprint_holds_all_corners(tmp_path):
    (image,) = only(write_smf(tmp_path / "a.smf")).images.to_pylist()
    model = AstrometricModel.from_headers(CHIP, PHU)
    ra, dec = model.pixel_to_sky([0, 1000, 1000, 0], [0, 0, 800, 800])
    np.testing.assert_allclose(image["corner_ra"], ra, rtol=1e-13)
    np.testing.assert_allclose(image["corner_dec"], dec, rtol=1e-13)
    assert image["radius"] == pytest.approx(np.hypot(5000, 4000) * 7e-6, rel=1e-4)
    assert min(image["ra"], 360 - image["ra"]) < 0.05
    expected = {"nx": 1000, "ny": 800, "zpt_obs": 24.5, "zpt_err": 0.02, "external_id": 7, "source_id": 3}
    assert {key: image[key] for key in expected} == expected


def test_nan_and_infinity_become_null_and_are_counted(tmp_path):
    table = rows(10)
    table["AP_MAG"][[1, 4]] = np.nan
    table["KRON_FLUX"][2] = np.inf
    table["PSF_INST_MAG"][3] = np.nan
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(table=table),)))
    assert chunk.detections["inst_ap_mag"].null_count == 2
    assert chunk.detections["inst_kron_flux"].null_count == 1
    assert chunk.n_nulled == 4
    assert chunk.detections.num_rows == 10


def test_rows_without_a_position_are_rejected(tmp_path):
    table = rows(10)
    table["X_PSF"][2], table["Y_PSF"][5], table["X_PSF"][7] = np.nan, np.inf, 3e38
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(table=table),)))
    assert column(chunk, "det_id").tolist() == [0, 1, 3, 4, 6, 8, 9]
    assert chunk.rejected == {"no_position": 2, "off_chip": 1}
    assert np.isfinite(column(chunk, "ra_raw")).all()


def test_rows_far_off_their_chip_are_rejected_and_rows_just_off_it_are_not(tmp_path):
    """The chips have 1000 by 800 pixels."""
    table = rows(9)
    table["X_PSF"][:] = [500, -3, 1003, -499, 1499, -501, 1501, 1e6, 500]
    table["Y_PSF"][:] = [400, 400, 803, -399, 1199, 400, 400, 400, -401]
    chips = Chip(table=table), Chip("XY02", rows(3, 1), {"CRVAL1": 9000.0})
    chunk = only(write_smf(tmp_path / "a.smf", chips))
    assert chunk.rejected == {"off_chip": 4}
    assert column(chunk, "det_id").tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert only(write_cmf(tmp_path / "a.cmf", table)).rejected == {"off_chip": 4}


@pytest.mark.parametrize(("bounds", "n_kept"), [((None, 0), 1), ((0, None), 2), ((0.0, 0.0), 0), ((-20, 0), 1)])
def test_bound_of_zero_is_a_bound(tmp_path, bounds, n_kept):
    table = rows(3, X_PSF=np.array([-10, 10, 20], "f4"), Y_PSF=np.array([-10, 10, 20], "f4"))
    path = write_smf(tmp_path / "a.smf", (Chip(table=table),))
    for keep in (DetectionFilter(x_range=bounds), DetectionFilter(y_range=bounds)):
        chunk = only(path, keep=keep)
        assert (chunk.detections.num_rows, chunk.rejected) == (n_kept, {"window": 3 - n_kept})


def test_filters_count_each_row_once_by_its_reason(tmp_path):
    table = rows(6)
    table["PSF_INST_MAG_SIG"][:] = [0.5, 0.1, np.nan, 0.1, 0.1, 0.5]
    table["FLAGS"][:] = [0, 8, 0, 0, 0, 8]
    table["X_PSF"][:] = [500, 500, 500, 5, 990, 500]
    table["Y_PSF"][:] = 400
    path = write_smf(tmp_path / "a.smf", (Chip(table=table),))
    keep = DetectionFilter(max_mag_err=0.2, exclude_photflags=8, x_range=(10, 900), y_range=(None, None))
    chunk = only(path, keep=keep)
    assert chunk.rejected == {"magnitude_error": 2, "photflags": 1, "window": 2}
    assert column(chunk, "det_id").tolist() == [2]
    assert only(path, keep=DetectionFilter()).rejected == {}
    assert only(path, keep=DetectionFilter(y_range=(401, None))).rejected == {"window": 6}


def test_repeated_detection_numbers_are_rejected(tmp_path):
    table = rows(6, IPP_IDET=np.array([4, 2, 4, 9, 2, 4], dtype=np.int32))
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(table=table), Chip("XY02", table, {"CRVAL1": 9000.0}))))
    assert chunk.rejected == {"duplicate": 6}
    assert column(chunk, "det_id").tolist() == [4, 2, 9] * 2


def test_rows_of_a_drift_scan_start_later(tmp_path):
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(header={"TRATE": 0.04}),)))
    (image,) = chunk.images.to_pylist()
    assert image["row_time"] == pytest.approx(0.04)
    np.testing.assert_allclose((column(chunk, "mjd") - image["mjd"]) * 86400, 0.04 * column(chunk, "y"), atol=1e-5)


def secant(ra, dec, st, latitude):
    h, d, p = np.radians(15 * st - ra), np.radians(dec), np.radians(latitude)
    return 1 / (np.sin(p) * np.sin(d) + np.cos(p) * np.cos(d) * np.cos(h))


def test_airmass_is_per_detection_where_site_and_sidereal_time_are_known(tmp_path):
    given = {"ST": "02:12:00", "AIRMASS": float(secant(359.99, 10, 2.2, 20))}
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(header=given),)))
    true = secant(column(chunk, "ra_raw"), column(chunk, "dec_raw"), 2.2, 20.0)
    np.testing.assert_allclose(column(chunk, "airmass"), true, rtol=1e-6)
    assert np.ptp(column(chunk, "airmass")) > 1e-4


@pytest.mark.parametrize("header", [{"ST": "14:00:00"}, {"LATITUDE": None, "ST": None, "LONGITUD": None}])
def test_airmass_is_the_image_s_where_the_sky_position_cannot_tell(tmp_path, header):
    """A star that the sidereal time puts below the horizon, or far from the header's airmass, tells nothing."""
    phu = {key: value for key, value in header.items() if key in ("LATITUDE", "LONGITUD")}
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(header=header | {"AIRMASS": 1.4}),), phu))
    assert set(column(chunk, "airmass")) == {np.float32(1.4)}


@pytest.mark.parametrize("nonsense", [0.0, -999.0, 0.5, 41.0, 1e300])
def test_airmass_that_cannot_be_counts_as_absent(tmp_path, nonsense):
    path = tmp_path / "a.smf"
    chunk = only(write_smf(path, (Chip(header={"AIRMASS": nonsense, "ST": "02:12:00"}),), {"AIRMASS": nonsense}))
    true = secant(column(chunk, "ra_raw"), column(chunk, "dec_raw"), 2.2, 20.0)
    np.testing.assert_allclose(column(chunk, "airmass"), true, rtol=1e-6)
    assert chunk.images["airmass"][0].as_py() == pytest.approx(secant(359.99, 10, 2.2, 20), rel=1e-3)
    assert chunk.exposures["airmass"].null_count == 1
    chunk = only(write_smf(path, (Chip(header={"AIRMASS": nonsense, "ST": "14:00:00"}),), {"AIRMASS": nonsense}))
    assert chunk.images["airmass"].null_count == 1
    assert chunk.detections["airmass"].null_count == 20


def test_airmass_of_the_exposure_stands_in_for_a_chip_s_that_cannot_be(tmp_path):
    chunk = only(write_smf(tmp_path / "a.smf", (Chip(header={"AIRMASS": 0.0}),), {"AIRMASS": 1.3, "LATITUDE": None}))
    assert set(column(chunk, "airmass")) == {np.float32(1.3)}


NONSENSE = ("0.0", "-999.0", "-99999", "1E30", "1E300", "-1E300", str(2**66), "'NaN'", "1_0", "")
MORE_CARDS = {"TRATE": 0.0, "CERROR": 0.1, "SEXBKGND": 99.0, "ST": 2.2, "FSATUR": 14.0, "CCDNUM": 1, "NAXIS": 0}


@pytest.mark.parametrize("place", ["first", "last"])
def test_nonsense_in_any_keyword_is_an_error_of_skydb_or_costs_no_magnitude(tmp_path, place):
    """Every card in turn, of the exposure's header and of the chip's, is overwritten in the file."""
    more = {key: value for key, value in MORE_CARDS.items() if key != "NAXIS"}
    sound = write_smf(tmp_path / "sound.smf", (Chip(header=more),), more).read_bytes()
    n_read = 0
    for key in sorted(set(PHU) | set(CHIP) | set(MORE_CARDS)):
        card = f"{key:<8}=".encode()
        at = sound.index(card) if place == "first" else sound.rindex(card, 0, sound.index(b"XTENSION= 'BINTABLE"))
        for value in NONSENSE:
            damaged = f"{key:<8}= {value:>20}".ljust(80).encode()
            (tmp_path / "a.smf").write_bytes(sound[:at] + damaged + sound[at + 80 :])
            try:
                chunks = read(tmp_path / "a.smf")
            except DataError:
                continue
            n_read += 1
            for chunk in chunks:
                check_chunk(chunk)
                numbers = [v for row in chunk.images.to_pylist() for v in row.values() if isinstance(v, float)]
                assert np.isfinite(numbers).all(), (key, value)
                assert chunk.detections["inst_mag"].null_count == 0, (key, value)
            assert sum(chunk.n_in for chunk in chunks) == 20
    assert n_read > 100


def test_sidereal_time_follows_from_the_longitude(tmp_path):
    (image,) = only(write_smf(tmp_path / "a.smf")).images.to_pylist()
    expected = Time(56900.25, format="mjd", scale="utc").sidereal_time("mean", "-156d").hour
    assert image["sidereal_time"] == pytest.approx(expected, abs=2e-4)


def test_the_caller_s_photcode_replaces_the_header_s(tmp_path):
    path = write_smf(tmp_path / "a.smf", (Chip(header={"PHOTCODE": "unknown"}),))
    chunk = only(path, photcode="CAM.r")
    assert set(column(chunk, "code")) == {102}
    with pytest.raises(UsageError, match=r"did you mean 'CAM\.r'"):
        read(path, photcode="CAM.rr")


def test_ids_do_not_depend_on_the_file_s_place(tmp_path):
    write_smf(tmp_path / "a.smf")
    (tmp_path / "elsewhere").mkdir()
    write_smf(tmp_path / "elsewhere" / "b.smf")
    one, other = only(tmp_path / "a.smf"), only(tmp_path / "elsewhere" / "b.smf")
    assert one.images["image_id"].equals(other.images["image_id"])
    assert one.exposures["exposure_id"].equals(other.exposures["exposure_id"])


def test_large_files_come_in_chunks_with_the_same_rows(tmp_path, monkeypatch):
    more = Chip("XY02", rows(45, 2), {"CRVAL1": 9000.0}), Chip("XY03", rows(9, 3), {"CRVAL1": 1.0})
    path = write_smf(tmp_path / "a.smf", (Chip("XY01", rows(70, 1)), *more))
    whole = only(path)
    monkeypatch.setattr(assemble, "CHUNK_ROWS", 50)
    parts = read(path)
    assert [chunk.n_in for chunk in parts] == [50, 50, 24]
    assert pa.concat_tables([chunk.detections for chunk in parts]).equals(whole.detections)
    assert all(chunk.images.equals(whole.images) for chunk in parts)


def test_tables_of_different_versions_share_a_chunk(tmp_path):
    older = rows(4)
    del older["KRON_FLUX"]
    chips = (Chip("XY01", rows(3)), Chip("XY02", older, {"CRVAL1": 9000.0}, "PS1_V3"))
    chunk = only(write_smf(tmp_path / "a.smf", chips))
    assert chunk.detections["inst_kron_flux"].null_count == 4
    assert chunk.detections.num_rows == 7


def test_chips_without_an_astrometric_solution_are_rejected(tmp_path):
    chips = (Chip("XY01", rows(5)), Chip("XY02", rows(4), {"NASTRO": 0, "CRVAL1": 9000.0}))
    chunk = only(write_smf(tmp_path / "a.smf", chips))
    assert chunk.images["chip"].to_pylist() == ["XY01"]
    assert chunk.rejected == {"no_astrometry": 4}
    assert chunk.n_in == 9
    with pytest.raises(DataError, match="NASTRO"):
        read(write_smf(tmp_path / "b.smf", (chips[1],)))


def test_header_values_of_odd_form_are_understood(tmp_path):
    header = {
        "ZPT_OBS": "NaN", "FWHM_MAJ": "", "DETEFF.MAGREF": 21.5, "FSATUR": 14.5, "CERROR": 0.05, "MJD-OBS": "NaN",
        "DATE-OBS": "2014-08-31T06:00:00", "ST": "-01:30:00", "LATITUDE": "-30:00:00", "AIRMASS": "nan",
    }
    (image,) = only(write_smf(tmp_path / "a.smf", (Chip(header=header),))).images.to_pylist()
    assert image["zpt_obs"] is None
    assert image["fwhm_major"] is None
    assert image["detection_limit"] == 21.5
    assert image["saturation_limit"] == 14.5
    assert image["utc_start"] == 56900.25
    assert image["sidereal_time"] == 22.5
    assert image["latitude"] == -30.0
    assert image["airmass"] == pytest.approx(1.2)  # of the exposure


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"PHOTCODE": "CAM.g.XY03"}, r"did you mean 'CAM\.g\.XY0"), ({"PHOTCODE": None}, "--photcode"),
        ({"PHOTCODE": "g_alt"}, "ALT"), ({"CTYPE2": None}, "astrometry"), ({"CTYPE2": "DEC--XYZ"}, "astrometry.*XYZ"),
        ({"CRVAL1": None}, "CRVAL1"), ({"EXPTIME": -3.0}, "negative"), ({"IMNAXIS2": None}, "IMNAXIS"),
        ({"IMNAXIS1": -5}, "IMNAXIS"), ({"MJD-OBS": 3.0, "EXPTIME": 2.0}, None),
    ],
)
def test_a_wrong_header_rejects_the_file(tmp_path, header, words):
    path = write_smf(tmp_path / "a.smf", (Chip("XY01", rows(2)), Chip("XY02", rows(2), {"CRVAL1": 5.0} | header)))
    if words is None:  # the exposure's time stands in for a chip's that is none
        assert only(path).images["utc_start"].to_pylist() == [56900.25] * 2
        return
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert "XY02" in str(caught.value)


@pytest.mark.parametrize("change", [{"MJD-OBS": "NaN"}, {"MJD-OBS": 1e9}, {"MJD-OBS": None}, {"MJD-OBS": -5.0}])
def test_a_missing_or_impossible_time_rejects_the_file(tmp_path, change):
    with pytest.raises(DataError, match="time of observation"):
        read(write_smf(tmp_path / "a.smf", (Chip(header=change),), change))


def test_an_exposure_time_that_is_missing_rejects_the_file(tmp_path):
    with pytest.raises(DataError, match="exposure time is missing"):
        read(write_smf(tmp_path / "a.smf", (Chip(header={"EXPTIME": "NaN"}),), {"EXPTIME": None}))


@pytest.mark.parametrize("wrong", [0, 0.0, "0", -1.0, 1.1e7, 1e300, "NaN", "inf", "-inf"])
def test_an_exposure_time_that_makes_wrong_magnitudes_is_refused_wherever_it_stands(tmp_path, wrong):
    """0 counts as 1 s where magnitudes are made: one chip of an exposure would be 3.7 mag off."""
    chips = (Chip("XY01"), Chip("XY02", header={"EXPTIME": wrong, "CRVAL1": 9000.0}))
    with pytest.raises(DataError, match=r"expos.*EXPTIME, in seconds") as caught:
        read(write_smf(tmp_path / "a.smf", chips))
    assert "XY02" in str(caught.value)
    alone = write_cmf(tmp_path / "a.cmf", header={"EXPTIME": wrong})
    with pytest.raises(DataError, match=r"expos.*EXPTIME, in seconds"):
        read(alone)
    with pytest.raises(DataError, match=r"expos.*EXPTIME, in seconds"):
        reader_for(alone, ReadRequest(PHOTCODES)).first_start(alone, ReadRequest(PHOTCODES))


def test_a_chip_without_exposure_time_has_that_of_its_exposure(tmp_path):
    for absent in (None, "", "unknown"):
        chunk = only(write_smf(tmp_path / "a.smf", (Chip(header={"EXPTIME": absent}),), {"EXPTIME": 43.0}))
        assert chunk.images["exptime"].to_pylist() == [43.0]


def test_structural_damage_rejects_the_file(tmp_path):
    chips = (Chip("XY01"), Chip("XY02", header={"CRVAL1": 9000.0}))
    with pytest.raises(DataError, match=r"header 'XY02\.hdr' is missing"):
        read(write_smf(tmp_path / "a.smf", chips, drop=[2]))
    with pytest.raises(DataError, match=r"table 'XY02\.psf' is missing"):
        read(write_smf(tmp_path / "b.smf", chips, drop=[3]))
    with pytest.raises(DataError, match="no table of psphot detections"):
        read(write_smf(tmp_path / "c.smf", (Chip(exttype="PS1_XX"),)))
    with fits.open(write_smf(tmp_path / "d.smf", chips), memmap=False) as hdus:
        hdus["XY02.psf"].header["EXTHEAD"] = "XY01.hdr"
        del hdus["XY01.hdr"].header["EXTDATA"], hdus["XY02.hdr"].header["EXTDATA"]
        hdus.writeto(tmp_path / "d2.smf")
    with pytest.raises(DataError, match="same image"):
        read(tmp_path / "d2.smf")
    with pytest.raises(DataError, match="type DIS"):
        read(write_smf(tmp_path / "e.smf", phu={"CTYPE2": "DEC--WRP"}))
    table = rows(3)
    del table["Y_PSF"]
    with pytest.raises(DataError, match="no column Y_PSF"):
        read(write_smf(tmp_path / "f.smf", (Chip(table=table),)))


NEEDED = ("IPP_IDET", "X_PSF", "Y_PSF", "X_PSF_SIG", "Y_PSF_SIG", "PSF_INST_MAG", "PSF_INST_MAG_SIG", "PSF_QF", "FLAGS")


@pytest.mark.parametrize("ttype", NEEDED)
@pytest.mark.parametrize("exttype", ["PS1_V1", "PS1_V5", "PS1_SV2", "PS1_DV1"])
def test_a_table_without_a_column_that_all_of_its_type_have_is_refused(tmp_path, exttype, ttype):
    table = rows(3)
    del table[ttype]
    with pytest.raises(DataError, match=rf"XY02\.psf.*\({exttype}\) has no column {ttype};"):
        read(write_smf(tmp_path / "a.smf", (Chip(), Chip("XY02", table, exttype=exttype))))


def test_all_columns_that_are_missing_are_named(tmp_path):
    table = rows(0)
    for name in ("FLAGS", "PSF_INST_MAG", "PSF_INST_FLUX"):
        del table[name]
    with pytest.raises(DataError, match="has no column PSF_INST_MAG, FLAGS, PSF_INST_FLUX"):
        read(write_smf(tmp_path / "a.smf", (Chip(table=table),)))
    with pytest.raises(DataError, match="has no column PSF_INST_MAG, FLAGS;"):
        read(write_smf(tmp_path / "a.smf", (Chip(table=table, exttype="PS1_V2"),)))


def test_every_truncation_is_refused_but_between_chips(tmp_path):
    path = write_smf(tmp_path / "a.smf", (Chip("XY01"), Chip("XY02", header={"CRVAL1": 9000.0})))
    content = path.read_bytes()
    with fits.open(path) as hdus:
        whole_chip = hdus["XY02.hdr"].fileinfo()["hdrLoc"]
    for size in (*range(0, len(content), 1440), len(content) - 1):
        if size == whole_chip:
            continue
        (tmp_path / "cut.smf").write_bytes(content[:size])
        with pytest.raises(DataError):
            read(tmp_path / "cut.smf")


@pytest.mark.parametrize(
    ("n_extensions", "is_refused"), [(2, False), (4, True), (60, True), ("NaN", False), (None, False)]
)
def test_a_mosaic_cut_between_chips_is_refused_where_its_header_counts(tmp_path, n_extensions, is_refused):
    chips = (Chip("XY01"), Chip("XY02", header={"CRVAL1": 9000.0}))
    cut = write_smf(tmp_path / "a.smf", chips, {"NEXTEND": n_extensions}, drop=[2, 3])
    if is_refused:
        with pytest.raises(DataError, match=f"NEXTEND announces {n_extensions} extensions, the file has 2"):
            read(cut)
    else:
        assert only(cut).images.num_rows == 1


def test_data_that_contradict_their_sum_are_refused(tmp_path):
    path = write_smf(tmp_path / "a.smf")
    with fits.open(path, memmap=False) as hdus:
        hdus.writeto(tmp_path / "b.smf", checksum=True)
    assert only(tmp_path / "b.smf").detections.equals(only(path).detections)
    content = bytearray((tmp_path / "b.smf").read_bytes())
    content[-2000] ^= 1
    (tmp_path / "b.smf").write_bytes(content)
    with pytest.raises(DataError, match="DATASUM"):
        read(tmp_path / "b.smf")


def test_magnitude_that_is_not_negative_is_none_and_its_flux_stays(tmp_path):
    table = rows(6, PSF_INST_MAG=np.array([-9.0, 0.0, 0.5, np.nan, np.inf, -0.01], "f4"))
    chunk = only(write_smf(tmp_path / "a.smf", [Chip(table=table)]))
    assert [m is None for m in chunk.detections["inst_mag"].to_pylist()] == [False, True, True, True, True, False]
    assert (column(chunk, "inst_flux") == table["PSF_INST_FLUX"]).all()
    assert chunk.n_nulled == 4


def test_errors_below_zero_are_nulled_in_rows_and_headers(tmp_path):
    table = rows(3, PSF_INST_MAG_SIG=np.array([-1.0, 0.0, 0.1], "f4"), X_PSF_SIG=np.array([0.1, -9.0, 0.1], "f4"))
    chip = Chip(table=table, header={"ZPT_ERR": -1.0, "CERROR": -1.0})
    chunk = only(write_smf(tmp_path / "a.smf", [chip]))
    assert chunk.detections["inst_mag_err"].to_pylist() == [None, 0.0, pytest.approx(0.1)]
    assert [error is None for error in chunk.detections["x_err"].to_pylist()] == [False, True, False]
    assert chunk.n_nulled == 2
    assert (chunk.images["zpt_err"].to_pylist(), chunk.images["astrometry_err"].to_pylist()) == ([None], [None])


def test_flux_made_of_a_magnitude_needs_one(tmp_path):
    table = rows(3, PSF_INST_MAG=np.array([-9.0, 0.0, -0.5], "f4"))
    del table["PSF_INST_FLUX"], table["PSF_INST_FLUX_SIG"]
    chunk = only(write_smf(tmp_path / "a.smf", [Chip(table=table, exttype="PS1_V2")]))
    assert [f is None for f in chunk.detections["inst_flux"].to_pylist()] == [False, True, False]
