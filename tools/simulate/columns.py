"""The 53 columns of psphot's detection table, from simulated detections."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from skydb.schema.psphot import ps1_v4_dtype

from .camera import PIXEL_ARCSEC, SLOPES
from .detections import Detections, magnitude_error
from .photometry import (
    APERTURE_SIGMAS,
    aperture_fraction,
    galaxy_sigma,
    instrumental_mag,
    peak_counts,
    psf_fraction,
)
from .presets import EXPOSURE, stream
from .schedule import EXPTIME
from .sources import EXPOSURE_MAG, Truth
from .survey import Conditions

Array = NDArray[np.float64]
Table = NDArray[np.void]

PSFMODEL, FITTED, PSFSTAR, SATSTAR, BLEND, EXTERNAL = 0x1, 0x4, 0x40, 0x80, 0x100, 0x200
DEFECT, SATURATED, CR_LIMIT, EXT_LIMIT, MOMENTS_FAILURE = 0x800, 0x1000, 0x2000, 0x4000, 0x8000
BIG_RADIUS, AP_MAGS, BLEND_FIT = 0x100000, 0x200000, 0x400000
MATCHED, PASS1_SRC, HAS_BRIGHTER_NEIGHBOR = 0x4, 0x80, 0x100

ZPT_ERR = 0.02
RAW_APERTURE_MAG = 0.02
"""Aperture correction between AP_MAG_RAW and AP_MAG."""


def psphot_table(conditions: Conditions, found: Detections) -> Table:
    """Return the detections of an exposure as psphot writes them, chip after chip.

    Columns of unsigned type hold their plain values here, as int bits; the writer applies TZERO.
    """
    rng = stream(conditions.survey.seed, EXPOSURE, conditions.pointing.number, 3)
    table = np.zeros(len(found), dtype=ps1_v4_dtype())
    quiet = "noise" in conditions.survey.without
    _fill_numbers(table, found)
    _fill_places(table, conditions, found)
    _fill_psf(table, conditions, found)
    _fill_apertures(table, conditions, found, rng=rng, noise=0.0 if quiet else 1.0)
    _fill_quality(table, conditions, found, rng=rng)
    _fill_moments(table, conditions, found, rng=rng)
    _fill_flags(table, found, rng=rng)
    return table


def _fill_numbers(table: Table, found: Detections) -> None:
    """Number the detections of each chip from 0."""
    chip = found.source.chip
    table["IPP_IDET"] = np.arange(chip.size) - np.searchsorted(chip, chip)
    table["N_FRAMES"] = 1


def _fill_places(table: Table, conditions: Conditions, found: Detections) -> None:
    table["X_PSF"], table["Y_PSF"] = found.x, found.y
    table["X_PSF_SIG"] = table["Y_PSF_SIG"] = np.minimum(found.place_err, 50.0)
    table["PLTSCALE"] = PIXEL_ARCSEC
    for k, rows in enumerate(chip_slices(conditions, found)):
        x, y = table["X_PSF"][rows].astype(np.float64), table["Y_PSF"][rows].astype(np.float64)
        table["RA_PSF"][rows], table["DEC_PSF"][rows] = conditions.header_model(k).pixel_to_sky(x, y)
        pc = conditions.chips[k].map.plane.pc
        table["POSANGLE"][rows] = conditions.pointing.angle + np.degrees(np.arctan2(pc[2], pc[0]))


def _fill_psf(table: Table, conditions: Conditions, found: Detections) -> None:
    chip, sigma = found.source.chip, conditions.sigma[found.source.chip]
    mag = instrumental_mag(found.counts)
    calibration = conditions.zpt_obs + SLOPES[conditions.band] * (conditions.chip_airmass - 1.0) + EXPOSURE_MAG
    table["PSF_INST_MAG"], table["PSF_INST_MAG_SIG"] = mag, magnitude_error(found.counts, found.counts_err)
    table["PSF_INST_FLUX"], table["PSF_INST_FLUX_SIG"] = found.counts, found.counts_err
    table["CAL_PSF_MAG"], table["CAL_PSF_MAG_SIG"] = mag + calibration[chip], ZPT_ERR
    table["PEAK_FLUX_AS_MAG"] = instrumental_mag(peak_counts(found.counts, sigma))
    table["PSF_MAJOR"], table["PSF_MINOR"], table["PSF_THETA"] = sigma * 1.03, sigma * 0.97, 30.0
    pixels = np.round(np.pi * (3.0 * sigma) ** 2).astype(np.int32)
    table["PSF_NPIX"], table["PSF_NDOF"] = pixels, pixels - 4


def _fill_apertures(
    table: Table, conditions: Conditions, found: Detections, *, rng: np.random.Generator, noise: float
) -> None:
    """Fill aperture and Kron columns: the PSF fit's counts, the light it misses in galaxies, noise of their own."""
    sigma, half_light = conditions.sigma[found.source.chip], found.source.half_light
    whole = found.counts / psf_fraction(sigma, half_light)
    draws = noise * rng.standard_normal((2, len(found)))
    ap = whole * aperture_fraction(sigma, half_light) + 0.66 * found.counts_err * draws[0]
    kron = whole + 1.1 * found.counts_err * draws[1]
    table["AP_MAG"], table["AP_MAG_RAW"] = instrumental_mag(ap), instrumental_mag(ap) + RAW_APERTURE_MAG
    table["AP_MAG_RADIUS"] = APERTURE_SIGMAS * sigma
    table["AP_FLUX"], table["AP_FLUX_SIG"] = ap, 1.2 * found.counts_err
    table["KRON_FLUX"], table["KRON_FLUX_ERR"] = kron, 1.5 * found.counts_err
    table["KRON_FLUX_INNER"], table["KRON_FLUX_OUTER"] = 0.2 * kron, 0.05 * kron
    table["SKY_LIMIT_RAD"] = 6.0 * sigma
    table["SKY_LIMIT_FLUX"], table["SKY_LIMIT_SLOPE"] = 0.01 * found.counts_err, -0.001 * found.counts_err


