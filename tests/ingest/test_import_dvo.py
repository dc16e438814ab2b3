"""What an import makes of a DVO database: compared with addstar of the files that DVO ingested."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

import skydb
from skydb import database
from skydb.photcodes import add_photcodes
from skydb.schema.photcodes import Photcode, Photcodes, read_photcodes_text
from skydb.tools.cli import main
from tests.ingest import dvo_files
from tests.ingest.catalog_files import CHIP, PHOTCODES, TAN
from tests.ingest.dvo_files import DvoDatabase, as_signed, empty_rows
from tests.ingest.dvo_surveys import NAMES, dvo_of, make_survey

LAST_BIT = 2e-6
"""Mag: one step of a float32 between 16 and 32, in which DVO keeps magnitudes."""
SAME = (
    "image_id", "det_id", "object_id", "code", "mjd", "x", "y", "inst_mag_err", "photflags", "photflags2",
    "psf_qf", "psf_qf_perfect", "file_psf_mag_err", "pltscale", "sky", "sky_err", "psf_chisq", "ext_nsigma", "psf_ndof",
    "psf_npix", "exptime", "mflat", "db_flags",
)  # fmt: skip
CLOSE = {"mag": LAST_BIT, "inst_mag": LAST_BIT, "ap_mag": LAST_BIT, "kron_mag": LAST_BIT, "inst_ap_mag": LAST_BIT,
         "mcal": 1e-7, "airmass": 5e-7, "mag_err": 1e-7, "ap_mag_err": 1e-6, "kron_mag_err": 1e-6,
         "x_err": 0.01, "y_err": 0.01, "psf_major": 0.01, "psf_minor": 0.01, "psf_theta": 0.0055, "posangle": 0.0055,
         "moments_xx": 0.01, "moments_xy": 0.01, "moments_yy": 0.01}  # fmt: skip
FLUXES = ("flux", "flux_err", "inst_flux", "inst_flux_err", "inst_ap_flux", "inst_ap_flux_err", "inst_kron_flux",
          "inst_kron_flux_err")  # fmt: skip
BY_KEY = "SELECT * FROM measurements ORDER BY image_id, det_id"


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def of_files(survey, tmp_path_factory):
    """The database that addstar makes of the files."""
    db = database.create(tmp_path_factory.mktemp("smf") / "smf.sky")
    add_photcodes(db, PHOTCODES, "photcodes")
    assert skydb.addstar(db, survey.files).complete
    return db


def imported(folder, dvo: DvoDatabase, *, written=None, **options):
    """A new database into which a DVO database was imported, and the report."""
    db = database.create(folder / "dvo.sky")
    return db, skydb.import_dvo(db, dvo.write(folder / "catdir", **(written or {})), workers=1, **options)


def table(db, sql):
    with skydb.connect(db) as connection:
        return connection.sql(sql).arrow()


def floats(rows, name):
    return rows[name].cast("float64").to_numpy(zero_copy_only=False)


@pytest.fixture(scope="module", params=["plain", "packed"])
def of_dvo(request, survey, tmp_path_factory):
    return imported(tmp_path_factory.mktemp("of_dvo"), survey.dvo, written={"packed": request.param == "packed"},
                    compare=True)  # fmt: skip


def test_measurements_are_those_of_the_files(of_files, of_dvo):
    ours, theirs = table(of_files, BY_KEY), table(of_dvo[0], BY_KEY)
    assert ours.num_rows == theirs.num_rows == 240
    for name in SAME:
        assert theirs[name].equals(ours[name]), name
    for name, step in CLOSE.items():
        mine, own = floats(theirs, name), floats(ours, name)
        assert np.array_equal(np.isnan(mine), np.isnan(own)), name
        assert np.nanmax(np.abs(mine - own)) <= step, name
    for name in FLUXES:
        assert np.allclose(floats(theirs, name), floats(ours, name), rtol=3e-7, atol=0, equal_nan=True), name


def test_positions_are_those_of_the_files_and_of_dvo(of_files, of_dvo):
    ours, theirs = table(of_files, BY_KEY), table(of_dvo[0], BY_KEY)
    for first, second in (("ra", "dec"), ("ra_raw", "dec_raw")):
        d_ra = (floats(theirs, first) - floats(ours, first) + 180) % 360 - 180
        assert np.abs(d_ra).max() * 3600 < 1e-6
        assert np.abs(floats(theirs, second) - floats(ours, second)).max() * 3600 < 1e-6
    far = "SELECT max(separation(ra_raw, dec_raw, file_ra, file_dec)) * 3600 AS far FROM measurements"
    assert table(of_dvo[0], far)["far"][0].as_py() < 1e-6


def test_images_are_those_of_the_files(of_files, of_dvo):
    ours, theirs = (table(db, "SELECT * FROM images ORDER BY image_id") for db in (of_files, of_dvo[0]))
    for name in ("image_id", "exposure_id", "name", "chip", "ccdnum", "kind", "code", "mjd", "utc_start", "exptime",
                 "airmass", "nx", "ny", "n_detections", "external_id", "source_id", "mcal_source"):  # fmt: skip
        assert theirs[name].equals(ours[name]), name
    assert np.allclose(floats(theirs, "mcal"), floats(ours, "mcal"), atol=1e-7, rtol=0)
    assert np.allclose(floats(theirs, "mcal_err"), floats(ours, "mcal_err"), atol=1e-8, rtol=0)
    assert np.allclose(floats(theirs, "ra"), floats(ours, "ra"), atol=1e-9, rtol=0)
    assert np.allclose(floats(theirs, "radius"), floats(ours, "radius"), atol=1e-9, rtol=0)
    assert np.allclose(floats(theirs, "astrometry_err"), 3 / 50)
    assert set(theirs["saturation_limit"].to_pylist()) == {15.0}
    assert np.allclose(floats(theirs, "sidereal_time"), floats(ours, "sidereal_time"), atol=2e-7, rtol=0)
    nights = "SELECT name, night FROM exposures ORDER BY name"
    exposures = [table(db, nights).to_pylist() for db in (of_files, of_dvo[0])]
    assert exposures[0] == exposures[1]
    assert [e["name"] for e in exposures[1]] == ["e000000", "e000001", "e000002"]
    assert {e["night"] for e in exposures[1]} == {56899}


def test_report_counts_rows_photcodes_and_objects(of_dvo, survey):
    db, report = of_dvo
    (file,) = report.ingest.files
    assert (file.status, file.n_in, file.n_new, file.n_matched, file.n_rejected) == ("ingested", 240, 80, 160, 0)
    assert report.n_photcodes == len(PHOTCODES)
    assert (report.n_images_said, report.n_detections_said) == (6, 240)
    n_averages = sum(map(len, survey.dvo.averages.values()))
    assert (report.grouping.n_objects, report.grouping.n_same) == (n_averages, n_averages) == (80, 80)
    (logged,) = table(db, "SELECT format, n_in, n_images FROM ingest_log").to_pylist()
    assert logged == {"format": "dvo", "n_in": 240, "n_images": 6}
    assert skydb.fsck(db, deep=True, workers=1).findings == ()


def test_second_import_changes_nothing(survey, tmp_path):
    db, _ = imported(tmp_path, survey.dvo)
    before = db.snapshot().id
    report = skydb.import_dvo(db, tmp_path / "catdir", workers=1)
    assert [f.status for f in report.ingest.files] == ["known"]
    assert db.snapshot().id == before
    moved = (tmp_path / "catdir").rename(tmp_path / "elsewhere")
    assert [f.status for f in skydb.import_dvo(db, moved, workers=1).ingest.files] == ["known"]


def test_import_after_addstar_of_its_files_is_refused(survey, of_files, tmp_path):
    db = database.create(tmp_path / "both.sky")
    add_photcodes(db, PHOTCODES, "photcodes")
    skydb.addstar(db, survey.files[:1])
    report = skydb.import_dvo(db, survey.dvo.write(tmp_path / "catdir"), workers=1)
    assert report.exit_code == 3
    assert "is in the database already" in report.ingest.files[0].error


def test_deleted_image_comes_back(survey, tmp_path):
    db, _ = imported(tmp_path, survey.dvo)
    before = table(db, BY_KEY)
    image = before["image_id"][0].as_py()
    skydb.delete(db, images=[image])
    assert table(db, BY_KEY).num_rows == 200
    report = skydb.import_dvo(db, tmp_path / "catdir", workers=1)
    assert report.ingest.files[0].n_there == 200
    assert table(db, BY_KEY).drop_columns(["object_id"]).equals(before.drop_columns(["object_id"]))


def with_region(dvo, change):
    """The same with changed measurements of its first region."""
    measures = {name: rows.copy() for name, rows in dvo.measures.items()}
    changed = change(measures[NAMES[0]])
    return replace(dvo, measures=measures | ({} if changed is None else {NAMES[0]: changed}))


def test_rows_that_cannot_be_used_are_rejected_with_a_reason(survey, tmp_path):
    images = survey.dvo.images.copy()
    lost = images[images["IMAGE_ID"] == 6]  # a chip of the second exposure
    images["EXPTIME"][images["IMAGE_ID"] == 6] = np.nan
    of_lost = {name: rows["IMAGE_ID"] == lost["IMAGE_ID"][0] for name, rows in survey.dvo.measures.items()}
    usable = np.flatnonzero(~of_lost[NAMES[0]])

    def spoil(rows):
        rows["AVE_REF"][usable[0]] = len(survey.dvo.averages[NAMES[0]])
        rows["PHOTCODE"][usable[1]] = 999
        rows["IMAGE_ID"][usable[2]] = 0
        rows["IMAGE_ID"][usable[3:5]] = 4711
        rows["PHOTCODE"][usable[5]] = 102
        rows["X_CCD"][usable[6]], rows["RA"][usable[6]] = np.nan, np.nan
        rows["X_CCD"][usable[7]] = 9999
        return np.concatenate([rows, rows[usable[8:11]]])

    dvo = replace(with_region(survey.dvo, spoil), images=images)
    again = dvo.measures[NAMES[1]][~of_lost[NAMES[1]]][:2].copy()  # the same detections in two regions
    again["AVE_REF"] = 0
    dvo.measures[NAMES[0]] = np.concatenate([dvo.measures[NAMES[0]], again])
    n_bad = sum(int(which.sum()) for which in of_lost.values())
    db, report = imported(tmp_path, dvo)
    (file,) = report.ingest.files
    assert file.reasons == {
        "no_object": 1, "no_photcode": 1, "no_image": 1, "unknown_image": 2, "other_photcode": 1, "no_position": 1,
        "off_chip": 1, "duplicate": 5, "bad_image": n_bad,
    }  # fmt: skip
    assert file.n_in == 245 == file.n_matched + file.n_new + file.n_rejected
    assert table(db, BY_KEY).num_rows == file.n_in - file.n_rejected
    assert skydb.fsck(db, deep=True, workers=1).findings == ()


def test_first_of_repeated_rows_stays(survey, tmp_path):
    def repeat(rows):
        more = rows[:1].copy()
        more["MAG_ERR"] = 0.7
        return np.concatenate([rows, more])

    db, report = imported(tmp_path, with_region(survey.dvo, repeat))
    assert report.ingest.files[0].reasons == {"duplicate": 1}
    assert 0.7 not in np.round(floats(table(db, BY_KEY), "mag_err"), 3)


def test_integers_that_mean_nan_are_null_and_large_ones_are_unsigned(survey, tmp_path):
    def change(rows):
        rows["X_CCD_ERR"][0] = rows["POSANGLE"][0] = rows["MXX"][0] = 0x7FFF
        rows["PSF_NDOF"][0] = rows["PSF_NPIX"][0] = 0x7FFFFFFF
        rows["DET_ID"][0] = as_signed(4_000_000_000, "u4")
        rows["PHOT_FLAGS"][0] = as_signed(0x80000001, "u4")
        rows["MAG"][0] = rows["FLUX_PSF"][0] = np.nan

    dvo = replace(with_region(survey.dvo, change), images=survey.dvo.images.copy())
    far = dict(zip(range(1, 10), range(3_000_000_000, 3_000_000_009), strict=True))
    for rows in (dvo.images, *dvo.measures.values()):
        for name in ("IMAGE_ID", "PARENT_ID"):
            if name in rows.dtype.names:
                rows[name] = [int(as_signed(far.get(int(v), 0), "u4")) for v in rows[name]]
    db, _ = imported(tmp_path, dvo)
    (row,) = table(db, "SELECT * FROM measurements WHERE det_id = 4000000000").to_pylist()
    for name in ("x_err", "posangle", "moments_xx", "psf_ndof", "psf_npix", "mag", "inst_mag", "inst_flux"):
        assert row[name] is None, name
    assert row["photflags"] == 0x80000001
    assert table(db, "SELECT count(*) AS n FROM measurements")["n"][0].as_py() == 240


@pytest.mark.parametrize(("given", "taken"), [(20.0, 20.0), (None, 25.0)])
def test_zero_point_of_instrumental_magnitudes_is_that_of_the_image_table(survey, tmp_path, given, taken):
    db, _ = imported(tmp_path, replace(survey.dvo, zero_point=given))
    rows = np.concatenate(list(survey.dvo.measures.values()))
    expected = np.sort(rows["MAG"].astype(float) - taken - 2.5 * np.log10(30.0))[:-6]
    found = np.sort(floats(table(db, BY_KEY), "inst_mag"))[:-6]
    assert np.allclose(found, expected, atol=2e-6, rtol=0)


def test_magnitudes_without_a_time_have_that_of_the_image(survey, of_dvo, tmp_path):
    def forget(rows):
        rows["M_TIME"] = np.nan
        rows["FLUX_PSF"] = rows["FLUX_PSF_ERR"] = np.inf

    db, _ = imported(tmp_path, with_region(survey.dvo, forget))
    rows, others = table(db, BY_KEY), table(of_dvo[0], BY_KEY)
    assert np.allclose(floats(rows, "inst_mag"), floats(others, "inst_mag"), atol=2e-6, rtol=0, equal_nan=True)
    bright = np.isfinite(floats(others, "inst_mag"))
    for name in ("inst_flux", "inst_flux_err"):
        assert np.allclose(floats(rows, name)[bright], floats(others, name)[bright], rtol=1e-5, atol=0), name


def test_magnitudes_are_those_of_the_worked_example(tmp_path):
    """PSF_INST_MAG -10, 43 s, C 24563, K -0.147, airmass 1.2, ZPT_OBS 24.50: DVO's formulae, without Mflat."""
    cards = CHIP | TAN | {"EXPTIME": 43.0, "AIRMASS": 1.2}
    images = dvo_files.image_row(cards, number=1, name="/data/x0.cmf", tzero=1409464800, photcode=100, n_stars=1,
                                 mcal=0.063, mcal_err=0.01)  # fmt: skip
    rows = empty_rows(dvo_files.MEASURE, 1)
    given = {"MAG": 19.083671, "MAG_ERR": 0.01, "M_TIME": 4.083671, "FLUX_PSF": 232.5581, "AIRMASS": 1.2, "X_CCD": 500,
             "Y_CCD": 400, "IMAGE_ID": 1, "PHOTCODE": 100}  # fmt: skip
    for name, value in given.items():
        rows[name] = value
    dvo = DvoDatabase(dvo_files.photcode_rows(PHOTCODES), images, {NAMES[0]: rows},
                      {NAMES[0]: empty_rows(dvo_files.AVERAGE, 1)})  # fmt: skip
    db, _ = imported(tmp_path, dvo)
    (row,) = table(db, BY_KEY).to_pylist()
    assert row["inst_mag"] == pytest.approx(-10.0, abs=2e-6)
    assert row["mag"] == pytest.approx(18.617271 - 0.063, abs=2e-6)
    assert row["flux"] == pytest.approx(1.38769e-4 * 1e9 * 10 ** (-0.4 * 0.010), rel=1e-5)  # 1.38769e-4 Jy has Mflat
    (image,) = table(db, "SELECT * FROM images").to_pylist()
    assert (image["name"], image["chip"], image["kind"]) == ("/data/x0.cmf", None, "chip")
    assert (row["ra_raw"], row["dec_raw"]) == (pytest.approx(10.0), pytest.approx(-20.0))
    assert table(db, "SELECT name FROM exposures")["name"].to_pylist() == ["x0"]


