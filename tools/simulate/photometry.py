"""Counts, their noise, and what a PSF fit sees of a galaxy or of a saturated star."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SKY_RATES = {"g": 1.4, "r": 2.5, "i": 4.0, "z": 4.5, "y": 5.0}
"""Sky brightness, counts per second and pixel."""

READ_NOISE = 2.0
FULL_WELL = 30_000.0
"""Counts of a pixel at saturation."""

APERTURE_SIGMAS = 2.5
"""Radius of the standard aperture in widths of the PSF."""

DETECTION_SNR = 5.0
POGSON = 2.5 / np.log(10.0)


def psf_sigma(fwhm: float) -> float:
    """Width of a Gaussian from its full width at half maximum."""
    return fwhm / 2.354820045


def counts_of(mag: ArrayLike, zero_point: ArrayLike) -> Array:
    """Counts of a source: 10^(0.4 (zero point - mag)), the exposure time being part of the zero point."""
    return np.asarray(10.0 ** (0.4 * (np.asarray(zero_point) - np.asarray(mag))), dtype=np.float64)


def instrumental_mag(counts: ArrayLike) -> Array:
    """-2.5 log10(counts); NaN where there are none."""
    counts = np.asarray(counts, dtype=np.float64)
    return -2.5 * np.log10(np.where(counts > 0.0, counts, np.nan))


def sky_variance(sigma: ArrayLike, sky_counts: ArrayLike) -> Array:
    """Variance of a PSF flux by sky and read-out: 4 pi sigma^2 pixels count (optimal weights, Gaussian PSF).

    Parameters
    ----------
    sigma : pixel
    sky_counts : counts per pixel
    """
    area = 4.0 * np.pi * np.asarray(sigma, dtype=np.float64) ** 2
    return np.asarray(area * (np.asarray(sky_counts) + READ_NOISE**2))


def psf_fraction(sigma: ArrayLike, half_light: ArrayLike) -> Array:
    """Part of a galaxy's light that a PSF fit finds: 2 s^2 / (2 s^2 + g^2), for a Gaussian galaxy of width g.

    Parameters
    ----------
    sigma, half_light : (N,) pixel
        Width of the PSF; half-light radius of the galaxy, 0 for a star.
    """
    double = 2.0 * np.asarray(sigma, dtype=np.float64) ** 2
    return np.asarray(double / (double + galaxy_sigma(half_light) ** 2))


def aperture_fraction(sigma: ArrayLike, half_light: ArrayLike) -> Array:
    """Light of a source in the standard aperture, relative to the same for a star."""
    radius2 = (APERTURE_SIGMAS * np.asarray(sigma, dtype=np.float64)) ** 2
    width2 = np.asarray(sigma) ** 2 + galaxy_sigma(half_light) ** 2
    return np.asarray(np.expm1(-radius2 / (2.0 * width2)) / np.expm1(-(APERTURE_SIGMAS**2) / 2.0))


def galaxy_sigma(half_light: ArrayLike) -> Array:
    """Gaussian width of a galaxy from its half-light radius."""
    return np.asarray(half_light, dtype=np.float64) / 1.177410023


def peak_counts(counts: ArrayLike, sigma: ArrayLike) -> Array:
    """Counts of a source's brightest pixel."""
    return np.asarray(counts, dtype=np.float64) / (2.0 * np.pi * np.asarray(sigma, dtype=np.float64) ** 2)


def saturation_counts(sigma: ArrayLike) -> Array:
    """Counts of a source that just saturates."""
    return np.asarray(FULL_WELL * 2.0 * np.pi * np.asarray(sigma, dtype=np.float64) ** 2)


def saturated_counts(counts: ArrayLike, sigma: ArrayLike) -> Array:
    """What is measured of a source that saturates: its lost light grows with its peak."""
    limit = saturation_counts(sigma)
    excess = np.maximum(np.asarray(counts, dtype=np.float64) / limit, 1.0)
    return np.asarray(np.asarray(counts) * excess**-0.2)
