"""Distinct integers by sorting: numpy's own `unique` hashes them since 2.3, which takes 20 to 130 times as long.

Measured on 1.5 million HEALPix pixels with numpy 2.4: 1.9 to 4.0 s for `np.unique`, 2.0 to 3.1 s for `np.isin` (which
calls it), 0.02 to 0.09 s for these.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Integer = TypeVar("Integer", bound=np.integer)


def distinct(values: NDArray[Integer]) -> NDArray[Integer]:
    """Return the distinct values, ascending.

    >>> distinct(np.array([5, 3, 5, 3])).tolist()
    [3, 5]
    """
    ordered = np.sort(values, axis=None)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def is_among(values: NDArray[Integer], ascending: NDArray[Integer]) -> NDArray[np.bool_]:
    """Say for every value whether it is one of some ascending values.

    >>> is_among(np.array([1, 2, 3]), np.array([2, 4])).tolist()
    [False, True, False]
    """
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(ascending, values)
    return np.asarray(ascending[np.minimum(at, len(ascending) - 1)] == values)


def counted(values: NDArray[Integer]) -> tuple[NDArray[Integer], NDArray[np.int64]]:
    """Return the distinct values, ascending, and how often each occurs.

    >>> [array.tolist() for array in counted(np.array([5, 3, 5]))]
    [[3, 5], [1, 2]]
    """
    ordered = np.sort(values)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
    return ordered[starts], np.diff(starts, append=len(ordered))


def by_value(values: NDArray[np.integer[Any]]) -> Counter[int]:
    """Count how often each value occurs.

    >>> by_value(np.array([3, 1, 3]))
    Counter({3: 2, 1: 1})
    """
    names, counts = counted(values)
    return Counter(dict(zip(names.tolist(), counts.tolist(), strict=True)))