def test_image_without_a_solved_zero_point_has_the_nominal_one(survey, tmp_path):
    images = survey.dvo.images.copy()
    images["MCAL_PSF"], images["DMCAL"] = 0.0, np.nan
    images["MCAL_PSF"][1] = np.nan
    db, _ = imported(tmp_path, replace(survey.dvo, images=images))
    rows = table(db, "SELECT DISTINCT mcal, mcal_err, mcal_source FROM images").to_pylist()
    assert rows == [{"mcal": 0.0, "mcal_err": None, "mcal_source": "nominal"}]


def test_image_whose_astrometry_is_elsewhere_has_the_positions_of_dvo(survey, tmp_path):
    images = survey.dvo.images.copy()
    which = images["IMAGE_ID"] == 2
    images["NPOLYTERMS"][which] = b"\xff"

    def move(rows):
        rows["DEC"] += 1e-3

    dvo = with_region(replace(survey.dvo, images=images), move)
    db, _ = imported(tmp_path, dvo)
    rows = table(db, "SELECT image_id, dec_raw, file_dec FROM measurements")
    apart = np.abs(floats(rows, "dec_raw") - floats(rows, "file_dec"))
    name = images["NAME"][which][0].decode()
    (own,) = table(db, f"SELECT image_id FROM images WHERE name = '{name}'").to_pylist()
    of_map = rows["image_id"].to_numpy() == own["image_id"]
    assert (apart[of_map] == 0).all()
    assert apart[~of_map].max() == pytest.approx(1e-3, abs=1e-9)
    known = table(db, "SELECT image_id, astrometry FROM images")
    assert known.filter(pc.is_null(known["astrometry"]))["image_id"].to_pylist() == [own["image_id"]]


