"""First step of an ingest: read files, compute founding pixels, spill detections in sky order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.errors import BusyError, DataError, SkydbError, disk_error
from skydb.kernels.distinct import distinct
from skydb.schema.photcodes import Photcodes
from skydb.schema.tables import EXPOSURES, IMAGES
from skydb.sky.partition import pixel_of
from skydb.store.changes import LogEntry
from skydb.store.layout import new_name
from skydb.store.scratch import Scratch

from .faults import Fault, fault_of
from .readers import reader_for
from .readers.companions import Companions, joined
from .readers.contents import Content
from .readers.interface import CHUNK_ROWS, Chunk, ReadRequest, check_chunk
from .spill import Spill, write_spill

PLAN_ORDER = 12
"""Order of the pixels in which new rows are counted when cells are planned."""


@dataclass(frozen=True)
class InputFile:
    """One file to ingest: its number in the batch, its path or URL, what its content is, and where it is read.

    `content` is what it was made of when it was digested; None where that is not known.
    """

    number: int
    path: str
    digest: str
    bytes: int
    local: str = ""
    content: Content | None = None

    @property
    def place(self) -> Path:
        """Where it is read."""
        return Path(self.local or self.path)

    @property
    def was_changed(self) -> bool:
        """Whether it is another than when its content was looked at."""
        return self.content is not None and self.content.was_changed


@dataclass(frozen=True)
class RouteTask:
    """Some files to read into spills of one folder."""

    files: tuple[InputFile, ...]
    request: ReadRequest
    folder: Path


@dataclass
class FileSummary:
    """What reading one file gave.

    Nothing of it may be kept if `error` is set (`exit_code` says who has to act, as that of `SkydbError`, `fault` what
    is to blame), or if it is `known`: ingested by another writer in the meantime. `rows_of_image` counts the
    measurements of every image. Of a file from which images were deleted, `logged` is the entry of the log, and the
    images `left_out` are still there. `companions` counts the rows of declared tables that it has.
    """

    number: int
    format: str = ""
    n_in: int = 0
    n_kept: int = 0
    n_measurements: int = 0
    n_nulled: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    images: pa.Table = field(default_factory=IMAGES.empty)
    exposures: pa.Table = field(default_factory=EXPOSURES.empty)
    error: str | None = None
    exit_code: int = 0
    fault: Fault | None = None
    known: bool = False
    rows_of_image: Counter[int] = field(default_factory=Counter)
    logged: LogEntry | None = None
    left_out: tuple[int, ...] = ()
    companions: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> bool:
        """Whether the file is kept."""
        return self.error is None and not self.known

    def failed(self, error: SkydbError, fault: Fault) -> FileSummary:
        """Return the summary of the file with an error."""
        return replace(self, error=str(error), exit_code=error.exit_code, fault=fault)


@dataclass(frozen=True)
class RouteResult:
    """The spills of one task, its files' summaries, and how many rows lie in each pixel of order `PLAN_ORDER`."""

    spills: tuple[Spill, ...]
    files: tuple[FileSummary, ...]
    pixels: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class RoutedBatch:
    """A batch of files that have been read, by which photcodes, and the folder in which their spills lie."""

    files: tuple[InputFile, ...]
    photcodes: Photcodes
    routed: tuple[RouteResult, ...]
    place: Scratch

    @property
    def spills(self) -> tuple[Spill, ...]:
        """All spills."""
        return tuple(s for r in self.routed for s in r.spills)

    @property
    def summaries(self) -> list[FileSummary]:
        """What reading gave, file by file, in the order of the call."""
        return sorted((s for r in self.routed for s in r.files), key=lambda s: s.number)

    @property
    def n_numbers(self) -> int:
        """One more than the largest number of a file."""
        return max(f.number for f in self.files) + 1

    def counted_pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of order `PLAN_ORDER` that hold rows, ascending, and the rows in each."""
        return counts_by_pixel([r.pixels for r in self.routed], [r.counts for r in self.routed])


def counts_by_pixel(pixels: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Add up counts of pixels; returns the pixels, ascending, and their counts."""
    none = np.empty(0, dtype=np.int64)
    every, amounts = np.concatenate([none, *pixels]), np.concatenate([none, *counts])
    found = distinct(every)
    total = np.zeros(len(found), dtype=np.int64)
    np.add.at(total, np.searchsorted(found, every), amounts)
    return found, total


def route_files(task: RouteTask) -> RouteResult:
    """Read the files of a task and spill their detections; a file that fails is summarised with its error."""
    router = _Router(task.folder)
    summaries = []
    for file in task.files:
        summary = FileSummary(file.number)
        for chunk in _readable_chunks(file, task.request, summary):
            router.add(chunk, file.number)
        summaries.append(_unless_changed(file, summary))
    return router.finish(summaries)


