"""Whether (image_id, det_id) names one measurement in the whole database: spilled by cell, compared by image.

An image lies in several cells, so no cell can tell by itself. Each cell writes its pairs sorted into parts, by a hash
of the image; part after part of all cells is then compared, so that memory holds one part: 16 bytes a measurement on
disk, about 64 MB in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct
from skydb.store.layout import new_name

from .findings import Finding
from .keys import Ints, repeated

PART_ROWS = 1_000_000
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Of the golden ratio: spreads the ids, which are hashes but for those of old databases."""


@dataclass(frozen=True)
class PairSpill:
    """Where cells leave the names of their measurements, cut into so many parts."""

    folder: Path
    parts: int

    @classmethod
    def planned(cls, folder: Path, rows: int) -> PairSpill:
        """Return a spill whose parts hold about `PART_ROWS` of all rows."""
        return cls(folder, rows // PART_ROWS + 1)

    def write(self, number: int, image_id: Ints, det_id: Ints) -> None:
        """Keep the pairs of the cell of that number in the order of the check."""
        part = parts_of(image_id, self.parts)
        order = np.argsort(part, kind="stable")
        starts = np.searchsorted(part[order], np.arange(self.parts + 1))
        self._save(f"{number}.pairs.npy", np.column_stack([image_id, det_id])[order])
        self._save(f"{number}.starts.npy", starts)

    def _save(self, name: str, values: Ints) -> None:
        """Write a file at once: a second run of a cell's task writes the same while others read."""
        path = self.folder / f".{new_name()}.npy"
        np.save(path, values)
        path.rename(self.folder / name)

    def read(self, number: int, part: int) -> Ints:
        """Return the pairs (N, 2) that a cell left in one part; none where it left nothing."""
        path = self.folder / f"{number}.starts.npy"
        if not path.exists():
            return np.empty((0, 2), dtype=np.int64)
        starts = np.load(path, mmap_mode="r")
        pairs = np.load(self.folder / f"{number}.pairs.npy", mmap_mode="r")
        return np.array(pairs[starts[part]: starts[part + 1]])


def parts_of(image_id: Ints, parts: int) -> NDArray[np.int64]:
    """Return the part that each image belongs to."""
    mixed = image_id.astype(np.uint64) * _MIX >> np.uint64(32)
    return (mixed % np.uint64(parts)).astype(np.int64)


def check_part(part: int, *, spill: PairSpill, cells: tuple[str, ...]) -> list[Finding]:
    """Find measurements of one name in one part of the images, of all cells."""
    pairs = [spill.read(number, part) for number in range(len(cells))]
    owner = np.repeat(np.arange(len(cells)), [len(p) for p in pairs])
    image_id, det_id = np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs]).T
    found = []
    twice = repeated(image_id, det_id)
    for image in distinct(image_id[twice]).tolist():
        mine = twice[image_id[twice] == image]
        same = np.flatnonzero((image_id == image) & (det_id == det_id[mine[0]]))
        where = ", ".join(dict.fromkeys(cells[owner[row]] for row in same))
        what = f"image {image} has {len(mine)} detection numbers too many, such as {det_id[mine[0]]}, in cells {where}"
        found.append(Finding("measurement-twice", what, "measurements", rows=len(mine)))
    return found