def test_row_without_pixels_has_the_position_of_dvo(survey, tmp_path):
    def forget(rows):
        rows["X_CCD"][0] = np.nan

    db, report = imported(tmp_path, with_region(survey.dvo, forget))
    assert report.ingest.files[0].reasons == {}
    (row,) = table(db, "SELECT * FROM measurements WHERE x IS NULL").to_pylist()
    assert (row["ra_raw"], row["dec_raw"]) == (row["file_ra"], row["file_dec"])


def test_chip_without_a_good_parent_takes_the_exposure_of_its_time(survey, tmp_path):
    for number, parents in enumerate((0, -1, 4, 2)):  # none, none, that of another night, a chip
        images = survey.dvo.images.copy()
        images["PARENT_ID"] = parents
        db, report = imported(tmp_path / str(number), replace(survey.dvo, images=images))
        assert report.ingest.files[0].reasons == {}
        assert table(db, "SELECT count(DISTINCT exposure_id) AS n FROM images")["n"][0].as_py() == 3


def test_chip_of_one_of_two_exposures_that_began_together_is_not_guessed(survey, tmp_path):
    images = np.concatenate([survey.dvo.images, survey.dvo.images[:1]])
    images["PARENT_ID"] = 0
    images["IMAGE_ID"][-1] = 99
    _, report = imported(tmp_path / "none", replace(survey.dvo, images=images))
    assert report.ingest.files[0].reasons == {"bad_image": 80}
    images["PARENT_ID"] = [*survey.dvo.images["PARENT_ID"].tolist(), 0]
    _, report = imported(tmp_path / "named", replace(survey.dvo, images=images))
    assert report.ingest.files[0].reasons == {}


