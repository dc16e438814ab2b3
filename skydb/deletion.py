"""The verb `delete`: take images out of a database, with all their measurements, in one commit.

Files that hold their rows are written anew without them, and what follows from the others is derived anew, cell by
cell; so no reader has to know of deletions. Earlier snapshots see everything as it was, until `gc` gives them up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb import database
from skydb.calibration.derive import ImageSources
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.removal import CountedCell, RemovalTask, ThinnedCell, count_images, remove_images
from skydb.calibration.rewriting import Rewriting, sky_of
from skydb.database import Database
from skydb.errors import UsageError
from skydb.executors import executor_of
from skydb.kernels.distinct import is_among
from skydb.parallel.executor import WORKERS_WORTH_SECONDS, Executor, SerialExecutor, Workers
from skydb.parallel.steps import StepProgress, of_step
from skydb.store.cells import Cell
from skydb.store.changes import Changes, LogEntry
from skydb.store.chosen_images import Choice, cells_near, chosen_images
from skydb.store.command_line import one_line
from skydb.store.crashpoints import reached
from skydb.store.files import DataFile
from skydb.store.history import digests_of_images, images_of_digests, logged_files
from skydb.store.parquet import read_file
from skydb.store.retries import until_committed
from skydb.store.row_log import log_with_rows, rows_that_came
from skydb.store.scratch import Scratch, scratch
from skydb.store.snapshot import Snapshot

COUNTED_ROWS_PER_SECOND, REMOVED_ROWS_PER_SECOND = 5e6, 1.5e5
"""What one process reads of one column, and what it reads, writes and derives anew, of the rows of whole cells."""


@dataclass(frozen=True)
class DeletionReport:
    """What a deletion did, or would do.

    `snapshot` is the new one, None where nothing was to do or nothing was asked for but an answer (`dry_run`).
    `n_exposures` counts those left without images, `n_retired` the objects left without measurements (None: not known
    before they are). `files` are the ingested files that lost images, `n_cells` and `bytes` what was written anew.
    """

    snapshot: int | None
    n_images: int
    n_exposures: int
    n_measurements: int
    n_retired: int | None
    files: tuple[str, ...]
    n_cells: int
    bytes: int


def delete(
    db: Database | str | PathLike[str], *, images: Iterable[int | str] | int | str = (),
    files: Iterable[str | PathLike[str]] | str | PathLike[str] = (),
    exposures: Iterable[int | str] | int | str = (), nights: Iterable[int] | int = (),
    ingests: Iterable[int] | int = (), dry_run: bool = False,
    workers: Workers = None, cluster: object = None, progress: StepProgress | None = None,
) -> DeletionReport:  # fmt: skip
    """Delete images and all their measurements, in one commit.

    An object left without measurements retires: it is in no answer, and its id stays its own. A file whose images
    were deleted can be ingested again.

    Parameters
    ----------
    db
        The database, or its path.
    images
        Ids or names of images; a text of digits is an id.
    files
        Paths of ingested files, as they were given then, or their digests: all their images.
    exposures
        Ids or names of exposures: all their images.
    nights : d
        Modified Julian days, as in column `night` of `exposures`: all their images.
    ingests
        Snapshots that an ingest or a merge made: all images that came with it, and are still there.
    dry_run
        Find and count, change nothing; `bytes` is then what the cells' files that are touched hold now.
    workers
        Worker processes; None: one per core. Or an executor, whose workers are taken.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: its workers are taken.
    progress
        Called with (step, done, all).

    Raises
    ------
    UsageError
        Nothing is named, or something that is not there; or only some of the images of a survey's file, whose rows
        make measurements in all of them.
    CommitConflict
        Other writers came first again and again.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    choice = Choice(
        _listed(images), tuple(fspath(f) for f in _listed(files)), _listed(exposures), _listed(nights),
        _listed(ingests),
    )  # fmt: skip
    adaptive = workers is None and cluster is None
    run = _Run(opened, choice, executor_of(opened, workers, cluster), progress, adaptive=adaptive)
    return run.counted() if dry_run else run.committed()


def _listed(given: Any) -> tuple[Any, ...]:
    several = isinstance(given, Iterable) and not isinstance(given, str | PathLike)
    return tuple(given) if several else (given,)


