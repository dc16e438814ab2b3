"""The road of an ingest: examine the files, cut them into batches, read and store each, compact.

Every file is digested, and those known are dropped. A batch is read once, into spills in sky order (`routing`), and
stored on top of the newest snapshot (`storing`); if another writer comes first, it is stored again from its spills.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os.path import isdir
from pathlib import Path
from typing import TypeVar

from skydb.errors import SkydbError, UsageError, disk_error
from skydb.store.compact import compact
from skydb.store.crashpoints import reached
from skydb.store.history import logged_files
from skydb.store.notes import drop_uncommitted
from skydb.store.retries import until_committed
from skydb.store.scratch import scratch

from .faults import Fault, fault_of
from .fetching import Fetched, fetched
from .job import Job
from .known import Staying
from .readers import reader_for
from .readers.contents import Content, content_of, has_wildcards
from .readers.interface import FolderReader, ReadRequest
from .replacing import take_out
from .report import AddstarReport, FileReport
from .routing import InputFile, RoutedBatch, RouteTask, group_files, route_files
from .storing import store_batch

BATCH_BYTES = 6_000_000_000
"""Bytes of the files of one batch; its spills take about as much in the database's work folder."""

TASK_BYTES = 110_000_000
"""Bytes of the files that one reading task takes at most."""

Result = TypeVar("Result")

DIGEST_BYTES_PER_SECOND, READ_BYTES_PER_SECOND = 1e9, 25e6
"""What one process digests and reads; reading as measured on SMF (50 MB/s) and compressed Parquet (14 MB/s)."""


def ingest_files(job: Job, paths: Sequence[str]) -> AddstarReport:
    """Ingest the files in batches and report on each, in the order given."""
    with fetched(paths, job.db.root) as local:
        return _ingest(job, paths, local)


def _ingest(job: Job, paths: Sequence[str], local: Fetched) -> AddstarReport:
    with job.steps.step("digest") as progress:
        examined = _examine(job, paths, local, progress)
    reports, came = dict(examined.reports), set[str]()
    for batch in group_files(_in_order(job, examined.inputs), bytes_per_task=BATCH_BYTES):
        reports |= _ingest_batch(job, batch, Staying(examined.known, came))
        came |= {file.digest for file in batch if reports[file.path].status == "ingested"}
    reports |= {path: _of_copy(path, reports[first]) for path, first in examined.copies.items()}
    if job.options.compact and not job.options.defer and not job.options.dry_run:
        with job.steps.step("compact") as progress:
            compact(
                job.db.snapshot, job.db.commit, None, cell_rows=job.db.cell_rows, executor=job.executor,
                progress=progress,
            )  # fmt: skip
    ordered = tuple(reports[p] for p in dict.fromkeys(paths))
    return AddstarReport(ordered, job.db.snapshot().id, job.steps.seconds, job.options.dry_run)


@dataclass(frozen=True)
class _Examined:
    """The files of a call that are to be read, and of the others reports, or of which of those they are copies.

    `known` are the digests of files that the database has with all their images.
    """

    inputs: list[InputFile]
    reports: dict[str, FileReport]
    copies: dict[str, str]
    known: frozenset[str]


def _examine(job: Job, paths: Sequence[str], local: Fetched, progress: Callable[[int, int], None]) -> _Examined:
    """Digest every file; files that are missing, or known with all their images, are reported at once."""
    failed = {url: _Failed.of(why) for url, why in local.items() if isinstance(why, SkydbError)}
    places = {path: Path(str(local.get(path, path))) for path in dict.fromkeys(paths) if path not in failed}
    contents, unseen = _parted({path: _content(place, job.options.reader) for path, place in places.items()})
    executor = job.executor_of(sum(c.bytes for c in contents.values()) / DIGEST_BYTES_PER_SECOND)
    found = executor.map(_digest, contents.values(), progress=progress)
    digests, unread = _parted(dict(zip(contents, found, strict=True)))
    reports = {path: why.report(path) for path, why in (failed | unseen | unread).items()}
    logged = logged_files(job.db.snapshot(), set(digests.values()))
    known = frozenset(digest for digest, entry in logged.items() if not entry.n_deleted_images)
    inputs: dict[str, InputFile] = {}
    copies: dict[str, str] = {}
    for path, digest in digests.items():
        if digest in known:
            reports[path] = FileReport(path, "known")
        elif digest in inputs:
            copies[path] = inputs[digest].path
        else:
            content = contents[path]
            inputs[digest] = InputFile(len(inputs), path, digest, content.bytes, str(places[path]), content)
    return _Examined(list(inputs.values()), reports, copies, known)


