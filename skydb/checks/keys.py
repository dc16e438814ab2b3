"""Rows named by several integer columns: which are repeated, and which are among others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def repeated(*keys: Ints) -> Ints:
    """Return the rows whose keys an earlier row, in the order of the keys, has too; each extra one once.

    >>> repeated(np.array([4, 5, 4, 4]), np.array([1, 1, 1, 2])).tolist()
    [2]
    """
    order = np.lexsort(keys[::-1])
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        ordered = key[order]
        same &= ordered[1:] == ordered[:-1]
    return order[1:][same]


def among(wanted: Sequence[Ints], known: Sequence[Ints]) -> NDArray[np.bool_]:
    """Say for every wanted row whether it is one of the known ones.

    >>> among([np.array([1, 2]), np.array([7, 7])], [np.array([2, 1]), np.array([7, 8])]).tolist()
    [False, True]
    """
    keys = [np.concatenate([k, w]) for w, k in zip(wanted, known, strict=True)]
    order = np.lexsort(keys[::-1])
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(begins) - 1
    first_wanted = len(known[0])
    return np.isin(group[first_wanted:], group[:first_wanted], kind="table")
