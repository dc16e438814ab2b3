"""A survey before its detections: camera, nights, exposures, and the conditions of each exposure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skydb.calibration.astrometric import AstrometricModel, FocalMap

from . import atmosphere
from .camera import (
    CHIP_PIXELS,
    MICRON_PER_MAS,
    PIXEL_ARCSEC,
    SLOPES,
    Camera,
    Chip,
    build_camera,
    true_model,
)
from .photometry import SKY_RATES, psf_sigma
from .presets import EXPOSURE, Preset, stream
from .schedule import EXPTIME, Pointing, draw_schedule

Array = NDArray[np.float64]

ZPT_NIGHT_SIGMA, ZPT_EXPOSURE_SIGMA = 0.016, 0.012
"""Parts of the 20 mmag by which header zero points miss: common to a night and band, and of each exposure."""

POINTING_ERROR_MAS, CHIP_ERROR_MAS = 30.0, 25.0
"""Changing parts of the header's 50 mas astrometric error per axis; each chip's lasting 30 mas are the camera's."""


@dataclass(frozen=True)
class Survey:
    """Everything that is decided before stars are drawn."""

    preset: Preset
    seed: int
    without: frozenset[str]
    camera: Camera
    nights: tuple[atmosphere.Night, ...]
    pointings: tuple[Pointing, ...]


@dataclass(frozen=True)
class Conditions:
    """One exposure: where the camera looked, through what.

    `mjd_tai` is mid-exposure; `sidereal` (deg) is what the header says; `errors` (chips, 2) micron is what the
    header's astrometry misses by in this exposure; `sigma` (chips,) pixel is the width of the Gaussian PSF;
    `cloud` (chips,) mag; `zpt_error` mag is what the header's zero point misses by.
    """

    survey: Survey
    pointing: Pointing
    focal: FocalMap
    mjd_tai: float
    sidereal: float
    errors: Array
    sigma: Array
    sky_rate: float
    cloud: Array
    zpt_error: float

    @property
    def band(self) -> str:
        """The band's name."""
        return self.survey.camera.bands[self.pointing.band]

    @property
    def chips(self) -> tuple[Chip, ...]:
        """The camera's chips."""
        return self.survey.camera.chips

    @property
    def night(self) -> atmosphere.Night:
        """The night it belongs to."""
        return self.survey.nights[self.pointing.night]

    def header_model(self, chip: int) -> AstrometricModel:
        """The astrometry that the header gives."""
        return AstrometricModel(self.focal, self.chips[chip].map)

    def true_model(self, chip: int) -> AstrometricModel:
        """The astrometry as it is."""
        return true_model(self.chips[chip], self.focal, self.errors[chip])

    @property
    def airmass(self) -> float:
        """Airmass where the camera points."""
        return float(atmosphere.airmass(self.pointing.ra, self.pointing.dec, self.sidereal))

    @cached_property
    def chip_airmass(self) -> Array:
        """Airmass at the middle of each chip."""
        middle = [self.header_model(k).pixel_to_sky(CHIP_PIXELS / 2, CHIP_PIXELS / 2) for k in range(len(self.chips))]
        ra, dec = np.array([m[0][0] for m in middle]), np.array([m[1][0] for m in middle])
        return atmosphere.airmass(ra, dec, self.sidereal)

    @property
    def chip_mcal(self) -> Array:
        """True mcal of each chip at its middle: night, cloud and the chip's own offset."""
        return self.mcal(np.arange(len(self.chips)), self.chip_airmass)

    def mcal(self, chip: NDArray[np.int64], airmass: Array) -> Array:
        """True mcal (mag, subtracted; cloud is positive) of chips at some airmass."""
        band = self.pointing.band
        offset = np.array([c.offset[band] for c in self.chips])
        night = self.night.zero[band] + self.night.slope[band] * (airmass - 1.0)
        return np.asarray(night + (self.cloud + offset)[chip])

    def zero_point(self, chip: NDArray[np.int64], airmass: Array) -> Array:
        """True zero point, counts per second to mag: 0.001 C + K (airmass - 1) - mcal."""
        nominal = np.array([c.zero_point[self.pointing.band] for c in self.chips])
        return np.asarray(nominal[chip] + SLOPES[self.band] * (airmass - 1.0) - self.mcal(chip, airmass))

    @property
    def zpt_obs(self) -> Array:
        """Header zero points, of airmass 1: an estimate per exposure, which knows no chip offsets."""
        band = self.pointing.band
        nominal = np.array([c.zero_point[band] for c in self.chips])
        night = self.night.zero[band] + self.night.slope[band] * (self.chip_airmass - 1.0)
        return np.asarray(nominal - night - self.cloud - self.zpt_error)


