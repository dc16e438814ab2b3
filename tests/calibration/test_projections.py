"""Projections and distortions that FITS has, against astropy's WCS."""

import numpy as np
import pytest
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.calibration.astrometric import AstrometricModel, FocalMap
from skydb.calibration.planes import Plane, Term
from skydb.calibration.zenithal import PROJECTIONS
from skydb.errors import DataError, UsageError

from .test_astrometric import separation_arcsec

ZPN = {"PV2_1": 1.0, "PV2_3": -0.05, "PV2_5": 0.011}
"""UKIRT WFCAM's are 1 and -50; these bend less, and show more of the sky."""


def header(kind, ra=359.99, dec=30.0, scale=1e-4, **more):
    return {
        "CTYPE1": f"RA---{kind}", "CTYPE2": f"DEC--{kind}", "CRVAL1": ra, "CRVAL2": dec,
        "CRPIX1": 500.5, "CRPIX2": 400.0,
        "CD1_1": -scale * 0.98, "CD1_2": scale * 0.2, "CD2_1": scale * 0.19, "CD2_2": scale * 1.01,
    } | more  # fmt: skip


def by_astropy(cards, x, y):
    made = fits.Header()
    for key, value in cards.items():
        made[key] = value
    return WCS(made).all_pix2world(x, y, 1)


@pytest.mark.parametrize("kind", PROJECTIONS)
@pytest.mark.parametrize("dec", [0.0, -45.0, 89.99])
@pytest.mark.parametrize("scale", [1e-4, 0.05])
def test_positions_are_those_of_astropy_and_lead_back(kind, dec, scale):
    cards = header(kind, dec=dec, scale=scale, **(ZPN if kind == "ZPN" else {}))
    model = AstrometricModel.from_headers(cards)
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, 1000, 12), np.linspace(0, 1000, 11)))
    ra, dec = model.pixel_to_sky(x, y)
    wanted = by_astropy(cards, x, y)
    assert np.array_equal(np.isfinite(ra), np.isfinite(wanted[0]))
    shown = np.isfinite(ra)
    assert shown.sum() > 100
    assert separation_arcsec(ra[shown], dec[shown], wanted[0][shown], wanted[1][shown]).max() < 1e-8
    back = model.sky_to_pixel(ra[shown], dec[shown])
    np.testing.assert_allclose(back, (x[shown], y[shown]), atol=1e-6)
    assert AstrometricModel.from_json(model.to_json()) == model


TURNS = {"none": {}, "0": {"LONPOLE": 0.0}, "180": {"LONPOLE": 180.0}, "37": {"LONPOLE": 37.0, "LATPOLE": 12.0},
         "-90": {"LONPOLE": -90.0}}  # fmt: skip
SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-5, "A_1_1": -2e-5, "B_0_2": 4e-5}
TPV = {"PV1_0": 0.01, "PV1_1": 1.02, "PV1_5": 0.03, "PV2_0": -0.02, "PV2_1": 0.98, "PV2_6": 0.05}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("dec", [90.0, 89.9999999, 30.0, -89.9999999, -90.0])
@pytest.mark.parametrize(("kind", "terms"), [
    ("TAN", {}), ("SIN", {}), ("ZPN", ZPN), ("ARC", {}), ("TAN-SIP", SIP), ("TPV", TPV), ("TAN", TPV),
])  # fmt: skip
def test_north_is_where_the_native_pole_says_or_fits_has_it_by_default(kind, terms, dec, turn):
    cards = header(kind, dec=dec, scale=1e-3) | terms | TURNS[turn]
    x, y = np.array([0.0, 400.0, 900.0, 500.5]), np.array([900.0, 250.0, -30.0, 400.0])
    model = AstrometricModel.from_headers(cards)
    ra, dec = model.pixel_to_sky(x, y)
    as_fits = cards | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"} if terms is TPV else cards
    assert separation_arcsec(ra, dec, *by_astropy(as_fits, x, y)).max() < 1e-7
    np.testing.assert_allclose(model.sky_to_pixel(ra, dec), (x, y), atol=1e-6)


