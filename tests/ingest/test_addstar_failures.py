"""Whatever stops an ingest, the database is as it was, or as if nothing had stopped it; and nothing is left over."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from loky import get_reusable_executor

import skydb.database as database
from skydb.database import Database
from skydb.errors import BusyError, CommitConflict, DataError
from skydb.ingest import batches, routing
from skydb.ingest.addstar import addstar
from skydb.ingest.routing import InputFile, group_files
from skydb.photcodes import import_photcodes
from skydb.store import commit as commit_module
from skydb.store import scratch
from skydb.store.changes import Changes
from skydb.store.files import DataFile
from tests.ingest.skies import (
    SURVEY_CODES,
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    stored_files,
    write_night,
    write_survey,
)
from tests.ingest.tables import REFERENCE, mapping_of

CELL_ROWS = 100

pytestmark = pytest.mark.usefixtures("workers_end")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=4, stars=60)


@pytest.fixture(scope="module")
def undisturbed(night: list[Path]) -> dict[str, pa.Table]:
    db = new_database(night[0].with_name("undisturbed.sky"), cell_rows=CELL_ROWS)
    addstar(db, night[:2], workers=1)
    addstar(db, night[2:], workers=1)
    return contents(db)


@pytest.fixture(scope="module")
def begun(night: list[Path]) -> Path:
    """A database that holds two files of the night; only to be copied."""
    made = new_database(night[0].with_name("begun.sky"), cell_rows=CELL_ROWS)
    addstar(made, night[:2], workers=1)
    return made.root


@pytest.fixture
def db(tmp_path: Path, begun: Path) -> Database:
    """A copy of it."""
    return database.open(shutil.copytree(begun, tmp_path / "t.sky"))


def before_commit(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[int]:
    """Do something once, just before the next commit; returns a list that grows with every commit tried."""
    original, tried = Database.commit, []

    def commit(self: Database, changes: Changes) -> int:
        tried.append(changes.base)
        if len(tried) == 1:
            monkeypatch.setattr(Database, "commit", original)
            action()
            monkeypatch.setattr(Database, "commit", commit)
        return original(self, changes)

    monkeypatch.setattr(Database, "commit", commit)
    return tried


def test_lost_race_is_run_again_and_both_are_there(
    db: Database, night: list[Path], undisturbed: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = database.open(db.root)
    tried = before_commit(monkeypatch, lambda: addstar(other, night[2], workers=1))
    report = addstar(db, night[3], compact=False, workers=1)
    assert len(tried) == 2
    assert report.files[0].status == "ingested"
    assert_same(contents(db), undisturbed)
    check_conservation(db)
    check_nothing_is_left_over(db)


def test_same_file_ingested_by_another_meanwhile_is_known(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before_commit(monkeypatch, lambda: addstar(database.open(db.root), night[2], workers=1))
    report = addstar(db, night[2:], compact=False, workers=1)
    assert [f.status for f in report.files] == ["known", "ingested"]
    check_conservation(db)


def test_writers_in_different_sky_do_not_disturb_each_other(
    db: Database, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = write_night(tmp_path / "far", exposures=1, ra=200.0, dec=-40.0, seed=7)
    tried = before_commit(monkeypatch, lambda: addstar(database.open(db.root), far, workers=1))
    addstar(db, night[2:], compact=False, workers=1)
    assert len(tried) == 1
    check_conservation(db)


def test_cells_planned_at_the_same_time_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows plan a base pixel as one cell; many rows elsewhere in it plan small ones."""
    few = write_night(tmp_path / "few", exposures=1, stars=20, ra=40.0, dec=0.0, seed=1)
    many = write_night(tmp_path / "many", exposures=2, stars=200, ra=45.0, dec=0.0, seed=2)
    db, alone = new_database(tmp_path / "t.sky", cell_rows=100), new_database(tmp_path / "alone.sky", cell_rows=100)
    tried = before_commit(monkeypatch, lambda: addstar(database.open(db.root), many, workers=1))
    addstar(db, few, workers=1)
    assert len(tried) > 1
    cells = db.snapshot().cells()
    assert all(a.hi <= b.lo for a, b in pairwise(cells))
    addstar(alone, [*many, *few], workers=1)
    assert_same(contents(db), contents(alone))


def test_endless_conflict_is_given_up(db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict(self: Database, changes: Changes) -> int:
        raise CommitConflict("another writer came first")

    head = db.snapshot().id
    monkeypatch.setattr(Database, "commit", conflict)
    monkeypatch.setattr("skydb.store.retries.ATTEMPTS", 2)
    with pytest.raises(CommitConflict):
        addstar(db, night[2], workers=1)
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)


