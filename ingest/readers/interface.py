"""The one shape that every reader gives: chunks of detections with the images and exposures they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from skydb.errors import DataError, UsageError

if TYPE_CHECKING:
    from skydb.schema.model import Table
    from skydb.schema.photcodes import Photcodes

    from .companions import Companions
    from .contents import Content
    from .mapping import Mapping

CHUNK_ROWS = 500_000
"""Rows of a chunk at most: what a reader holds in memory at a time."""


class MissingError(DataError):
    """What a file needs is not there, such as its photcode or the header of its image; it may be sound itself."""


@dataclass(frozen=True)
class DetectionFilter:
    """Which detections are kept (DVO's addstar filters). A missing magnitude error, or one below 0, passes.

    ``max_mag_err`` None, ``exclude_photflags`` 0 and a bound of None switch their test off.
    """

    max_mag_err: float | None = None
    exclude_photflags: int = 0
    x_range: tuple[float | None, float | None] = (None, None)
    y_range: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        if self.max_mag_err is not None and not self.max_mag_err > 0:
            raise UsageError(f"max_mag_err is {self.max_mag_err}", None, "give a magnitude above 0")


@dataclass(frozen=True)
class ReadRequest:
    """What the caller knows about the files that it asks to read.

    `tables` are the declared tables, keyed by measurement, whose rows are read with the detections. `reader`: the files
    are folders for this one, whatever they look like.
    """

    photcodes: Photcodes
    photcode: str | None = None
    mapping: Mapping | None = None
    keep: DetectionFilter = field(default_factory=DetectionFilter)
    tables: tuple[Table, ...] = ()
    reader: FolderReader | None = None


@dataclass(frozen=True)
class Chunk:
    """A part of one file, ready for association.

    `images` and `exposures` have the declared schemas and may repeat from chunk to chunk; `detections` holds
    declared columns of `measurements` (those that the file has) without `object_id`: always `image_id`, `det_id`,
    `code`, `mjd`, `ra_raw`, `dec_raw`, none of them NULL. A row of a reference survey makes one detection per
    photcode: they share `det_id` and position and differ in `image_id` and `code`. `n_in` counts rows of the file;
    those not kept are counted in `rejected` by reason. `companions` are rows of declared tables that go with them.
    """

    images: pa.Table
    exposures: pa.Table
    detections: pa.Table
    n_in: int
    rejected: dict[str, int]
    n_nulled: int = 0
    companions: dict[str, Companions] = field(default_factory=dict)


MOST_SURVEYS = 64
"""Reference surveys of one call at most: association keeps a bit for each."""

MOTIONS = frozenset({"pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err", "parallax", "parallax_err"})
"""Columns of `measurements` that rows of a reference survey alone may have: association relies on that."""

LARGEST_AIRMASS = 40.0
"""That of the horizon. A larger airmass, or one below 1, is no airmass: it counts as absent."""

FIRST_MJD, LAST_MJD = -678575.0, 2973483.0
"""Years 1 to 9999: what an image's key can hold."""


def check_chunk(chunk: Chunk) -> None:
    """Check what storing relies on; a reader that lets it pass would stop all files of the call.

    Raises
    ------
    ValueError
        A position or a time of a detection, or the time of an image, is none that can be; or motions are of rows that
        no reference survey has.
    """
    if not MOTIONS.isdisjoint(chunk.detections.column_names) and set(chunk.images["kind"].to_pylist()) - {"reference"}:
        raise ValueError("the reader gives motions of rows that no reference survey has")
    for rows, name, low, high in (
        (chunk.detections, "ra_raw", 0.0, 360.0), (chunk.detections, "dec_raw", -90.0, 90.0),
        (chunk.detections, "mjd", FIRST_MJD, LAST_MJD), (chunk.images, "mjd", FIRST_MJD, LAST_MJD),
        (chunk.images, "utc_start", FIRST_MJD, LAST_MJD),
    ):  # fmt: skip
        values = rows.column(name).drop_null().to_numpy()
        wrong = values[~((values >= low) & (values <= high))]
        if len(wrong):
            raise ValueError(f"the reader gives {name} = {wrong[0]:g}")


class Reader(Protocol):
    """One file format."""

    format: str

    def recognises(self, path: Path, head: bytes, request: ReadRequest) -> bool:
        """Say whether the file is of this format, from its name, its first 2,880 bytes and the request."""
        ...

    def read(self, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        """Yield the file in chunks of at most `CHUNK_ROWS` rows.

        Raises
        ------
        DataError
            The file cannot be read: what, which HDU or row, what to do. Nothing of the file is kept then.
        """
        ...

    def first_start(self, path: Path, request: ReadRequest) -> float:
        """Return when the first image of the file began, UTC as modified Julian date, reading as little as possible.

        NaN where the file does not say.

        Raises
        ------
        DataError
            The file cannot be read.
        """
        ...


class FolderReader(Reader, Protocol):
    """A format whose inputs are folders; the caller names it, and it says which of their files are read."""

    def content(self, path: Path) -> Content:
        """Return what is read of a folder: it was ingested before if all of that was.

        Raises
        ------
        DataError
            A file is missing or damaged.
        """
        ...
