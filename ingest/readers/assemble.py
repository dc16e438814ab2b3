"""Images of one file → chunks: as many rows together as a chunk holds, every image's row in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS

from .companions import Companions, joined
from .detections import Mask
from .fits_tables import Hdu
from .headers import ImageHeader
from .interface import CHUNK_ROWS, Chunk


@dataclass(frozen=True)
class ImageTable:
    """One image of the file: its header as read, its table, and which rows repeat a detection number.

    `siblings` are the tables beside it that rows of declared tables are read from, by kind.
    """

    image: ImageHeader
    table: Hdu
    records: NDArray[Any]
    repeated: Mask
    siblings: Mapping[str, tuple[Hdu, NDArray[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of one image."""

    source: ImageTable
    rows: slice

    @property
    def records(self) -> NDArray[Any]:
        """The rows as stored."""
        return self.source.records[self.rows]


@dataclass(frozen=True)
class Detections:
    """Detections of some rows: columns of `measurements`, rows rejected by reason, values that became NULL.

    `companions` are the rows of declared tables that go with them.
    """

    table: pa.Table
    rejected: dict[str, int]
    n_nulled: int
    companions: Mapping[str, Companions] = field(default_factory=dict)


def chunks(
    sources: Sequence[ImageTable], read: Callable[[Sequence[Rows]], Detections], *,
    together: Callable[[Rows], object], refused: int = 0,
) -> Iterator[Chunk]:
    """Yield the chunks of a file.

    Parameters
    ----------
    sources : the images, in file order; at least one
    read : makes detections of rows that belong together
    together : consecutive rows with equal values are read at once
    refused : rows of images without usable astrometry, counted in the first chunk as `no_astrometry`
    """
    images = [source.image for source in sources]
    for batch in _batches(sources):
        parts = [read(list(rows)) for _, rows in groupby(batch, key=together)]
        rejected = Counter({"no_astrometry": refused} if refused else {})
        for part in parts:
            rejected.update(part.rejected)
        table = joined_detections([part.table for part in parts])
        before = accumulate((part.table.num_rows for part in parts), initial=0)
        chunk = _chunk(images, table, dict(rejected), sum(part.n_nulled for part in parts))
        yield replace(chunk, companions=joined([(n, part.companions) for n, part in zip(before, parts, strict=False)]))
        refused = 0


def _batches(sources: Sequence[ImageTable]) -> Iterator[list[Rows]]:
    """Rows of images, as many as fit a chunk; a file without rows makes one empty batch."""
    batch: list[Rows] = []
    room = CHUNK_ROWS
    for source in sources:
        start, n_rows = 0, len(source.records)
        while start < n_rows:
            stop = min(n_rows, start + room)
            batch.append(Rows(source, slice(start, stop)))
            room -= stop - start
            start = stop
            if room == 0:
                yield batch
                batch, room = [], CHUNK_ROWS
    if batch:
        yield batch
    elif not any(len(source.records) for source in sources):
        yield [Rows(sources[0], slice(0, 0))]


def joined_detections(tables: Sequence[pa.Table]) -> pa.Table:
    """One table in declared order; columns that only some have are NULL in the others."""
    if len(tables) == 1:
        return tables[0]
    joined = pa.concat_tables(tables, promote_options="default")
    there = set(joined.column_names)
    return joined.select([name for name in MEASUREMENTS.names if name in there])


def _chunk(images: Sequence[ImageHeader], detections: pa.Table, rejected: dict[str, int], n_nulled: int) -> Chunk:
    exposures = {image.exposure["exposure_id"]: image.exposure for image in images}
    return Chunk(
        pa.Table.from_pylist([image.row for image in images], schema=IMAGES.arrow),
        pa.Table.from_pylist(list(exposures.values()), schema=EXPOSURES.arrow),
        detections, detections.num_rows + sum(rejected.values()), rejected, n_nulled,
    )  # fmt: skip
