"""What `test_failing_calls.py` asks of every call, asked of the most important ones where there is no compiler."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import skydb.database as database
from skydb.database import Database
from skydb.errors import BusyError, DataError, DiskFullError, SkydbError
from skydb.store.tags import live_tags, set_tag
from tests.ingest.skies import check_nothing_is_left_over
from tests.store.test_manifest import replayed, stored
from tests.store.test_scratch import ingest

SQLITE_ERRORS = {"SQLITE_FULL": DataError, "SQLITE_IOERR_FSYNC": DataError, "SQLITE_BUSY": BusyError}

EXPECTED = (DataError, DiskFullError, BusyError)


class Countdown:
    """Counts calls, and has one of them raise an error."""

    def __init__(self, number: int, error: Callable[[], Exception]) -> None:
        self.calls, self.number, self.error = 0, number, error

    def tick(self) -> None:
        self.calls += 1
        if self.calls == self.number:
            raise self.error()

    def before(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.tick()
            return original(*args, **more)

        return call


class Statements(sqlite3.Connection):
    """A connection of which each statement counts."""

    countdown: Countdown

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self.countdown.tick()
        return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        self.countdown.tick()
        return super().executemany(*args)


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as asked")
    error.sqlite_errorname = name
    return error


def work(db: Database) -> None:
    """A commit of a file, and a tag."""
    ingest(db)
    if "PV1" not in live_tags(db.root):
        set_tag(db.root, "PV1")


def interrupted(db: Database, patch: Callable[[pytest.MonkeyPatch, Countdown], None], countdown: Countdown) -> bool:
    """Work until a call fails and look at what is left; says whether one did."""
    head = database.open(db.root).snapshot().id
    with pytest.MonkeyPatch.context() as patched:
        patch(patched, countdown)
        try:
            work(db)
        except SkydbError as error:
            assert type(error) in EXPECTED, error  # noqa: PT017 - a call may fail where nothing needs it
    again = database.open(db.root)
    assert head <= again.snapshot().id <= head + 2
    work(again)
    check_nothing_is_left_over(again)
    assert replayed(db.root) == stored(db.root)
    return countdown.calls >= countdown.number


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_any_sync_or_rename_that_fails_is_an_error_of_skydb_and_loses_nothing(quick_folder: Path, code: int) -> None:
    def patch(patched: pytest.MonkeyPatch, countdown: Countdown) -> None:
        for owner, name in ((os, "fsync"), (Path, "rename")):
            patched.setattr(owner, name, countdown.before(getattr(owner, name)))

    db, number = database.create(quick_folder / f"{code}.sky"), 1
    while interrupted(db, patch, Countdown(number, lambda: OSError(code, "as asked"))):
        number += 1
    assert number > 8


@pytest.mark.parametrize("name", SQLITE_ERRORS)
def test_any_statement_that_fails_is_an_error_of_skydb_and_loses_nothing(quick_folder: Path, name: str) -> None:
    """Each in one of the ways, in turn."""

    def patch(patched: pytest.MonkeyPatch, countdown: Countdown) -> None:
        patched.setattr(Statements, "countdown", countdown, raising=False)
        patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Statements))

    db, number = database.create(quick_folder / f"{name}.sky"), 1 + list(SQLITE_ERRORS).index(name)
    while interrupted(db, patch, Countdown(number, lambda: sqlite_error(name))):
        number += len(SQLITE_ERRORS)
    assert number > 40


def test_new_catalog_that_cannot_be_closed_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not say so: it leaves its log beside the file, which would be moved without it."""
    original = database.write_manifest

    def write_manifest(root: Path, snapshot: int) -> None:
        original(root, snapshot)
        (root / "catalog.sqlite-wal").write_bytes(b"frames")

    monkeypatch.setattr(database, "write_manifest", write_manifest)
    with pytest.raises(DataError, match=r"catalog.sqlite-wal: input/output error; check the disk"):
        database.create(tmp_path / "t.sky")
    assert not (tmp_path / "t.sky").exists()