def test_photcode_that_changed_its_number_meanwhile_stops_the_ingest(
    db: Database, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that were read hold the old number."""
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    survey = write_survey(tmp_path / "a.csv", [(1, 10.0, 5.0)])
    (tmp_path / "codes").write_text("7777 R.G ref 0 0 0 - - 0 0 -\n")
    original, done = routing.route_files, []

    def read_then_import(task: routing.RouteTask) -> routing.RouteResult:
        result = original(task)
        done.append(import_photcodes(db, tmp_path / "codes"))
        return result

    monkeypatch.setattr(batches, "route_files", read_then_import)
    with pytest.raises(BusyError, match=r"'R.G' was changed.*run addstar again"):
        addstar(db, survey, mapping=mapping, workers=1)
    monkeypatch.setattr(batches, "route_files", original)
    assert done == [1]
    assert addstar(db, survey, mapping=mapping, workers=1).files[0].n_new == 1


@pytest.mark.parametrize("number", [1, 4, 14])
def test_full_disk_leaves_no_trace_and_a_second_run_succeeds(
    db: Database, night: list[Path], undisturbed: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    head, original, calls = db.snapshot().id, scratch.store_rows, []

    def store_rows(*args: object, **more: object) -> DataFile:
        calls.append(args)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **more)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(scratch, "store_rows", store_rows)
    with pytest.raises(DataError, match="no space left on device; free some space"):
        addstar(db, night[2:], workers=1)
    assert len(calls) == number
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)
    assert [f.status for f in addstar(db, night[2:], workers=1).files] == ["ingested", "ingested"]
    assert_same(contents(db), undisturbed)


def test_full_disk_while_reading_is_no_fault_of_the_file(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_spill(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(routing, "write_spill", write_spill)
    with pytest.raises(DataError, match="no space left on device; free some space"):
        addstar(db, night[2:], workers=1)
    check_nothing_is_left_over(db)


def test_failing_worker_leaves_no_trace(db: Database, night: list[Path]) -> None:
    """A file stands where a folder should be, so that every task fails after its first files."""
    head, folder = db.snapshot().id, db.root / "data" / "objects"
    folder.rename(folder.with_name("aside"))
    folder.write_text("")
    before = stored_files(db)
    with pytest.raises(OSError, match="objects"):
        addstar(db, night[2:], workers=2)
    get_reusable_executor(2).shutdown(wait=True)
    assert stored_files(db) == before
    folder.unlink()
    folder.with_name("aside").rename(folder)
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)


@pytest.mark.parametrize(("step", "workers"), [("read", 1), ("associate", 1), ("write", 1), ("write", 2)])
def test_interrupt_leaves_no_trace(db: Database, night: list[Path], step: str, workers: int) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        if name == step:
            raise KeyboardInterrupt

    head = db.snapshot().id
    with pytest.raises(KeyboardInterrupt):
        addstar(db, night[2:], workers=workers, progress=interrupt)
    if workers > 1:
        get_reusable_executor(2).shutdown(wait=True)
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)


def test_failure_after_the_transaction_loses_nothing(
    db: Database, night: list[Path], undisturbed: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the manifest is written: what was committed stays, and a second run knows it."""

    def write_manifest(root: Path, snapshot: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commit_module, "write_manifest", write_manifest)
    with pytest.raises(DataError, match=r"snapshot 3 is committed, but .*no space left on device"):
        addstar(db, night[2:], workers=1)
    monkeypatch.undo()
    opened = database.open(db.root)
    assert_same(contents(opened), undisturbed)
    assert [f.status for f in addstar(opened, night[2:], workers=1).files] == ["known", "known"]
    check_nothing_is_left_over(opened)


def test_killed_ingest_is_as_if_it_had_not_begun(
    db: Database, night: list[Path], undisturbed: dict[str, pa.Table]
) -> None:
    script = """if True:
        import os, signal, sys
        from skydb.ingest.addstar import addstar
        def kill(step, done, total):
            if step == "write" and done == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        addstar(sys.argv[1], sys.argv[2:], workers=1, progress=kill)
    """
    before, head = contents(db), db.snapshot().id
    run = subprocess.run([sys.executable, "-c", script, str(db.root), *map(str, night[2:])], check=False)
    assert run.returncode == -9
    opened = database.open(db.root)
    assert opened.snapshot().id == head
    assert_same(contents(opened), before)
    addstar(opened, night[2:], workers=1)
    assert_same(contents(opened), undisturbed)


def test_empty_file_comes_first_and_the_others_go_on() -> None:
    files = [InputFile(0, "empty", "a", 0), InputFile(1, "b", "b", 5), InputFile(2, "c", "c", 6)]
    assert [[f.number for f in group] for group in group_files(files, bytes_per_task=10)] == [[0, 1], [2]]
