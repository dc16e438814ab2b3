"""Whether simulated numbers close: files against truth, and every switch against what it switches."""

import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, get_sun
from astropy.io import fits
from astropy.time import Time
from astropy.utils.iers import conf

from skydb.ingest.readers.interface import ReadRequest
from skydb.ingest.readers.smf import SmfReader
from skydb.schema.photcodes import read_photcodes_text
from skydb.tools.simulate import SWITCHES, simulate
from skydb.tools.simulate.atmosphere import airmass, draw_nights
from skydb.tools.simulate.camera import CHIP_PIXELS, build_camera, flat_at
from skydb.tools.simulate.photometry import aperture_fraction, psf_fraction, saturated_counts, saturation_counts
from skydb.tools.simulate.sky import Stars, brightness_at, positions_at
from skydb.tools.simulate.sources import Sources, Truth, merge_blends

from .surveys import header_magnitudes, read_images, secant, sidereal_degrees, slopes, truth_table


def separation_mas(ra1, dec1, ra2, dec2):
    d1, d2, a = np.radians(dec1), np.radians(dec2), np.radians((ra2 - ra1 + 180.0) % 360.0 - 180.0)
    half = np.sin((d2 - d1) / 2) ** 2 + np.cos(d1) * np.cos(d2) * np.sin(a / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(half))) * 3.6e6


def stars_of(survey):
    columns = truth_table(survey, "stars")
    columns, bands = dict(columns), [n.removeprefix("mag_") for n in columns if n.startswith("mag_")]
    mag = np.column_stack([columns.pop(f"mag_{b}") for b in bands])
    return Stars(**columns, mag=mag), bands


def position_errors(survey, *, images=slice(None)):
    """Offsets (mas) of header positions from the true ones, of unblended stars."""
    stars, _ = stars_of(survey)
    mjd = dict(zip(*(truth_table(survey, "exposures")[n] for n in ("exposure", "mjd")), strict=True))
    errors = []
    for image in read_images(survey, images):
        clean = image.truth["flags"] & (Truth.BLEND | Truth.SPURIOUS) == 0
        if clean.any():
            star = stars.take(image.truth["star_id"][clean])
            ra, dec = positions_at(star, mjd[image.truth["exposure"][0]])
            found = image.model.pixel_to_sky(*(image.rows[n][clean].astype(np.float64) for n in ("X_PSF", "Y_PSF")))
            errors.append(separation_mas(ra, dec, *found))
    return np.concatenate(errors)


def test_with_everything_off_headers_give_the_true_magnitudes(ideal):
    stars, bands = stars_of(ideal)
    photcodes, worst, number = slopes(ideal), 0.0, 0
    for image in read_images(ideal):
        mag = header_magnitudes(image, photcodes[image.header["PHOTCODE"]][1])
        clean = image.truth["flags"] == 0
        true = stars.mag[image.truth["star_id"][clean], bands.index(image.header["FILTERID"])]
        assert np.allclose(image.truth["mag_true"][clean], true, rtol=0, atol=1e-10)
        worst, number = max(worst, np.abs(mag[clean] - true).max(initial=0.0)), number + int(clean.sum())
    assert number > 3_500
    assert worst < 1e-6  # half the spacing of float32 near -14, and a little for the airmass


def test_with_everything_off_aperture_and_kron_magnitudes_agree_with_psf(ideal):
    rows = np.concatenate([i.rows for i in read_images(ideal)])
    assert np.array_equal(rows["AP_MAG"], rows["PSF_INST_MAG"])
    assert np.array_equal(rows["KRON_FLUX"], rows["PSF_INST_FLUX"])


@pytest.mark.parametrize("off", [("astrometry", "noise", "floor"), tuple(SWITCHES)])
def test_without_errors_headers_give_the_true_positions(tiny, off):
    # A float32 pixel beyond 2048 is known to 1.2e-4 pixel: 0.03 mas per axis.
    assert position_errors(tiny(*off)).max() < 0.05


def test_headers_miss_the_sky_by_fifty_mas_per_axis(tiny):
    error = position_errors(tiny("noise", "floor"))
    assert np.sqrt(np.mean(error**2) / 2.0) == pytest.approx(50.0, rel=0.2)


def test_zero_points_of_the_truth_are_made_of_their_parts(small):
    t = truth_table(small, "chips")
    night = t["night_zero"] + t["night_slope"] * (t["airmass"] - 1.0)
    assert np.allclose(t["mcal_true"], night + t["cloud"] + t["chip_offset"], rtol=0, atol=1e-12)
    nominal = t["zero_point_nominal"] + t["airmass_slope"] * (t["airmass"] - 1.0)
    assert np.allclose(t["zero_point_true"], nominal - t["mcal_true"], rtol=0, atol=1e-12)
    code = slopes(small)
    assert [code[p] for p in t["photcode"]] == list(zip(t["zero_point_nominal"], t["airmass_slope"], strict=True))


