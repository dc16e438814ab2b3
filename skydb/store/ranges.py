"""Sorted, disjoint, half-open ranges (K, 2) of order-29 pixels: the sky that a commit read or changed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


def pack_ranges(ranges: np.ndarray | Sequence[Sequence[int]]) -> bytes:
    """Pack ranges for the catalog."""
    return zlib.compress(np.asarray(ranges, dtype="<i8").reshape(-1, 2).tobytes(), 1)


def unpack_ranges(blob: bytes) -> np.ndarray:
    """Return the ranges that `pack_ranges` packed."""
    return np.frombuffer(zlib.decompress(blob), dtype="<i8").reshape(-1, 2)


def overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Say whether two sets of ranges have a pixel in common."""
    if not len(first) or not len(second):
        return False
    after = np.searchsorted(second[:, 1], first[:, 0], side="right")
    inside = after < len(second)
    return bool((second[np.minimum(after, len(second) - 1), 0] < first[:, 1])[inside].any())
