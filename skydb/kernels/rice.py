"""Whole numbers that the Rice algorithm has coded, as FITS stores them in compressed images and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 32
"""Numbers that are coded alike; cfitsio's, and that of every compressed table."""

_CODES = {1: (3, 6), 2: (4, 14), 4: (5, 25)}
"""Bytes of a number: bits that say how a block is coded, and the code of a block that is stored as it is."""


def rice_decoded(coded: bytes, n: int, n_bytes: int) -> NDArray[Any] | None:
    """Return n numbers of 1 (unsigned), 2 or 4 bytes (signed) each; None where the code ends early.

    The first number is stored as it is. Of every block of 32, a few bits say how the differences to the number before
    are coded: not at all (they are 0), as they are, or as a unary number followed by so many low bits. Differences are
    folded: 0, -1, 1, -2 … are 0, 1, 2, 3 … (Pence et al. 2009, PASP 121, 414; FITS standard 4.0, section 10.4.1).
    """
    width, stored = _CODES[n_bytes]
    values = np.empty(n, dtype=np.int64)
    if n and not _decode(np.frombuffer(coded, np.uint8), values, n_bytes, width, stored):
        return None
    bits = values & ((1 << 8 * n_bytes) - 1)
    return bits.astype(f"u{n_bytes}").view("u1" if n_bytes == 1 else f"i{n_bytes}")


@njit(cache=True, nogil=True)
def _decode(
    coded: NDArray[np.uint8], values: NDArray[np.int64], n_bytes: int, width: int, stored: int
) -> bool:  # fmt: skip
    """Fill `values`, to be taken modulo their size; False where the code ends before they do."""
    n_bits, at, last = 8 * len(coded), 8 * n_bytes, np.int64(0)
    if at > n_bits:
        return False
    for k in range(n_bytes):
        last = (last << 8) | np.int64(coded[k])
    for first in range(0, len(values), BLOCK):
        if at + width > n_bits:
            return False
        code, at = _bits(coded, at, width) - 1, at + width
        for i in range(first, min(first + BLOCK, len(values))):
            folded = np.int64(0)
            if code == stored:
                if at + 8 * n_bytes > n_bits:
                    return False
                folded, at = _bits(coded, at, 8 * n_bytes), at + 8 * n_bytes
            elif code >= 0:
                zeros = 0
                while at < n_bits and not (coded[at >> 3] >> (7 - (at & 7))) & 1:
                    zeros += 1
                    at += 1
                at += 1
                if at + code > n_bits:
                    return False
                folded, at = (np.int64(zeros) << code) | _bits(coded, at, code), at + code
            last += -((folded + 1) >> 1) if folded & 1 else folded >> 1
            values[i] = last
    return True


@njit(cache=True, nogil=True)
def _bits(coded: NDArray[np.uint8], at: int, n: int) -> np.int64:
    """Return n bits as a number, the highest first."""
    value = np.int64(0)
    while n > 0:
        inside = at & 7
        take = min(8 - inside, n)
        part = (np.int64(coded[at >> 3]) >> (8 - inside - take)) & ((1 << take) - 1)
        value = (value << take) | part
        at += take
        n -= take
    return value
