"""addrows: rows of files become rows of a table that the database declares, by object; a commit per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from skydb import database
from skydb.database import Database
from skydb.errors import CommitConflict, DataError, UsageError, did_you_mean
from skydb.executors import executor_of
from skydb.parallel.executor import Executor, Workers
from skydb.schema.declaration import is_shipped
from skydb.schema.model import Table
from skydb.sky.partition import merge_ranges
from skydb.store.carried import map_cells
from skydb.store.changes import NOWHERE, Changes, LogEntry
from skydb.store.command_line import one_line
from skydb.store.compact import compact
from skydb.store.crashpoints import reached
from skydb.store.files import digest_of
from skydb.store.history import logged_files
from skydb.store.notes import drop_uncommitted
from skydb.store.retries import until_committed
from skydb.store.scratch import Scratch, scratch
from skydb.store.snapshot import Snapshot

from .batch import DEFAULT_RADIUS_ARCSEC
from .companions import rows_digest
from .rows.matching import PositionMatch, match_by_id, match_by_measurement
from .rows.reading import RowFile, row_file
from .rows.report import RowsFileReport, RowsReport
from .rows.storing import RowsTask, Spilled, StoredRows, spill, store_cell

LARGEST_RADIUS_ARCSEC = 600.0


def addrows(
    db: Database | str | PathLike[str], table: str, files: Sequence[str | PathLike[str]] | str | PathLike[str], *,
    radius_arcsec: float | None = None, workers: Workers = None, cluster: object = None,
) -> RowsReport:  # fmt: skip
    """Bring rows of a declared table from Parquet or FITS files.

    A row of a table keyed by object belongs to the object of its `object_id`, or to the nearest one within a radius
    of its `ra` and `dec`; one of a table keyed by measurement to the measurement of its `image_id`, or `image` (its
    name), and `det_id`. Rows that belong to nothing, and rows whose keys are there already, are rejected and counted.

    Parameters
    ----------
    db
        The database, or its path.
    table
        Its name; see `skydb.declare_table`.
    files
        Paths of the files. A file whose content is in the table already is recognised and changes nothing.
    radius_arcsec : arcsec
        Match by position within this radius, even where the file has ids of objects; None: 1 arcsec where it has none.
    workers, cluster
        As `skydb.addstar` takes them.

    Returns
    -------
    RowsReport
        What became of every file. A file that cannot be read is reported as failed; the others go on.

    Raises
    ------
    UsageError
        No such table, no files, or a bad radius.
    CommitConflict
        Other writers came first again and again.

    Examples
    --------
    ::

        skydb.declare_table("survey.sky", "starpar")
        print(skydb.addrows("survey.sky", "starpar", "fits.parquet", radius_arcsec=0.5).text())
    """
    opened = db if isinstance(db, Database) else database.open(db)
    paths = _paths(files)
    declared = _declared(opened.snapshot(), table)
    if radius_arcsec is not None and not 0 < radius_arcsec <= LARGEST_RADIUS_ARCSEC:
        todo = f"give arcseconds, more than 0 and at most {LARGEST_RADIUS_ARCSEC:g}"
        raise UsageError(f"a radius of {radius_arcsec} arcsec", None, todo)
    if radius_arcsec is not None and declared.keyed_by == "measurement":
        raise UsageError(f"table {table} is keyed by measurement", None, "leave the radius out")
    more = [] if radius_arcsec is None else ["--radius", f"{radius_arcsec:g}"]
    command = one_line(["addrows", str(opened.root), table, *paths, *more])
    job = _Job(opened, declared, radius_arcsec, executor_of(opened, workers, cluster), command)
    reports = tuple(job.ingest(path) for path in dict.fromkeys(paths))
    compact(opened.snapshot, opened.commit, None, cell_rows=opened.cell_rows, executor=job.executor)
    return RowsReport(table, reports, opened.snapshot().id)


def _paths(files: Any) -> list[str]:
    several = isinstance(files, Iterable) and not isinstance(files, str | PathLike | bytes)
    paths = [fspath(file) for file in (files if several else [files])]
    if not paths:
        raise UsageError("no files to ingest", None, "name at least one")
    return paths


def _declared(snapshot: Snapshot, name: str) -> Table:
    if name not in snapshot.declared:
        todo = f"skydb table DB --declare {name}" if is_shipped(name) else did_you_mean(name, snapshot.declared)
        raise UsageError(f"the database declares no table {name!r}", str(snapshot.root), todo)
    return snapshot.declared[name]


class _Job:
    """One call: what all its files share."""

    def __init__(
        self, db: Database, table: Table, radius_arcsec: float | None, executor: Executor, command: str
    ) -> None:
        self.db, self.table, self.executor, self.command = db, table, executor, command
        self.radius_arcsec = radius_arcsec

    def ingest(self, path: str) -> RowsFileReport:
        """Bring the rows of one file, in one commit, and report on it."""
        try:
            digest, root = _digest(self.table, Path(path)), self.db.root
            with scratch(root) as place:
                return until_committed(
                    root, partial(self._attempt, path, digest, place),
                    after_conflict=partial(drop_uncommitted, root, place.path),
                )  # fmt: skip
        except CommitConflict:
            raise
        except (DataError, UsageError) as error:
            return RowsFileReport(path, "failed", error=str(error), exit_code=error.exit_code)

    def _attempt(self, path: str, digest: str, place: Scratch) -> RowsFileReport:
        snapshot = self.db.snapshot()
        if logged_files(snapshot, [digest]):
            return RowsFileReport(path, "known")
        file = row_file(Path(path), _declared(snapshot, self.table.name), by_position=self.radius_arcsec is not None)
        spilled, looked_at = self._spilled(file, snapshot, place)
        cells = spilled.touched_cells
        task = RowsTask(snapshot, place, self.table.name, tuple(spilled.paths))
        stored = list(map_cells(self.executor, partial(store_cell, task=task), snapshot, cells))
        report = _report(path, file, spilled, stored)
        writes = np.array([(c.lo, c.hi) for c in cells], dtype=np.int64).reshape(-1, 2)
        reached("addrows.written")
        self.db.commit(Changes(
            "addrows", self.command, snapshot.id, adds=tuple(s.file for s in stored if s.file is not None),
            log=(_log_entry(report, digest, file),), reads=merge_ranges(np.concatenate([writes, looked_at])),
            writes=writes,
        ))  # fmt: skip
        return report

    def _spilled(self, file: RowFile, snapshot: Snapshot, place: Scratch) -> tuple[Spilled, np.ndarray]:
        """Return the rows by object, and the sky that was looked at to find the objects."""
        if self.table.keyed_by == "measurement":
            match = match_by_measurement(file, snapshot, self.executor, place.path)
            return spill(file, match, snapshot, place.path), NOWHERE
        if "object_id" in file.key_columns:
            return spill(file, match_by_id(snapshot), snapshot, place.path), NOWHERE
        near = PositionMatch(snapshot, self.radius_arcsec or DEFAULT_RADIUS_ARCSEC)
        return spill(file, near, snapshot, place.path), near.reads


def _digest(table: Table, path: Path) -> str:
    try:
        return rows_digest(table.name, digest_of(path))
    except OSError as error:
        raise UsageError(f"cannot be opened: {error.strerror}", str(path), "check the path") from error


def _report(path: str, file: RowFile, spilled: Spilled, stored: Sequence[StoredRows]) -> RowsFileReport:
    reasons = Counter(spilled.reasons)
    for cell in stored:
        reasons.update(cell.reasons)
    return RowsFileReport(
        path, "ingested", n_in=spilled.n_in, n_matched=sum(s.n_stored for s in stored),
        n_rejected=reasons.total(), n_nulled=spilled.n_nulled, reasons=dict(reasons), unused=file.unused,
    )  # fmt: skip


def _log_entry(report: RowsFileReport, digest: str, file: RowFile) -> LogEntry:
    return LogEntry(
        report.file, digest, file.path.stat().st_size, f"{file.table.name}:{file.format}", 0, report.n_in,
        report.n_matched, 0, report.n_rejected, 0, report.n_nulled, report.reasons,
    )  # fmt: skip
