"""Airmass of detections against astropy and Young (1994)."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.sky.airmass import airmass


def young_1994(secant: float) -> float:
    c = 1 / secant
    upper = 1.002432 * c**2 + 0.148386 * c + 0.0096467
    return upper / (c**3 + 0.149864 * c**2 + 0.0102963 * c + 0.000303978)


def test_the_zenith_has_airmass_one() -> None:
    assert airmass(150.0, 20.7, 10.0, 20.7) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("secant", "percent"), [(2, 0.4), (3, 1.0), (4, 1.9), (10, 11.0)])
def test_the_stated_limit_of_the_secant_holds(secant: float, percent: float) -> None:
    found = float(airmass(0.0, 0.0, 0.0, np.degrees(np.arccos(1 / secant))))
    assert found == pytest.approx(secant)
    assert 100 * (found / young_1994(secant) - 1) == pytest.approx(percent, abs=0.06)


def test_airmass_equals_the_secant_of_astropy() -> None:
    site = EarthLocation.from_geodetic(-156.256 * u.deg, 20.707 * u.deg, 3067 * u.m)
    when = Time(2455500.3, format="jd", scale="utc")
    when.delta_ut1_utc = 0.0
    frame = AltAz(obstime=when, location=site, pressure=0 * u.hPa)
    direction = SkyCoord(az=[0, 90, 200, 310] * u.deg, alt=[80, 40, 30, 55] * u.deg, frame=frame)
    apparent = direction.cirs  # places of date, in which sidereal time is measured
    angle = when.earth_rotation_angle(site.lon).to_value(u.hourangle)
    cirs = apparent.ra.deg, apparent.dec.deg
    np.testing.assert_allclose(airmass(*cirs, angle, 20.707), 1 / np.sin(direction.alt.rad), rtol=2e-4)


def test_below_the_horizon_and_unknown_is_nan() -> None:
    assert np.isnan(airmass([0.0, np.nan, 0.0], [-89.0, 0.0, 0.0], [0.0, 0.0, np.nan], 45.0)).all()


@settings(deadline=None)
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 24), st.floats(-90, 90))
def test_airmass_is_never_below_one(ra: float, dec: float, sidereal_time: float, latitude: float) -> None:
    found = float(airmass(ra, dec, sidereal_time, latitude))
    assert np.isnan(found) or found >= 1.0


def test_arguments_broadcast() -> None:
    assert airmass(np.zeros((3, 1)), np.zeros(4), 0.0, 10.0).shape == (3, 4)