def test_true_zero_points_turn_counts_into_true_magnitudes(tiny):
    survey = tiny("noise", "floor", "flats", "outliers", "spurious")
    zero = dict(zip(*(truth_table(survey, "chips")[n] for n in ("name", "zero_point_true")), strict=True))
    for image in read_images(survey):
        name = f"{image.exposure_header['OBS_ID'].replace('o', 'e')}.smf[{image.header['EXTNAME']}]"
        mag = image.rows["PSF_INST_MAG"] + 2.5 * np.log10(43.0) + zero[name]
        # The zero point is that of the chip's middle; airmass differs by some 0.01 over the chip.
        assert np.allclose(mag, image.truth["mag_true"], rtol=0, atol=2e-3)


def test_cloud_makes_mcal_positive_and_stars_fainter(tmp_path):
    off = set(SWITCHES) - {"clouds"}
    simulate(tmp_path / "s", preset="small", detections=4_000, seed=1, without=off)
    chips = truth_table(tmp_path / "s", "chips")
    assert chips["cloud"].max() > 0.02
    assert np.array_equal(chips["mcal_true"], chips["cloud"])
    assert np.allclose(chips["zpt_obs"], chips["zero_point_nominal"] - chips["cloud"], rtol=0, atol=1e-12)


def test_header_zero_points_miss_by_twenty_mmag(small):
    t = truth_table(small, "chips")
    error = t["zpt_obs"] - (t["zero_point_nominal"] - t["mcal_true"] + t["chip_offset"])
    assert 0.01 < error.std() < 0.03


def test_nights_are_cloudy_as_often_as_told_and_reported_truly():
    nights = draw_nights(1, np.arange(57_000, 60_000), 2)
    cloudy = np.array([n.cloud > 0 for n in nights])
    assert cloudy.mean() == pytest.approx(0.3, abs=0.03)
    assert max(n.cloud for n in nights) <= 0.3
    assert np.array_equal(cloudy, [not n.reported_photometric for n in nights])
    lies = draw_nights(1, np.arange(57_000, 60_000), 2, mislabelled=0.05)
    wrong = [n.reported_photometric and n.cloud > 0 for n in lies]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.012)
    assert [n.cloud for n in lies] == [n.cloud for n in nights]


def test_errors_are_those_that_the_files_state(tiny):
    survey = tiny("floor", "outliers", "spurious", "clouds", "nights", "chips", "flats", "variables")
    zero = dict(zip(*(truth_table(survey, "chips")[n] for n in ("name", "zero_point_true")), strict=True))
    pulls = []
    for image in read_images(survey):
        name = f"{image.exposure_header['OBS_ID'].replace('o', 'e')}.smf[{image.header['EXTNAME']}]"
        mag = image.rows["PSF_INST_MAG"] + 2.5 * np.log10(43.0) + zero[name]
        bright = (image.rows["PSF_INST_MAG_SIG"] < 0.05) & (image.rows["PSF_INST_MAG_SIG"] > 0.02)
        pulls.append(((mag - image.truth["mag_true"]) / image.rows["PSF_INST_MAG_SIG"])[bright])
    pulls = np.concatenate(pulls)
    assert pulls.size > 400
    assert pulls.std() == pytest.approx(1.0, abs=0.1)
    assert abs(pulls.mean()) < 0.2


def test_flats_have_mean_zero_and_ten_mmag():
    camera = build_camera(1, ("g", "r"), chips_across=2)
    x, y = (np.linspace(0, CHIP_PIXELS, 401)[:-1] + CHIP_PIXELS / 800,) * 2
    grid = np.meshgrid(x, y)
    for chip in camera.chips:
        for coefficients in chip.flat:
            value = flat_at(coefficients, *grid)
            assert abs(value.mean()) < 1e-5
            assert value.std() == pytest.approx(0.010, rel=1e-2)


def test_fluxes_show_the_flat(tiny):
    survey = tiny(*(set(SWITCHES) - {"flats"}))
    flats, stars = truth_table(survey, "flats"), stars_of(survey)
    image = max(read_images(survey), key=lambda i: len(i.rows))
    mine = flats["photcode"] == image.header["PHOTCODE"]
    coefficients = flats["mag"][mine]
    mag = header_magnitudes(image, slopes(survey)[image.header["PHOTCODE"]][1])
    clean = image.truth["flags"] == 0
    true = stars[0].mag[image.truth["star_id"][clean], stars[1].index(image.header["FILTERID"])]
    flat = flat_at(coefficients, image.rows["X_PSF"][clean], image.rows["Y_PSF"][clean])
    assert np.allclose(mag[clean] - true, flat, rtol=0, atol=2e-6)
    assert flat.std() > 0.003


