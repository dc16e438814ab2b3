"""What lies between the sky and the telescope: sidereal time, airmass, extinction, clouds and seeing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import erfa
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .presets import NIGHTS, stream

Array = NDArray[np.float64]

LATITUDE, LONGITUDE = 45.0, -110.0
"""The site, deg; east is positive."""

NIGHT_ZERO_SIGMA, NIGHT_SLOPE_SIGMA = 0.020, 0.015
"""How nights differ: mag at airmass 1, and mag per airmass."""

CLOUDY_FRACTION, CLOUD_LIMIT = 0.30, 0.30
SEEING_ARCSEC = {"g": 1.15, "r": 1.05, "i": 1.0, "z": 0.97, "y": 0.95}
DAY = 86_400.0


def sidereal_time(mjd_utc: ArrayLike) -> Array:
    """Local mean sidereal time in degrees (UT1 taken as UTC: up to 0.9 s of time)."""
    angle = np.degrees(erfa.gmst82(2_400_000.5, np.asarray(mjd_utc, dtype=np.float64))) + LONGITUDE
    return np.asarray(angle % 360.0)


def sidereal_text(angle_deg: float) -> str:
    """Sidereal time as headers write it, to the millisecond.

    >>> sidereal_text(348.41916666666663)
    '23:13:40.600'
    """
    milliseconds = round(angle_deg / 15.0 * 3_600_000) % 86_400_000
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def sidereal_rounded(mjd_utc: float) -> float:
    """Local sidereal time in degrees, as it can be read back from a header."""
    return round(float(sidereal_time(mjd_utc)) / 15.0 * 3_600_000) % 86_400_000 * 15.0 / 3_600_000


def airmass(ra: ArrayLike, dec: ArrayLike, sidereal_deg: ArrayLike) -> Array:
    """Secant of the zenith distance, as DVO computes it; infinite at and below the horizon.

    Parameters
    ----------
    ra, dec : (N,) deg ICRS
        Not precessed, as in DVO.
    sidereal_deg : (N,) or scalar deg
    """
    d, phi = np.radians(np.asarray(dec, dtype=np.float64)), np.radians(LATITUDE)
    hour_angle = np.radians(np.asarray(sidereal_deg) - np.asarray(ra))
    sine = np.sin(phi) * np.sin(d) + np.cos(phi) * np.cos(d) * np.cos(hour_angle)
    return np.where(sine > 1e-3, 1.0 / np.maximum(sine, 1e-3), np.inf)


def sun_altitude(mjd_utc: ArrayLike) -> Array:
    """Altitude of the Sun at the site in degrees, to 0.05°, by the Astronomical Almanac's low-precision formula.

    Written out because a schedule asks for every half hour of years: erfa's Earth takes 14 µs a time.
    """
    mjd = np.asarray(mjd_utc, dtype=np.float64)
    days = mjd - 51_544.5
    anomaly = np.radians(357.528 + 0.9856003 * days)
    longitude = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2.0 * anomaly))
    tilt, phi = np.radians(23.439), np.radians(LATITUDE)
    ra, sin_dec = np.arctan2(np.cos(tilt) * np.sin(longitude), np.cos(longitude)), np.sin(tilt) * np.sin(longitude)
    hour_angle = np.radians(sidereal_time(mjd)) - ra
    sine = np.sin(phi) * sin_dec + np.cos(phi) * np.sqrt(1.0 - sin_dec**2) * np.cos(hour_angle)
    return np.asarray(np.degrees(np.arcsin(sine)))


@dataclass(frozen=True)
class Night:
    """One night: corrections to the nominal zero points, clouds, seeing.

    `zero` and `slope` are per band: mcal = zero + slope (airmass - 1). `cloud` is the amplitude in mag, 0 when
    clear. `reported_photometric` is what the observer wrote down.
    """

    index: int
    mjd: int
    zero: tuple[float, ...]
    slope: tuple[float, ...]
    cloud: float
    waves: tuple[float, ...]
    seeing: float
    reported_photometric: bool

    def cloud_at(self, mjd_utc: ArrayLike) -> Array:
        """Cloud in mag at a time of the night, between 0 and `cloud`."""
        hours = (np.asarray(mjd_utc, dtype=np.float64) - self.mjd) * 24.0
        slow, slow_phase, fast, fast_phase = self.waves
        wave = 0.35 * np.sin(2.0 * np.pi * hours / slow + slow_phase)
        wave += 0.25 * np.sin(2.0 * np.pi * hours / fast + fast_phase)
        return np.asarray(self.cloud * np.clip(0.5 + wave, 0.0, 1.0))


def draw_nights(
    seed: int, mjd: ArrayLike, bands: int, *, without: Collection[str] = (), mislabelled: float = 0.0
) -> tuple[Night, ...]:
    """Draw the weather of some nights.

    Parameters
    ----------
    seed : of the survey
    mjd : (N,) modified Julian day (UTC) of the local noon before each night
    bands : number of bands
    without : switches; `nights` and `clouds` matter here
    mislabelled : fraction of all nights that are cloudy and yet reported as photometric
    """
    return tuple(
        _draw_night(stream(seed, NIGHTS, int(day)), (i, int(day)), bands, without=without, mislabelled=mislabelled)
        for i, day in enumerate(np.asarray(mjd))
    )


def _draw_night(
    rng: np.random.Generator, which: tuple[int, int], bands: int, *, without: Collection[str], mislabelled: float
) -> Night:
    # Most of a night's offset is grey; every number is drawn whatever is switched off, so that switches do not
    # change the rest of the survey.
    scale = 0.0 if "nights" in without else 1.0
    zero = scale * NIGHT_ZERO_SIGMA * (0.8 * rng.standard_normal() + 0.6 * rng.standard_normal(bands))
    slope = scale * NIGHT_SLOPE_SIGMA * rng.standard_normal(bands)
    cloudy = rng.random() < CLOUDY_FRACTION
    cloud = rng.uniform(0.05, CLOUD_LIMIT) * float(cloudy and "clouds" not in without)
    waves = (rng.uniform(1.0, 3.0), rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.7), rng.uniform(0, 2 * np.pi))
    seeing = float(np.exp(0.15 * rng.standard_normal()))
    lied = rng.random() < mislabelled / CLOUDY_FRACTION
    return Night(which[0], which[1], tuple(zero), tuple(slope), float(cloud), waves, seeing, bool(cloud == 0.0 or lied))


def seeing_arcsec(rng: np.random.Generator, night: Night, band: str, secant: float) -> float:
    """Draw an exposure's seeing: full width at half maximum, arcsec."""
    return float(SEEING_ARCSEC[band] * night.seeing * secant**0.6 * np.exp(0.07 * rng.standard_normal()))


def earth_position(mjd_tai: float) -> Array:
    """Barycentric position of the Earth, au, ICRS axes."""
    return np.asarray(erfa.epv00(2_400_000.5, mjd_tai + 32.184 / DAY)[1]["p"], dtype=np.float64)


def tai_minus_utc(mjd_utc: float) -> float:
    """TAI - UTC in seconds."""
    year, month, day, fraction = erfa.jd2cal(2_400_000.5, mjd_utc)
    return float(erfa.dat(year, month, day, fraction))
