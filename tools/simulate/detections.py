"""What psphot would find in one exposure: noise, selection, outliers, forced and spurious detections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .camera import CHIP_PIXELS, FLOOR_ARCSEC, FLOOR_MAG, PIXEL_ARCSEC
from .photometry import (
    DETECTION_SNR,
    POGSON,
    instrumental_mag,
    saturated_counts,
    saturation_counts,
    sky_variance,
)
from .presets import EXPOSURE, stream
from .schedule import EXPTIME
from .sources import EDGE_PIXELS, Sources, Truth
from .survey import Conditions

Array = NDArray[np.float64]

OUTLIER_FRACTION, SPURIOUS_FRACTION, FORCED_FRACTION = 0.02, 0.01, 0.003
OUTLIER_MAG = 0.3
"""Scale of the two-sided exponential distribution of outliers."""


@dataclass(frozen=True)
class Detections:
    """Rows: detections of one exposure, sorted by chip and y, with what is true of them.

    `counts` and `counts_err` are the PSF fit's; `place_err` (pixel) is the error per axis that the fit states;
    `mag_true` is what perfect photometry would give (the flat subtracted), NaN for spurious ones.
    """

    source: Sources
    x: Array
    y: Array
    place_err: Array
    counts: Array
    counts_err: Array
    mag_true: Array

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: NDArray[Any]) -> Detections:
        """Return some rows."""
        values = {n: getattr(self, n)[rows] for n in self.__dataclass_fields__ if n != "source"}
        return Detections(self.source.take(rows), **values)


def detect(conditions: Conditions, sources: Sources) -> Detections:
    """Measure the sources of an exposure and keep what is found."""
    rng = stream(conditions.survey.seed, EXPOSURE, conditions.pointing.number, 1)
    seen = measure(conditions, sources, rng)
    found = _select(seen, rng, without=conditions.survey.without)
    rest = stream(conditions.survey.seed, EXPOSURE, conditions.pointing.number, 2)
    found = _with_outliers(found, rest, without=conditions.survey.without)
    if "spurious" not in conditions.survey.without:
        found = _joined(found, _draw_spurious(conditions, found, rest))
    return found.take(np.lexsort((found.y, found.source.chip)))


def measure(conditions: Conditions, sources: Sources, rng: np.random.Generator) -> Detections:
    """Add photon, sky and centroid noise, and the floors, to sources."""
    noise = 0.0 if "noise" in conditions.survey.without else 1.0
    floor = 0.0 if "floor" in conditions.survey.without else 1.0
    size, sigma = len(sources), conditions.sigma[sources.chip]
    draws = rng.standard_normal((6, size))
    background = sky_variance(sigma, conditions.sky_rate * EXPTIME)
    counts = saturated_counts(sources.counts, sigma) if noise else sources.counts
    counts = counts * 10.0 ** (-0.4 * floor * FLOOR_MAG * draws[0])
    counts = counts + noise * np.sqrt(background + counts) * draws[1]
    error = np.sqrt(background + np.maximum(counts, 0.0))
    place_err = sigma * error / np.maximum(counts, error)
    scatter = np.hypot(noise * np.minimum(place_err, sigma), floor * FLOOR_ARCSEC / PIXEL_ARCSEC)
    saturated = sources.counts > saturation_counts(sigma)
    return Detections(
        replace(sources, flags=sources.flags | (Truth.SATURATED * saturated)),
        x=np.clip(sources.x + scatter * draws[2], 0.0, CHIP_PIXELS - 0.01),
        y=np.clip(sources.y + scatter * draws[3], 0.0, CHIP_PIXELS - 0.01),
        place_err=place_err, counts=counts, counts_err=error,
        mag_true=instrumental_mag(sources.counts) + sources.zero_point - sources.flat,
    )


def _select(seen: Detections, rng: np.random.Generator, *, without: frozenset[str]) -> Detections:
    """Keep the sources that are found, and a few fainter ones, measured all the same at places known beforehand."""
    found = seen.counts > DETECTION_SNR * seen.counts_err
    faint = ~found & (seen.source.counts > 0.2 * DETECTION_SNR * seen.counts_err)
    chance = FORCED_FRACTION * found.sum() / max(int(faint.sum()), 1) * ("spurious" not in without)
    forced = faint & (rng.random(len(seen)) < chance)
    flagged = replace(seen.source, flags=seen.source.flags | (Truth.FORCED * forced))
    return replace(seen, source=flagged).take(found | forced)


def _with_outliers(found: Detections, rng: np.random.Generator, *, without: frozenset[str]) -> Detections:
    """Give some detections a wrong magnitude."""
    offset = rng.laplace(0.0, OUTLIER_MAG, len(found))
    outlier = rng.random(len(found)) < OUTLIER_FRACTION
    if "outliers" in without:
        return found
    factor = np.where(outlier & (found.counts > 0), 10.0 ** (-0.4 * offset), 1.0)
    source = replace(found.source, flags=found.source.flags | (Truth.OUTLIER * outlier))
    return replace(found, source=source, counts=found.counts * factor)


def _draw_spurious(conditions: Conditions, found: Detections, rng: np.random.Generator) -> Detections:
    """Draw detections of nothing: anywhere on the chips, faint, one in ten with negative counts."""
    chips = len(conditions.chips)
    number = rng.poisson(SPURIOUS_FRACTION * np.bincount(found.source.chip, minlength=chips))
    chip = np.repeat(np.arange(chips), number)
    size, sigma = chip.size, conditions.sigma[chip]
    error = np.sqrt(sky_variance(sigma, conditions.sky_rate * EXPTIME))
    snr = DETECTION_SNR + rng.exponential(4.0, size)
    snr = np.where(rng.random(size) < 0.1, -0.3 * snr, snr)
    x, y = rng.uniform(EDGE_PIXELS, CHIP_PIXELS - EDGE_PIXELS, (2, size))
    zero, none, nan = np.zeros(size), np.full(size, -1), np.full(size, np.nan)
    source = Sources(chip, x, y, zero, zero, zero, nan, zero, none, none, np.full(size, int(Truth.SPURIOUS)))
    return Detections(source, x, y, sigma / np.abs(snr), snr * error, error, nan)


def _joined(first: Detections, second: Detections) -> Detections:
    def both(a: Any, b: Any, names: Any) -> dict[str, Any]:
        return {n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names}

    source = Sources(**both(first.source, second.source, Sources.__dataclass_fields__))
    names = [n for n in Detections.__dataclass_fields__ if n != "source"]
    return Detections(source, **both(first, second, names))


def magnitude_error(counts: Array, counts_err: Array) -> Array:
    """Error in mag of counts; NaN where there are none."""
    return np.asarray(POGSON * counts_err / np.where(counts > 0.0, counts, np.nan))