def flagged(survey, bit):
    return sum(int(np.count_nonzero(i.truth["flags"] & bit)) for i in read_images(survey))


@pytest.mark.parametrize(("switch", "bit"), [
    ("outliers", Truth.OUTLIER), ("variables", Truth.VARIABLE),
    ("spurious", Truth.SPURIOUS), ("galaxies", Truth.GALAXY),
])
def test_detections_of_a_kind_vanish_with_their_switch(tiny, small, switch, bit):
    assert flagged(small, bit) > 300
    assert flagged(tiny(switch), bit) == 0


def test_motions_and_pairs_vanish_with_their_switches(tiny, small):
    still, moving = stars_of(tiny("motions"))[0], stars_of(small)[0]
    assert not still.pm_ra.any()
    assert not still.parallax.any()
    assert np.abs(moving.pm_ra).max() > 100.0
    assert stars_of(small)[0].pair.any()
    assert not stars_of(tiny("pairs"))[0].pair.any()


def test_corrections_vanish_with_their_switches(tiny, small):
    chips = truth_table(small, "chips")
    for switch, column in (("chips", "chip_offset"), ("nights", "night_zero"), ("clouds", "cloud")):
        assert chips[column].std() > 0.003
        assert not truth_table(tiny(switch), "chips")[column].any()
    assert not truth_table(tiny("flats"), "flats")["mag"].any()
    assert not truth_table(tiny("astrometry"), "chips")["x_error_micron"].any()
    assert truth_table(small, "chips")["x_error_micron"].std() > 1.0


def test_without_distortion_headers_are_linear(tiny):
    image = read_images(tiny("distortion"), slice(1))[0]
    assert image.header["NPLYTERM"] == image.exposure_header["NPLYTERM"] == 1
    assert read_images(tiny(), slice(1))[0].exposure_header["NPLYTERM"] == 3


def test_close_pairs_have_the_separations_that_were_asked_for(small):
    stars = stars_of(small)[0]
    from scipy.spatial import cKDTree
    a, d = np.radians(stars.ra), np.radians(stars.dec)
    unit = np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    nearest = np.degrees(cKDTree(unit).query(unit[stars.pair], k=2)[0][:, 1]) * 3600
    assert np.all(nearest <= 3.01)
    assert nearest.max() > 1.5


def sources(x, y, counts, chip=None):
    size = len(x)
    zero = np.zeros(size)
    return Sources(
        np.zeros(size, int) if chip is None else np.array(chip), np.array(x, float), np.array(y, float),
        np.array(counts, float), np.array(counts, float), zero, zero, zero,
        np.arange(size), np.full(size, -1), np.zeros(size, int),
    )


def test_blends_add_their_counts_and_lie_between():
    merged = merge_blends(sources([100, 102, 500], [50, 50, 50], [300, 100, 10]), 3.0)
    assert merged.star_id.tolist() == [0, 2]
    assert merged.counts.tolist() == [400, 10]
    assert merged.x.tolist() == [100.5, 500]
    assert merged.blend_id.tolist() == [1, -1]
    assert (merged.flags & Truth.BLEND > 0).tolist() == [True, False]


def test_sources_on_different_chips_do_not_blend():
    found = sources([100, 100], [50, 50], [300, 100], chip=[0, 1])
    assert len(merge_blends(found, 3.0)) == 2


def test_chains_of_sources_blend_into_one():
    merged = merge_blends(sources([100, 102, 104], [50, 50, 50], [1, 5, 2]), 3.0)
    assert merged.star_id.tolist() == [1]
    assert merged.blend_id.tolist() == [2]


def test_galaxies_lose_light_in_a_psf_fit_and_stars_do_not():
    assert psf_fraction(2.0, 0.0) == aperture_fraction(2.0, 0.0) == 1.0
    assert psf_fraction(2.0, 3.0) < aperture_fraction(2.0, 3.0) < 1.0


def test_saturated_stars_lose_light_and_are_flagged(small):
    limit = saturation_counts(2.0)
    assert saturated_counts(limit, 2.0) == limit
    assert saturated_counts(10 * limit, 2.0) < 10 * limit
    for image in read_images(small, slice(30)):
        saturated = image.truth["flags"] & Truth.SATURATED > 0
        assert np.array_equal(image.rows["FLAGS"] & 0x1080 == 0x1080, saturated)


def test_galaxies_are_seen_as_extended(small):
    rows = np.concatenate([i.rows for i in read_images(small)])
    galaxy = np.concatenate([i.truth["flags"] for i in read_images(small)]) & Truth.GALAXY > 0
    bright = rows["PSF_INST_MAG_SIG"] < 0.02
    extended = (rows["FLAGS"] & 0x4000) > 0
    assert extended[galaxy & bright].mean() > 0.9
    assert extended[~galaxy & bright].mean() < 0.02
    assert np.median((rows["KRON_FLUX"] / rows["PSF_INST_FLUX"])[galaxy & bright]) > 1.1


