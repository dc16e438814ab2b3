import csv
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.calibration.astrometric import AstrometricModel, ChipMap, FocalMap
from skydb.calibration.planes import Plane, Term
from skydb.errors import DataError, UsageError

ORDERS = ((2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))


def separation_arcsec(ra1, dec1, ra2, dec2):
    """Slow and obvious: the angle between unit vectors, from their cross product."""
    def unit(ra, dec):
        ra, dec = np.radians(ra), np.radians(dec)
        return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)

    a, b = unit(np.asarray(ra1), np.asarray(dec1)), unit(np.asarray(ra2), np.asarray(dec2))
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1))) * 3600


def obvious_pixel_to_sky(header, x, y):
    """DVO's formulae, one point at a time, straight from the header."""
    def plane(h, x, y):
        xx, yy = h["CDELT1"] * (x - h["CRPIX1"]), h["CDELT2"] * (y - h["CRPIX2"])
        out = []
        for a in (1, 2):
            value = h[f"PC00{a}001"] * xx + h[f"PC00{a}002"] * yy
            for i, j in ORDERS:
                if i + j <= h.get("NPLYTERM", 1):
                    value += h.get(f"PCA{a}X{i}Y{j}", 0.0) * xx**i * yy**j
            out.append(value)
        return out

    left, middle = plane(header, x, y)
    r = np.hypot(left, middle)
    sin_phi, cos_phi = (left / r, -middle / r) if r else (0.0, -1.0)
    t = np.radians(r)
    sin_theta = 1 / np.sqrt(1 + t * t)
    cos_theta = t * sin_theta
    d0 = np.radians(header["CRVAL2"])
    dec = np.arcsin(sin_theta * np.sin(d0) - cos_theta * cos_phi * np.cos(d0))
    ra = np.arctan2(cos_theta * sin_phi, sin_theta * np.cos(d0) + cos_theta * cos_phi * np.sin(d0))
    return (header["CRVAL1"] + np.degrees(ra)) % 360, np.degrees(dec)


def tan_header(ra, dec, **more):
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 500.5, "CRPIX2": 400.0,
        "CDELT1": -1e-4, "CDELT2": 1e-4, "PC001001": 0.8, "PC001002": 0.6, "PC002001": -0.6, "PC002002": 0.8,
    } | more


def mosaic(ra, dec):
    chip = ChipMap(
        Plane((0.0, 0.0), (10.0, 10.0), (1.0, 0.003, -0.003, 1.0), tuple(Term(*ij, 2e-9, -1e-9) for ij in ORDERS[:3])),
        (-40000.0, 20000.0),
    )
    terms = tuple(Term(i, j, 3e-4 if i + j == 2 else -0.02, 2e-4 if i + j == 2 else 0.02) for i, j in ORDERS)
    focal = FocalMap(Plane((35.0, -20.0), (7e-6, 7e-6), (-1.0, 2e-4, 2e-4, 1.0), terms), ra, dec)
    return AstrometricModel(focal, chip)


@pytest.mark.data
def test_golden_positions_agree_with_an_independent_program(data_dir: Path):
    rows = list(csv.DictReader((data_dir / "golden_smf" / "expected_positions.csv").read_text().splitlines()))
    assert len(rows) == 337
    for file in sorted({r["file"] for r in rows}):
        with fits.open(data_dir / "golden_smf" / file, memmap=False) as hdus:
            for table in sorted({r["extname"] for r in rows if r["file"] == file}):
                head = hdus[hdus[table].header["EXTHEAD"]].header
                model = AstrometricModel.from_headers(head, hdus[0].header)
                mine = [r for r in rows if r["file"] == file and r["extname"] == table]
                x, y, ra, dec = (np.array([float(r[c]) for r in mine]) for c in ("x_psf", "y_psf", "ra_deg", "dec_deg"))
                assert separation_arcsec(*model.pixel_to_sky(x, y), ra, dec).max() < 1e-6
                x_back, y_back = model.sky_to_pixel(ra, dec)
                assert np.abs(np.concatenate([x_back - x, y_back - y])).max() < 1e-5  # ra_deg has 12 decimals


@pytest.mark.data
def test_sip_header_of_gwac_agrees_with_astropy(data_dir: Path):
    for path in sorted((data_dir / "gwac").glob("*.Fcat")):
        with fits.open(path, memmap=False) as hdus:
            header = fits.Header.fromstring(b"".join(c.encode().ljust(80) for c in hdus[1].data[0][0]).decode())
        x, y = np.random.default_rng(1).uniform(0, 3056, (2, 500))
        ra, dec = AstrometricModel.from_headers(header).pixel_to_sky(x, y)
        del header["DATE-OBS"]  # astropy warns about its missing MJD-OBS
        assert separation_arcsec(ra, dec, *WCS(header).all_pix2world(x, y, 1)).max() < 1e-7


