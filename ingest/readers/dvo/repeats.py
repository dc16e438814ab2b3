"""Measurements that a DVO database has more than once: the same detection number of the same image.

Rows of an image are spread over the tables of regions, so that all of them are looked at first: their keys go to
temporary files, 8 bytes a row, and are compared file by file.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import clear_disk_errors

Keys = NDArray[np.uint64]
BUCKETS = 64
"""Files that the keys are spread over: 1e9 rows take 125 MB of memory."""


def measurement_keys(image: NDArray[Any], det: NDArray[Any]) -> Keys:
    """Return one number (N,) for each measurement, from DVO's numbers of its image and its detection."""
    return image.astype(np.uint64) << np.uint64(32) | det.astype(np.uint64)


class Repeats:
    """Tells later rows of a measurement from its first one; rows are to be shown once, in order."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._seen = np.zeros(len(keys), dtype=bool)

    @classmethod
    def of(cls, blocks: Iterable[Keys]) -> Repeats:
        """Look at the keys of all rows that have an image."""
        with ExitStack() as stack:
            files = [stack.enter_context(TemporaryFile()) for _ in range(BUCKETS)]
            for keys in blocks:
                bucket = (keys >> np.uint64(32)) % np.uint64(BUCKETS)
                with clear_disk_errors(gettempdir()):
                    for number in np.unique(bucket).tolist():
                        files[number].write(keys[bucket == number].tobytes())
            found = [np.empty(0, dtype=np.uint64)]
            for file in files:
                with clear_disk_errors(gettempdir()):  # what is buffered is written now
                    file.seek(0)
                keys = np.sort(np.frombuffer(file.read(), dtype=np.uint64))
                found.append(np.unique(keys[1:][keys[1:] == keys[:-1]]))
        return cls(np.sort(np.concatenate(found)))

    def later(self, keys: Keys) -> NDArray[np.bool_]:
        """Return which rows repeat one that was shown before, or an earlier one of these."""
        mask = np.zeros(len(keys), dtype=bool)
        if not len(self._keys):
            return mask
        at = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        rows = np.flatnonzero(self._keys[at] == keys)
        _, first = np.unique(at[rows], return_index=True)
        mask[rows] = True
        mask[rows[first]] = self._seen[at[rows[first]]]
        self._seen[at[rows]] = True
        return mask
