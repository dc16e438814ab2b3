"""What simulated files look like: layout, determinism, presets, refusals."""

import filecmp
import tomllib

import numpy as np
import pytest
from astropy.io import fits
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skydb.errors import UsageError
from skydb.schema.psphot import PS1_V4
from skydb.tools.simulate import PRESETS, SWITCHES, simulate
from skydb.tools.simulate.presets import preset_for

from .surveys import read_images, truth_table


def all_files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def test_same_seed_writes_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    for workers in (1, 2):
        simulate(tmp_path / str(workers), preset="small", detections=3_000, seed=5, workers=workers)
    names = all_files(tmp_path / "1")
    assert names == all_files(tmp_path / "2")
    assert filecmp.cmpfiles(tmp_path / "1", tmp_path / "2", names, shallow=False)[0] == names


def test_another_seed_gives_another_survey(tiny, tmp_path):
    simulate(tmp_path / "other", preset="small", detections=4_000, seed=8)
    first, other = (truth_table(s, "exposures")["ra"] for s in (tiny(), tmp_path / "other"))
    assert not np.array_equal(first, other)


def test_files_are_valid_fits_in_psphot_layout(tiny):
    for path in sorted((tiny() / "exposures").glob("*.smf"))[:3]:
        with fits.open(path) as file:
            file.verify("exception")
            assert path.stat().st_size % 2880 == 0
            assert len(file) == 1 + 3 * 4
            for table in file[2::3]:
                assert table.header["NAXIS1"] == 216
                assert table.columns.names == [name for name, _, _ in PS1_V4]
                assert [c.format for c in table.columns] == [f"1{form}" for _, form, _ in PS1_V4]
                zeros = {c.name: c.bzero for c in table.columns if c.bzero}
                assert zeros == {"IPP_IDET": 2**31, "FLAGS": 2**31, "FLAGS2": 2**31, "N_FRAMES": 2**15}


def test_head_and_tables_of_a_chip_name_each_other(tiny):
    path = min((tiny() / "exposures").glob("*.smf"))
    with fits.open(path) as file:
        for k in range(1, len(file), 3):
            head, table, efficiency = (file[k + i].header for i in range(3))
            assert head["EXTDATA"] == table["EXTNAME"]
            assert table["EXTHEAD"] == efficiency["EXTHEAD"] == head["EXTNAME"]
            assert (head["EXTTYPE"], table["EXTTYPE"], efficiency["EXTTYPE"]) == ("IMAGE", "PS1_V4", "DETEFF")
            assert head["NSTARS"] == table["NAXIS2"]


@pytest.mark.data
def test_headers_have_the_keywords_of_real_files(tiny, data_dir):
    ours = min((tiny() / "exposures").glob("*.smf"))
    with fits.open(ours) as mine, fits.open(data_dir / "golden_smf" / "e000001.smf") as real:
        for k in range(4):
            missing = set(real[k].header) - set(mine[k].header) - {"PARANG", "TSCAL1", "TSCAL50", "TSCAL51", "TSCAL52"}
            assert not missing


def test_astropy_reads_the_values_that_these_tests_read(tiny):
    path = min((tiny() / "exposures").glob("*.smf"))
    with fits.open(path) as file:
        for table, image in zip(file[2::3], read_images(tiny(), slice(1)), strict=True):
            for name in table.columns.names:
                assert np.array_equal(table.data[name], image.rows[name], equal_nan=True)
            assert table.data["FLAGS"].dtype == np.uint32
            assert set(np.unique(table.data["FLAGS"] & 0x200005)) == {0x200005}
            assert set(np.unique(table.data["N_FRAMES"])) == {1}


def test_detections_are_numbered_from_zero_and_match_the_truth(tiny):
    for image in read_images(tiny()):
        assert image.rows["IPP_IDET"].tolist() == list(range(len(image.rows))) == image.truth["det_id"].tolist()
        assert np.all(np.diff(image.rows["Y_PSF"]) >= 0)


def test_header_time_is_utc_start(tiny):
    image = read_images(tiny(), slice(1))[0]
    from astropy.time import Time
    start = Time(image.exposure_header["DATE-OBS"], scale="utc").mjd
    assert start == pytest.approx(image.exposure_header["MJD-OBS"], abs=1e-8)
    truth = truth_table(tiny(), "exposures")
    middle = Time(truth["mjd_utc"] + 21.5 / 86400.0, format="mjd", scale="utc").tai.mjd
    assert np.allclose(truth["mjd"], middle, rtol=0, atol=1e-9)