def _readable_chunks(file: InputFile, request: ReadRequest, summary: FileSummary) -> Iterator[Chunk]:
    """Yield the chunks up to the first error, and note that; an error of whoever takes them is not the file's."""
    try:
        yield from _chunks_of(file, request, summary)
    except Exception as error:  # whatever it is, this file is rejected and the others go on
        problem = _problem(error, str(file.place))
        summary.error, summary.exit_code = str(problem).replace(str(file.place), file.path), problem.exit_code
        summary.fault = fault_of(error)


def _unless_changed(file: InputFile, summary: FileSummary) -> FileSummary:
    """Return the summary; with an error if somebody writes the file: what was read is not what it is known by."""
    if not file.was_changed:
        return summary
    error = BusyError("it was changed while it was read", file.path, "run the command again when it is complete")
    return summary.failed(error, "busy")


def _problem(error: Exception, path: str) -> SkydbError:
    """Return what to say of a file whose reading raised an error; one that no reader foresaw is skydb's."""
    if isinstance(error, SkydbError):
        return error
    if isinstance(error, OSError):
        return disk_error(error, path) or DataError(f"cannot be read: {error}", path, "check the file and its disk")
    what = f"cannot be read: {type(error).__name__}: {error}: this is a fault of skydb"
    return DataError(what, path, "report it, with the file; without the file the others are complete")


def _chunks_of(file: InputFile, request: ReadRequest, summary: FileSummary) -> Iterator[Chunk]:
    path = file.place
    reader = reader_for(path, request)
    summary.format = reader.format
    images, exposures = [], []
    for chunk in reader.read(path, request):
        check_chunk(chunk)
        images.append(chunk.images)
        exposures.append(chunk.exposures)
        summary.n_in += chunk.n_in
        summary.rejected.update(chunk.rejected)
        summary.n_kept += chunk.n_in - sum(chunk.rejected.values())
        summary.n_measurements += chunk.detections.num_rows
        summary.rows_of_image.update(_rows_of_image(chunk.detections))
        summary.n_nulled += chunk.n_nulled
        summary.companions.update({name: each.n_in for name, each in chunk.companions.items()})
        yield chunk
    if images:
        summary.images = first_of_each(pa.concat_tables(images), "image_id")
        summary.exposures = first_of_each(pa.concat_tables(exposures), "exposure_id")


def _rows_of_image(detections: pa.Table) -> dict[int, int]:
    counted = pc.value_counts(detections.column("image_id"))
    return dict(zip(*(part.to_pylist() for part in counted.flatten()), strict=True))


def first_of_each(rows: pa.Table, key: str) -> pa.Table:
    """Return the first row of every value of an integer key column, in order of appearance."""
    _, first = np.unique(rows.column(key).to_numpy(), return_index=True)
    return rows.take(pa.array(np.sort(first)))


class _Router:
    """Gathers chunks until they fill a spill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spills: list[Spill] = []
        self._tables: list[pa.Table] = []
        self._files: list[np.ndarray] = []
        self._companions: list[tuple[int, dict[str, Companions]]] = []
        self._rows = 0
        self._pixels: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def add(self, chunk: Chunk, number: int) -> None:
        rows = chunk.detections.num_rows
        if not rows:
            return
        if self._rows and self._rows + rows > CHUNK_ROWS:
            self.flush()
        self._tables.append(chunk.detections)
        self._files.append(np.full(rows, number, dtype=np.int32))
        self._companions.append((self._rows, chunk.companions))
        self._rows += rows

    def flush(self) -> None:
        if not self._rows:
            return
        detections = pa.concat_tables(self._tables, promote_options="default")
        pixels = pixel_of(detections.column("ra_raw").to_numpy(), detections.column("dec_raw").to_numpy())
        path = self.folder / f"{new_name()}.arrow"  # a second run of the task must not write where others read
        companions = joined(self._companions)
        self.spills.append(write_spill(path, detections, pixels, np.concatenate(self._files), companions))
        found, counts = np.unique(pixels >> 2 * (29 - PLAN_ORDER), return_counts=True)
        self._pixels.append(found)
        self._counts.append(counts)
        self._tables, self._files, self._companions, self._rows = [], [], [], 0

    def finish(self, summaries: list[FileSummary]) -> RouteResult:
        self.flush()
        return RouteResult(tuple(self.spills), tuple(summaries), *counts_by_pixel(self._pixels, self._counts))


def group_files(files: Sequence[InputFile], *, bytes_per_task: int) -> list[tuple[InputFile, ...]]:
    """Cut a list of files into tasks of about so many bytes each, keeping their order."""
    groups: list[list[InputFile]] = []
    size = 0
    for file in files:
        if not groups or size + file.bytes > bytes_per_task:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.bytes
    return [tuple(g) for g in groups]
