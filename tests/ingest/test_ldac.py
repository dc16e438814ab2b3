import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from skydb.errors import DataError
from skydb.ingest.readers import reader_for
from skydb.ingest.readers.interface import DetectionFilter, ReadRequest
from skydb.schema.photcodes import Photcode, Photcodes
from tests.ingest.catalog_files import LDAC_HEADER, PHOTCODES, column, read, sources, write_ldac

GWAC_CODES = Photcodes((Photcode(1, "R", "SEC"), Photcode(2, "GWAC.R", "DEP", "R", 18000)))


def only(path, photcode="CAM.r", **request):
    (chunk,) = read(path, photcode=photcode, **request)
    return chunk


def unit(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


@pytest.fixture
def gwac(data_dir):
    files = sorted((data_dir / "gwac").glob("*.Fcat"))
    return [(path, only(path, photcodes=GWAC_CODES, photcode="GWAC.R")) for path in files]


@pytest.mark.data
def test_gwac_rows_and_times(gwac):
    assert [chunk.n_in for _, chunk in gwac] == [8492, 8487]
    assert [chunk.detections.num_rows for _, chunk in gwac] == [8492, 8487]
    first, second = (chunk.images.to_pylist()[0] for _, chunk in gwac)
    assert first["image_key"].startswith("chip|2013-01-12T18:54:18.000|GWAC.R|")
    assert (second["utc_start"] - first["utc_start"]) * 86400 == pytest.approx(22, abs=1e-5)
    middle = 2456305.287766218 - 2400000.5 + 35 / 86400  # the header's JD, in TAI
    assert first["mjd"] == pytest.approx(middle, abs=1e-9)
    assert first["airmass"] == pytest.approx(1.104829)
    assert gwac[0][1].exposures["night"].to_pylist() == [56304]


@pytest.mark.data
def test_gwac_positions_are_those_of_the_sip_header(gwac):
    for path, chunk in gwac:
        with fits.open(path, memmap=False) as hdus:
            cards = b"".join(card.encode().ljust(80) for card in hdus[1].data[0][0]).decode()
            header, table = fits.Header.fromstring(cards), hdus[2].data
            del header["DATE-OBS"]
            ra, dec = WCS(header).all_pix2world(table["X_IMAGE"].astype(float), table["Y_IMAGE"].astype(float), 1)
        distance = np.linalg.norm(unit(column(chunk, "ra_raw"), column(chunk, "dec_raw")) - unit(ra, dec), axis=1)
        assert np.degrees(distance.max()) * 3600 < 1e-6
        assert np.array_equal(column(chunk, "file_ra"), table["ALPHA_J2000"])
        assert np.array_equal(column(chunk, "photflags"), table["FLAGS"])
        np.testing.assert_allclose(column(chunk, "inst_mag"), table["MAG_APER"] - 18.0, atol=1e-6)


@pytest.mark.data
def test_gwac_images_agree_as_a_plain_tree_finds(gwac):
    (_, one), (_, two) = gwac
    tree = cKDTree(unit(column(one, "ra_raw"), column(one, "dec_raw")))
    distance, index = tree.query(unit(column(two, "ra_raw"), column(two, "dec_raw")))
    near = np.degrees(distance) * 3600 < 12
    assert near.sum() == pytest.approx(7916, abs=60)
    difference = column(two, "inst_mag")[near] - column(one, "inst_mag")[index[near]]
    assert np.median(difference) == pytest.approx(0.006, abs=0.003)


def test_zero_point_of_the_extraction_is_taken_off(tmp_path):
    table = sources(10)
    chunk = only(write_ldac(tmp_path / "a.ldac", [({}, table)]))
    np.testing.assert_allclose(column(chunk, "inst_mag"), table["MAG_AUTO"] - 25.0, atol=1e-6)
    counts = 10 ** (-0.4 * (table["MAG_AUTO"].astype(float) - 25.0))
    np.testing.assert_allclose(column(chunk, "inst_flux"), counts, rtol=1e-6)
    np.testing.assert_allclose(column(chunk, "inst_kron_flux"), counts, rtol=1e-6)


def test_a_star_has_one_calibrated_magnitude_whatever_the_exposure_time(tmp_path):
    """10 000 counts in 30 s, or 20 000 in 60 s, with SExtractor's own zero point 25 or 0."""
    def mag(counts, exptime, zero_point):
        value = np.array([-2.5 * np.log10(counts) + zero_point], dtype="f4")
        cards = {"EXPTIME": exptime, "SEXMGZPT": zero_point}
        chunk = only(write_ldac(tmp_path / "a.ldac", [(cards, sources(1, MAG_AUTO=value))]))
        exposed = chunk.images["exptime"][0].as_py()
        return column(chunk, "inst_mag")[0] + 2.5 * np.log10(exposed) + 24.8

    assert mag(10_000, 30.0, 25.0) == pytest.approx(mag(20_000, 60.0, 0.0), abs=1e-5)


def test_magnitudes_are_chosen_in_order(tmp_path):
    base = sources(5)
    names = ("MAG_APER", "MAG_ISO", "MAG_AUTO", "MAG_PSF")
    del base["MAG_AUTO"]
    have = {}
    for k, name in enumerate(names):
        have[name] = np.full(5, 15.0 + k, dtype="f4")
        chunk = only(write_ldac(tmp_path / "a.ldac", [({}, base | have)]))
        assert set(column(chunk, "inst_mag")) == {15.0 + k - 25.0}
        assert set(column(chunk, "inst_ap_mag")) == {-10.0}


def test_fluxes_of_the_file_are_preferred_to_those_of_magnitudes(tmp_path):
    flux = np.array([100.0, -5.0, 40.0], dtype="f4")
    extra = {"FLUX_AUTO": flux, "FLUXERR_AUTO": np.array([1.0, 2.0, 3.0], dtype="f4")}
    table = sources(3, MAG_AUTO=np.array([20.0, 99.0, 21.0], dtype="f4")) | extra
    chunk = only(write_ldac(tmp_path / "a.ldac", [({}, table)]))
    assert column(chunk, "inst_flux").tolist() == flux.tolist()
    assert chunk.detections["inst_mag"].to_pylist()[1] is None
    del table["MAG_AUTO"], table["MAGERR_AUTO"]
    chunk = only(write_ldac(tmp_path / "a.ldac", [({"SEXMGZPT": None}, table)]))
    assert chunk.detections["inst_mag"].to_pylist()[:2] == [-5.0, None]
    assert column(chunk, "inst_mag_err")[0] == pytest.approx(0.010857, abs=1e-6)


def test_flux_error_below_zero_makes_no_magnitude_error(tmp_path):
    table = sources(3, FLUX_AUTO=np.full(3, 100.0, "f4"), FLUXERR_AUTO=np.array([1.0, -1.0, 0.0], "f4"))
    del table["MAG_AUTO"], table["MAGERR_AUTO"]
    chunk = only(write_ldac(tmp_path / "a.ldac", [({}, table | {"ERRX2_IMAGE": np.array([4.0, -4.0, 0.0], "f4")})]))
    assert chunk.detections["inst_mag_err"].to_pylist() == [pytest.approx(0.010857, abs=1e-6), None, 0.0]
    assert chunk.detections["inst_flux_err"].to_pylist() == [1.0, None, 0.0]
    assert chunk.detections["x_err"].to_pylist() == [2.0, None, 0.0]


def test_the_first_of_several_apertures_counts(tmp_path):
    table = sources(4)
    del table["MAG_AUTO"]
    table["MAG_APER"] = np.arange(12, dtype="f4").reshape(4, 3)
    assert column(only(write_ldac(tmp_path / "a.ldac", [({}, table)])), "inst_mag").tolist() == [-25, -22, -19, -16]


def test_several_images_share_a_chunk(tmp_path):
    pairs = [({"EXTNAME": f"ccd{k}", "CRVAL1": 10.0 + k}, sources(5 + k, k)) for k in range(3)]
    chunk = only(write_ldac(tmp_path / "a.ldac", pairs))
    assert chunk.images["chip"].to_pylist() == ["ccd0", "ccd1", "ccd2"]
    assert chunk.images["n_detections"].to_pylist() == [5, 6, 7]
    assert chunk.n_in == 18
    assert len(set(chunk.images["image_id"].to_pylist())) == 3


def test_windowed_positions_are_preferred(tmp_path):
    windowed = {"XWIN_IMAGE": np.full(3, 5.0), "YWIN_IMAGE": np.full(3, 6.0)}
    chunk = only(write_ldac(tmp_path / "a.ldac", [({}, sources(3) | windowed)]))
    assert set(column(chunk, "x")) == {5.0}


def test_rows_without_position_or_kept_by_no_filter_are_counted(tmp_path):
    table = sources(6)
    table["X_IMAGE"][2] = np.nan
    table["MAGERR_AUTO"][:] = [0.1, 0.5, 0.1, 0.1, 99.0, 0.1]
    table["FLAGS"][:] = [0, 0, 0, 4, 0, 0]
    table["NUMBER"][5] = 1
    keep = DetectionFilter(max_mag_err=0.2, exclude_photflags=4)
    chunk = only(write_ldac(tmp_path / "a.ldac", [({}, table)]), keep=keep)
    assert chunk.rejected == {"duplicate": 1, "no_position": 1, "magnitude_error": 1, "photflags": 1}
    assert column(chunk, "det_id").tolist() == [1, 5]
    assert chunk.n_nulled == 3  # the error 99, and the two flux errors made of it


def test_header_with_nuls_and_day_only_date_is_understood(tmp_path):
    cards = {"DATE-OBS": "2014-08-31", "TIME-OBS": "06:00:00", "JD": None}
    path = write_ldac(tmp_path / "a.ldac", [(cards, sources(3))])
    content = path.read_bytes()
    place = content.index(b"TIME-OBS")
    card = content[place:place + 80]
    path.write_bytes(content.replace(card, card.rstrip() + b"\0" * (80 - len(card.rstrip()))))
    assert only(path).images["utc_start"].to_pylist() == [56900.25]


@pytest.mark.parametrize(
    ("cards", "change", "words"),
    [
        ({"CTYPE2": None}, {}, "astrometry"), ({"SEXMGZPT": None}, {}, "SEXMGZPT"), ({"EXPTIME": -1.0}, {}, "negative"),
        ({"EXPTIME": 0.0}, {}, "zero"), ({"EXPTIME": 2e7}, {}, "no exposure takes"),
        ({"EXPTIME": "nan"}, {}, "missing"), ({"DATE-OBS": "yesterday"}, {}, "yesterday"), ({"NAXIS1": 0}, {}, "size"),
        ({}, {"X_IMAGE": None}, "X_IMAGE"), ({}, {"MAG_AUTO": None}, "MAG_AUTO"),
        ({}, {"NUMBER": np.ones(4, "f4")}, "NUMBER"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, cards, change, words):
    table = {key: value for key, value in (sources(4) | change).items() if value is not None}
    with pytest.raises(DataError, match=words):
        only(write_ldac(tmp_path / "a.ldac", [(cards, table)]))


def test_photcode_is_needed_from_header_or_caller(tmp_path):
    path = write_ldac(tmp_path / "a.ldac")
    with pytest.raises(DataError, match="--photcode"):
        only(path, photcode=None)
    path = write_ldac(tmp_path / "a.ldac", [({"PHOTCODE": "CAM.r"}, sources(2))])
    assert set(column(only(path, photcode=None), "code")) == {102}


def test_tables_must_come_in_pairs(tmp_path):
    with fits.open(write_ldac(tmp_path / "a.ldac"), memmap=False) as hdus:
        fits.HDUList([hdus[0], hdus[1]]).writeto(tmp_path / "head.ldac")
        fits.HDUList([hdus[0], hdus[2]]).writeto(tmp_path / "body.ldac")
    with pytest.raises(DataError, match="truncated"):
        only(tmp_path / "head.ldac")
    with pytest.raises(DataError, match="LDAC_IMHEAD"):
        only(tmp_path / "body.ldac")


def test_ldac_is_known_by_its_content(tmp_path):
    path = write_ldac(tmp_path / "catalog.dat")
    assert reader_for(path, ReadRequest(PHOTCODES)).format == "ldac"
    assert LDAC_HEADER["SEXMGZPT"] == 25.0
