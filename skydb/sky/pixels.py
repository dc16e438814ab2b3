"""Centres and sizes of nested HEALPix pixels in plain NumPy: what covering a region takes, without loading healpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROW = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_COLUMN = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
"""Place of the southern corner of each base pixel: parallels from the north pole, eighths of a turn."""

_PACKING = (
    (1, 0x3333333333333333), (2, 0x0F0F0F0F0F0F0F0F), (4, 0x00FF00FF00FF00FF), (8, 0x0000FFFF0000FFFF),
    (16, 0x00000000FFFFFFFF),
)  # fmt: skip
"""Shifts, and the bits kept after each, that bring every second bit of a word together."""


def centres(pixels: Ints, order: int) -> tuple[Floats, Floats]:
    """Right ascension and declination (degrees) of the centres of nested pixels, good to 1e-13 degrees.

    Gorski et al. 2005 (ApJ 622, 759), equations 2 to 9, for pixels given by base pixel and x, y; `partition.centre_of`
    does the same by healpy.
    """
    pixels = np.asarray(pixels, dtype=np.int64)
    side = 1 << order
    base = pixels >> 2 * order
    inside = pixels & ((1 << 2 * order) - 1)
    x, y = _every_second_bit(inside), _every_second_bit(inside >> 1)
    ring = _ROW[base] * side - x - y - 1
    cap = np.minimum(np.minimum(ring, 4 * side - ring), side)
    polar = cap < side
    eighths = np.where(_COLUMN[base] * cap + x - y < 0, _COLUMN[base] + 8, _COLUMN[base]) + (x - y) / cap
    colatitude = np.degrees(2.0 * np.arcsin(cap / (math.sqrt(6.0) * side)))
    dec = np.where(ring < side, 90.0 - colatitude, colatitude - 90.0)
    belt = np.degrees(np.arcsin(np.clip((2 * side - ring) * (2.0 / 3.0) / side, -1.0, 1.0)))
    return eighths * 45.0, np.where(polar, dec, belt)


def largest_radius_deg(order: int) -> float:
    """Largest distance, in degrees, from a pixel's centre to its corners: of those about a corner of the polar caps."""
    side = 1 << order
    far, near = 2.0 / 3.0, 1.0 - (1.0 - 1.0 / side) ** 2 / 3.0
    cosine = far * near + math.sqrt((1 - far**2) * (1 - near**2)) * math.cos(math.pi / (4 * side))
    sine = math.hypot(
        math.sqrt(1 - far**2) * math.sin(math.pi / (4 * side)),
        far * math.sqrt(1 - near**2) - math.sqrt(1 - far**2) * near * math.cos(math.pi / (4 * side)),
    )
    return math.degrees(math.atan2(sine, cosine))


def _every_second_bit(words: Ints) -> Ints:
    """Bits 0, 2, 4 … of each word, side by side."""
    packed = words & 0x5555555555555555
    for shift, mask in _PACKING:
        packed = (packed | (packed >> shift)) & mask
    return packed
