"""A small database's life, verb by verb: what is killed and starved here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import skydb.database as database
from skydb import hosts
from skydb.calib.relcal import relcal
from skydb.checks.fsck import fsck
from skydb.checks.rebuild import rebuild_catalog
from skydb.database import Database
from skydb.declared import declare_table, drop_table
from skydb.deletion import delete
from skydb.derived import refresh
from skydb.errors import DataError, clear_disk_errors
from skydb.ingest import batches
from skydb.ingest.addrows import addrows
from skydb.ingest.addstar import addstar
from skydb.ingest.import_dvo import import_dvo
from skydb.ingest.merge import merge
from skydb.ingest.report import AddstarReport
from skydb.ingest.watch import watch
from skydb.parallel.executor import executor_for
from skydb.photcodes import import_photcodes
from skydb.snapshots import gc, rollback
from skydb.store import moving
from skydb.store.catalog import reading
from skydb.store.chosen_images import BRING_IMAGES
from skydb.store.compact import compact
from skydb.store.tags import delete_tag, live_tags, set_tag
from skydb.store.unfinished import unfinished_jobs

from .inbox import arrive, aside_of, inbox_of
from .inputs import DECLARED, FEW, STARS

WIDE = ("xrad", "xsrc")
EMPTY = "EMPTY"
"""Tag of the snapshot that has photcodes and nothing else: the first field goes again, lest all later steps be slow."""
CELL_ROWS = 70
"""More than one night's rows and less than two nights': the cell splits once."""


def _photcodes(root: Path, inputs: Path, workers: int) -> None:
    import_photcodes(database.open(root), inputs / "photcodes.txt")
    set_tag(database.open(root).root, EMPTY)


def _anew(root: Path, inputs: Path, workers: int) -> None:
    """Go back to the photcodes, and give that tag up."""
    if EMPTY in live_tags(database.open(root).root):
        rollback(root, EMPTY)
        delete_tag(root, EMPTY)


def _night(inputs: Path, night: int) -> list[Path]:
    return sorted(inputs.glob(f"{night}-*.cmf"))


def _addstar(root: Path, files: list[Path], **options: Any) -> None:
    report = addstar(root, files, **options)
    refused = [f.error for f in report.files if f.status == "failed"]
    if refused:
        raise AssertionError(f"good files were refused: {refused}")


def _declared(root: Path, inputs: Path, workers: int) -> None:
    """Declare a table and bring its rows."""
    declare_table(root, DECLARED)
    report = addrows(root, DECLARED, inputs / "half.parquet", workers=workers)
    if report.count("n_matched") != STARS // 2 and report.files[0].status != "known":
        raise DataError(f"not all rows came: {report.text()}", str(root), "see there")


def _companions(root: Path, inputs: Path, workers: int) -> None:
    """Declare psphot's tables, and ingest files that have them."""
    for table in WIDE:
        declare_table(root, table)
    _addstar(root, [inputs / "wide-0.cmf", inputs / "wide-1.cmf"], workers=workers)


def _match(root: Path, inputs: Path, workers: int) -> None:
    """Ingest more stars than there are, without founding any."""
    (report,) = addstar(root, inputs / "more.cmf", only_match=True, workers=workers).files
    if report.status != "known" and (report.n_matched, report.n_rejected) != (FEW, FEW):
        raise AssertionError(f"not as many as there are: {report}")


def _quarantine(root: Path, inputs: Path, workers: int) -> None:
    """Ingest the first files of the inbox, and set the bad one aside."""
    files = sorted(inbox_of(root).glob("1-*.cmf"))
    _check_set_aside(addstar(root, files, quarantine=aside_of(root), workers=workers))


def _check_set_aside(report: AddstarReport) -> None:
    left = [f.file for f in report.with_status("failed") if not f.quarantined]
    if left:
        raise DataError("it is bad, and was not set aside", left[0], "see there")


def _watch(root: Path, inputs: Path, workers: int) -> None:
    """Watch the inbox for the other files."""

    def ingest(paths: Sequence[str]) -> AddstarReport:
        return addstar(root, paths, quarantine=aside_of(root), workers=workers)

    for done in watch(inbox_of(root), ingest, pattern="2-*.cmf", sleep=lambda seconds: None):
        if done.report is not None:
            _check_set_aside(done.report)
            return


def _import_dvo(root: Path, inputs: Path, workers: int) -> None:
    report = import_dvo(root, inputs / "dvo", workers=workers)
    if not report.ingest.complete:
        raise AssertionError(f"a good database was refused: {report.text()}")


def _undo(root: Path, inputs: Path, workers: int) -> None:
    """Undo the newest ingest, which is that of DVO's database."""
    with reading(root) as connection:
        of_kind = f"kind IN {BRING_IMAGES}"
        (newest,) = connection.execute(f"SELECT max(snapshot) FROM snapshots WHERE {of_kind}").fetchone()
    delete(root, ingests=newest, workers=workers)