@pytest.mark.parametrize("column", ["TZERO", "NX", "EXPTIME", "CDELT1", "PC1_1"])
def test_image_without_what_it_needs_is_bad(survey, tmp_path, column):
    images = survey.dvo.images.copy()
    images[column][1] = np.nan if column == "EXPTIME" else 0
    db, report = imported(tmp_path, replace(survey.dvo, images=images))
    assert report.ingest.files[0].reasons == {"bad_image": 40}
    assert table(db, "SELECT count(*) AS n FROM images")["n"][0].as_py() == 5


def reference_rows(photcode, ra, dec, mag, time=0):
    rows = empty_rows(dvo_files.MEASURE, len(ra))
    rows["RA"], rows["DEC"], rows["MAG"], rows["MAG_ERR"], rows["TIME"] = ra, dec, mag, 0.02, time
    rows["PHOTCODE"] = photcode
    return rows


CATALOGS = Photcodes((*PHOTCODES, Photcode(2010, "2MASS.J", "REF"), Photcode(2011, "2MASS.H", "REF"),
                      Photcode(2020, "GAIA.G", "REF")))  # fmt: skip


def test_rows_of_catalogs_join_objects_and_stay_as_they_are(survey, tmp_path):
    dvo = replace(survey.dvo, photcodes=dvo_files.photcode_rows(CATALOGS), measures=dict(survey.dvo.measures))
    averages = dvo.averages[NAMES[0]]
    ra, dec = averages["RA"], averages["DEC"]
    gaia = reference_rows(2020, ra - 360.0, dec + 0.2 / 3600, 15.0 + np.arange(len(ra)) / 100, time=1_420_070_400)
    more = [reference_rows(2010, ra, dec, 14.0), reference_rows(2011, ra, dec, 13.5), gaia]
    for rows in more:
        rows["AVE_REF"] = np.arange(len(ra))
    more[0]["DEC"][0] = np.nan
    dvo.measures[NAMES[0]] = np.concatenate([dvo.measures[NAMES[0]], *more])
    db, report = imported(tmp_path, dvo, compare=True)
    (file,) = report.ingest.files
    assert file.reasons == {"no_position": 1}
    n_averages = sum(map(len, dvo.averages.values()))
    assert (report.grouping.n_objects, report.grouping.n_same) == (n_averages, n_averages)
    rows = table(db, "SELECT * FROM measurements WHERE code >= 2000 ORDER BY code, det_id")
    assert rows.num_rows == 3 * len(ra) - 1
    assert set(rows.filter(pc.equal(rows["code"], 2010))["mag"].to_pylist()) == {14.0}
    assert rows["mag"].equals(rows["inst_mag"])
    epochs = {code: {m for m, c in zip(rows["mjd"].to_pylist(), rows["code"].to_pylist(), strict=True) if c == code}
              for code in (2010, 2020)}  # fmt: skip
    assert [*epochs[2010], *epochs[2020]] == pytest.approx([51544.5 - 32.184 / 86400, 57023.0 + 35 / 86400], abs=1e-9)
    surveys = table(db, "SELECT name, kind FROM exposures WHERE kind = 'reference' ORDER BY name")["name"].to_pylist()
    assert surveys == [f"{name} of DVO 0123456789abcdef" for name in ("2MASS.H", "2MASS.J", "GAIA.G")]
    assert skydb.fsck(db, deep=True, workers=1).findings == ()


