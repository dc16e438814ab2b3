"""Weighted and robust means of runs of measurements.

The robust mean decides which rows are outliers and then takes the plain weighted mean of the rest, so that every
published number can be had again from the rows that are flagged as used:

1. Rows of weight 0 or NaN, and NaN values, are dropped.
2. If no row lies further than `CLEAN` sigma from the weighted mean, or fewer than 3 rows are left, all are kept.
3. Otherwise: from the median, with errors scaled up by max(1, median residual / expected median residual), at most
   `MAX_ITERATIONS` reweighted means with Cauchy weights u = 1 / (1 + (r / 2.385)²), r the residual in scaled sigma.
4. Rows with u below `MASK_BELOW` times the median row's u are outliers (beyond 3.8 sigma).
5. Where 4 found some and the scale was above 1, the outliers themselves had raised it: the rest goes through 2 to 4
   again, `MAX_PASSES` times at most.

The error is max(formal, formal times the square root of the reduced chi-square of the rows used): exact to some
percent where the given errors are true, honest where they are too small.
`docs/explanation/photometry.md` says how this differs from relphot's fit1d_irls, and what the difference gains.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

CAUCHY_SIGMA = 2.385
"""Tuning constant of the Cauchy weights: 95% efficiency for Gaussian errors (Holland & Welsch 1977)."""
MAX_ITERATIONS = 10
TOLERANCE = 1e-3
"""The iteration ends at steps below this many formal errors."""
MASK_BELOW = 0.3
MAX_PASSES = 5
CLEAN = 2.5
"""Sigma from the weighted mean within which all rows count as clean."""
MEDIAN_SQUARE = 0.454936423
"""Median of chi-square with one degree of freedom."""


class RunMeans(NamedTuple):
    """Means of K runs of N rows; NaN where a run has no usable row (or, for `stdev` and `chi2`, only one).

    `stdev` is the weighted standard deviation with n - 1 in place of n; `chi2` is reduced.
    """

    mean: Floats
    err: Floats
    stdev: Floats
    chi2: Floats
    smallest: Floats
    largest: Floats
    n_used: Ints
    used: Mask


def weighted_means(values: Floats, weights: Floats, starts: Ints) -> RunMeans:
    """Weighted mean of every run, all rows of positive weight used.

    Parameters
    ----------
    values : (N,)
        NaN drops the row.
    weights : (N,) 1 / unit**2
        Inverse variances; 0 and NaN drop the row.
    starts : (K+1,) rows
        First row of each run, and N.

    Returns
    -------
    RunMeans
        Its error is the formal one times max(1, square root of the reduced chi-square).
    """
    return _means(values, weights, starts, robust=False)


def robust_means(values: Floats, weights: Floats, starts: Ints) -> RunMeans:
    """Weighted mean of every run without its outliers (see the head of this module).

    Parameters and result are those of `weighted_means`; `used` is False for the outliers too.

    Examples
    --------
    >>> found = robust_means(np.array([15.0, 15.02, 14.98, 17.0]), np.full(4, 1e4), np.array([0, 4]))
    >>> float(found.mean[0].round(6)), found.used.tolist()
    (15.0, [True, True, True, False])
    """
    return _means(values, weights, starts, robust=True)


def _means(values: Floats, weights: Floats, starts: Ints, *, robust: bool) -> RunMeans:
    runs = starts.size - 1
    numbers, n_used, used = np.empty((6, runs)), np.empty(runs, np.int64), np.empty(values.size, np.bool_)
    _all_means(values, weights, starts, robust, numbers, n_used, used, np.empty(longest_run(starts)))
    return RunMeans(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], n_used, used)


def longest_run(starts: Ints) -> int:
    """Rows of the longest run."""
    return int(np.diff(starts).max(initial=0))


# The kernels walk ranges of whole arrays: slices cost more than the arithmetic (runs of 3: 50 against 18 ns a row).


@njit(cache=True)
def _all_means(values, weights, starts, robust, numbers, n_used, used, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    for k in range(starts.size - 1):
        first, last = starts[k], starts[k + 1]
        count, total, weight = 0, 0.0, 0.0
        for i in range(first, last):
            used[i] = weights[i] > 0.0 and math.isfinite(weights[i] * values[i])
            if used[i]:
                count, total, weight = count + 1, total + weights[i] * values[i], weight + weights[i]
        mean = total / weight if count else math.nan
        squares, worst, low, high = _spread(values, weights, used, first, last, mean)
        passes = MAX_PASSES if robust else 0
        while passes and count >= 3 and worst > CLEAN * CLEAN:
            masked, again = _mask_outliers(values, weights, used, first, last, count, scratch)
            count, passes = count - masked, passes - 1 if again else 0
            mean, weight = mean_of(values, weights, used, first, last)
            squares, worst, low, high = _spread(values, weights, used, first, last, mean)
        n_used[k] = count
        numbers[0, k], numbers[1, k], numbers[2, k], numbers[3, k] = describe(mean, weight, squares, count, count - 1)
        numbers[4, k], numbers[5, k] = (low, high) if count else (math.nan, math.nan)


@njit(cache=True)
def describe(mean, weight, squares, count, freedom):  # type: ignore[no-untyped-def]  # numba specialises it
    """Mean, error, standard deviation and reduced chi-square from the sums over the rows in use."""
    if count == 0:
        return math.nan, math.nan, math.nan, math.nan
    if count == 1:
        return mean, math.sqrt(1.0 / weight), math.nan, math.nan
    chi2 = squares / freedom
    return mean, math.sqrt(max(1.0, chi2) / weight), math.sqrt(chi2 * count / weight), chi2


@njit(cache=True)
def mean_of(values, weights, used, first, last):  # type: ignore[no-untyped-def]  # numba specialises it
    """Weighted mean of the rows in use, and the sum of their weights."""
    total, weight = 0.0, 0.0
    for i in range(first, last):
        if used[i]:
            total += weights[i] * values[i]
            weight += weights[i]
    return total / weight, weight


@njit(cache=True)
def _spread(values, weights, used, first, last, mean):  # type: ignore[no-untyped-def]  # numba specialises it
    squares, worst, low, high = 0.0, 0.0, np.inf, -np.inf
    for i in range(first, last):
        if used[i]:
            square = weights[i] * (values[i] - mean) ** 2
            squares += square
            worst, low, high = max(worst, square), min(low, values[i]), max(high, values[i])
    return squares, worst, low, high


@njit(cache=True)
def _mask_outliers(values, weights, used, first, last, count, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    gather(values, used, first, last, scratch)
    mean = median_of(scratch[:count])
    formal = math.sqrt(1.0 / mean_of(values, weights, used, first, last)[1])
    scale = CAUCHY_SIGMA**2 * max(
        1.0, _median_square(values, weights, used, first, last, mean, scratch) / MEDIAN_SQUARE
    )
    for _ in range(MAX_ITERATIONS):
        before, total, weight = mean, 0.0, 0.0
        for i in range(first, last):
            if used[i]:
                w = weights[i] / (1.0 + weights[i] * (values[i] - mean) ** 2 / scale)
                total += w * values[i]
                weight += w
        mean = total / weight
        if abs(mean - before) <= TOLERANCE * formal:
            break
    limit = (1.0 + _median_square(values, weights, used, first, last, mean, scratch) / scale) / MASK_BELOW
    masked = 0
    for i in range(first, last):
        if used[i] and 1.0 + weights[i] * (values[i] - mean) ** 2 / scale > limit:
            used[i] = False
            masked += 1
    return masked, masked > 0 and scale > CAUCHY_SIGMA**2


@njit(cache=True)
def gather(values, used, first, last, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    """Copy the values in use to the head of a scratch array."""
    n = 0
    for i in range(first, last):
        if used[i]:
            scratch[n] = values[i]
            n += 1


@njit(cache=True)
def _median_square(values, weights, used, first, last, mean, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    n = 0
    for i in range(first, last):
        if used[i]:
            scratch[n] = weights[i] * (values[i] - mean) ** 2
            n += 1
    return median_of(scratch[:n])


@njit(cache=True)
def median_of(values):  # type: ignore[no-untyped-def]  # numba specialises it
    """Median of a scratch array without NaN, which is left in another order: quickselect, no allocation."""
    half = values.size // 2
    low, high = 0, values.size - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if half <= j:
            high = j
        elif half >= i:
            low = i
        else:
            break
    middle = values[half]
    if values.size % 2:
        return middle
    below = values[0]
    for i in range(1, half):
        below = max(below, values[i])
    return 0.5 * (below + middle)
