"""Spill files: detections in sky order between reading (by file) and writing (by cell).

A spill is an uncompressed Arrow file of at most a chunk of rows, sorted by founding pixel, so that a cell's rows are
one slice of it, found by bisection and read through a memory map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.store.arrow_files import map_arrow, write_arrow

PIXEL = "_pix29"
FILE = "_file"


@dataclass(frozen=True)
class Spill:
    """One spill file, how many rows it holds, and their lowest and highest founding pixel."""

    path: Path
    rows: int
    lowest: int
    highest: int

    def may_hold(self, lo: int, hi: int) -> bool:
        """Say whether founding pixels in [lo, hi) may be among its own."""
        return bool(self.rows) and self.lowest < hi and self.highest >= lo


def write_spill(path: Path, detections: pa.Table, pixels: np.ndarray, files: np.ndarray) -> Spill:
    """Write detections sorted by founding pixel; `files` (N,) is the number of the input file of each."""
    order = np.argsort(pixels, kind="stable")
    rows = detections.append_column(PIXEL, pa.array(pixels)).append_column(FILE, pa.array(files, pa.int32()))
    write_arrow(rows.take(pa.array(order)).combine_chunks(), path)
    ends = (int(pixels[order[0]]), int(pixels[order[-1]])) if len(order) else (0, 0)
    return Spill(path, rows.num_rows, *ends)


def open_spill(spill: Spill) -> pa.Table:
    """Return the rows of a spill, mapped rather than read."""
    return map_arrow(spill.path)


@dataclass(frozen=True)
class Slice:
    """The rows of one spill whose founding pixel lies in one range: rows `start` to `start + table.num_rows`."""

    spill: int
    start: int
    rows: pa.Table


def slices_of(spills: Sequence[Spill], lo: int, hi: int) -> Iterator[Slice]:
    """Yield the part of every spill whose founding pixels lie in [lo, hi)."""
    for number, spill in enumerate(spills):
        if not spill.may_hold(lo, hi):
            continue
        rows = open_spill(spill)
        pixels = rows.column(PIXEL).to_numpy()
        first, last = np.searchsorted(pixels, [lo, hi])
        if last > first:
            yield Slice(number, int(first), rows.slice(first, last - first))
