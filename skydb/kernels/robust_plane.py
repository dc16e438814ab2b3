"""Robust mean points on a plane: the scheme of `robust`, with one decision for both axes of a row.

The residual of a row is r² = (x - X)² / sigma_x² + (y - Y)² / sigma_y²; for Gaussian errors 1 in 10,000 good rows is
taken for an outlier.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from .robust import (
    CAUCHY_SIGMA,
    MASK_BELOW,
    MAX_ITERATIONS,
    MAX_PASSES,
    TOLERANCE,
    Floats,
    Ints,
    Mask,
    describe,
    gather,
    longest_run,
    mean_of,
    median_of,
)

CLEAN = 3.0
"""Sigma from the weighted mean within which all rows count as clean."""
MEDIAN_SQUARE = 1.386294361
"""Median of chi-square with two degrees of freedom."""


class PlaneMeans(NamedTuple):
    """Mean points of K runs of N rows; NaN where a run has no usable row (or, for `scatter` and `chi2`, only one)."""

    x: Floats
    y: Floats
    x_err: Floats
    y_err: Floats
    scatter: Floats
    chi2: Floats
    n_used: Ints
    used: Mask


def robust_points(x: Floats, y: Floats, weights: tuple[Floats, Floats], starts: Ints) -> PlaneMeans:
    """Weighted mean point of every run without its outliers: a row is an outlier in both axes or in none.

    Parameters
    ----------
    x, y : (N,)
        NaN drops the row.
    weights : two of (N,) 1 / unit**2
        Inverse variances of x and of y; where one of them is 0 or NaN the row is dropped.
    starts : (K+1,) rows

    Returns
    -------
    PlaneMeans
        `scatter` is the rms distance per axis of the rows used, with n - 1 in place of n.
    """
    runs = starts.size - 1
    numbers, n_used, used = np.empty((6, runs)), np.empty(runs, np.int64), np.empty(x.size, np.bool_)
    _all_points(x, y, weights[0], weights[1], starts, numbers, n_used, used, np.empty(longest_run(starts)))
    return PlaneMeans(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], n_used, used)


@njit(cache=True)
def _all_points(x, y, wx, wy, starts, numbers, n_used, used, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    for k in range(starts.size - 1):
        first, last = starts[k], starts[k + 1]
        count = 0
        for i in range(first, last):
            used[i] = wx[i] > 0.0 and wy[i] > 0.0 and math.isfinite(wx[i] + wy[i]) and math.isfinite(x[i] + y[i])
            count += used[i]
        mx, my, sx, sy, squares, worst = _moments(x, y, wx, wy, used, first, last)
        passes = MAX_PASSES
        while passes and count >= 3 and worst > CLEAN * CLEAN:
            masked, again = _mask_outliers(x, y, wx, wy, used, first, last, count, scratch)
            count, passes = count - masked, passes - 1 if again else 0
            mx, my, sx, sy, squares, worst = _moments(x, y, wx, wy, used, first, last)
        n_used[k] = count
        numbers[0, k], numbers[2, k], _, numbers[5, k] = describe(mx, sx, squares, count, 2 * count - 2)
        numbers[1, k], numbers[3, k], _, _ = describe(my, sy, squares, count, 2 * count - 2)
        numbers[4, k] = _scatter(x, y, used, first, last, mx, my) if count > 1 else math.nan


@njit(cache=True)
def _square(x, y, wx, wy, mx, my):  # type: ignore[no-untyped-def]  # numba specialises it
    return wx * (x - mx) ** 2 + wy * (y - my) ** 2


@njit(cache=True)
def _moments(x, y, wx, wy, used, first, last):  # type: ignore[no-untyped-def]  # numba specialises it
    tx, ty, sx, sy, squares, worst = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(first, last):
        if used[i]:
            tx, sx, ty, sy = tx + wx[i] * x[i], sx + wx[i], ty + wy[i] * y[i], sy + wy[i]
    mx, my = (tx / sx, ty / sy) if sx > 0.0 else (math.nan, math.nan)
    for i in range(first, last):
        if used[i]:
            square = _square(x[i], y[i], wx[i], wy[i], mx, my)
            squares += square
            worst = max(worst, square)
    return mx, my, sx, sy, squares, worst


@njit(cache=True)
def _scatter(x, y, used, first, last, mx, my):  # type: ignore[no-untyped-def]  # numba specialises it
    count, total = 0, 0.0
    for i in range(first, last):
        if used[i]:
            count += 1
            total += _square(x[i], y[i], 1.0, 1.0, mx, my)
    return math.sqrt(total / (2 * count - 2))


@njit(cache=True)
def _median_square(x, y, wx, wy, used, first, last, mx, my, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    n = 0
    for i in range(first, last):
        if used[i]:
            scratch[n] = _square(x[i], y[i], wx[i], wy[i], mx, my)
            n += 1
    return median_of(scratch[:n])


@njit(cache=True)
def _mask_outliers(x, y, wx, wy, used, first, last, count, scratch):  # type: ignore[no-untyped-def]  # numba specialises it
    formal_x, formal_y = mean_of(x, wx, used, first, last)[1], mean_of(y, wy, used, first, last)[1]
    gather(x, used, first, last, scratch)
    mx = median_of(scratch[:count])
    gather(y, used, first, last, scratch)
    my = median_of(scratch[:count])
    square = _median_square(x, y, wx, wy, used, first, last, mx, my, scratch)
    scale = CAUCHY_SIGMA**2 * max(1.0, square / MEDIAN_SQUARE)
    for _ in range(MAX_ITERATIONS):
        bx, by, tx, ty, sx, sy = mx, my, 0.0, 0.0, 0.0, 0.0
        for i in range(first, last):
            if used[i]:
                u = 1.0 / (1.0 + _square(x[i], y[i], wx[i], wy[i], mx, my) / scale)
                tx, sx, ty, sy = tx + u * wx[i] * x[i], sx + u * wx[i], ty + u * wy[i] * y[i], sy + u * wy[i]
        mx, my = tx / sx, ty / sy
        if _square(mx, my, formal_x, formal_y, bx, by) <= TOLERANCE * TOLERANCE:
            break
    limit = 1.0 + _median_square(x, y, wx, wy, used, first, last, mx, my, scratch) / scale
    masked = 0
    for i in range(first, last):
        if used[i] and MASK_BELOW * (1.0 + _square(x[i], y[i], wx[i], wy[i], mx, my) / scale) > limit:
            used[i] = False
            masked += 1
    return masked, masked > 0 and scale > CAUCHY_SIGMA**2