def test_nan_columns_are_those_of_psphot(small):
    rows = np.concatenate([i.rows for i in read_images(small, slice(20))])
    may_be_nan = {"CR_NSIGMA", "EXT_NSIGMA", "PSF_INST_MAG", "PSF_INST_MAG_SIG", "AP_MAG", "AP_MAG_RAW", "CAL_PSF_MAG",
                  "PEAK_FLUX_AS_MAG"} | {n for n in rows.dtype.names if n.startswith("MOMENTS")}
    for name in rows.dtype.names:
        assert name in may_be_nan or np.isfinite(rows[name].astype(float)).all(), name
    assert np.isnan(rows["CR_NSIGMA"]).any()
    no_mag = np.isnan(rows["PSF_INST_MAG"])
    assert no_mag.any()
    assert np.array_equal(no_mag, rows["PSF_INST_FLUX"] <= 0)


def test_small_preset_is_as_announced(small):
    exposures, chips = truth_table(small, "exposures"), truth_table(small, "chips")
    assert chips["n_detections"].sum() == pytest.approx(100_000, rel=0.05)
    assert len(exposures["ra"]) >= 60
    assert set(exposures["band"]) == {"g", "r"}
    assert len(chips["name"]) == 4 * len(exposures["ra"])
    settings = tomllib.loads((small / "survey.toml").read_text())
    assert settings["exposures"] == len(exposures["ra"])
    assert settings["seed"] == 3


def test_small_preset_crosses_ra_zero_and_holds_the_pole(small):
    rows = np.concatenate([i.rows for i in read_images(small)])
    assert rows["RA_PSF"].min() < 0.01
    assert rows["RA_PSF"].max() > 359.99
    assert rows["DEC_PSF"].max() > 89.97


def test_images_of_a_patch_and_band_are_one_component(small):
    images = truth_table(small, "chips")
    number = {name: k for k, name in enumerate(images["name"])}
    image, star = [], []
    for i in read_images(small):
        clean = i.truth["flags"] & 12 == 0
        name = f"e{i.exposure_header['OBS_ID'][1:]}.smf[{i.header['EXTNAME']}]"
        star.append(i.truth["star_id"][clean] * 10 + "gr".index(i.header["FILTERID"]))
        image.append(np.full(clean.sum(), number[name]))
    image, star = np.concatenate(image), np.unique(np.concatenate(star), return_inverse=True)[1] + len(number)
    size = int(star.max()) + 1
    label = connected_components(coo_array((np.ones(image.size), (image, star)), shape=(size, size)), directed=False)[1]
    for patch in set(images["component"]):
        for band in ("g", "r"):
            mine = (images["component"] == patch) & (images["band"] == band)
            assert len(set(label[: len(number)][mine])) == 1


def test_exposures_are_taken_at_night_one_after_another(small):
    from skydb.tools.simulate.atmosphere import sun_altitude
    exposures = truth_table(small, "exposures")
    assert np.all(np.diff(exposures["mjd_utc"]) * 86400 > 43.0)
    assert sun_altitude(exposures["mjd_utc"]).max() < -15.0
    assert 1.0 <= exposures["airmass"].min() < exposures["airmass"].max() < 2.3


def test_presets_have_the_sizes_that_were_announced():
    assert {name: p.detections for name, p in PRESETS.items()} == {
        "small": 100_000, "medium": 12_500_000, "large": 50_000_000,
    }
    assert PRESETS["medium"].exposures == pytest.approx(1_064, rel=0.01)
    assert PRESETS["large"].exposures == pytest.approx(4 * 1_064, rel=0.05)
    assert PRESETS["medium"].bands == ("g", "r", "i", "z", "y")


@pytest.mark.parametrize("detections", [200, 20_000])
def test_any_number_of_detections_can_be_asked_for(tmp_path, detections):
    summary = simulate(tmp_path / "s", preset="small", detections=detections, seed=2)
    assert summary.detections == pytest.approx(detections, rel=0.05, abs=4 * detections**0.5)
    assert preset_for("medium", 50_000_000).exposures == PRESETS["large"].exposures


def test_progress_is_told_of_every_exposure(tmp_path):
    calls = []
    summary = simulate(
        tmp_path / "s", preset="small", detections=500, seed=2, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(k, summary.exposures) for k in range(1, summary.exposures + 1)]


def test_what_cannot_be_simulated_is_refused_with_advice(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'clouds'"):
        simulate(tmp_path / "s", preset="small", seed=1, without={"cloud"})
    with pytest.raises(UsageError, match="did you mean 'small'"):
        simulate(tmp_path / "s", preset="smal", seed=1)
    with pytest.raises(UsageError, match="positive"):
        simulate(tmp_path / "s", preset="small", seed=1, detections=0)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError, match="not empty"):
        simulate(tmp_path, preset="small", seed=1)
    assert not (tmp_path / "s").exists()


def test_every_switch_is_documented():
    assert all(SWITCHES.values())