def test_sip_terms_agree_with_astropy_and_invert():
    header = fits.Header(tan_header(10.0, -30.0, A_ORDER=3, B_ORDER=2, A_2_0=1e-5, A_1_1=-2e-6, A_0_3=3e-9, B_0_2=4e-6))
    for key in ("PC001001", "PC001002", "PC002001", "PC002002", "CDELT1", "CDELT2"):
        del header[key]
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"})
    header.update({"CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 1e-5, "CD2_2": 1e-4})
    x, y = np.random.default_rng(2).uniform(0, 1000, (2, 300))
    model = AstrometricModel.from_headers(header)
    ra, dec = model.pixel_to_sky(x, y)
    assert separation_arcsec(ra, dec, *WCS(header).all_pix2world(x, y, 1)).max() < 1e-7
    np.testing.assert_allclose(model.sky_to_pixel(ra, dec), (x, y), atol=1e-6)
    again = AstrometricModel.from_headers(model.chip_cards())
    assert separation_arcsec(ra, dec, *again.pixel_to_sky(x, y)).max() < 1e-8


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.9999, 20.0), (45.0, 89.99), (200.0, -90.0), (0.0, 90.0)])
def test_polynomials_follow_the_formulae_of_dvo(ra, dec):
    terms = {f"PCA{a}X{i}Y{j}": 0.01 * (a - 1.5) * (i + 2 * j) for a in (1, 2) for i, j in ORDERS}
    header = tan_header(ra, dec, NPLYTERM=3, **terms)
    model = AstrometricModel.from_headers(header)
    for x, y in ((500.5, 400.0), (0.0, 0.0), (1000.0, 10.0), (700.25, 3000.0)):
        assert separation_arcsec(*model.pixel_to_sky(x, y), *obvious_pixel_to_sky(header, x, y)).max() < 1e-6


@settings(deadline=None, max_examples=200)
@given(
    st.floats(0, 360, exclude_max=True), st.one_of(st.floats(-90, 90), st.sampled_from([90.0, -90.0, 0.0])),
    st.floats(-500, 6000), st.floats(-500, 6000),
)
def test_sky_to_pixel_undoes_pixel_to_sky_everywhere(ra, dec, x, y):
    model = mosaic(ra, dec)
    sky = model.pixel_to_sky(x, y)
    assert 0 <= sky[0][0] < 360
    assert -90 <= sky[1][0] <= 90
    back = model.sky_to_pixel(*sky)
    np.testing.assert_allclose(np.ravel(back), (x, y), atol=2e-6)


@settings(deadline=None)
@given(st.floats(0, 359.9), st.floats(-89, 89))
def test_model_survives_json_and_cards_bit_for_bit(ra, dec):
    model = mosaic(ra, dec)
    assert AstrometricModel.from_json(model.to_json()) == model
    assert FocalMap.from_json(model.focal.to_json()) == model.focal
    again = AstrometricModel.from_headers(model.chip_cards(), model.exposure_cards())
    x, y = np.random.default_rng(3).uniform(0, 4000, (2, 50))
    assert np.array_equal(model.pixel_to_sky(x, y), again.pixel_to_sky(x, y))


def test_positions_cross_ra_0_and_a_pole_without_a_seam():
    model = AstrometricModel.from_headers(tan_header(0.0, 90.0, PC001001=1.0, PC001002=0.0, PC002001=0.0, PC002002=1.0))
    ra, dec = model.pixel_to_sky([500.5, 500.5, 500.5], [400.0, 410.0, 390.0])
    assert dec[0] == pytest.approx(90.0, abs=1e-12)
    np.testing.assert_allclose(dec[1:], 90 - 1e-3, atol=1e-9)
    np.testing.assert_allclose(ra[1:], (180.0, 0.0), atol=1e-9)


def test_points_behind_the_tangent_plane_and_beyond_a_fold_have_no_pixel():
    model = mosaic(10.0, 10.0)
    for ra, dec in ((190.0, -10.0), (101.4, 10.0), (10.0, -80.0), (np.nan, 0.0)):
        assert np.isnan(model.sky_to_pixel(ra, dec)).all()
    folded = AstrometricModel.from_headers(tan_header(10.0, 10.0, NPLYTERM=3, PCA1X3Y0=-0.02, PCA1X1Y2=-0.02))
    assert np.isfinite(folded.sky_to_pixel(12.0, 11.0)).all()
    assert np.isnan(folded.sky_to_pixel(30.0, 10.0)).all()  # 0.8 X - 0.02 X r² turns back at a few degrees
    assert np.isnan(model.pixel_to_sky(np.nan, 3.0)).all()