def _in_batches(root: Path, inputs: Path, workers: int) -> None:
    """Ingest a night in two batches, and compact."""
    with patch.object(batches, "BATCH_BYTES", 1):
        _addstar(root, _night(inputs, 2), workers=workers)


def _compact(root: Path, inputs: Path, workers: int) -> None:
    db = database.open(root)
    compact(db.snapshot, db.commit, None, cell_rows=db.cell_rows, executor=executor_for(workers))


def _resume(root: Path, inputs: Path, workers: int) -> None:
    """Go on with a relcal that was stopped when it had written everything; one that waits, or a new one."""
    if not unfinished_jobs(root):
        with patch.object(Database, "commit", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
            relcal(root, workers=workers)
    relcal(root, resume=True, workers=workers)


def _balance(root: Path, inputs: Path, workers: int) -> None:
    """Move files to the second host, in several commits."""
    with patch.object(moving, "BATCH_FILES", 4):
        hosts.balance(database.open(root), workers=workers)


def _drain(root: Path, inputs: Path, workers: int) -> None:
    """Take all from the second host, second copies first."""
    db = database.open(root)
    with patch.object(moving, "BATCH_FILES", 8):
        hosts.set_copies(db, 1, workers=workers)
        hosts.drain(db, "far", workers=workers)


def _damaged_file(db: Database) -> tuple[Path, int]:
    """Return the file that `_repair` damages, and its size as it should be."""
    snapshot = db.snapshot()
    file = snapshot.files("objects")[0]
    return Path(snapshot.stored(file).path), file.bytes


def is_damaged(db: Database) -> bool:
    """Say whether a repair did not come to what it had to mend."""
    path, size = _damaged_file(db)
    return path.stat().st_size != size


def _repair(root: Path, inputs: Path, workers: int) -> None:
    """Cut a file off that follows from others, and mend the database."""
    db = database.open(root)
    path, size = _damaged_file(db)
    with clear_disk_errors(root), path.open("rb+") as file:
        file.truncate(size // 2)
    fsck(db, repair=True, workers=workers)
    if is_damaged(db):
        raise DataError("not mended", str(root), "see there")


def _drop(root: Path, inputs: Path, workers: int) -> None:
    if DECLARED in database.open(root).snapshot().declared:
        drop_table(root, DECLARED)


def _untag(root: Path, inputs: Path, workers: int) -> None:
    if "PV1" in live_tags(database.open(root).root):
        delete_tag(root, "PV1")


Step = Callable[[Path, Path, int], object]
"""What takes the database, the folder of inputs and a number of workers."""

STEPS: dict[str, Step] = {
    "create": lambda root, inputs, workers: database.create(root, cell_rows=CELL_ROWS),
    "photcodes": _photcodes,
    "companions": _companions,
    "replace": lambda root, inputs, workers: _addstar(
        root, [inputs / "again.cmf"], replace_images=True, workers=workers
    ),
    "match": _match,
    "arrive": lambda root, inputs, workers: arrive(root, inputs),
    "quarantine": _quarantine,
    "watch": _watch,
    "dvo": _import_dvo,
    "undo": _undo,
    "anew": _anew,
    "addstar": lambda root, inputs, workers: _addstar(root, _night(inputs, 0), compact=False, workers=workers),
    "declared": _declared,
    "defer": lambda root, inputs, workers: _addstar(root, _night(inputs, 1), defer=True, workers=workers),
    "refresh": lambda root, inputs, workers: refresh(root, workers=workers),
    "compact": _compact,
    "relcal": lambda root, inputs, workers: relcal(root, workers=workers),
    "resume": _resume,
    "tag": lambda root, inputs, workers: set_tag(database.open(root).root, "PV1"),
    "host": lambda root, inputs, workers: hosts.add_host(database.open(root), "far", root.parent / "far"),
    "balance": _balance,
    "batches": _in_batches,
    "merge": lambda root, inputs, workers: merge(root, inputs / "apart.sky", workers=workers),
    "delete": lambda root, inputs, workers: delete(root, files=inputs / "0-1.cmf", workers=workers),
    "rollback": lambda root, inputs, workers: rollback(root, "PV1"),
    "rebuild": lambda root, inputs, workers: rebuild_catalog(root),
    "copies": lambda root, inputs, workers: hosts.set_copies(database.open(root), 2, workers=workers),
    "drain": _drain,
    "repair": _repair,
    "drop": _drop,
    "untag": _untag,
    "gc": lambda root, inputs, workers: gc(root, grace="0 s"),
}

ONCE = ("create", "relcal", "resume", "host", "delete")
"""Steps that, done twice, refuse or do something again."""

DAMAGED = ("repair",)
"""Steps that damage something before they mend it; until then it cannot be read."""
