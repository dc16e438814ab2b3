"""The road of an ingest: examine the files, cut them into batches, read and store each, compact.

Every file is digested, and those known are dropped. A batch is read once, into spills in sky order (`routing`), and
stored on top of the newest snapshot (`storing`); if another writer comes first, it is stored again from its spills.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os.path import isdir
from pathlib import Path

from skydb.errors import SkydbError, UsageError, disk_error
from skydb.store.compact import compact
from skydb.store.crashpoints import reached
from skydb.store.files import digest_of
from skydb.store.history import logged_files
from skydb.store.notes import drop_uncommitted
from skydb.store.retries import until_committed
from skydb.store.scratch import scratch

from .faults import Fault, fault_of
from .fetching import Fetched, fetched
from .job import Job
from .known import Staying
from .readers import reader_for
from .readers.dvo.reader import digest_of_database
from .readers.hats_folder import files_of, look_at
from .readers.interface import ReadRequest
from .replacing import take_out
from .report import AddstarReport, FileReport
from .routing import InputFile, RoutedBatch, RouteTask, group_files, route_files
from .storing import store_batch

BATCH_BYTES = 6_000_000_000
"""Bytes of the files of one batch; its spills take about as much in the database's work folder."""

TASK_BYTES = 110_000_000
"""Bytes of the files that one reading task takes at most."""

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
    inputs: dict[str, InputFile] = {}
    copies: dict[str, str] = {}
    reports = {url: _unread(url, why, fault_of(why)) for url, why in local.items() if isinstance(why, SkydbError)}
    todo = [path for path in dict.fromkeys(paths) if path not in reports]
    places = [str(local.get(path, path)) for path in todo]
    executor = job.executor_of(sum(map(_size, places)) / DIGEST_BYTES_PER_SECOND)
    digested = list(executor.map(_digest_of_database if job.options.dvo else _digest, places, progress=progress))
    logged = logged_files(job.db.snapshot(), {found.digest for found in digested})
    known = frozenset(digest for digest, entry in logged.items() if not entry.n_deleted_images)
    for path, place, found in zip(todo, places, digested, strict=True):
        if found.error is not None:
            reports[path] = _unread(path, found.error, found.fault)
        elif found.digest in known:
            reports[path] = FileReport(path, "known")
        elif found.digest in inputs:
            copies[path] = inputs[found.digest].path
        else:
            inputs[found.digest] = InputFile(len(inputs), path, found.digest, found.bytes, place, found.changed)
    return _Examined(list(inputs.values()), reports, copies, known)


def _unread(path: str, error: SkydbError, fault: Fault) -> FileReport:
    """Report on a file that could not even be looked at: what it holds is not to blame."""
    blamed = "call" if fault == "content" else fault
    return FileReport(path, "failed", error=str(error), exit_code=error.exit_code, fault=blamed)


def _of_copy(path: str, first: FileReport) -> FileReport:
    """Report on a file that holds the same as an earlier one of the call, from what became of that."""
    if first.status != "failed":
        return FileReport(path, "known")
    return replace(first, file=path, error=(first.error or "").replace(first.file, path))


def _size(path: str) -> int:
    """Return the bytes of a file; 0 where there is none, which is reported later."""
    try:
        return sum(file.stat().st_size for file in files_of(Path(path)))
    except (OSError, SkydbError):
        return 0


@dataclass(frozen=True)
class _Digested:
    """The digest and the bytes of a file's content, and when it was changed last; or why it has none."""

    digest: str = ""
    bytes: int = 0
    changed: int | None = None
    error: SkydbError | None = None
    fault: Fault = "call"  # of the error, which loses its cause on the way from a worker

    @classmethod
    def none(cls, error: SkydbError) -> _Digested:
        """Return that of a file that cannot be looked at."""
        return cls(error=error, fault=fault_of(error))


def _digest(path: str) -> _Digested:
    """Digest a file, or a HATS catalog as a whole."""
    target = Path(path)
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise UsageError("a pipe or a device is no file", path, "write what it gives into a file")
        files, (size, changed) = files_of(target), look_at(target) or (0, None)
        digest = digest_of(files[0]) if files == (target,) else _digest_of_all(files)
    except OSError as error:
        return _Digested.none(_not_opened(error, target))
    except SkydbError as error:
        return _Digested.none(error)
    return _Digested(digest, size, changed)


def _not_opened(error: OSError, path: Path) -> SkydbError:
    """Return what to say of a file that the system does not open."""
    todo = "give its files, or `skydb import-dvo` a DVO database's" if isdir(path) else "check the path"
    found = disk_error(error, path) or UsageError(f"cannot be opened: {error.strerror}", str(path), todo)
    found.__cause__ = error
    return found


def _digest_of_all(files: Sequence[Path]) -> str:
    """Return the digest of the files' own digests, in order."""
    digests = "".join(map(digest_of, files))
    return hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()


def _digest_of_database(catdir: str) -> _Digested:
    """Return the digest of a DVO database, all its files together."""
    try:
        return _Digested(*digest_of_database(Path(catdir)))
    except SkydbError as error:
        return _Digested.none(error)


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
