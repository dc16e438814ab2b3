"""The catalog is what its manifests make of an empty one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skydb.database as database
from skydb.errors import CommitConflict, DataError
from skydb.store.catalog import reading
from skydb.store.catalog_tables import CATALOG_TABLES, catalog_sql
from skydb.store.cells import Cell
from skydb.store.changes import (
    Calibration,
    Changes,
    Declaration,
    Host,
    ImageKey,
    LogEntry,
    Move,
    Setting,
)
from skydb.store.collect import collect
from skydb.store.commit import commit, transact
from skydb.store.layout import CATALOG, manifest_path
from skydb.store.manifest import manifest_numbers, read_manifest, replay
from skydb.store.parquet import store_rows
from skydb.store.record import recorded_in
from skydb.store.scratch import scratch
from skydb.store.tags import set_tag
from tests.store.test_commit import CELL, add_seeds, seeds

Rows = dict[str, list[tuple[Any, ...]]]


def dump(connection: sqlite3.Connection) -> Rows:
    return {t.name: sorted(connection.execute(f"SELECT {', '.join(t.names)} FROM {t.name}"), key=repr)
            for t in CATALOG_TABLES}  # fmt: skip


def stored(root: Path) -> Rows:
    with reading(root) as connection:
        return dump(connection)


def replayed(root: Path) -> Rows:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(catalog_sql())
        paths = [manifest_path(root, number) for number in manifest_numbers(root)]
        assert len(list(replay(connection, paths))) == len(paths)
        return dump(connection)


def entry(digest: str) -> LogEntry:
    return LogEntry(f"{digest}.smf", digest, 1, "smf", 1, 2, 1, 1, 0, 2, 0, {"no position": 1})


@pytest.fixture
def db(tmp_path: Path) -> database.Database:
    """A database to which everything was done that a commit can do."""
    db = database.create(tmp_path / "t.sky")
    add_seeds(db, [CELL.lo], base=0)
    (first,) = db.snapshot().files("object_seeds")
    add_seeds(db, [CELL.lo + 1], base=1, log=(entry("d1"), entry("d2")), images=(ImageKey(7, "k", 1, "d1"),))
    report = Calibration("relcal", ("r",), 1, 2, 1.5, {"why": "°"})
    db.commit(Changes("relcal", "relcal", 2, calibration=report, cells=(replace(CELL, stale=True),)))
    set_tag(db.root, "PV1")
    db.commit(Changes("hosts", "hosts", 4, hosts=(Host("far", "/far", "w1"),), settings=(Setting("copies", "2"),)))
    db.commit(Changes("hosts", "hosts", 5, moves=(Move(first.name, "far", "local"),)))
    db.commit(Changes("delete", "delete", 6, replaces=(first.name,), ends_log=("d1",), ends_images=(7,),
                      log=(replace(entry("d1"), n_deleted=2, n_deleted_measurements=2),)))  # fmt: skip
    db.commit(Changes("merge", "merge", 7, declarations=(Declaration("mine", "{}"),)))
    db.commit(Changes("rollback", "rollback", 8, adds=(db.snapshot(7 - 1).files("object_seeds")[0],),
                      calibration_id=0, ends_declarations=("mine",), ends_tags=("PV1",)))  # fmt: skip
    file = store_rows(db.root, db.id, seeds([CELL.lo + 9]), "object_seeds", cell=CELL.key)
    db.commit(Changes("test", "test", 9, adds=(file,)))
    db.commit(Changes("test", "test", 10, replaces=(file.name,), ends_cells=(CELL.key,), cells=(Cell(4, 20),)))
    db.commit(Changes("gc", "gc", 11, expires=(1, 2, 3, 10)))
    return db


def test_replayed_manifests_give_the_catalog(db: database.Database) -> None:
    assert replayed(db.root) == stored(db.root)
    assert all(rows for name, rows in stored(db.root).items() if name != "tags"), "a table that nothing was done to"


def test_manifest_says_what_the_catalog_records_of_its_commit(db: database.Database) -> None:
    """The newest one; earlier ones also tell of rows that a later commit gave up."""
    newest = manifest_numbers(db.root)[-1]
    _, record = read_manifest(manifest_path(db.root, newest))
    with reading(db.root) as connection:
        assert recorded_in(connection, newest) == record


def test_what_only_given_up_snapshots_saw_waits_to_be_removed(db: database.Database) -> None:
    with reading(db.root) as connection:
        left = connection.execute("SELECT since_snapshot FROM removals WHERE host = 'local'").fetchall()
        (lives,) = connection.execute("SELECT COUNT(*) FROM files WHERE end_snapshot IS NOT NULL").fetchone()
    assert left == [(12,)]
    assert lives == 1, "the moved file's first life, which kept snapshots see"


def test_copy_that_a_move_leaves_behind_waits_to_be_removed_until_it_is_used_again(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    add_seeds(db, [CELL.lo], base=0)
    (file,) = db.snapshot().files("object_seeds")
    db.commit(Changes("hosts", "hosts", 1, hosts=(Host("far", "/far"),)))
    db.commit(Changes("hosts", "hosts", 2, moves=(Move(file.name, "far"),)))
    assert [row[:2] for row in stored(db.root)["removals"]] == [(file.name, "local")]
    assert db.snapshot(1).files("object_seeds")[0].host == "far", "where a file lies does not depend on the snapshot"
    db.commit(Changes("hosts", "hosts", 3, moves=(Move(file.name, "local", "far"),)))
    assert stored(db.root)["removals"] == []
    assert db.snapshot().files("object_seeds")[0].backup == "far"


def test_manifest_that_is_missing_is_written_before_the_next_commit(db: database.Database) -> None:
    """The commit after it may end or give up what it tells of."""
    file = store_rows(db.root, db.id, seeds([CELL.lo + 11]), "object_seeds", cell=CELL.key)
    db.commit(Changes("test", "test", 12, adds=(file,)))
    transact(db.root, Changes("test", "test", 13, replaces=(file.name,)))
    db.commit(Changes("gc", "gc", 14, expires=(13,)))
    assert manifest_numbers(db.root) == list(range(16))
    assert replayed(db.root) == stored(db.root)


@pytest.mark.parametrize("damage", [
    lambda text: text.replace(b'"rows": 1', b'"rows": 2'), lambda text: text[:-5], lambda text: b"",
    lambda text: text.replace(b"seeds", b"needs"),
])  # fmt: skip
def test_damaged_manifest_is_refused(db: database.Database, damage: Callable[[bytes], bytes]) -> None:
    path = manifest_path(db.root, 1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="a manifest is damaged"):
        replayed(db.root)


def test_missing_manifest_is_refused(db: database.Database) -> None:
    manifest_path(db.root, 4).unlink()
    with pytest.raises(DataError, match="no manifest of snapshot 4"):
        replayed(db.root)


def test_unchanged_cell_gets_no_new_row(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    for base in range(3):
        add_seeds(db, [CELL.lo + base], base=base)
    assert len(stored(db.root)["cells"]) == 1


def test_row_that_another_writer_has_ended_is_a_conflict(db: database.Database) -> None:
    head = db.snapshot().id
    for changes in ({"ends_log": ("d9",)}, {"ends_images": (8,)}, {"ends_tags": ("none",)}, {"ends_hosts": ("none",)}):
        with pytest.raises(CommitConflict, match="another writer ended"):
            db.commit(Changes("test", "test", head, **changes))  # type: ignore[arg-type]  # of any field of Changes
    assert db.snapshot().id == head


def test_written_sky_survives_the_manifest(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    sky = np.array([[0, 5], [7, 12 << 58]])
    db.commit(Changes("test", "test", 0, writes=sky))
    assert replayed(db.root)["snapshots"] == stored(db.root)["snapshots"]


def test_writers_refuse_an_older_copy_of_the_catalog_and_leave_what_came_since(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    older = (db.root / CATALOG).read_bytes()
    head = add_seeds(db, [CELL.lo], base=0)
    (file,) = db.snapshot().files("object_seeds")
    later = (db.root / CATALOG).read_bytes()
    manifest = manifest_path(db.root, head).read_bytes()
    (db.root / CATALOG).write_bytes(older)
    _refused(db.root, "it ends at snapshot 0, but there is a manifest of snapshot 1")
    assert database.open(db.root).snapshot().id == 0, "who only asks is answered by the catalog that there is"
    assert manifest_path(db.root, head).read_bytes() == manifest
    assert (db.root / file.path).exists()
    (db.root / CATALOG).write_bytes(later)
    assert add_seeds(db, [CELL.lo + 1], base=head) == head + 1


def test_writers_refuse_the_catalog_of_another_database(tmp_path: Path) -> None:
    """Whether it is behind or ahead of the manifests."""
    db, other = database.create(tmp_path / "t.sky"), database.create(tmp_path / "o.sky")
    shutil.copy(other.root / CATALOG, db.root / CATALOG)
    _refused(db.root, "its snapshot 0 is not that of the manifest")
    add_seeds(other, [CELL.lo], base=0)
    shutil.copy(other.root / CATALOG, db.root / CATALOG)
    database.open(db.root)
    assert manifest_numbers(db.root) == [0], "nothing is told of a commit that was none of this database"
    _refused(db.root, "its snapshot 0 is not that of the manifest")


def test_writers_refuse_the_catalog_of_a_copy_that_went_another_way(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    shutil.copytree(db.root, tmp_path / "copy.sky")
    copy = database.open(tmp_path / "copy.sky")
    add_seeds(db, [CELL.lo], base=0)
    add_seeds(copy, [CELL.lo + 1], base=0)
    shutil.copy(copy.root / CATALOG, db.root / CATALOG)
    _refused(db.root, "its snapshot 1 is not that of the manifest")


def _refused(root: Path, why: str) -> None:
    """Check that each kind of writer refuses, and says what to do."""
    def work() -> None:
        with scratch(root):
            pass

    grace, now = timedelta(0), datetime.now(UTC) + timedelta(days=1)
    writers: tuple[Callable[[], object], ...] = (
        work, lambda: collect(root, grace=grace, now=now), lambda: collect(root, grace=grace, now=now, dry_run=True),
        lambda: commit(root, Changes("test", "test", 0)),
    )  # fmt: skip
    for writer in writers:
        with pytest.raises(DataError, match=why) as caught:
            writer()
        assert "--rebuild-catalog" in str(caught.value)