@pytest.mark.parametrize("kind", ["TAN", "SIN", "ZEA"])
@pytest.mark.parametrize("terms", [
    {"PV1_3": 0.0}, {"PV1_3": 75.0, "LONPOLE": 180.0}, {"PV1_4": 3.0},
    {"PV1_0": 0.0, "PV1_1": 0.0, "PV1_2": 90.0, "PV1_3": 180.0, "PV1_4": 0.0},
])  # fmt: skip
def test_native_coordinates_of_pv_terms_are_read(kind, terms):
    cards = header(kind) | terms
    x, y = np.array([0.0, 400.0, 900.0]), np.array([900.0, 250.0, -30.0])
    got = AstrometricModel.from_headers(cards).pixel_to_sky(x, y)
    assert separation_arcsec(*got, *by_astropy(cards, x, y)).max() < 1e-7


@pytest.mark.parametrize("sip", [(), (Term(2, 0, 1e-5, 0.0),)])
def test_written_cards_say_where_north_is_at_the_pole(sip):
    plane = Plane((500.5, 400.0), (1e-4, 1e-4), (-0.8, 0.6, 0.6, 0.8), sip=sip)
    model = AstrometricModel(FocalMap(plane, 10.0, 90.0))
    cards, x, y = model.chip_cards(), np.array([0.0, 900.0]), np.array([900.0, -30.0])
    wanted = model.pixel_to_sky(x, y)
    assert separation_arcsec(*AstrometricModel.from_headers(cards).pixel_to_sky(x, y), *wanted).max() < 1e-8
    as_fits = {key.replace("00", "", 1).replace("00", "_"): value for key, value in cards.items()}
    assert separation_arcsec(*by_astropy(as_fits, x, y), *wanted).max() < 1e-7


def test_another_equinox_turns_a_turned_header_too():
    cards = header("TAN", dec=90.0) | {"EQUINOX": 1975.0, "RADESYS": "FK5", "LONPOLE": 20.0}
    x, y = np.array([0.0, 1000.0]), np.array([900.0, 0.0])
    old = SkyCoord(*by_astropy(cards, x, y), unit="deg", frame=FK5(equinox="J1975")).icrs
    got = AstrometricModel.from_headers(cards).pixel_to_sky(x, y)
    assert separation_arcsec(*got, old.ra.deg, old.dec.deg).max() < 1e-4


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_the_centre_is_the_centre(kind):
    model = AstrometricModel.from_headers(header(kind, ra=10.0, dec=-20.0))
    ra, dec = model.pixel_to_sky(np.array([500.5]), np.array([400.0]))
    np.testing.assert_allclose((ra[0], dec[0]), (10.0, -20.0), atol=1e-12)
    np.testing.assert_allclose(np.ravel(model.sky_to_pixel(ra, dec)), (500.5, 400.0), atol=1e-9)


def test_what_a_projection_does_not_show_has_no_pixel():
    for kind, beyond, terms in (("SIN", 91, {}), ("TAN", 90.001, {}), ("STG", 180, {}), ("ZPN", 50, {"PV2_3": -0.5})):
        model = AstrometricModel.from_headers(header(kind, ra=0.0, dec=0.0, **terms))
        assert np.isnan(model.sky_to_pixel(np.array([beyond]), np.array([0.0]))).all(), kind


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(
    st.tuples(st.sampled_from([1, 2]), st.sampled_from([m for m in range(39) if m not in (3, 11, 23)])),
    st.floats(-0.01, 0.01), max_size=12,
), st.sampled_from(["TPV", "TAN"]))  # fmt: skip
def test_pv_terms_bend_as_astropy_bends(terms, kind):
    values = {f"PV{axis}_{m}": value + (m == 1) for (axis, m), value in terms.items()}
    cards = header(kind, scale=5e-4) | {"PV1_1": 1.0, "PV2_1": 1.0} | values
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, 1000, 7), np.linspace(0, 1000, 6)))
    ra, dec = AstrometricModel.from_headers(cards).pixel_to_sky(x, y)
    wanted = by_astropy(cards | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}, x, y)
    assert separation_arcsec(ra, dec, *wanted).max() < 1e-7
    back = AstrometricModel.from_headers(cards).sky_to_pixel(ra, dec)
    np.testing.assert_allclose(back, (x, y), atol=1e-5)


