"""How faint each image's measurements may be, so that about its N brightest enter.

An image lies in many cells, so the limit is found over all of them first: cells count their measurements in bins of
magnitude, the counts are added, and selection then obeys one limit per image. The limit is the same however the sky
is cut, which "the N brightest of the cell" would not be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skydb.errors import UsageError

from .bandimages import BandImages
from .pairsum import merged
from .select import Candidates, PhotcodeTraits, SelectionRules, usable

Ints = NDArray[np.int64]

_BIN = 0.05
"""Width of a bin, mag."""


@dataclass(frozen=True)
class BrightnessCounts:
    """Usable measurements of one cell by image and magnitude, one row per bin that has any.

    image_id : (k,)
    bin : (k,)
        Magnitude in units of 0.05 mag, rounded down.
    count : (k,)
    """

    image_id: Ints
    bin: Ints
    count: Ints


def count_brightness(
    rows: Candidates, images: BandImages, photcodes: PhotcodeTraits, rules: SelectionRules
) -> BrightnessCounts:
    """Count one cell's usable measurements by image and magnitude."""
    passing = usable(rows, images, photcodes, rules)
    bin_ = np.floor(rows.sys_mag[passing] / _BIN).astype(np.int64)
    pair, count = np.unique(np.column_stack((rows.image_id[passing], bin_)), axis=0, return_counts=True)
    return BrightnessCounts(pair[:, 0], pair[:, 1], count.astype(np.int64))


def with_faint_limits(images: BandImages, counts: Iterable[BrightnessCounts], brightest: int) -> BandImages:
    """The images with limits that let in at least their `brightest` usable measurements, and at most one bin more.

    An image that has no more than that keeps all of them.
    """
    if brightest < 1:
        raise UsageError(f"brightest is {brightest}", todo="give the number of measurements per image, 1 or more")
    cells = list(counts)
    row = images.rows_of(np.concatenate([c.image_id for c in cells] or [np.empty(0, np.int64)]))
    bin_ = np.concatenate([c.bin for c in cells] or [np.empty(0, np.int64)])
    count = np.concatenate([c.count for c in cells] or [np.empty(0, np.int64)])
    lowest, span = (int(bin_.min()), int(np.ptp(bin_)) + 1) if bin_.size else (0, 1)
    key, total = merged(row * span + bin_ - lowest, count)
    edge = np.asarray((key % span + lowest + 1) * _BIN, dtype=np.float64)
    return replace(images, faint_limit=_limits(key // span, edge, (total, brightest), len(images)))


def _limits(row: Ints, edge: NDArray[np.float64], counted: tuple[Ints, int], n_images: int) -> NDArray[np.float64]:
    """Faint edge of the bin in which an image's measurements reach the wanted number; inf where they do not."""
    total, wanted = counted
    running = np.cumsum(total)
    first = np.searchsorted(row, np.arange(n_images))
    before = np.r_[0, running][first]
    reached = running - before[row] >= wanted
    limit = np.full(n_images, np.inf)
    np.minimum.at(limit, row[reached], edge[reached])
    return limit
