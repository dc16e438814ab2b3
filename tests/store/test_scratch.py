"""Whatever ends a job, the next one finds every file under data/ committed, and work/ empty."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import skydb.database as database
from skydb.database import Database
from skydb.errors import DataError, SkydbError, UsageError
from skydb.store import notes
from skydb.store import scratch as module
from skydb.store.changes import Changes
from skydb.store.files import DataFile
from skydb.store.layout import COMMITS, TAGS, tag_path
from skydb.store.manifest import manifest_numbers
from skydb.store.scratch import Scratch, scratch
from skydb.store.tags import live_tags, set_tag
from tests.ingest.skies import check_nothing_is_left_over, named_files, stored_files
from tests.store.test_commit import CELL, seeds


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return database.create(tmp_path / "t.sky")


def stored(db: Database, place: Scratch) -> DataFile:
    return place.store(db.snapshot(), seeds([CELL.lo]), "object_seeds", cell=CELL)


def ingest(db: Database) -> int:
    """A whole job: store a file and commit it."""
    with scratch(db.root) as place:
        base = db.snapshot().id
        return db.commit(Changes("test", "test", base, adds=(stored(db, place),), cells=(CELL,)))


def kill_job(db: Database, body: str) -> None:
    """Run a job of another process up to its end by SIGKILL; `body` sees `db` and `place`."""
    script = f"""
import os, signal, sys
import skydb.database as database
from tests.store.test_scratch import *
db = database.open(sys.argv[1])
with scratch(db.root) as place:
    {body}
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", script, str(db.root)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (-9, "")


def test_killed_job_is_cleared_up_by_the_next(db: Database) -> None:
    kill_job(db, "stored(db, place); (place.path / 'spill').write_text('rows'); (place.path / 'sub').mkdir()")
    assert len(stored_files(db)) == 1
    assert len(list(db.work.iterdir())) == 1
    ingest(db)
    check_nothing_is_left_over(db)


def test_interrupted_write_is_cleared_up_by_the_next_job(db: Database) -> None:
    """The process dies between the temporary file and its rename."""
    kill_job(db, "Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL); stored(db, place)")
    (left,) = stored_files(db)
    assert left.endswith(".parquet.tmp")
    ingest(db)
    check_nothing_is_left_over(db)


def test_killed_job_keeps_what_it_committed(db: Database) -> None:
    kill_job(db, "db.commit(Changes('test', 'test', 0, adds=(stored(db, place),), cells=(CELL,)))")
    assert db.snapshot().id == 1
    ingest(db)
    check_nothing_is_left_over(db)
    assert db.snapshot(1).read_cell("object_seeds", CELL).num_rows == 1


def test_leftovers_are_found_where_the_database_was_moved_to(db: Database, tmp_path: Path) -> None:
    kill_job(db, "stored(db, place)")
    moved = database.open(db.root.rename(tmp_path / "moved.sky"))
    ingest(moved)
    check_nothing_is_left_over(moved)


def test_running_job_is_left_alone(db: Database) -> None:
    with scratch(db.root) as place:
        file = stored(db, place)
        ingest(db)
        assert file.path in stored_files(db)
        db.commit(Changes("test", "test", db.snapshot().id, adds=(file,), cells=(CELL,)))
    check_nothing_is_left_over(db)


