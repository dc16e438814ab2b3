"""Compiled loops over positions and pixels: unit vectors, distance to the sides of a pixel."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def direction(ra: float, dec: float) -> tuple[float, float, float]:
    """Unit vector towards one position in degrees, for use in compiled code; the same bits as `unit_vectors`."""
    alpha, delta = (ra % 360.0) * (np.pi / 180.0), dec * (np.pi / 180.0)
    parallel = np.cos(delta)
    return parallel * np.cos(alpha), parallel * np.sin(alpha), np.sin(delta)


@njit(cache=True, nogil=True)
def vectors_of(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (N, 3) towards positions in degrees."""
    vectors = np.empty((len(ra), 3))
    for i in range(len(ra)):
        vectors[i, 0], vectors[i, 1], vectors[i, 2] = direction(ra[i], dec[i])
    return vectors


@njit(cache=True, nogil=True)
def _even_bits(word: int) -> int:
    """Every second bit of a 64-bit word, from bit 0, side by side."""
    word &= 0x5555555555555555
    word = (word | (word >> 1)) & 0x3333333333333333
    word = (word | (word >> 2)) & 0x0F0F0F0F0F0F0F0F
    word = (word | (word >> 4)) & 0x00FF00FF00FF00FF
    word = (word | (word >> 8)) & 0x0000FFFF0000FFFF
    return (word | (word >> 16)) & 0x00000000FFFFFFFF


@njit(cache=True, nogil=True)
def close_to_border(pix29: NDArray[np.int64], levels: int, margin: int) -> NDArray[np.bool_]:
    """True for order-29 pixels at most `margin` pixels inside a side of their ancestor `levels` orders up."""
    near = np.empty(len(pix29), dtype=np.bool_)
    last = (1 << levels) - 1
    for i in range(len(pix29)):
        inside = pix29[i] & ((1 << (2 * levels)) - 1)
        x, y = _even_bits(inside), _even_bits(inside >> 1)
        near[i] = min(min(x, last - x), min(y, last - y)) <= margin
    return near