@dataclass(frozen=True)
class _Failed:
    """Why an input could not be looked at; an error loses its cause on the way from a worker, so `fault` goes along."""

    error: SkydbError
    fault: Fault

    @classmethod
    def of(cls, error: SkydbError) -> _Failed:
        """Say what is to blame: nobody has read what the input holds, so that is not."""
        fault = fault_of(error)
        return cls(error, "call" if fault == "content" else fault)

    def report(self, path: str) -> FileReport:
        """Report on the input."""
        return FileReport(path, "failed", error=str(self.error), exit_code=self.error.exit_code, fault=self.fault)


def _parted(found: Mapping[str, Result | _Failed]) -> tuple[dict[str, Result], dict[str, _Failed]]:
    """Return what was found of each input, and of which something is wrong."""
    good = {path: each for path, each in found.items() if not isinstance(each, _Failed)}
    return good, {path: each for path, each in found.items() if isinstance(each, _Failed)}


def _content(path: Path, reader: FolderReader | None) -> Content | _Failed:
    """Return what an input is made of, or what is wrong with it."""

    def look() -> Content:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UsageError("a pipe or a device is no file", str(path), "write what it gives into a file")
        return content_of(path, reader)

    return _or_failed(look, path)


def _digest(content: Content) -> str | _Failed:
    """Return the digest of an input, or why its files cannot be read."""
    return _or_failed(content.digest, content.path)


def _or_failed(action: Callable[[], Result], path: Path) -> Result | _Failed:
    """Return what looking at an input gives, or what is wrong with it: the others go on."""
    try:
        return action()
    except SkydbError as error:
        return _Failed.of(error)
    except OSError as error:
        return _Failed.of(_not_opened(error, path))


def _not_opened(error: OSError, path: Path) -> SkydbError:
    """Return what to say of a file that the system does not open."""
    todo = "give its files, or `skydb import-dvo` a DVO database's" if isdir(path) else "check the path"
    matches = ", and nothing matches" if isinstance(error, FileNotFoundError) and has_wildcards(str(path)) else ""
    found = disk_error(error, path) or UsageError(f"cannot be opened: {error.strerror}{matches}", str(path), todo)
    found.__cause__ = error
    return found


def _of_copy(path: str, first: FileReport) -> FileReport:
    """Report on a file that holds the same as an earlier one of the call, from what became of that."""
    if first.status != "failed":
        return FileReport(path, "known")
    return replace(first, file=path, error=(first.error or "").replace(first.file, path))


def _in_order(job: Job, files: Sequence[InputFile]) -> Sequence[InputFile]:
    """Return the files by their first starts where they need several batches; one batch orders its images itself."""
    if job.options.keep_order or sum(f.bytes for f in files) <= BATCH_BYTES:
        return files
    with job.steps.step("order") as progress:
        peek = partial(_first_start, request=job.request(job.db.snapshot()))
        starts = list(job.executor.map(peek, files, progress=progress))
    return [files[i] for i in sorted(range(len(files)), key=lambda i: (starts[i], i))]


def _first_start(file: InputFile, request: ReadRequest) -> float:
    """Return when a file's first image began (MJD, UTC); infinity where it does not say or cannot be read."""
    path = file.place
    try:
        start = reader_for(path, request).first_start(path, request)
    except Exception:  # whatever it is, reading the file will say
        return float("inf")
    return start if start == start else float("inf")


def _ingest_batch(job: Job, files: Sequence[InputFile], staying: Staying) -> dict[str, FileReport]:
    size = sum(f.bytes for f in files)
    executor = job.executor_of(size / READ_BYTES_PER_SECOND)
    share = min(TASK_BYTES, 1 + size // (2 * executor.workers))
    with scratch(job.db.root) as place:
        with job.steps.step("read") as progress:
            request = job.request(job.db.snapshot())
            tasks = [RouteTask(g, request, place.path) for g in group_files(files, bytes_per_task=share)]
            routed = tuple(executor.map(route_files, tasks, progress=progress))
        batch = RoutedBatch(tuple(files), request.photcodes, routed, place)
        reached("addstar.read")
        replaced = take_out(job, batch, staying) if job.options.replace else Counter[int]()
        root = job.db.root
        reports = until_committed(
            root, partial(store_batch, job, batch), after_conflict=partial(drop_uncommitted, root, place.path)
        )
        names = {file.number: file.path for file in files}
        return reports | {names[n]: replace(reports[names[n]], n_replaced=count) for n, count in replaced.items()}
