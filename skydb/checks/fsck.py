"""The verb `fsck`: check a database, and mend what can be mended.

Catalog → manifests and tags → hosts → global tables → cell by cell → names of measurements across cells → counts →
second copies and files of older snapshots → folders. Nothing of the database is written; what is kept on the way goes
to a temporary folder, on a cluster to one in `work/`, which all workers see.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np

from skydb import database
from skydb.calibration.apply import ImageTerms
from skydb.calibration.derive import ImageSources
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.database import Database
from skydb.errors import DataError
from skydb.executors import executor_of
from skydb.parallel.executor import WORKERS_WORTH_SECONDS, Executor, Progress, SerialExecutor, Workers
from skydb.store.carried import map_cells
from skydb.store.copies import BackupWarning
from skydb.store.files import make_directory
from skydb.store.held_folders import held_folder
from skydb.store.layout import CATALOG, COMMITS, WORK, given_path
from skydb.store.motion import stored_bound
from skydb.store.snapshot import Snapshot

from .away import away_findings, away_hosts, kept_findings
from .catalog import catalog_findings, copied
from .cells import CellAnswer, CellTask, NumberedCell, check_cell
from .copies import check_copies, copy_batches, copy_findings
from .counts import digest_findings, image_findings, index_findings, log_findings, row_findings, stored_by_digest
from .deep import DeepTask
from .detections import PairSpill, check_part
from .findings import WAITED_FOR, Finding
from .folders import folder_findings
from .images import GlobalAnswer, check_globals
from .links import check_elsewhere
from .manifests import manifest_findings, tag_findings
from .report import FsckReport

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Steps = Callable[[str, int, int], None]
"""Called with (step, items done, items in all)."""

BYTES_PER_SECOND = 30e6
"""Stored bytes that one process checks in a second, about."""


@dataclass(frozen=True)
class _Asked:
    """How a check is to be done."""

    deep: bool
    workers: Workers
    cluster: object
    progress: Steps | None

    def executor(self, db: Database, seconds: float) -> Executor:
        """Return the executor of work that takes about so many seconds in one process."""
        if self.workers is None and self.cluster is None and seconds < WORKERS_WORTH_SECONDS:
            return SerialExecutor()
        return executor_of(db, self.workers, self.cluster)

    def folder(self, root: Path) -> Path:
        """Return where what is kept on the way goes: where all workers see it."""
        if self.cluster is None:
            return Path(tempfile.gettempdir())
        make_directory(root / WORK)
        return root / WORK


def fsck(
    db: Database | str | PathLike[str], *, deep: bool = False, repair: bool = False, workers: Workers = None,
    cluster: object = None, progress: Steps | None = None,
) -> FsckReport:  # fmt: skip
    """Check a database against itself: catalog, manifests, every byte of every file, keys, links, counts, bounds.

    Parameters
    ----------
    db
        The database, or its path.
    deep
        Also compute calibrated measurements, objects and means anew, and compare.
    repair
        Mend what can be mended, quarantine what cannot, and check again. Nothing is mended while a host is away, or
        a file cannot be read.
    workers, cluster
        As `skydb.addstar` takes them; an executor's workers are of this machine. On a cluster the files of each host
        are read by the workers there.
    progress
        Called with (step, items done, all items of the step).

    Raises
    ------
    UsageError
        There is no database, or no cluster.
    CommitConflict
        Other writers came first again and again (a repair).
    """
    began = time.perf_counter()
    asked = _Asked(deep, workers, cluster, progress)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackupWarning)  # which copies cannot be read is what the report says
        report = _checked(db, asked)
        if repair and not report.clean and not WAITED_FOR & {f.kind for f in report.damage}:
            report = _repaired(db, report, asked)
    return replace(report, seconds=round(time.perf_counter() - began, 3))


def _repaired(db: Database | str | PathLike[str], report: FsckReport, asked: _Asked) -> FsckReport:
    from .repair import repaired

    opened = database.open(report.database)
    mended, lost = repaired(opened, report.findings, asked.executor(opened, report.bytes / BYTES_PER_SECOND))
    return replace(_checked(db, asked), found=report.findings, mended=mended, lost=lost)


def _checked(db: Database | str | PathLike[str], asked: _Asked) -> FsckReport:
    root = db.root if isinstance(db, Database) else given_path(db)
    if not (root / CATALOG).exists() and (root / COMMITS).is_dir():
        return _without_catalog(root, "it is not there", asked)
    with held_folder(asked.folder(root), "skydb-fsck-") as folder:
        try:
            opened = database.open(root)
            snapshot = opened.snapshot()
            with copied(root, folder) as connection:
                executor = asked.executor(opened, _bytes(connection) / BYTES_PER_SECOND)
                return _Check(opened, snapshot, connection, folder, executor, asked.progress).report(deep=asked.deep)
        except DataError as error:
            if error.where is None or not error.where.endswith(CATALOG):
                raise
            return _without_catalog(root, error.what, asked)
        except sqlite3.DatabaseError as error:
            return _without_catalog(root, str(error), asked)


def _without_catalog(root: Path, why: str, asked: _Asked) -> FsckReport:
    return FsckReport(str(root), None, asked.deep, (Finding("catalog-unreadable", why, file=CATALOG),))


def _bytes(connection: sqlite3.Connection) -> int:
    """Return how much there is to read, for all that the catalog can tell."""
    try:
        (size,) = connection.execute("SELECT COALESCE(SUM(bytes), 0) FROM files").fetchone()
    except sqlite3.DatabaseError:
        return 0
    return int(size)


@dataclass
class _Check:
    """One check under way: what it looks at, and what it has found so far."""

    db: Database
    snapshot: Snapshot
    connection: sqlite3.Connection
    folder: Path
    executor: Executor
    progress: Steps | None
    findings: list[Finding] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)

    def report(self, *, deep: bool) -> FsckReport:
        """Run all checks; where the catalog itself is damaged, no others."""
        self.findings += catalog_findings(self.connection, self.snapshot.id)
        if self.findings:
            self._unchecked("everything else, because of damage to the catalog")
            return FsckReport(str(self.db.root), self.snapshot.id, deep, tuple(self.findings))
        root, at = self.db.root, self.snapshot.id
        self.findings += manifest_findings(root, self.connection, at, self.folder)
        self.findings += tag_findings(root, self.connection)
        self.away = away_hosts(self.snapshot, self.executor)
        self.findings += away_findings(self.connection, self.snapshot, self.away)
        self.findings += kept_findings(self.snapshot)
        everything = check_globals(self.snapshot, self.connection, frozenset(self.away))
        self.findings += everything.findings
        cells = self._cells(everything, deep=deep)
        self._counts(everything, cells)
        self._aliases(cells)
        self._copies()
        self.findings += folder_findings(root, self.connection)
        return FsckReport(
            str(root), at, deep, tuple(self.findings), len(cells), everything.n_files + sum(c.n_files for c in cells),
            everything.n_rows + sum(c.n_rows for c in cells), everything.n_bytes + sum(c.n_bytes for c in cells),
        )  # fmt: skip

    def _aliases(self, cells: Sequence[CellAnswer]) -> None:
        """Check the objects for which old ids of other cells stand, where all seeds can be read."""
        wanted = np.concatenate([np.empty(0, np.int64), *(answer.elsewhere for answer in cells)])
        unread = self.away or any(f.table == "object_seeds" and f.file for f in self.findings)
        if len(wanted) and unread:
            self._unchecked("old ids of objects in other cells, because of damage to some")
        else:
            self.findings += check_elsewhere(self.snapshot, wanted, self.executor)

    def _copies(self) -> None:
        """Check what no cell has read: second copies, and files of older snapshots."""
        batches = copy_batches(self.connection, self.folder / CATALOG, self.snapshot.id, frozenset(self.away))
        answers = self._map("copies", partial(check_copies, snapshot=self.snapshot), batches)
        for batch, faults in zip(batches, answers, strict=True):
            self.findings += copy_findings(self.db.root, batch, faults)

    def _cells(self, everything: GlobalAnswer, *, deep: bool) -> list[CellAnswer]:
        """Check every cell, and then the names of measurements across cells."""
        cells = self.snapshot.cells()
        rows = sum(f.rows for f in self.snapshot.files("measurements"))
        spill, images = PairSpill.planned(self.folder, rows), self.folder / "images.arrow"
        everything.images.save(images)
        whole = {"images", "images_cal", "photcodes"} <= everything.usable and not everything.findings
        more = self._deep_task() if deep and whole else None
        motion = stored_bound(self.snapshot.root)
        shared = CellTask(self.snapshot, images, spill, frozenset(self.away), more, motion)
        task = partial(check_cell, task=shared)
        if deep and not whole:
            self._unchecked("what follows from the raw measurements, because of damage to global tables")
        items = [NumberedCell(number, cell) for number, cell in enumerate(cells)]
        answers = list(map_cells(self.executor, task, self.snapshot, items, progress=self._shown("cells")))
        self.findings += [f for answer in answers for f in answer.findings]
        stale = sum(cell.stale for cell in cells)
        if stale:
            self.findings.append(Finding("refresh-waiting", f"{stale} cells of {len(cells)}"))
        parts = partial(check_part, spill=spill, cells=tuple(map(str, cells)))
        for found in self._map("names", parts, range(spill.parts)):
            self.findings += found
        return answers

    def _deep_task(self) -> DeepTask:
        """Put what recomputing needs of images where the tasks map it."""
        images, sources = self.folder / "terms.arrow", self.folder / "sources.arrow"
        rows = self.snapshot.read_global("images", ["image_id", "kind", "exptime", "airmass"])
        ImageTerms.of(rows, self.snapshot.read_global("images_cal")).save(images)
        ImageSources.stored(self.snapshot).save(sources)
        return DeepTask(images, sources, PhotcodeTerms.from_table(self.snapshot.read_global("photcodes")))

    def _counts(self, everything: GlobalAnswer, cells: Sequence[CellAnswer]) -> None:
        """Compare what was counted with the log and with what the images say."""
        at, images = self.snapshot.id, everything.images
        counts = np.zeros(len(images.image_id), dtype=np.int64)
        for answer in cells:
            counts[answer.image] += answer.count
        complete = all(answer.complete for answer in cells)
        stored = stored_by_digest(self.connection, at, images.image_id, counts) if complete else None
        self.findings += [*log_findings(self.connection, at, stored), *digest_findings(self.connection, at)]
        self.findings += index_findings(self.connection, at)
        shaken = {f.table for f in self.findings}
        self.findings += row_findings(self.snapshot, [name for name in self.snapshot.declared if name not in shaken])
        if not complete:
            self._unchecked("numbers of measurements, because of damage to some")
        elif everything.n_measurements is not None:
            self.findings += image_findings(images.image_id, counts, everything.n_measurements)

    def _unchecked(self, what: str) -> None:
        self.findings.append(Finding("unchecked", what))

    def _map(self, step: str, task: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        """Run a task over items, showing the progress of the step."""
        return self.executor.map(task, items, progress=self._shown(step))

    def _shown(self, step: str) -> Progress | None:
        return None if self.progress is None else partial(self.progress, step)