def test_all_keyword_sets_give_the_same_positions():
    turn = np.radians(30.0)
    c, s = np.cos(turn), np.sin(turn)
    base = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 50.0, "CRVAL2": 20.0, "CRPIX1": 10.0, "CRPIX2": 20.0}
    scale = {"CDELT1": -2e-4, "CDELT2": 1e-4}
    fits_pc, dvo_pc = (c, s * 0.5, -s * 2.0, c), (c, -s, s, c)  # before the scaling, and after it
    cd = (-2e-4 * c, -1e-4 * s, -2e-4 * s, 1e-4 * c)
    names = [(i, j) for i in (1, 2) for j in (1, 2)]
    sets = [
        base | scale | {"CROTA2": 30.0}, base | scale | {"CROTA1": 30.0},
        base | scale | {f"PC00{i}00{j}": v for (i, j), v in zip(names, dvo_pc, strict=True)},
        base | scale | {f"PC{i}_{j}": v for (i, j), v in zip(names, fits_pc, strict=True)},
        base | {f"CD{i}_{j}": v for (i, j), v in zip(names, cd, strict=True)},
    ]
    x, y = [0.0, 900.0], [5.0, -300.0]
    first = WCS(fits.Header(sets[0])).all_pix2world(x, y, 1)
    for header in sets:
        np.testing.assert_allclose(AstrometricModel.from_headers(header).pixel_to_sky(x, y), first, rtol=1e-13)


def test_linear_thesis_keywords_are_positions_without_projection():
    header = {"RA_O": 359.9, "RA_X": 0.001, "RA_Y": 0.0, "DEC_O": 5.0, "DEC_X": 0.0, "DEC_Y": 0.002}
    model = AstrometricModel.from_headers(header)
    ra, dec = model.pixel_to_sky([200.0], [100.0])
    np.testing.assert_allclose((ra[0], dec[0]), (0.1, 5.2), atol=1e-12)
    np.testing.assert_allclose(np.ravel(model.sky_to_pixel(ra, dec)), (200.0, 100.0), atol=1e-6)


@pytest.mark.parametrize("dec", [0.0, 60.0, 89.5])
def test_another_equinox_turns_tangent_point_and_north(dec):
    header = tan_header(40.0, dec, EQUINOX=1975.0, RADESYS="FK5")
    plain = tan_header(40.0, dec)
    x, y = np.array([0.0, 1000.0, 500.0]), np.array([900.0, 0.0, 500.0])
    old = AstrometricModel.from_headers(plain).pixel_to_sky(x, y)
    true = SkyCoord(*old, unit=units.deg, frame=FK5(equinox="J1975")).icrs
    ra, dec = AstrometricModel.from_headers(header).pixel_to_sky(x, y)
    assert separation_arcsec(ra, dec, true.ra.deg, true.dec.deg).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CTYPE2": None}, "no astrometry"), ({"CTYPE2": "DEC--AIT"}, "AIT"), ({"CRVAL1": None}, "CRVAL1"),
        ({"CRVAL2": "NaN"}, "CRVAL2"), ({"CRVAL2": 91.0}, "declination"), ({"CDELT1": 0.0}, "no inverse"),
        ({"PC001001": "x"}, "PC001001"), ({"NPLYTERM": 4}, "NPLYTERM"), ({"NPLYTERM": -1}, "NPLYTERM"),
        ({"LONPOLE": "x"}, "LONPOLE"), ({"PV1_11": 1.0}, "PV1_11"), ({"CTYPE2": "DEC--WRP"}, "WRP needs"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, "RA, Dec"),
    ],
)
def test_damaged_astrometry_is_refused_by_keyword(change, words):
    header = {k: v for k, v in (tan_header(1.0, 2.0) | change).items() if v is not None}
    with pytest.raises(DataError, match=words):
        AstrometricModel.from_headers(header)


def test_terms_that_keywords_cannot_express_are_refused():
    plane = Plane((0.0, 0.0), (1e-4, 1e-4), terms=(Term(4, 0, 1.0, 1.0),))
    with pytest.raises(UsageError):
        AstrometricModel(FocalMap(plane, 0.0, 0.0)).chip_cards()


def test_single_chip_image_has_tan_cards_and_no_exposure_cards():
    model = AstrometricModel.from_headers(tan_header(1.0, 2.0))
    assert model.chip_cards()["CTYPE2"] == "DEC--TAN"
    assert model.exposure_cards() == {}
    assert mosaic(0.0, 0.0).chip_cards()["CTYPE2"] == "DEC--WRP"
    assert mosaic(0.0, 0.0).exposure_cards()["CTYPE2"] == "DEC--DIS"
