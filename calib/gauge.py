"""Which headers can be believed, and which of them fix the constant of a group of images.

Stars tell how the zero points of a group differ; the constant comes from headers, or from the nominal zero points. A
header is first compared with those of its photcode, before anything is solved, and then with what the stars say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .components import UNTIED

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

BRIGHTER, FAINTER = 3.0, 7.5
"""Mag: how far a header may lie from the median of its photcode. Nothing makes an image deeper than a clear night, so
that the first leaves room for surveys most of whose images are clouded; behind 7.5 mag no stars are left."""
N_SIGMA = 5.0
CLIP = 0.1
"""Mag: a header that is nearer than this to the others of its group counts, however well these agree."""
DEVIANT = 0.5
"""Mag: a header further than this (and `N_SIGMA`) from the others of its group is reported by name."""
_NORMAL_SIGMA = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


def plausible(code: NDArray[np.int64], mcal: F64, given: Mask) -> Mask:
    """Whether each image's header is near those of the other images of its photcode.

    The median of a photcode, not its nominal zero point, is what they are compared with: where that is not known (0,
    or wrong) all images differ from it alike. The nominal one has the casting vote where their number is even, so
    that of two it is the one nearer to it that stays.

    Parameters
    ----------
    code : (n,)
    mcal : (n,) mag
        Nominal zero point less the header's.
    given : (n,)
        Which images have a header's zero point at all; no others are plausible.
    """
    near = given.copy()
    for number in np.unique(code[given]):
        own = np.flatnonzero(given & (code == number))
        votes = mcal[own] if own.size % 2 else np.append(mcal[own], 0.0)
        off = mcal[own] - np.median(votes)
        near[own] = (off >= -BRIGHTER) & (off <= FAINTER)
    return near


def gauge_images(label: NDArray[np.int32], change: F64, from_header: Mask) -> Mask:
    """Images whose first mcal fixes the constant of their component: those with headers that agree.

    Where no image of a component has a header's zero point, the nominal ones are compared instead. A component always
    keeps at least one; of two images both, as nothing tells which is right.

    Parameters
    ----------
    label : (n,)
        Component of every image, -1: none.
    change : (n,) mag
        Solution less first mcal, but for a constant in each component.
    from_header : (n,)
        Whether the first mcal is the header's.
    """
    counted = label != UNTIED
    with_header = np.unique(label[counted & from_header])
    counted &= from_header | ~np.isin(label, with_header)
    off, sigma, _ = deviations(label, change, counted)
    agreeing: Mask = counted & (np.abs(off) <= np.maximum(CLIP, N_SIGMA * sigma))
    return agreeing


def deviant_headers(label: NDArray[np.int32], change: F64, from_header: Mask) -> tuple[NDArray[np.intp], F64]:
    """Images whose header contradicts the stars, and by how much.

    Returns
    -------
    row : (k,)
        Those further from the others of their component than `DEVIANT` and `N_SIGMA`; of two images that differ so
        from each other, both.
    off : (k,) mag
        Solution less header, less the median of that in the component: above 0, the image is fainter than its header
        says.
    """
    counted = (label != UNTIED) & from_header
    off, sigma, n = deviations(label, change, counted)
    limit = np.where(n == 2, 0.5 * DEVIANT, np.maximum(DEVIANT, N_SIGMA * sigma))
    row = np.flatnonzero(counted & (np.abs(off) > limit))
    return row, off[row]


def deviations(label: NDArray[np.int32], value: F64, counted: Mask) -> tuple[F64, F64, NDArray[np.int64]]:
    """Distance from the median of the component, its normal size there, and the number of images: of those counted.

    The size is 1.4826 times the median distance; (n,) each, 0 for images that do not count.
    """
    off, sigma, number = np.zeros(len(label)), np.zeros(len(label)), np.zeros(len(label), np.int64)
    rows = np.flatnonzero(counted)
    groups, inside, size = np.unique(label[rows], return_inverse=True, return_counts=True)
    off[rows] = value[rows] - _medians(inside, value[rows], len(groups))[inside]
    sigma[rows] = _NORMAL_SIGMA * _medians(inside, np.abs(off[rows]), len(groups))[inside]
    number[rows] = size[inside]
    return off, sigma, number


def _medians(group: NDArray[np.intp], value: F64, n_groups: int) -> F64:
    """Median of every group; none is empty."""
    ordered = value[np.lexsort((value, group))]
    size = np.bincount(group, minlength=n_groups)
    first = np.cumsum(size) - size
    middles: F64 = 0.5 * (ordered[first + (size - 1) // 2] + ordered[first + size // 2])
    return middles
