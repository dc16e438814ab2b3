"""The catalog made anew is the catalog as it was, whatever happened to the old one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from skydb.checks import rebuild
from skydb.checks.fsck import fsck
from skydb.checks.rebuild import rebuild_catalog
from skydb.database import Database
from skydb.derived import refresh
from skydb.errors import BusyError, DataError, UsageError
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.snapshots import gc, rollback
from skydb.store.catalog_tables import CATALOG_TABLES
from skydb.store.changes import Changes, Host
from skydb.store.compact import compact
from skydb.store.layout import CATALOG, manifest_path
from skydb.store.tags import set_tag
from tests.checks.damages import file_of, flip, path_of
from tests.ingest.skies import write_night


def dump(db: Database) -> dict[str, list[str]]:
    """Every row of every table of the catalog."""
    with closing(sqlite3.connect(db.root / CATALOG)) as connection:
        return {
            t.name: sorted(map(repr, connection.execute(f"SELECT {', '.join(t.names)} FROM {t.name}")))
            for t in CATALOG_TABLES
        }


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(50_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [Path.unlink, truncate, garbage, empty, lambda path: None],
                         ids=["missing", "truncated", "garbage", "empty", "sound"])  # fmt: skip
def test_catalog_comes_back_as_it_was(db: Database, harm: Callable[[Path], None]) -> None:
    before = dump(db)
    was = (db.root / CATALOG).read_bytes()
    harm(db.root / CATALOG)
    harmed = (db.root / CATALOG).read_bytes() if (db.root / CATALOG).exists() else None
    made = rebuild_catalog(db.root)
    assert dump(db) == before
    assert made.missing == ()
    assert made.snapshot == db.snapshot().id
    if harmed is not None and harmed != was:
        assert (db.root / str(made.kept)).read_bytes() == harmed
    assert fsck(db, workers=1).findings == ()


def test_catalog_comes_back_after_every_kind_of_commit(db: Database, tmp_path: Path) -> None:
    """Tags, hosts, deferred ingests, refreshes, folds, a return to an older snapshot, and what gc gives up."""
    addstar(db, write_night(tmp_path / "more", exposures=2, stars=20, ra=45.0, dec=0.0, seed=5), defer=True, workers=1)
    refresh(db, workers=1)
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=db.cell_rows, executor=SerialExecutor())
    set_tag(db.root, "folded")
    (tmp_path / "far").mkdir()
    db.commit(Changes("test", "test", db.snapshot().id, hosts=(Host("far", str(tmp_path / "far")),)))
    rollback(db, "halfway")
    gc(db, grace="0s")
    before = dump(db)
    (db.root / CATALOG).unlink()
    rebuild_catalog(db.root)
    assert dump(db) == before
    assert {f.kind for f in fsck(db, workers=1).findings} <= {"removal-waiting"}


def test_files_that_are_not_there_are_said(db: Database) -> None:
    file = file_of(db, "objects")
    path_of(db, file).unlink()
    made = rebuild_catalog(db.root)
    assert made.missing == (file.path,)
    assert file.path in made.text()


@pytest.mark.parametrize("harm", [Path.unlink, flip], ids=["missing", "flipped"])
def test_lost_manifest_is_named_and_nothing_is_changed(db: Database, harm: Callable[[Path], None]) -> None:
    before = (db.root / CATALOG).read_bytes()
    harm(manifest_path(db.root, 2))
    with pytest.raises(DataError, match="000000000002"):
        rebuild_catalog(db.root)
    assert (db.root / CATALOG).read_bytes() == before
    assert not list(db.root.glob(".catalog*"))
    assert not list(db.root.glob("catalog-replaced*"))


def test_catalog_is_not_replaced_while_another_writes(db: Database) -> None:
    with closing(sqlite3.connect(db.root / CATALOG, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            rebuild_catalog(db.root)


def test_disk_that_is_full_is_said_and_nothing_is_changed(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    before = dump(db)
    monkeypatch.setattr(rebuild, "make_catalog", full)
    with pytest.raises(DataError, match="no space left on device"):
        rebuild_catalog(db.root)
    assert dump(db) == before


def test_no_database_is_the_callers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no skydb database"):
        rebuild_catalog(tmp_path)


def test_commits_of_an_older_catalog_come_back(db: Database) -> None:
    """A catalog that was put back from a copy lacks the last commits; the manifests have them."""
    from tests.checks.damages import older_catalog

    head = db.snapshot().id
    older_catalog(db)
    assert db.snapshot().id == head
    rebuild_catalog(db.root)
    assert db.snapshot().id == head + 1
    assert fsck(db, workers=1).clean