@pytest.mark.parametrize("kind", ["TAN", "TAN-SIP"])
def test_pv_terms_beside_sip_are_the_same_map_once_more_and_one_is_left_out(kind):
    """As the Palomar Transient Factory wrote them: SCAMP's distortion, and its translation to SIP."""
    cards = header(kind, **SIP, **TPV)
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, 1000, 7), np.linspace(0, 1000, 6)))
    with pytest.warns(FITSFixedWarning, match="Removed redundant"):
        wanted = by_astropy(cards, x, y)
    assert separation_arcsec(*AstrometricModel.from_headers(cards).pixel_to_sky(x, y), *wanted).max() < 1e-8


def test_pv_terms_follow_what_dvo_has():
    """Of a header with both, the polynomial of PC001001 comes first."""
    plain = {k: v for k, v in header("TAN").items() if not k.startswith("CD")} | {
        "CDELT1": -1e-4, "CDELT2": 1e-4, "PC001001": 0.8, "PC001002": 0.6, "PC002001": -0.6, "PC002002": 0.8,
        "NPLYTERM": 3, "PCA1X2Y0": 0.02, "PCA2X1Y1": -0.01, "PCA1X1Y2": 0.3,
    }  # fmt: skip
    x, y = np.array([0.0, 700.0]), np.array([900.0, 30.0])
    focal = AstrometricModel.from_headers(plain).focal
    xi, eta = focal.plane.forward(x, y)
    wanted = FocalMap(Plane((0.0, 0.0), (1.0, 1.0)), focal.ra, focal.dec).to_sky(
        0.001 + 1.01 * xi + 0.2 * eta**2, eta + 0.1 * xi * eta - 0.3 * xi**2
    )
    terms = {"PV1_0": 0.001, "PV1_1": 1.01, "PV1_6": 0.2, "PV2_5": 0.1, "PV2_6": -0.3}
    ra, dec = AstrometricModel.from_headers(plain | terms).pixel_to_sky(x, y)
    assert separation_arcsec(ra, dec, *wanted).max() < 1e-9


@pytest.mark.parametrize(("kind", "change", "words"), [
    ("TPV", {"PV1_3": 0.1}, "PV1_3: a power of the distance from the centre is not read"),
    ("TPV", {"PV2_40": 0.0}, "PV2_40: 0.0 is no term of TPV"), ("TPV", {"PV1_x": 1.0}, "PV1_x: 1.0 is no term"),
    ("TPV", {"PV1_1": "NaN"}, "PV1_1: 'NaN' is no term of TPV"), ("TPV", {"PV1_1": 0.0}, "no inverse"),
    ("SIN", {"PV2_1": 0.1}, "PV2_1: this term of projection SIN is not read"),
    ("ZPN", {"PV1_1": 1.0}, "PV1_1: a point of reference beside"),
    ("TAN", {"PV1_2": 0.0}, "PV1_2: a point of reference"),
    ("ZPN", {"PV1_5": 1.0}, "PV1_5: this term"), ("TAN", {"LONPOLE": "north"}, "LONPOLE: 'north' is no finite number"),
    ("TAN", {"CUNIT1": "arcsec"}, "CUNIT1: the unit 'arcsec' is not read"), ("SIN", {"CUNIT2": "rad"}, "CUNIT2: the"),
    ("DIS", {"LONPOLE": 0.0}, "LONPOLE: type DIS has no native pole"), ("ZPN", {"PV2_0": 0.1}, "does not grow from 0"),
    ("ZPN", {"PV2_1": 0.0}, "does not grow from 0"), ("TNX", {}, "projection 'DEC--TNX' is not known"),
])  # fmt: skip
def test_terms_that_are_not_read_are_refused(kind, change, words):
    with pytest.raises(DataError, match=words):
        AstrometricModel.from_headers(header(kind) | change)


def test_cards_lead_back_where_keywords_can_say_it():
    for kind in PROJECTIONS:
        model = AstrometricModel.from_headers(header(kind, **(ZPN if kind == "ZPN" else {})))
        again = AstrometricModel.from_headers(model.chip_cards())
        assert again == model, kind
    constant = FocalMap(Plane((0.0, 0.0), (1e-4, 1e-4), terms=(Term(0, 0, 1e-3, 0.0),)), 0.0, 0.0)
    with pytest.raises(UsageError, match="cannot express"):
        AstrometricModel(constant).chip_cards()