@dataclass(frozen=True)
class _Found:
    """What is to be deleted from one snapshot.

    `images` are rows of `chosen_images.COLUMNS`; `n_measurements` counts those of each image that has any; `digest` is
    of the file that brought each; `exposures` lose all their images.
    """

    snapshot: Snapshot
    images: pa.Table
    cells: tuple[Cell, ...]
    n_measurements: Counter[int]
    digest: dict[int, str]
    exposures: tuple[int, ...]

    @property
    def ids(self) -> np.ndarray:
        """The image ids, ascending."""
        ids: np.ndarray = self.images.column("image_id").to_numpy()
        return ids

    def log(self) -> dict[str, LogEntry]:
        """Return the entries of the ingest log as they are afterwards, by digest."""
        images, measurements = Counter(self.digest.values()), Counter[str]()
        for image, digest in self.digest.items():
            measurements[digest] += self.n_measurements[image]
        entries = logged_files(self.snapshot, images)
        return {d: _without(entry, images[d], measurements[d]) for d, entry in entries.items()}


def _without(entry: LogEntry, n_images: int, n_measurements: int) -> LogEntry:
    """Return a file's entry without some of its images; a row of a survey goes with all its measurements."""
    whole = entry.n_deleted_images + n_images == entry.n_images
    return replace(
        entry, n_deleted_images=entry.n_deleted_images + n_images,
        n_deleted_measurements=entry.n_deleted_measurements + n_measurements,
        n_deleted=entry.n_matched + entry.n_new if whole else entry.n_deleted + n_measurements,
    )  # fmt: skip


class _Run:
    """One call of delete: what its attempts share."""

    def __init__(
        self, db: Database, choice: Choice, executor: Executor, progress: StepProgress | None, *, adaptive: bool
    ) -> None:
        self.db, self.choice, self._adaptive = db, choice, adaptive
        self._counting: Rewriting[CountedCell] = Rewriting(executor, of_step(progress, "find"))
        self._removing: Rewriting[ThinnedCell] = Rewriting(executor, of_step(progress, "delete"))

    def counted(self) -> DeletionReport:
        """Say what would be deleted."""
        found = self._find(self.db.snapshot())
        tables = ("measurements", "measurements_cal", "objects", "object_bands")
        size = sum(f.bytes for t in tables for files in found.snapshot.files_of_cells(t, found.cells) for f in files)
        return _report(found, None, None, size)

    def committed(self) -> DeletionReport:
        """Delete, again from the new state where another writer comes first."""
        with scratch(self.db.root) as place:
            return until_committed(self.db.root, lambda: self._attempt(place))

    def _attempt(self, place: Scratch) -> DeletionReport:
        found = self._find(self.db.snapshot())
        if not found.images.num_rows:
            return _report(found, None, 0, 0)
        thinned = self._removing.run(
            found.snapshot, found.cells, partial(remove_images, task=_task(found, place)),
            executor=self._executor_of(found.snapshot, found.cells, REMOVED_ROWS_PER_SECOND),
        )  # fmt: skip
        tables = _thinned_globals(found, place)
        reached("delete.written")
        changes = self._changes(found, thinned, tables)
        snapshot = self.db.commit(changes)
        return _report(found, snapshot, sum(t.n_retired for t in thinned), sum(f.bytes for f in changes.adds))

    def _find(self, snapshot: Snapshot) -> _Found:
        """Find the images, the cells that hold rows of theirs, and the exposures of which they are all."""
        images = chosen_images(snapshot, self.choice)
        ids = images.column("image_id").to_numpy()
        digest = digests_of_images(snapshot, ids.tolist())
        _check_surveys_whole(snapshot, images, digest)
        cells, counts = self._cells_of(snapshot, images)
        return _Found(snapshot, images, cells, counts, digest, _emptied_exposures(snapshot, images))

    def _cells_of(self, snapshot: Snapshot, images: pa.Table) -> tuple[tuple[Cell, ...], Counter[int]]:
        """Return the cells that hold measurements of the images, and how many there are of each image.

        They are looked for where the images lie; if `images_cal` knows of others, everywhere else too.
        """
        ids, every = images.column("image_id").to_numpy(), snapshot.cells()
        task = partial(count_images, snapshot=snapshot, images=ids)
        near = [every[i] for i in cells_near(snapshot, images)] if len(ids) else []
        rate = COUNTED_ROWS_PER_SECOND
        found = self._counting.run(snapshot, near, task, executor=self._executor_of(snapshot, near, rate))
        if _total(found) != _expected(snapshot, ids):
            found = self._counting.run(snapshot, every, task, executor=self._executor_of(snapshot, every, rate))
        return tuple(f.cell for f in found if f.n_measurements), _total(found)

    def _executor_of(self, snapshot: Snapshot, cells: Sequence[Cell], rows_per_second: float) -> Executor | None:
        """Return the executor of a task for all rows of some cells; None: the usual one."""
        rows = sum(f.rows for files in snapshot.files_of_cells("measurements", cells) for f in files)
        return SerialExecutor() if self._adaptive and rows / rows_per_second < WORKERS_WORTH_SECONDS else None

    def _changes(
        self, found: _Found, thinned: Sequence[ThinnedCell], tables: Sequence[tuple[DataFile | None, str]]
    ) -> Changes:
        written = [t.written for t in thinned]
        came = rows_that_came(found.snapshot, ((w.cell, w.adds, w.replaces) for w in written))
        log = found.log() | {entry.digest: entry for entry in log_with_rows(found.snapshot, came)}
        sky = sky_of([w.cell for w in written])
        return Changes(
            "delete", one_line(["delete", str(self.db.root), *self.choice.words()]), found.snapshot.id,
            adds=(*(f for f, _ in tables if f is not None), *(f for w in written for f in w.adds)),
            replaces=(*(old for _, old in tables), *(n for w in written for n in w.replaces)),
            cells=tuple(w.cell for w in written), log=tuple(log.values()), ends_log=tuple(log),
            ends_images=tuple(found.digest), exposures=found.exposures,
            exposures_of_images=tuple(set(found.images.column("exposure_id").to_pylist())),
            reads=sky, writes=sky, uses_calibration=True,
        )  # fmt: skip