def test_variables_vary_about_their_mean():
    one = {n: np.zeros(2) for n in Stars.__dataclass_fields__}
    stars = Stars(**one | {"period": np.array([0.5, 3.0]), "swing": np.ones(2), "pulsating": np.array([True, False])})
    times = 57_000.0 + np.arange(0.0, 3.0, 1e-3)
    curve = np.array([brightness_at(stars, t, "g", np.array([15.0, 16.0])) for t in times])
    assert np.allclose(curve.mean(axis=0), [15.0, 16.0], atol=2e-3)
    assert np.allclose(np.ptp(curve, axis=0), 1.0, atol=5e-3)


def test_positions_move_as_told():
    from skydb.tools.simulate.sky import REFERENCE_MJD
    one = {n: np.zeros(1) for n in Stars.__dataclass_fields__} | {"ra": np.array([0.0]), "dec": np.array([89.9])}
    fast = Stars(**one | {"pm_ra": np.array([1000.0])})
    ra, dec = positions_at(fast, REFERENCE_MJD + 365.25 * 2)
    assert separation_mas(0.0, 89.9, ra, dec)[0] == pytest.approx(2000.0, rel=1e-6)
    near = Stars(**one | {"parallax": np.array([100.0])})
    offsets = [separation_mas(0.0, 89.9, *positions_at(near, REFERENCE_MJD + t))[0] for t in range(0, 365, 5)]
    assert 80.0 < min(offsets) < max(offsets) < 103.0  # the ecliptic pole is 23 degrees away


def test_the_sun_stands_where_an_ephemeris_has_it():
    from skydb.tools.simulate.atmosphere import LATITUDE, LONGITUDE, sun_altitude
    mjd = np.linspace(56_900.0, 58_300.0, 57)
    site = EarthLocation.from_geodetic(LONGITUDE, LATITUDE)
    time = Time(mjd, format="mjd", scale="utc")
    with conf.set_temp("auto_download", False):
        sun = get_sun(time).transform_to(AltAz(obstime=time, location=site)).alt.deg
    assert np.allclose(sun_altitude(mjd), sun, rtol=0, atol=0.05)


@pytest.mark.data
def test_airmass_and_sidereal_time_are_those_of_real_headers(data_dir):
    from skydb.tools.simulate.atmosphere import sidereal_time
    for name in ("e000001.smf", "e000003.smf"):
        header = fits.getheader(data_dir / "golden_smf" / name)
        st = sidereal_degrees(header)
        assert sidereal_time(header["MJD-OBS"]) == pytest.approx(st, abs=1e-3)
        assert airmass(header["CRVAL1"], header["CRVAL2"], st) == pytest.approx(header["AIRMASS"], abs=1e-5)
        assert secant(header, header["CRVAL1"], header["CRVAL2"]) == pytest.approx(header["AIRMASS"], abs=1e-5)


def test_the_reader_finds_the_true_magnitudes_and_positions(ideal):
    photcodes = read_photcodes_text(ideal / "photcodes.dat")
    stars, bands = stars_of(ideal)
    mjd = dict(zip(*(truth_table(ideal, "exposures")[n] for n in ("exposure", "mjd")), strict=True))
    for path in sorted((ideal / "exposures").glob("*.smf"))[:4]:
        truth = truth_table(ideal, f"detections/{path.stem}")
        chunk, = SmfReader().read(path, ReadRequest(photcodes))
        image = chunk.images.select(["image_id", "chip", "zpt_obs", "exptime", "mjd"])
        rows = chunk.detections.join(image.rename_columns(["image_id", "chip", "zpt", "exptime", "middle"]), "image_id")
        rows = rows.sort_by([("chip", "ascending"), ("det_id", "ascending")])
        order = np.lexsort((truth["det_id"], truth["chip"]))
        clean, star = truth["flags"][order] == 0, stars.take(truth["star_id"][order])
        column = {n: rows.column(n).to_numpy().astype(np.float64) for n in rows.column_names if n not in ("chip",)}
        slope = photcodes.by_code(int(column["code"][0])).airmass_slope
        mag = column["inst_mag"] + 2.5 * np.log10(column["exptime"]) + column["zpt"] + slope * (column["airmass"] - 1.0)
        band = bands.index(photcodes.band_of(int(column["code"][0])))
        assert clean.sum() > 50
        assert np.abs(mag - star.mag[:, band])[clean].max() < 2e-6
        ra, dec = positions_at(star, mjd[path.stem])
        assert separation_mas(ra, dec, column["ra_raw"], column["dec_raw"])[clean].max() < 0.05
        assert np.allclose(column["middle"], mjd[path.stem], rtol=0, atol=1e-9)
