"""Whoever reads a snapshot holds it: gc gives up none that somebody reads, however the reader ends."""

from __future__ import annotations

import gc as garbage
import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import skydb
import skydb.database as database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.store import leases
from skydb.store.changes import Changes
from skydb.store.layout import LEASES, lease_path
from skydb.store.leases import leased, nobody_pins
from skydb.store.snapshot import Snapshot
from tests.store.test_commit import CELL, add_seeds

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """A database in whose history a file was replaced: snapshot 1 alone sees the first."""
    made = database.create(tmp_path / "t.sky")
    add_seeds(made, [CELL.lo], base=0)
    (old,) = made.snapshot(1).files("object_seeds")
    add_seeds(made, [CELL.lo, CELL.lo + 1], base=1, replaces=(old.name,))
    return made


def rows(snapshot: Snapshot) -> int:
    return snapshot.read_cell("object_seeds", CELL).num_rows


def test_pinned_snapshot_is_kept_until_nobody_has_it(db: Database) -> None:
    reader = db.snapshot(1)
    (reason,) = [k for k in skydb.gc(db, grace="0").kept if k.snapshot == 1]
    assert (reason.reason, reason.detail) == ("read", f"process {os.getpid()}" if leases_tell() else "")
    assert rows(reader) == 1
    del reader
    assert 1 in skydb.gc(db, grace="0").given_up
    with pytest.raises(UsageError, match="snapshot 1 was given up by snapshot 3"):
        db.snapshot(1)


def leases_tell() -> bool:
    return Path("/proc/locks").exists()


def test_two_readers_of_a_process_share_a_lease_and_each_keeps_it(db: Database) -> None:
    first, second = db.snapshot(1), db.snapshot(1)
    assert first.lease is second.lease is not None
    del first
    assert 1 not in skydb.gc(db, grace="0").given_up
    assert rows(second) == 1


def test_copy_in_a_worker_has_no_lease_and_the_same_rows(db: Database) -> None:
    reader = db.snapshot(1)
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.lease is None
    assert (copy, rows(copy)) == (reader, 1)


def test_connection_keeps_its_snapshot(db: Database) -> None:
    with skydb.connect(db, at=1) as con:
        assert skydb.gc(db, grace="0").given_up == ()
        assert con.sql("SELECT count(*) AS n FROM objects").arrow()["n"].to_pylist() == [0]


def reading_process(db: Database) -> subprocess.Popen[str]:
    """Start a process that pins snapshot 1 and waits."""
    script = (
        "import sys, time, skydb.database as database; snapshot = database.open(sys.argv[1]).snapshot(1);"
        "print('pinned', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(db.root)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "pinned\n"
    return process


def test_lease_of_a_killed_process_ends_with_it(db: Database) -> None:
    with reading_process(db) as process:
        kept = {k.snapshot: k for k in skydb.gc(db, grace="0").kept}
        assert kept[1].reason == "read"
        if leases_tell():
            assert kept[1].detail == f"process {process.pid}"
        process.kill()
    assert 1 in skydb.gc(db, grace="0").given_up


def test_nobody_pins_a_snapshot_while_gc_decides(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes while gc commits waits for it, and is refused then."""
    said: list[str] = []

    def read() -> None:
        try:
            rows(db.snapshot(1))
        except UsageError as error:
            said.append(str(error))

    reader = threading.Thread(target=read)
    original = skydb.store.collect.commit  # type: ignore[attr-defined]  # loaded by gc

    def slow_commit(root: Path, changes: Changes) -> int:
        reader.start()
        time.sleep(0.05)
        assert not said
        return int(original(root, changes))

    monkeypatch.setattr("skydb.store.collect.commit", slow_commit)
    assert skydb.gc(db, grace="0").given_up
    reader.join(10)
    assert len(said) == 1
    assert "was given up" in said[0]


def test_reader_that_comes_first_is_seen_by_gc(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader pins between gc's choice and its commit: gc chooses again."""
    pinned: list[Snapshot] = []
    original = leases.nobody_pins

    def late(root: Path):  # type: ignore[no-untyped-def]  # a context manager
        if not pinned:
            pinned.append(db.snapshot(1))
        return original(root)

    monkeypatch.setattr("skydb.store.collect.nobody_pins", late)
    assert 1 not in skydb.gc(db, grace="0").given_up
    assert rows(pinned[0]) == 1


def test_lease_of_a_removed_file_is_taken_anew(db: Database) -> None:
    reader = db.snapshot(2)
    lease_path(db.root, 2).unlink()
    again = db.snapshot(2)
    assert again.lease is not reader.lease
    assert list(leased(db.root, [2])) == [2]


def test_folder_of_leases_is_made_on_demand(db: Database) -> None:
    for file in (db.root / LEASES).iterdir():
        file.unlink()
    (db.root / LEASES).rmdir()
    reader = db.snapshot(1)
    assert reader.lease is not None
    assert list(leased(db.root, [0, 1, 2])) == [1]


def test_where_nothing_can_be_written_there_is_no_lease_and_an_answer(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (db.root / LEASES).iterdir():
        file.unlink()

    def refuse(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(leases, "hold_file", refuse)
    reader = db.snapshot(1)
    assert reader.lease is None
    assert rows(reader) == 1


def test_leases_end_with_their_snapshots(db: Database) -> None:
    for _ in range(50):
        for number in range(3):
            db.snapshot(number)
    garbage.collect()
    assert list(leased(db.root, range(3))) == []
    if Path("/proc/self/fd").exists():
        assert [link for link in open_files() if str(db.root / LEASES) in link] == []


def open_files() -> list[str]:
    """What this process has open; a file may be closed by another thread meanwhile."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(os.readlink(entry))
    return links


def test_gate_is_open_again_after_an_error(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), nobody_pins(db.root):
        raise ZeroDivisionError
    assert db.snapshot().id == 2
