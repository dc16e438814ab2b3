"""Exact sums over pairs of images, as numba kernels: a dense block for neighbouring stars, emptied into a hash table.

Contributions are whole multiples of 2**-20 mag**-2, added as int64. Such sums are exact, so they do not depend on
the order of the stars, on how the sky was cut, or on which host was first: the normal equations are the same to
the last bit. (The rounding, at most 5e-7 of contributions that are 1 to 1e6, is noise far below a measurement's.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
F64 = NDArray[np.float64]

UNIT = 2.0**-20
"""The whole number 1 stands for this many mag**-2 (matrix) or mag**-1 (right-hand side)."""
PER_UNIT = 2.0**20
_EMPTY = -1
_START_SLOTS = 1 << 12
_BLOCK = 512
"""Images in a block: 2 MB of sums, which stay in a core's cache. Stars come in order of position, so that thousands
pass before other images push the block's out."""
_BLOCK_LIMIT = 4096
"""Room for eight times the images of the longest star, up to 134 MB."""


_MERGE_FROM = 1 << 20
"""Numbers that may wait, 16 MB."""


class Block(NamedTuple):
    """Sums over the pairs of a few images.

    slot_of : (m,)
        Slot of each of the cell's images; -1: none.
    image : (size,)
        Image of each slot.
    coupling : (size, size) units
        Sums; (a, b) and (b, a) belong together.
    """

    slot_of: Ints
    image: NDArray[np.int32]
    coupling: Ints


@njit(cache=True)
def whole(value: float) -> Any:
    """Nearest whole number of units."""
    return np.int64(np.rint(value * PER_UNIT))


@njit(cache=True)
def slots_for(image: NDArray[np.int32], block: Block, n_slots: int, slot: Ints) -> Any:
    """Slots of a star's images in the block, written to `slot`; returns the number in use, -1 if they do not fit."""
    new = 0
    for j in range(image.size):
        new += block.slot_of[image[j]] < 0
    if n_slots + new > block.image.size:
        return -1
    for j in range(image.size):
        if block.slot_of[image[j]] < 0:
            block.slot_of[image[j]] = n_slots
            block.image[n_slots] = image[j]
            n_slots += 1
        slot[j] = block.slot_of[image[j]]
    return n_slots


@njit(cache=True)
def add_pairs(slot: Ints, weight: F64, total: float, block: Block) -> None:
    """Add a star's couplings w_j w_k / W to the block (2 ns a pair; in the table, 4 to 10)."""
    for k in range(slot.size):
        share = weight[k] / total * PER_UNIT
        row = block.coupling[slot[k]]
        for j in range(k):
            row[slot[j]] += np.int64(np.rint(share * weight[j]))


@njit(cache=True)
def emptied(block: Block, n_slots: int, table: Any) -> Any:
    """The table with the block's sums added to it; the block is empty then."""
    keys, values, n_keys = table
    for a in range(n_slots):
        if 2 * (n_keys + n_slots) > keys.size:
            keys, values = _grown(keys, values, 2 * (n_keys + n_slots))
        for b in range(n_slots):
            value = block.coupling[a, b]
            if value != 0 and a != b:
                low, high = min(block.image[a], block.image[b]), max(block.image[a], block.image[b])
                key = np.int64(low) << 32 | np.int64(high)
                slot = _slot_of(keys, key)
                n_keys += keys[slot] == _EMPTY
                keys[slot] = key
                values[slot] += value
            block.coupling[a, b] = 0
    for a in range(n_slots):
        block.slot_of[block.image[a]] = -1
    return keys, values, n_keys


@njit(cache=True)
def _slot_of(keys: Ints, key: int) -> Any:
    """Slot that holds `key`, or the free one that it belongs in (multiplicative hash, linear probing)."""
    mask = keys.size - 1
    slot = ((key * -7046029254386353131) >> 32) & mask
    while keys[slot] != key and keys[slot] != _EMPTY:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def _grown(keys: Ints, values: Ints, least: int) -> Any:
    """Table of at least `least` slots, a power of two, with the same content."""
    size = keys.size
    while size < least:
        size *= 2
    more_keys, more_values = np.full(size, _EMPTY, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for old in range(keys.size):
        if keys[old] != _EMPTY:
            slot = _slot_of(more_keys, keys[old])
            more_keys[slot], more_values[slot] = keys[old], values[old]
    return more_keys, more_values


def new_block(n_images: int, longest: int) -> Block:
    """Empty block for a cell of `n_images` images whose longest star has `longest` measurements: room for any star."""
    size = max(min(max(_BLOCK, min(8 * longest, _BLOCK_LIMIT)), n_images), longest)
    return Block(np.full(n_images, -1, np.int64), np.zeros(size, np.int32), np.zeros((size, size), np.int64))


def new_table() -> tuple[Ints, Ints, int]:
    """Empty table: keys, values, number of keys. It grows."""
    return np.full(_START_SLOTS, _EMPTY, dtype=np.int64), np.zeros(_START_SLOTS, dtype=np.int64), 0


def contents(keys: Ints, values: Ints) -> tuple[Ints, Ints]:
    """Keys of the table in ascending order, and their sums; sums of nothing are left out."""
    filled = np.flatnonzero((keys != _EMPTY) & (values != 0))
    order = filled[np.argsort(keys[filled], kind="stable")]
    return keys[order], values[order]


def merged(keys: Ints, values: Ints) -> tuple[Ints, Ints]:
    """Distinct keys in ascending order, with the sums of their values."""
    if not keys.size:
        return keys, values
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.r_[True, np.diff(keys) != 0])
    return keys[first], np.add.reduceat(values[order], first)


class PairSum:
    """Running sum over cells. Cells wait until they are as many as the sum so far: each number is sorted few times."""

    def __init__(self) -> None:
        self._keys: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._values: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._waiting = 0

    def add(self, keys: Ints, values: Ints) -> None:
        """Add one cell's sums."""
        self._keys.append(keys)
        self._values.append(values)
        self._waiting += len(keys)
        if self._waiting > max(_MERGE_FROM, len(self._keys[0])):
            self.total()

    def total(self) -> tuple[Ints, Ints]:
        """Distinct keys in ascending order, with their sums so far."""
        keys, values = merged(np.concatenate(self._keys), np.concatenate(self._values))
        self._keys, self._values, self._waiting = [keys], [values], 0
        return keys, values