def test_objects_that_differ_from_those_of_dvo_are_counted(survey, tmp_path):
    def pair(rows):
        more = rows[rows["IMAGE_ID"] == 5][:1].copy()  # of the second exposure: what an image founds it does not join
        more["DET_ID"] = 777
        more["X_CCD"] += 1.0
        return np.concatenate([rows, more])

    dvo = with_region(survey.dvo, pair)
    _, report = imported(tmp_path / "one", dvo, compare=True)
    assert (report.grouping.n_objects, report.grouping.n_same) == (80, 79)
    _, report = imported(tmp_path / "many", dvo, compare=True, association="dvo")
    assert (report.grouping.n_objects, report.grouping.n_same) == (80, 80)


def test_answer_does_not_depend_on_how_rows_are_cut(survey, of_dvo, tmp_path, monkeypatch):
    from skydb.ingest.readers.dvo import blocks

    monkeypatch.setattr(blocks, "CHUNK_ROWS", 7)
    monkeypatch.setattr(blocks, "IMAGES_AT_HAND", 1)
    db, _ = imported(tmp_path, survey.dvo)
    assert table(db, BY_KEY).equals(table(of_dvo[0], BY_KEY))


def test_images_without_measurements_come_too(survey, tmp_path):
    measures = {name: rows[rows["IMAGE_ID"] != 2] for name, rows in survey.dvo.measures.items()}
    db, _ = imported(tmp_path, replace(survey.dvo, measures=measures))
    assert table(db, "SELECT count(*) AS n FROM images")["n"][0].as_py() == 6
    empty = DvoDatabase(survey.dvo.photcodes, survey.dvo.images)
    db, report = imported(tmp_path / "empty", empty)
    assert (report.ingest.files[0].n_in, report.ingest.files[0].n_images) == (0, 6)


