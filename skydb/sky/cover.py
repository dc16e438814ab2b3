"""Pixels that cover a part of the sky: a descent that divides only what lies on the border."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skydb.errors import UsageError

from .partition import FINEST_ORDER, merge_ranges
from .pixels import centres, largest_radius_deg

Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Distance of positions (degrees) to a region's border: positive outside, negative inside, never too large in size."""

_ROUNDING_DEG = 1e-10
"""Room for rounding in a distance and in the number of a pixel; a thousandth of an order-29 pixel."""


def cover(distance: Distance, order: int, pad_arcsec: float, max_ranges: int) -> NDArray[np.int64]:
    """Half-open ranges of order-29 pixels that hold every point within a pad of a region.

    A pixel lies inside the circle about its centre through its farthest corner: it is left out when that circle
    stays farther than the pad from the region, kept whole when the circle lies within it, else divided into four.

    Parameters
    ----------
    distance : signed distance to the region's border
        See `Distance`.
    order : from 0 to 29
        Pixels are divided down to this order.
    pad_arcsec : arcsec
        How far beyond the region points count.
    max_ranges : ranges
        The descent ends before it would take more ranges than this (12 pixels of order 0 are always allowed).

    Returns
    -------
    ranges : (K, 2)
        Sorted, disjoint, none touching the next.

    Raises
    ------
    UsageError
        An order that does not exist, or a pad that is negative or not finite.
    """
    if not 0 <= order <= FINEST_ORDER:
        raise UsageError(f"order {order} does not exist", "cover of a region", f"give 0 to {FINEST_ORDER}")
    if not 0 <= pad_arcsec < np.inf:
        raise UsageError(f"pad of {pad_arcsec} arcsec", "cover of a region", "give a finite pad, 0 or more")
    pad = pad_arcsec / 3600.0
    inner, best = np.empty((0, 2), dtype=np.int64), np.empty((0, 2), dtype=np.int64)
    pixels = np.arange(12, dtype=np.int64)
    for level in range(order + 1):
        whole, pixels = _classified(distance, pixels, level, pad=pad)
        inner = np.concatenate((inner, _ranges_of(whole, level)))
        ranges = np.concatenate((inner, _ranges_of(pixels, level)))
        if level and len(ranges) > max_ranges:
            ranges = merge_ranges(ranges)  # only now: merging takes as long as all else of a level
            if len(ranges) > max_ranges:
                break
        best = ranges
        if not len(pixels):
            break
        pixels = (4 * pixels[:, None] + np.arange(4)).ravel()
    return merge_ranges(best)


def _classified(
    distance: Distance, pixels: NDArray[np.int64], level: int, *, pad: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels that lie whole within the pad of the region, and those on the border."""
    reach = largest_radius_deg(level) + _ROUNDING_DEG
    away = distance(*centres(pixels, level))
    whole = away <= pad - reach
    return pixels[whole], pixels[~whole & (away <= pad + reach)]


def _ranges_of(pixels: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """Order-29 ranges of pixels of one order."""
    return np.stack((pixels, pixels + 1), axis=1) << (2 * (FINEST_ORDER - level))
