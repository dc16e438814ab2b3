"""Spill files: detections in sky order between reading (by file) and writing (by cell).

A spill is an uncompressed Arrow file of at most a chunk of rows, sorted by founding pixel, so that a cell's rows are
one slice of it, found by bisection and read through a memory map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.store.arrow_files import map_arrow, write_arrow

from .companions import FILE as FILE
from .companions import spill_companions
from .readers.companions import Companions

PIXEL = "_pix29"


@dataclass(frozen=True)
class Spill:
    """One spill file, how many rows it holds, and their lowest and highest founding pixel.

    `companions` are the files of rows of declared tables that go with them.
    """

    path: Path
    rows: int
    lowest: int
    highest: int
    companions: tuple[tuple[str, Path], ...] = ()

    def may_hold(self, lo: int, hi: int) -> bool:
        """Say whether founding pixels in [lo, hi) may be among its own."""
        return bool(self.rows) and self.lowest < hi and self.highest >= lo


def write_spill(
    path: Path, detections: pa.Table, pixels: np.ndarray, files: np.ndarray,
    companions: Mapping[str, Companions] | None = None,
) -> Spill:  # fmt: skip
    """Write detections sorted by founding pixel, and what goes with them.

    `files` (N,) is the number of the input file of each; `companions` count them in the order given.
    """
    order = np.argsort(pixels, kind="stable")
    rows = detections.append_column(PIXEL, pa.array(pixels)).append_column(FILE, pa.array(files, pa.int32()))
    in_order = bool((pixels[1:] >= pixels[:-1]).all())
    write_arrow((rows if in_order else rows.take(pa.array(order))).combine_chunks(), path)
    ends = (int(pixels[order[0]]), int(pixels[order[-1]])) if len(order) else (0, 0)
    return Spill(path, rows.num_rows, *ends, spill_companions(path, companions or {}, files, order))


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