def test_file_is_noted_before_it_is_there(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = module.store_rows

    def store_rows(root: Path, *args: Any, name: str, **more: Any) -> DataFile:
        seen.append(any(note.stem == name for note in db.work.glob("*/*")))
        return original(root, *args, name=name, **more)

    monkeypatch.setattr(module, "store_rows", store_rows)
    ingest(db)
    assert seen == [True]


def test_task_that_outlives_its_job_stores_nothing(db: Database) -> None:
    with scratch(db.root) as place:
        pass
    with pytest.raises(FileNotFoundError):
        stored(db, place)
    check_nothing_is_left_over(db)


def test_catalog_that_cannot_be_asked_leaves_the_notes_to_the_next_job(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(root: Path) -> None:
        raise DataError("the catalog cannot be used")

    with scratch(db.root) as place:
        stored(db, place)
        (place.path / "spill").write_text("rows")
        monkeypatch.setattr(notes, "reading", reading)
    monkeypatch.undo()
    assert len(stored_files(db)) == 1
    assert [path.suffix for path in db.work.glob("*/*")] == [".stored"]
    ingest(db)
    check_nothing_is_left_over(db)


class FullDisk:
    """Has the n-th operation that needs space fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.calls, self.number = 0, number
        paths = ((Path, name) for name in ("mkdir", "rename", "write_text"))
        for owner, name in ((os, "fsync"), (pq, "write_table"), *paths):
            monkeypatch.setattr(owner, name, self.failing(getattr(owner, name)))

    def failing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls == self.number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*args, **more)

        return call


def operations(monkeypatch: pytest.MonkeyPatch, job: Callable[[], object]) -> int:
    """How often a job asks for space."""
    with monkeypatch.context() as patched:
        disk = FullDisk(patched, 0)
        job()
        return disk.calls


def test_full_disk_at_any_step_leaves_what_the_next_job_clears_up(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(db)
    count = operations(monkeypatch, lambda: ingest(db))
    assert count >= 8
    for number in range(1, count + 1):
        with monkeypatch.context() as patched:
            FullDisk(patched, number)
            try:
                ingest(db)
            except SkydbError as error:
                assert "no space left on device; " in str(error)  # noqa: PT017 - clearing up may not fail
        noted = {note.read_text().rstrip("\n").split("\t")[-1] for note in db.work.glob("*/*.stored")}
        assert stored_files(db) <= named_files(db) | noted
        ingest(db)
        check_nothing_is_left_over(db)


def test_full_disk_at_any_step_leaves_no_half_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = operations(monkeypatch, lambda: database.create(tmp_path / "whole.sky"))
    assert count >= 10
    for number in range(1, count + 1):
        with monkeypatch.context() as patched:
            FullDisk(patched, number)
            with pytest.raises(DataError, match="no space left on device"):
                database.create(tmp_path / "t.sky")
        assert not (tmp_path / "t.sky").exists(), number
    ingest(database.create(tmp_path / "t.sky"))


@pytest.mark.parametrize("limit", [0, 2_000, 30_000])
def test_limit_of_file_size_leaves_no_half_database(tmp_path: Path, limit: int) -> None:
    script = (
        "import resource, sys; from skydb.tools.cli import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, -1)); sys.exit(main(['create', sys.argv[1]]))"
    )
    path = tmp_path / "t.sky"
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 3, run.stderr
    assert not path.exists()


def test_killed_creation_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "t.sky"
    script = (
        "import os, signal, sys; import skydb.database as database;"
        "database.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "database.create(sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    with pytest.raises(UsageError, match="no skydb database here"):
        database.open(path)
    assert database.open(database.create(path).root).snapshot().id == 0


def test_creation_touches_nothing_in_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match="not an empty directory"):
        database.create(tmp_path)
    assert (tmp_path / "data").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: is not a directory"):
        database.create(tmp_path / "file" / "deep" / "t.sky")


def test_tag_on_a_full_disk_is_given_whole_by_asking_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(db)
    count = operations(monkeypatch, lambda: set_tag(db.root, "DR0"))
    assert count > 3
    for number in range(1, count + 1):
        with monkeypatch.context() as patched:
            FullDisk(patched, number)
            with pytest.raises(DataError, match="no space left on device") as failed:
                set_tag(db.root, f"DR{number}")
        given = f"DR{number}" in live_tags(db.root)
        assert given == bool(re.search(r"is given|is committed", str(failed.value))), failed.value
        assert set_tag(db.root, f"DR{number}") == 1
        assert tag_path(db.root, f"DR{number}").exists()
        assert len(manifest_numbers(db.root)) == db.snapshot().id + 1


@pytest.mark.parametrize("folder", [COMMITS, TAGS])
def test_tag_is_not_given_where_what_goes_with_it_may_not_be_written(
    db: Database, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != db.root / folder)  # root may write everywhere
    with pytest.raises(UsageError, match=f"{folder}: permission denied; ask its owner"):
        set_tag(db.root, "DR1")
    assert (live_tags(db.root), db.snapshot().id) == ({}, 0)
    check_nothing_is_left_over(db)


def test_nothing_is_committed_where_no_manifest_may_be_written(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != db.root / COMMITS)
    with pytest.raises(UsageError, match="commits: permission denied"):
        ingest(db)
    assert db.snapshot().id == 0
    check_nothing_is_left_over(db)