def test_command_prints_the_report(survey, tmp_path, capsys):
    catdir = survey.dvo.write(tmp_path / "catdir")
    assert main(["create", str(tmp_path / "a.sky")]) == 0
    capsys.readouterr()
    assert main(["import-dvo", str(tmp_path / "a.sky"), str(catdir), "--compare", "--workers", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["complete"], report["n_in"], report["n_photcodes"]) == (True, 240, len(PHOTCODES))
    assert report["grouping"] == {"n_objects": 80, "n_same": 80}
    assert main(["import-dvo", str(tmp_path / "a.sky"), str(catdir)]) == 0
    assert "0 files ingested, 1 known already" in capsys.readouterr().out
    assert main(["log", str(tmp_path / "a.sky")]) == 0
    assert "dvo" in capsys.readouterr().out


def test_relcal_finds_the_zero_points_that_it_finds_for_the_files(tmp_path):
    assert main(["simulate", str(tmp_path / "sim"), "--detections", "3000", "--seed", "7"]) == 0
    files = sorted((tmp_path / "sim" / "exposures").glob("*.smf"))
    codes = read_photcodes_text(tmp_path / "sim" / "photcodes.dat")
    of_files = database.create(tmp_path / "smf.sky")
    add_photcodes(of_files, codes, "photcodes")
    skydb.addstar(of_files, files, workers=1)
    of_dvo, report = imported(tmp_path, dvo_of(files, codes), compare=True)
    assert report.grouping.n_same == report.grouping.n_objects > 500
    found = []
    for db in (of_files, of_dvo):
        skydb.relcal(db, mode="images", workers=1)
        found.append(table(db, "SELECT name, mcal, n_used FROM images ORDER BY name"))
    assert found[0]["n_used"].equals(found[1]["n_used"])
    assert np.abs(floats(found[0], "mcal") - floats(found[1], "mcal")).max() < 2e-6


@pytest.mark.data
def test_distorted_mosaics_have_the_published_positions(data_dir, tmp_path):
    """Third-order DIS terms, across RA 0 and at the pole; DVO's float32 terms move positions by less than 0.5 mas."""
    folder = data_dir / "golden_smf"
    codes = read_photcodes_text(folder / "photcodes.dat")
    db, report = imported(tmp_path, dvo_of(sorted(folder.glob("*.smf")), codes))
    assert report.ingest.files[0].n_rejected == sum(report.ingest.files[0].reasons.values())
    lines = (folder / "expected_positions.csv").read_text().splitlines()
    names = lines[0].split(",")
    expected = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    rows = table(db, "SELECT i.name, det_id, ra_raw, dec_raw FROM measurements m JOIN images i USING (image_id)")
    place = {(r["name"], r["det_id"]): (r["ra_raw"], r["dec_raw"]) for r in rows.to_pylist()}
    off = []
    for row in expected:
        ra, dec = place[f"{row['file']}[{row['extname'][:-4]}.hdr]", int(row["ipp_idet"])]
        d_ra = ((ra - float(row["ra_deg"]) + 180) % 360 - 180) * np.cos(np.radians(dec))
        off.append(np.hypot(d_ra, dec - float(row["dec_deg"])) * 3.6e6)
    assert len(off) == 337
    assert max(off) < 0.5
