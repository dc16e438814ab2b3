"""Which objects lie in whose margin: pixels of a tree that a circle about a position reaches over a border."""

from __future__ import annotations

import math
from collections.abc import Iterator

import healpy
import numpy as np
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct
from skydb.sky.partition import (
    FINEST_ORDER,
    STEEPEST,
    centre_of,
    near_border,
    pixel_of,
    separation_arcsec,
)

from .partitions import Ints, PixelTree

MAX_MARGIN_ARCSEC = 36_000.0
REFINE = 4
"""Levels by which pixels as small as the margin are divided: rows up to half a margin beyond it are taken too."""

_BLOCK = 16_384
_ROUNDING_ARCSEC = 1e-6


def over_border(
    tree: PixelTree, ra: NDArray[np.float64], dec: NDArray[np.float64], *, radius_arcsec: float
) -> tuple[Ints, Ints]:
    """Find every pixel of the tree, other than its own, that each position is within a radius of.

    Parameters
    ----------
    tree : PixelTree
        Tiles the sky.
    ra, dec : (N,) deg
        Positions.
    radius_arcsec : arcsec
        The radius, greater than 0, at most 10 degrees.

    Returns
    -------
    row, target : (M,)
        Position and pixel of every pair, in this order. None within the radius is missing; some lie up to half
        a radius beyond it.
    """
    pix29 = pixel_of(ra, dec)
    own = tree.index_of(pix29)
    near = np.zeros(len(pix29), dtype=bool)
    for norder in distinct(tree.norder[own]).tolist():
        at = tree.norder[own] == norder
        near[at] = near_border(pix29[at], norder, radius_arcsec)
    rows = np.flatnonzero(near)
    found = [
        pair
        for start in range(0, len(rows), _BLOCK)
        for pair in _reached(tree, ra, dec, rows=rows[start : start + _BLOCK], radius_arcsec=radius_arcsec)
    ]
    pairs = np.unique(np.concatenate([np.empty((0, 2), dtype=np.int64), *found]), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _reached(
    tree: PixelTree, ra: NDArray[np.float64], dec: NDArray[np.float64], *, rows: Ints, radius_arcsec: float
) -> Iterator[Ints]:
    """Yield (row, target) pairs: pixels around each position, divided where their circumscribed circles are reached."""
    level = _order_of(radius_arcsec)
    finest = min(level + REFINE, FINEST_ORDER)
    own = tree.index_of(pixel_of(ra[rows], dec[rows]))
    of, pixel = _around(pixel_of(ra[rows], dec[rows], level), level)
    while len(of):
        reach = radius_arcsec + math.degrees(healpy.max_pixrad(1 << level)) * 3600 + _ROUNDING_ARCSEC
        close = separation_arcsec(ra[rows[of]], dec[rows[of]], *centre_of(pixel, level)) <= reach
        of, pixel = of[close], pixel[close]
        first = tree.index_of(pixel << 2 * (FINEST_ORDER - level))
        whole = tree.norder[first] <= level
        done = whole & ((level >= finest) | (first == own[of]))
        hit = done & (first != own[of])
        yield np.stack([rows[of[hit]], first[hit]], axis=1)
        of, pixel = np.repeat(of[~done], 4), (4 * pixel[~done, None] + np.arange(4)).ravel()
        level += 1


def _order_of(radius_arcsec: float) -> int:
    """Deepest order at which a circle cannot reach beyond the neighbours of the pixel of its centre."""
    sides = math.radians(radius_arcsec / 3600) * STEEPEST
    return min(max(math.floor(-math.log2(sides)), 0), FINEST_ORDER - REFINE)


def _around(pixel: Ints, order: int) -> tuple[Ints, Ints]:
    """Every position's pixel and its neighbours: (place of the position, pixel)."""
    found = np.concatenate([pixel[None, :], healpy.get_all_neighbours(1 << order, pixel, nest=True)])
    of = np.broadcast_to(np.arange(len(pixel)), found.shape)
    there = found >= 0
    pairs = np.unique(np.stack([of[there], found[there]], axis=1).astype(np.int64), axis=0)
    return pairs[:, 0], pairs[:, 1]