def _task(found: _Found, place: Scratch) -> RemovalTask:
    """Put what the tasks read of images where they map it."""
    snapshot, sources = found.snapshot, place.path / f"sources-{found.snapshot.id}.arrow"
    ImageSources.stored(snapshot).save(sources)
    return RemovalTask(
        snapshot, place, found.ids, sources, PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
    )


def _check_surveys_whole(snapshot: Snapshot, images: pa.Table, digest: dict[int, str]) -> None:
    """Refuse to part the images of a survey's file: a row of it joins one object, and measures in all of them."""
    surveys = images.filter(pc.equal(images.column("kind"), "reference")).column("image_id").to_pylist()
    brought = images_of_digests(snapshot, {digest[i] for i in surveys if i in digest}) if surveys else {}
    left = sorted(brought.keys() - digest.keys())
    if left:
        file = next(iter(logged_files(snapshot, [brought[left[0]]]).values())).file
        what = "only some of its images are named, and a row of a survey makes measurements in all of them"
        raise UsageError(what, file, "name the file, which deletes all of it")


def _total(found: Iterable[CountedCell]) -> Counter[int]:
    total: Counter[int] = Counter()
    for cell in found:
        total.update(cell.n_measurements)
    return total


def _expected(snapshot: Snapshot, ids: np.ndarray) -> Counter[int]:
    """Return what `images_cal` says of the images: how many measurements each has, if any."""
    expected: Counter[int] = Counter()
    for file in snapshot.files("images_cal"):
        rows = read_file(snapshot.stored(file), ["image_id", "n_measurements"])
        own = rows.filter(pa.array(is_among(rows.column("image_id").to_numpy(), ids)))
        with suppress(TypeError):  # a count that is NULL: then look everywhere
            expected.update(dict(zip(*(column.to_pylist() for column in own.columns), strict=True)))
    return +expected


def _emptied_exposures(snapshot: Snapshot, images: pa.Table) -> tuple[int, ...]:
    """Return the exposures of which no image is left."""
    ids, left = images.column("image_id").to_numpy(), set(images.column("exposure_id").to_pylist())
    for file in snapshot.files("images"):
        rows = read_file(snapshot.stored(file), ["image_id", "exposure_id"])
        kept = rows.column("exposure_id").to_numpy()[~is_among(rows.column("image_id").to_numpy(), ids)]
        left -= set(kept[is_among(kept, np.array(sorted(left), dtype=np.int64))].tolist())
    return tuple(sorted(left))


def _thinned_globals(found: _Found, place: Scratch) -> list[tuple[DataFile | None, str]]:
    """Write the files of global tables anew that hold rows of the images; each, None if empty, with the old name."""
    keys = {
        "images": ("image_id", found.ids), "images_cal": ("image_id", found.ids),
        "exposures": ("exposure_id", np.array(found.exposures, dtype=np.int64)),
    }  # fmt: skip
    written: list[tuple[DataFile | None, str]] = []
    for table, (key, gone) in keys.items():
        for file in found.snapshot.files(table):
            stored = found.snapshot.stored(file)
            hit = is_among(read_file(stored, [key]).column(key).to_numpy(), gone)
            if hit.any():
                rows = read_file(stored).replace_schema_metadata().filter(pa.array(~hit))
                written.append((place.store(found.snapshot, rows, table) if rows.num_rows else None, file.name))
    return written


def _report(found: _Found, snapshot: int | None, n_retired: int | None, size: int) -> DeletionReport:
    return DeletionReport(
        snapshot, found.images.num_rows, len(found.exposures), found.n_measurements.total(), n_retired,
        tuple(sorted(entry.file for entry in found.log().values())), len(found.cells), size,
    )  # fmt: skip
