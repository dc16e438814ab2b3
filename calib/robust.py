"""Robust weights of one star's measurements, as scalar kernels.

The weight functions keep full weight to three sigma, so that clean Gaussian data lose nothing (measured
efficiency above 0.999); Hampel's comes back to zero at six sigma, so that a gross outlier has no say at all.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CORE = 3.0
"""Pull up to which a measurement keeps its full weight."""
SHOULDER = 4.0
"""Pull at which Hampel's influence begins to fall."""
REJECT = 6.0
"""Pull from which Hampel's weight is zero."""
_STEPS = 4
_LEAST_FREEDOM = 1e-6


class Weighting(IntEnum):
    """How a pull becomes a factor on a measurement's weight."""

    NONE = 0
    HUBER = 1
    HAMPEL = 2


@njit(cache=True)
def factor(pull: float, weighting: int) -> Any:
    """Factor on the weight of a measurement with this pull, from 1 (full weight) to 0 (rejected).

    Huber: 1, then 3/|t|. Hampel: as Huber to 4 sigma, then down to 0 at 6 sigma.
    Source: Hampel et al. 1986, Robust Statistics, section 2.6.
    """
    size = abs(pull)
    if weighting == 0 or size <= CORE:
        return 1.0
    if weighting == 1 or size <= SHOULDER:
        return CORE / size
    if size >= REJECT:
        return 0.0
    return CORE * (REJECT - size) / ((REJECT - SHOULDER) * size)


@njit(cache=True)
def median(values: F64, scratch: F64) -> Any:
    """Median of a few values; `scratch` has their length and is overwritten (Shell's sort: no allocation)."""
    n = values.size
    scratch[:n] = values
    gap = n // 2
    while gap > 0:
        for i in range(gap, n):
            value, j = scratch[i], i
            while j >= gap and scratch[j - gap] > value:
                scratch[j] = scratch[j - gap]
                j -= gap
            scratch[j] = value
        gap //= 2
    return 0.5 * (scratch[(n - 1) // 2] + scratch[n // 2])


@njit(cache=True)
def precisions(weight: F64, precision: F64) -> None:
    """One over the error of each residual about the star's mean, written to `precision`.

    A mean over n measurements has followed each of them by its share h = w / W, so a residual about that mean
    has variance (1 - h) / w, not 1 / w: without the factor, two discordant measurements of a star would pass.
    """
    total = 0.0
    for j in range(weight.size):
        total += weight[j]
    for j in range(weight.size):
        precision[j] = np.sqrt(weight[j] / max(1.0 - weight[j] / total, _LEAST_FREEDOM))


@njit(cache=True)
def weighted_mean(values: F64, weight: F64) -> Any:
    """Weighted mean; NaN without weight."""
    total, top = 0.0, 0.0
    for j in range(values.size):
        total += weight[j]
        top += weight[j] * values[j]
    return top / total if total > 0.0 else np.nan


@njit(cache=True)
def reweight(residual: F64, weight: F64, precision: F64, rule: Any, robust: F64) -> Any:
    """Robust weights of one star's measurements, written to `robust`; returns the centre that they are about.

    Starts at the median and takes a fixed number of steps, so that the weights are a continuous function of the
    residuals and of nothing else. `rule` is the weighting, and the size of a pull when nothing is wrong.
    """
    weighting, scale = rule
    if weighting == 0:
        robust[:] = weight
        return weighted_mean(residual, weight)
    centre = median(residual, robust)
    for step in range(_STEPS):
        total, top = 0.0, 0.0
        for j in range(weight.size):
            robust[j] = weight[j] * factor((residual[j] - centre) * precision[j] / scale, weighting)
            total += robust[j]
            top += robust[j] * residual[j]
        if total <= 0.0 or step == _STEPS - 1:
            break
        centre = top / total
    return centre