def _fill_quality(table: Table, conditions: Conditions, found: Detections, *, rng: np.random.Generator) -> None:
    """Fill sky, fit quality and mask fractions; 3% of detections lie partly on masked pixels."""
    size = len(found)
    draws = rng.standard_normal((4, size))
    table["SKY"] = conditions.sky_rate + 0.01 * draws[0]
    table["SKY_SIGMA"] = np.sqrt(conditions.sky_rate / EXPTIME)
    table["PSF_CHISQ"] = np.maximum(1.0 + 0.1 * draws[1], 0.3)
    spurious = (found.source.flags & Truth.SPURIOUS) > 0
    table["CR_NSIGMA"] = np.where(spurious & (rng.random(size) < 0.3), 15.0, draws[2])
    fraction = psf_fraction(conditions.sigma[found.source.chip], found.source.half_light)
    table["EXT_NSIGMA"] = draws[3] + (1.0 - fraction) * np.clip(found.counts / found.counts_err, 0.0, 200.0)
    table["CR_NSIGMA"][rng.random(size) < 0.03] = np.nan
    table["EXT_NSIGMA"][rng.random(size) < 0.01] = np.nan
    masked = rng.random(size) < np.where(found.source.flags & Truth.OUTLIER, 0.3, 0.03)
    quality = np.where(masked, rng.uniform(0.3, 0.85, size), 1.0 - 0.02 * rng.random(size) ** 2)
    table["PSF_QF"], table["PSF_QF_PERFECT"] = quality, quality * (1.0 - 0.02 * rng.random(size))


def _fill_moments(table: Table, conditions: Conditions, found: Detections, *, rng: np.random.Generator) -> None:
    """Fill moments; half a percent could not be measured, and are NaN."""
    sigma = conditions.sigma[found.source.chip]
    variance = sigma**2 + galaxy_sigma(found.source.half_light) ** 2
    blurred = variance * (1.0 + 0.2 * np.minimum(found.counts_err / np.maximum(found.counts, found.counts_err), 0.3)
                          * rng.standard_normal(len(found)))
    draws = rng.standard_normal((7, len(found)))
    table["MOMENTS_XX"] = blurred * (1.0 + 0.02 * draws[0])
    table["MOMENTS_YY"] = blurred * (1.0 + 0.02 * draws[1])
    table["MOMENTS_XY"] = 0.02 * variance * draws[2]
    for name, draw in zip(("M3C", "M3S", "M4C", "M4S"), draws[3:], strict=True):
        table[f"MOMENTS_{name}"] = 0.015 * variance ** (int(name[1]) / 2.0) * draw
    table["MOMENTS_R1"] = 1.2533 * np.sqrt(variance)
    table["MOMENTS_RH"] = np.sqrt(1.1774 * np.sqrt(variance))
    failed = rng.random(len(found)) < 0.005
    for name in ("XX", "XY", "YY", "M3C", "M3S", "M4C", "M4S", "R1", "RH"):
        table[f"MOMENTS_{name}"][failed] = np.nan


def _fill_flags(table: Table, found: Detections, *, rng: np.random.Generator) -> None:
    """Fill psphot's flags from what was measured, not from what is true."""
    truth, snr = found.source.flags, found.counts / found.counts_err
    blend, saturated = (truth & Truth.BLEND) > 0, (truth & Truth.SATURATED) > 0
    forced = (truth & Truth.FORCED) > 0
    with np.errstate(invalid="ignore"):
        extended = table["EXT_NSIGMA"] > 3.0
        cosmic = table["CR_NSIGMA"] > 10.0
    flags = np.full(len(found), PSFMODEL | FITTED | AP_MAGS)
    flags |= PSFSTAR * ((snr > 100.0) & ~saturated & ~extended & (rng.random(len(found)) < 0.5))
    flags |= (SATSTAR | SATURATED) * saturated | BIG_RADIUS * (snr > 200.0) | EXT_LIMIT * extended
    flags |= (CR_LIMIT | DEFECT) * cosmic | MOMENTS_FAILURE * np.isnan(table["MOMENTS_XX"]) | EXTERNAL * forced
    flags |= (BLEND | BLEND_FIT) * (blend & (rng.random(len(found)) < 0.5))
    table["FLAGS"] = flags
    table["FLAGS2"] = np.where(forced, MATCHED, PASS1_SRC) | HAS_BRIGHTER_NEIGHBOR * blend


def chip_slices(conditions: Conditions, found: Detections) -> list[slice]:
    """Rows of each chip."""
    edges = np.searchsorted(found.source.chip, np.arange(len(conditions.chips) + 1))
    return [slice(int(i), int(j)) for i, j in pairwise(edges)]
