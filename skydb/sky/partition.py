"""The sky as nested HEALPix pixels: positions to pixels, cells and their ranges, distance to a cell's border.

Every pixel number is nested. Order 29 (0.4 mas) is the finest; a cell `(norder, npix)` is the half-open range of its
order-29 pixels, so that a cell's ancestors and descendants are found by shifting bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydb.errors import DataError, UsageError

FINEST_ORDER = 29
"""Order of the pixels that number objects: 2**29 pixels along a side of a base pixel, 0.4 mas each."""

STEEPEST = float(np.sqrt(1.5 + 6.0 / np.pi**2))
"""Sides of a base pixel, per radian: how fast a point's x or y within its base pixel can change on the sky.

Proof. In a polar cap x = 1 - (1 - t) s and y = 1 - t s with s**2 = 3 (1 - |z|), z = sin(dec) and t in [0, 1] the
fraction of the quadrant in right ascension (Gorski et al. 2005, section 5.3). The squared gradient of t s is
t**2 (ds/ddec)**2 + (s dt/dra / cos(dec))**2 = 3/4 t**2 (1 + |z|) + 12 / (pi**2 (1 + |z|)), which is convex in |z|: its
largest value on 2/3 <= |z| <= 1 is at an end, and of the two it is |z| = 1, t = 1: 3/2 + 6/pi**2. In the equatorial
belt x and y are 2 ra/pi +- 3/4 z: 9/16 (1 - z**2) + 4 / (pi**2 (1 - z**2)), at most 1.05. Between the two regions x
and y are continuous, so the bound holds along any arc inside a base pixel.
"""

DEEPEST_PLANNED = 12
"""Order of the pixels in which new rows are counted for planning cells: 51 arcsec."""

_ROUNDING_PIXELS = 2
"""Order-29 pixels by which the number of a pixel may be wrong after rounding, with room to spare."""

_RADIANS_PER_ARCSEC = np.pi / 648_000.0


def pixel_of(ra: ArrayLike, dec: ArrayLike, order: int = FINEST_ORDER) -> NDArray[np.int64]:
    """Nested HEALPix pixel of every position: at each order the ancestor of its order-29 pixel, whatever the rounding.

    healpy takes 40 to 90 ns a position, about what sine and cosine of the position alone cost.

    Parameters
    ----------
    ra : (N,) deg
        Any turn: -1 and 359 are the same.
    dec : (N,) deg
        From -90 to 90.
    order : from 0 to 29
        Order of the pixels.

    Returns
    -------
    pixel : (N,)
        Nested pixel numbers.

    Raises
    ------
    DataError
        A position is not finite, or a declination beyond a pole.
    """
    import healpy  # takes a second, which who only asks a question can spare

    ra, dec = _checked_positions(ra, dec)
    finest = np.asarray(healpy.ang2pix(1 << FINEST_ORDER, ra, dec, nest=True, lonlat=True), dtype=np.int64)
    return cell_of(finest, order)


def centre_of(pixel: ArrayLike, order: int = FINEST_ORDER) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination, in degrees, of the centre of every pixel.

    >>> centre_of(4, 0)
    (array(0.), array(0.))
    """
    import healpy  # as above

    ra, dec = healpy.pix2ang(1 << order, np.asarray(pixel, dtype=np.int64), nest=True, lonlat=True)
    return np.asarray(ra), np.asarray(dec)


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Unit vector towards every position, a function of that position's bits alone.

    NumPy's vectorised sine may differ in the last bit between processors; this one is compiled scalar code, 41 ns.

    Parameters
    ----------
    ra, dec : (N,) deg
        Positions.

    Returns
    -------
    vectors : (N, 3)
        Error below 1e-15 in each component.

    Raises
    ------
    DataError
        A position is not finite, or a declination beyond a pole.
    """
    from .vectors import vectors_of  # numba takes a quarter of a second, which who only asks a question can spare

    ra, dec = _checked_positions(ra, dec)
    return np.asarray(vectors_of(np.ascontiguousarray(ra).ravel(), np.ascontiguousarray(dec).ravel()))


def separation_arcsec(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> NDArray[np.float64]:
    """Angle between positions (degrees), in arcsec, good to 1e-9 arcsec from 0 to 180 degrees; shapes broadcast.

    From the chord of the sum and of the difference of the unit vectors (Kahan), so no angle is badly conditioned.

    >>> separation_arcsec(359.9999, 0.0, 0.0001, 0.0).round(9)
    np.float64(0.72)
    """
    shape = np.broadcast_shapes(np.shape(ra1), np.shape(dec1), np.shape(ra2), np.shape(dec2))
    first = unit_vectors(np.broadcast_to(ra1, shape), np.broadcast_to(dec1, shape))
    second = unit_vectors(np.broadcast_to(ra2, shape), np.broadcast_to(dec2, shape))
    apart = np.sqrt(((first - second) ** 2).sum(axis=1))
    along = np.sqrt(((first + second) ** 2).sum(axis=1))
    return np.asarray(2.0 * np.arctan2(apart, along) / _RADIANS_PER_ARCSEC).reshape(shape)[()]


def cell_range(norder: int, npix: int) -> tuple[int, int]:
    """Half-open range of the order-29 pixels of a cell.

    >>> cell_range(28, 5)
    (20, 24)
    """
    shift = 2 * (FINEST_ORDER - norder)
    return npix << shift, (npix + 1) << shift


def cell_of(pix29: NDArray[np.int64], norder: int) -> NDArray[np.int64]:
    """Pixel of order `norder` that holds each order-29 pixel."""
    return pix29 >> (2 * (FINEST_ORDER - norder))


def near_border(pix29: NDArray[np.int64], norder: int, radius_arcsec: float) -> NDArray[np.bool_]:
    """True for every point within a radius of the border of its order-`norder` pixel.

    Never False when a point of another pixel lies within the radius; True up to 1.9 radii from the border. 4 ns each.

    An arc that leaves the pixel changes x or y, within the base pixel, by at least the distance to the nearest side,
    and no faster than `STEEPEST`: a point farther from all sides than radius x `STEEPEST` cannot reach one.

    Parameters
    ----------
    pix29 : (N,)
        Order-29 pixels of the points.
    norder : from 0 to 29
        Order of the pixels whose borders count.
    radius_arcsec : arcsec
        The radius.

    Returns
    -------
    near : (N,)
        True near the border.
    """
    from .vectors import close_to_border  # as above

    margin = int(np.ceil(radius_arcsec * _RADIANS_PER_ARCSEC * STEEPEST * 2.0**FINEST_ORDER)) + _ROUNDING_PIXELS
    return np.asarray(close_to_border(np.asarray(pix29, dtype=np.int64), FINEST_ORDER - norder, margin))


def merge_ranges(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted disjoint ranges that cover what the given half-open ranges cover; touching ones join, empty ones go.

    >>> merge_ranges(np.array([[5, 9], [0, 2], [2, 3], [7, 7]])).tolist()
    [[0, 3], [5, 9]]
    """
    ranges = np.asarray(ranges, dtype=np.int64).reshape(-1, 2)
    ranges = ranges[ranges[:, 0] < ranges[:, 1]]
    if not len(ranges):
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    first = np.concatenate(([True], ranges[1:, 0] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return np.stack((ranges[first, 0], reach[last]), axis=1)


def intersect_ranges(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted disjoint ranges of what two sets of half-open ranges have in common.

    >>> intersect_ranges(np.array([[0, 5], [8, 9]]), np.array([[3, 10]])).tolist()
    [[3, 5], [8, 9]]
    """
    one, other = merge_ranges(one), merge_ranges(other)
    start = np.searchsorted(other[:, 1], one[:, 0], side="right")
    stop = np.searchsorted(other[:, 0], one[:, 1], side="left")
    n = np.maximum(stop - start, 0)
    mine = np.repeat(np.arange(len(one)), n)
    theirs = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(start, n)
    low = np.maximum(one[mine, 0], other[theirs, 0])
    return np.stack((low, np.minimum(one[mine, 1], other[theirs, 1])), axis=1)


def in_ranges(pix29: NDArray[np.int64], ranges: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for every order-29 pixel inside one of some half-open ranges."""
    ranges = merge_ranges(ranges)
    if not len(ranges):
        return np.zeros(np.shape(pix29), dtype=bool)
    at = np.searchsorted(ranges[:, 0], pix29, side="right") - 1
    return np.asarray((at >= 0) & (pix29 < ranges[np.maximum(at, 0), 1]))


def _checked_positions(ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
    bad = ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        where = f"position {row}: ra {ra.flat[row]}, dec {dec.flat[row]}"
        raise DataError("no place on the sky", where, "give degrees: ra finite, dec from -90 to 90")
    return ra, dec


def plan_cells(
    existing: list[tuple[int, int]], pixels: NDArray[np.int64], counts: NDArray[np.int64], limit: int
) -> list[tuple[int, int]]:
    """Plan disjoint cells that hold the existing cells, unsplit, and cover all new rows.

    Sky that no existing cell covers gets the largest pixels that contain no existing cell and at most `limit` new rows;
    a pixel of order 12 is not divided for its rows, only to go around smaller existing cells.

    Parameters
    ----------
    existing : cells (norder, npix)
        Disjoint.
    pixels : (N,)
        Order-12 pixels that hold new rows, sorted, each once.
    counts : (N,) rows
        New rows in each.
    limit : rows
        New rows that a new cell holds at most.

    Returns
    -------
    cells : (norder, npix)
        Existing and new cells by position in nested order.

    Raises
    ------
    UsageError
        The existing cells overlap, or the limit is below 1.
    """
    if limit < 1:
        raise UsageError("a cell must hold at least one row", f"limit {limit}", "give a positive limit")
    taken = _disjoint_ranges(existing)
    wanted = np.stack((pixels, np.asarray(pixels) + 1), axis=1) << (2 * (FINEST_ORDER - DEEPEST_PLANNED))
    first, stop = _overlapping(taken, wanted[:, 0], wanted[:, 1])
    free = ~_is_inside(taken, wanted, first=first, stop=stop)
    wanted = wanted[free]
    rows = np.concatenate(([0], np.cumsum(np.asarray(counts)[free])))
    cells, todo = list(existing), [(0, npix) for npix in range(12)]
    while todo:
        norder, npix = todo.pop()
        span = np.array([cell_range(norder, npix)], dtype=np.int64)
        old, old_stop = _overlapping(taken, span[:, 0], span[:, 1])
        new, new_stop = _overlapping(wanted, span[:, 0], span[:, 1])
        if new[0] == new_stop[0] or _is_inside(taken, span, first=old, stop=old_stop)[0]:
            continue
        if old[0] == old_stop[0] and (norder >= DEEPEST_PLANNED or rows[new_stop[0]] - rows[new[0]] <= limit):
            cells.append((norder, npix))
        else:
            todo.extend((norder + 1, 4 * npix + child) for child in range(4))
    return sorted(cells, key=lambda cell: cell_range(*cell))


def _disjoint_ranges(cells: list[tuple[int, int]]) -> NDArray[np.int64]:
    ranges = np.array(sorted(cell_range(*cell) for cell in cells), dtype=np.int64).reshape(-1, 2)
    if (ranges[1:, 0] < ranges[:-1, 1]).any():
        raise UsageError("two existing cells overlap", "the partition", "give disjoint cells")
    return ranges


def _overlapping(
    ranges: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last of some sorted disjoint ranges that overlap each of `low` to `high`."""
    return np.searchsorted(ranges[:, 1], low, side="right"), np.searchsorted(ranges[:, 0], high, side="left")


def _is_inside(
    ranges: NDArray[np.int64], spans: NDArray[np.int64], *, first: NDArray[np.int64], stop: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """True for spans that lie inside one range, given which ranges they overlap."""
    inside: NDArray[np.bool_] = stop - first == 1
    around = ranges[first[inside]]
    inside[inside] = (around[:, 0] <= spans[inside, 0]) & (around[:, 1] >= spans[inside, 1])
    return inside
