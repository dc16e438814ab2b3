"""The best rows of every run: those of the lowest rank present, with their weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

NO_ERROR_WEIGHT = 1e12
"""Weight of every row where no row of a run has an error: so large that the spread alone sets scale and error."""


class Candidates(NamedTuple):
    """N rows that may enter means; a row without a finite value is not present.

    `err` is NaN or 0 where a row has none; `err_sys` is added to it in quadrature, and is no error of its own: alone it
    would make the row that knows least the heaviest of all. `rank` holds small integers, 0 best.
    """

    value: NDArray[Any]
    err: NDArray[Any]
    err_sys: NDArray[Any]
    rank: NDArray[Any]


class Selection(NamedTuple):
    """What of M rows enters the means of K runs.

    `weight` (M,) is 0 for rows that do not enter, and `value` (M,) that of every row; `best` (K,) the rank taken,
    `nothing` where no row has a value; `has_errors` (K,) is False where none of the rows taken has an error: they
    count alike then.
    """

    value: NDArray[np.float64]
    weight: NDArray[np.float64]
    best: NDArray[np.int64]
    has_errors: NDArray[np.bool_]


def best_ranked(rows: Candidates, order: NDArray[np.int64], starts: NDArray[np.int64], *, nothing: int) -> Selection:
    """Values and weights (inverse variances) of the rows of the lowest rank present in their run.

    A row without an error above 0 is left out where others of its run and rank have one.

    Parameters
    ----------
    rows : of N rows
    order : (M,) rows
        The runs' rows, one run after the other.
    starts : (K+1,) places in `order`
    nothing : int
        The rank reported for a run without values; ranks are below it.

    Examples
    --------
    >>> rows = Candidates(np.array([5.0, 6.0, np.nan]), np.array([1.0, 2.0, 1.0]), np.zeros(3), np.array([1, 1, 0]))
    >>> found = best_ranked(rows, np.array([0, 1, 2]), np.array([0, 3]), nothing=4)
    >>> found.weight.tolist(), found.best.tolist()
    ([1.0, 0.25, 0.0], [1])
    """
    runs = starts.size - 1
    value, weight = np.empty(order.size), np.zeros(order.size)
    found = Selection(value, weight, np.full(runs, nothing), np.zeros(runs, np.bool_))
    _select(*rows, order, starts, *found)
    return found


@njit(cache=True)
def _select(values, err, err_sys, rank, order, starts, value, weight, best, has_errors):  # type: ignore[no-untyped-def]  # numba specialises it
    for k in range(best.size):
        for j in range(starts[k], starts[k + 1]):
            i = order[j]
            value[j] = values[i]
            if math.isfinite(value[j]) and rank[i] <= best[k]:
                has_errors[k] = (has_errors[k] and rank[i] == best[k]) or err[i] > 0.0
                best[k] = rank[i]
        for j in range(starts[k], starts[k + 1]):
            i = order[j]
            if math.isfinite(value[j]) and rank[i] == best[k]:
                if not has_errors[k]:
                    weight[j] = NO_ERROR_WEIGHT
                elif err[i] > 0.0:
                    weight[j] = 1.0 / (np.float64(err[i]) ** 2 + np.float64(err_sys[i]) ** 2)


def mark_rows(
    flags: NDArray[np.uint32], order: NDArray[np.int64], weight: NDArray[np.float64], used: NDArray[np.bool_],
    *, bits: tuple[int, int],
) -> None:  # fmt: skip
    """Set the first of two bits in the flags of the rows used, and the second where a row has weight and is not.

    Parameters
    ----------
    flags : (N,)
        Changed in place.
    order : (M,) rows
    weight, used : (M,)
    """
    _mark(flags, order, weight, used, np.uint32(bits[0]), np.uint32(bits[1]))


@njit(cache=True)
def _mark(flags, order, weight, used, bit, outlier_bit):  # type: ignore[no-untyped-def]  # numba specialises it
    for j in range(order.size):
        if used[j]:
            flags[order[j]] |= bit
        elif weight[j] > 0.0:
            flags[order[j]] |= outlier_bit
