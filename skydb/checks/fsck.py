"""The verb `fsck`: check a database, and mend what can be mended.

Catalog → manifests and tags → global tables → cell by cell → names of measurements across cells → counts → files of
older snapshots → folders. Nothing of the database is written; what is kept on the way goes to a temporary folder.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
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
from skydb.parallel.executor import Executor, Workers, executor_for
from skydb.store.held_folders import held_folder
from skydb.store.layout import CATALOG, COMMITS, given_path
from skydb.store.snapshot import Snapshot

from .catalog import catalog_findings, copied
from .cells import CellAnswer, CellTask, check_cell
from .counts import digest_findings, image_findings, log_findings, stored_by_digest
from .deep import DeepTask
from .detections import PairSpill, check_part
from .findings import Finding
from .folders import folder_findings
from .images import GlobalAnswer, check_globals
from .manifests import manifest_findings, tag_findings
from .older import check_older, older_batches
from .report import FsckReport

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Steps = Callable[[str, int, int], None]
"""Called with (step, items done, items in all)."""


def fsck(
    db: Database | str | PathLike[str], *, deep: bool = False, repair: bool = False, workers: Workers = None,
    progress: Steps | None = None,
) -> FsckReport:  # fmt: skip
    """Check a database against itself: catalog, manifests, every byte of every file, keys, links, counts, bounds.

    Parameters
    ----------
    db
        The database, or its path.
    deep
        Also compute calibrated measurements, objects and means anew, and compare.
    repair
        Mend what can be mended, quarantine what cannot, and check again.
    workers
        Worker processes; None: one per core. Or an executor, whose workers are of this machine.
    progress
        Called with (step, items done, all items of the step).

    Raises
    ------
    UsageError
        There is no database.
    BusyError
        Other writers came first again and again (a repair).
    """
    began = time.perf_counter()
    report = _checked(db, deep=deep, executor=executor_for(workers), progress=progress)
    if repair and not report.clean:
        from .repair import repaired

        mended, lost = repaired(database.open(report.database), report.findings, executor_for(workers))
        after = _checked(db, deep=deep, executor=executor_for(workers), progress=progress)
        report = replace(after, found=report.findings, mended=mended, lost=lost)
    return replace(report, seconds=round(time.perf_counter() - began, 3))


def _checked(
    db: Database | str | PathLike[str], *, deep: bool, executor: Executor, progress: Steps | None
) -> FsckReport:
    root = db.root if isinstance(db, Database) else given_path(db)
    if not (root / CATALOG).exists() and (root / COMMITS).is_dir():
        return FsckReport(str(root), None, deep, (Finding("catalog-unreadable", "it is not there", file=CATALOG),))
    with held_folder(Path(tempfile.gettempdir()), "skydb-fsck-") as folder:
        try:
            opened = database.open(root)
            snapshot = opened.snapshot()
            with copied(root, folder) as connection:
                return _Check(opened, snapshot, connection, folder, executor, progress).report(deep=deep)
        except DataError as error:
            if error.where is None or not error.where.endswith(CATALOG):
                raise
            broken = Finding("catalog-unreadable", error.what, file=CATALOG)
            return FsckReport(str(root), None, deep, (broken,))
        except sqlite3.DatabaseError as error:
            return FsckReport(str(root), None, deep, (Finding("catalog-unreadable", str(error), file=CATALOG),))


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

    def report(self, *, deep: bool) -> FsckReport:
        """Run all checks; where the catalog itself is damaged, no others."""
        self.findings += catalog_findings(self.connection, self.snapshot.id)
        if self.findings:
            self._unchecked("everything else, because of damage to the catalog")
            return FsckReport(str(self.db.root), self.snapshot.id, deep, tuple(self.findings))
        root, at = self.db.root, self.snapshot.id
        self.findings += manifest_findings(root, self.connection, at, self.folder)
        self.findings += tag_findings(root, self.connection)
        everything = check_globals(self.snapshot, self.connection)
        self.findings += everything.findings
        cells = self._cells(everything, deep=deep)
        self._counts(everything, cells)
        older = list(older_batches(self.connection, at))
        for found in self._map("older files", partial(check_older, snapshot=self.snapshot, catalog=self._copy), older):
            self.findings += found
        self.findings += folder_findings(root, self.connection)
        return FsckReport(
            str(root), at, deep, tuple(self.findings), len(cells), everything.n_files + sum(c.n_files for c in cells),
            everything.n_rows + sum(c.n_rows for c in cells), everything.n_bytes + sum(c.n_bytes for c in cells),
        )  # fmt: skip

    @property
    def _copy(self) -> Path:
        return self.folder / CATALOG

    def _cells(self, everything: GlobalAnswer, *, deep: bool) -> list[CellAnswer]:
        """Check every cell, and then the names of measurements across cells."""
        cells = self.snapshot.cells()
        rows = sum(f.rows for f in self.snapshot.files("measurements"))
        spill, images = PairSpill.planned(self.folder, rows), self.folder / "images.arrow"
        everything.images.save(images)
        whole = {"images", "images_cal", "photcodes"} <= everything.usable and not everything.findings
        task = CellTask(self.snapshot, images, spill, self._deep_task() if deep and whole else None)
        if deep and not whole:
            self._unchecked("what follows from the raw measurements, because of damage to global tables")
        answers = list(self._map("cells", partial(check_cell, task=task), list(enumerate(cells))))
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
        if not complete:
            self._unchecked("numbers of measurements, because of damage to some")
        elif everything.n_measurements is not None:
            self.findings += image_findings(images.image_id, counts, everything.n_measurements)

    def _unchecked(self, what: str) -> None:
        self.findings.append(Finding("unchecked", what))

    def _map(self, step: str, task: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        """Run a task over items, showing the progress of the step."""
        show = None if self.progress is None else partial(self.progress, step)
        return self.executor.map(task, items, progress=show)
