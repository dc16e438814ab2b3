"""The road of an ingest: examine the files, cut them into batches, read and store each, compact.

Every file is digested, and those known are dropped. A batch is read once, into spills in sky order (`routing`), and
stored on top of the newest snapshot (`storing`); if another writer comes first, it is stored again from its spills.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from skydb.errors import SkydbError, UsageError
from skydb.store.compact import compact
from skydb.store.crashpoints import reached
from skydb.store.history import logged_files
from skydb.store.notes import drop_uncommitted
from skydb.store.retries import until_committed
from skydb.store.scratch import scratch

from .fetching import Fetched, fetched
from .job import Job
from .readers import reader_for
from .readers.contents import Content, content_of
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
        inputs, reports = _examine(job, paths, local, progress)
    for batch in group_files(_in_order(job, inputs), bytes_per_task=BATCH_BYTES):
        reports |= _ingest_batch(job, batch)
    if job.options.compact and not job.options.defer and not job.options.dry_run:
        with job.steps.step("compact") as progress:
            compact(
                job.db.snapshot, job.db.commit, None, cell_rows=job.db.cell_rows, executor=job.executor,
                progress=progress,
            )  # fmt: skip
    ordered = tuple(reports[p] for p in dict.fromkeys(paths))
    return AddstarReport(ordered, job.db.snapshot().id, job.steps.seconds, job.options.dry_run)


def _examine(
    job: Job, paths: Sequence[str], local: Fetched, progress: Callable[[int, int], None]
) -> tuple[list[InputFile], dict[str, FileReport]]:
    """Digest every file; files that are missing, or known with all their images, are reported at once."""
    at_urls, reports = _parted(local)
    places = {path: Path(at_urls.get(path, path)) for path in dict.fromkeys(paths) if path not in reports}
    contents, refused = _parted({path: _content(place, job.options.reader) for path, place in places.items()})
    executor = job.executor_of(sum(c.bytes for c in contents.values()) / DIGEST_BYTES_PER_SECOND)
    found = executor.map(_digest, contents.values(), progress=progress)
    digests, unread = _parted(dict(zip(contents, found, strict=True)))
    reports |= refused | unread
    logged = logged_files(job.db.snapshot(), set(digests.values()))
    known = {digest: entry.file for digest, entry in logged.items() if not entry.n_deleted_images}
    inputs: list[InputFile] = []
    for path, digest in digests.items():
        if digest in known:
            reports[path] = FileReport(path, "known")
        else:
            known[digest] = path
            inputs.append(InputFile(len(inputs), path, digest, contents[path].bytes, str(places[path])))
    return inputs, reports


def _parted(found: Mapping[str, Result | SkydbError]) -> tuple[dict[str, Result], dict[str, FileReport]]:
    """Return what was found of each input, and the reports on those of which something is wrong."""
    good = {path: each for path, each in found.items() if not isinstance(each, SkydbError)}
    bad = {path: each for path, each in found.items() if isinstance(each, SkydbError)}
    return good, {path: FileReport(path, "failed", error=str(e), exit_code=e.exit_code) for path, e in bad.items()}


def _content(path: Path, reader: FolderReader | None) -> Content | SkydbError:
    """Return what an input is made of, or what is wrong with it."""
    return _or_error(lambda: content_of(path, reader), path)


def _digest(content: Content) -> str | SkydbError:
    """Return the digest of an input, or why its files cannot be read."""
    return _or_error(content.digest, content.path)


def _or_error(action: Callable[[], Result], path: Path) -> Result | SkydbError:
    """Return what looking at an input gives, or what is wrong with it: the others go on."""
    try:
        return action()
    except SkydbError as error:
        return error
    except OSError as error:
        todo = "give its files, or `skydb import-dvo` a DVO database's" if path.is_dir() else "check the path"
        return UsageError(f"cannot be opened: {error.strerror}", str(path), todo)


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


def _ingest_batch(job: Job, files: Sequence[InputFile]) -> dict[str, FileReport]:
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
        replaced = take_out(job, batch) if job.options.replace else Counter[int]()
        root = job.db.root
        reports = until_committed(
            root, partial(store_batch, job, batch), after_conflict=partial(drop_uncommitted, root, place.path)
        )
        names = {file.number: file.path for file in files}
        return reports | {names[n]: replace(reports[names[n]], n_replaced=count) for n, count in replaced.items()}
