"""Ids of new objects: the pixel where each was founded, or the next free one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct, is_among
from skydb.sky.partition import FINEST_ORDER

ID_ORDER = 14
"""Order of the pixel that an id never leaves: cells are never smaller."""

_SHIFT = 2 * (FINEST_ORDER - ID_ORDER)
_NO_IDS = np.zeros(0, dtype=np.int64)


def found_ids(
    pix29: NDArray[np.int64], *, taken: NDArray[np.int64], retired: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Id of each new object: its founding pixel, or the next free one inside its order-14 pixel, going round in it.

    Ids are given in the order of the rows. An order-14 pixel where no two wishes meet costs a sort only.

    Parameters
    ----------
    pix29 : (F,)
        Founding pixels, in the order of association.
    taken : (T,)
        Ids that are not free: of live objects and aliases.
    retired : (R,)
        Ids of retired objects: not free, but a founding in that very pixel revives the object, once.

    Returns
    -------
    ids : (F,)
        Each once, none in `taken`.
    """
    retired = _NO_IDS if retired is None else retired
    ids = np.array(pix29, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    wishes = ids[order]
    meets = is_among(wishes, np.sort(taken))
    meets[1:] |= wishes[1:] == wishes[:-1]
    rows = np.flatnonzero(is_among(ids >> _SHIFT, distinct(wishes[meets] >> _SHIFT)))
    if len(rows):
        areas = distinct(ids[rows] >> _SHIFT)
        used, revivable = (set(part[is_among(part >> _SHIFT, areas)].tolist()) for part in (taken, retired))
        ids[rows] = _next_free(ids[rows].tolist(), used=used, revivable=revivable - used)
    return ids


def _next_free(wishes: list[int], *, used: set[int], revivable: set[int]) -> list[int]:
    """Give every wish or the next free id after it; shortcuts past used stretches keep long ones from costing again."""
    after: dict[int, int] = {pixel: _following(pixel) for pixel in used | revivable}
    given = []
    for wish in wishes:
        pixel = wish
        if wish in revivable:
            revivable.remove(wish)
        else:
            passed = []
            while pixel in after:
                passed.append(pixel)
                pixel = after[pixel]
            after.update(dict.fromkeys(passed, pixel))
            after[pixel] = _following(pixel)
        given.append(pixel)
    return given


def _following(pixel: int) -> int:
    """Pixel after this one, the first of the order-14 pixel after its last."""
    within = (1 << _SHIFT) - 1
    return (pixel & ~within) | ((pixel + 1) & within)