def plan_survey(
    preset: Preset, seed: int, *, without: Collection[str] = (), mislabelled: float = 0.0
) -> Survey:
    """Draw camera, schedule and weather of a survey."""
    camera = build_camera(seed, preset.bands, chips_across=preset.chips_across, without=without)
    pointings = draw_schedule(seed, preset, camera.width)
    days = sorted({p.night: p.noon for p in pointings}.items())
    nights = atmosphere.draw_nights(
        seed, [day for _, day in days], len(preset.bands), without=without, mislabelled=mislabelled
    )
    return Survey(preset, seed, frozenset(without), camera, nights, pointings)


def conditions_of(survey: Survey, pointing: Pointing) -> Conditions:
    """Draw the conditions of one exposure; the same whenever it is asked."""
    rng = stream(survey.seed, EXPOSURE, pointing.number, 0)
    night, band = survey.nights[pointing.night], survey.camera.bands[pointing.band]
    sidereal = atmosphere.sidereal_rounded(pointing.mjd_utc)
    secant = float(atmosphere.airmass(pointing.ra, pointing.dec, sidereal))
    fwhm = atmosphere.seeing_arcsec(rng, night, band, secant)
    mjd_tai = pointing.mjd_utc + (atmosphere.tai_minus_utc(pointing.mjd_utc) + EXPTIME / 2.0) / atmosphere.DAY
    place = _chip_places(survey.camera)
    common = stream(survey.seed, EXPOSURE, 0, pointing.night, pointing.band).standard_normal()
    zpt_error = ZPT_NIGHT_SIGMA * common + ZPT_EXPOSURE_SIGMA * rng.standard_normal()
    return Conditions(
        survey, pointing, survey.camera.pointed(pointing.ra, pointing.dec, pointing.angle), mjd_tai, sidereal,
        errors=_draw_errors(rng, len(place)) * ("astrometry" not in survey.without),
        sigma=psf_sigma(fwhm / PIXEL_ARCSEC) * (1.0 + 0.04 * (place**2).sum(axis=1)),
        sky_rate=SKY_RATES[band] * float(np.exp(0.1 * rng.standard_normal())),
        cloud=_cloud_on_chips(rng, night, pointing.mjd_utc, place),
        zpt_error=0.0 if "noise" in survey.without else float(zpt_error),
    )


def _chip_places(camera: Camera) -> Array:
    """Middles of the chips in the focal plane, (chips, 2), in half fields of view."""
    middle = [c.map.to_focal(CHIP_PIXELS / 2, CHIP_PIXELS / 2) for c in camera.chips]
    return np.asarray(np.array([[x[0], y[0]] for x, y in middle]) / (camera.pixels_across * 5.0))


def _draw_errors(rng: np.random.Generator, chips: int) -> Array:
    pointing = POINTING_ERROR_MAS * rng.standard_normal(2)
    return np.asarray((pointing + CHIP_ERROR_MAS * rng.standard_normal((chips, 2))) * MICRON_PER_MAS)


def _cloud_on_chips(rng: np.random.Generator, night: atmosphere.Night, mjd_utc: float, place: Array) -> Array:
    """Cloud on each chip: the night's at the time, with a slope over the field of up to a tenth of it."""
    gradient = rng.uniform(-0.05, 0.05, 2)
    cloud = float(night.cloud_at(mjd_utc))
    return np.asarray(np.clip(cloud * (1.0 + place @ gradient), 0.0, atmosphere.CLOUD_LIMIT))
