"""Promise 1: a snapshot is whole or absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import skydb.database as database
from skydb.errors import CommitConflict, UsageError
from skydb.store.catalog import FORMAT_VERSION, writing
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.history import catalog_table
from skydb.store.layout import manifest_path
from skydb.store.parquet import store_rows
from skydb.store.ranges import overlap, pack_ranges, unpack_ranges
from skydb.store.tags import set_tag

CELL = Cell(3, 5)


def seeds(ids: list[int]) -> pa.Table:
    count = len(ids)
    zeros = pa.array([0.0] * count)
    return pa.table({
        "object_id": pa.array(ids, pa.int64()), "assoc_ra": zeros, "assoc_dec": zeros, "assoc_epoch": zeros,
        "founder_image_id": pa.array([1] * count, pa.int64()), "founder_det_id": pa.array(range(count), pa.int64()),
    })  # fmt: skip


def add_seeds(db: database.Database, ids: list[int], *, base: int, **more: object) -> int:
    file = store_rows(db.root, db.id, seeds(ids), "object_seeds", cell=CELL.key)
    ranges = np.array([[CELL.lo, CELL.hi]])
    changes = Changes("test", "test", base, adds=(file,), cells=(CELL,), reads=ranges, writes=ranges, **more)  # type: ignore[arg-type]  # of any field of Changes
    return db.commit(changes)


@pytest.fixture
def db(tmp_path: Path) -> database.Database:
    return database.create(tmp_path / "t.sky")


@pytest.mark.parametrize(("change", "kind"), [(-1, "older"), (1, "later")])
def test_database_of_another_format_is_refused(db: database.Database, change: int, kind: str) -> None:
    with writing(db.root) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(FORMAT_VERSION + change),))
    with pytest.raises(UsageError, match=f"its format {FORMAT_VERSION + change} is {kind} than this skydb reads"):
        database.open(db.root)


def test_new_database_is_an_empty_snapshot(db: database.Database) -> None:
    assert db.snapshot().id == 0
    assert db.snapshot().cells() == []
    assert db.snapshot().read_global("images").num_rows == 0


def test_commit_is_seen_by_new_readers_only(db: database.Database) -> None:
    before = db.snapshot()
    number = add_seeds(db, [CELL.lo, CELL.lo + 7], base=0)
    assert before.cells() == []
    after = database.open(db.root).snapshot()
    assert after.id == number
    assert after.read_cell("object_seeds", CELL)["object_id"].to_pylist() == [CELL.lo, CELL.lo + 7]
    assert after.cells() == [CELL]


def test_writer_that_read_changed_sky_is_refused_and_changes_nothing(db: database.Database) -> None:
    add_seeds(db, [CELL.lo], base=0)
    with pytest.raises(CommitConflict, match="same part of the sky"):
        add_seeds(db, [CELL.lo + 1], base=0)
    assert db.snapshot().id == 1
    assert add_seeds(db, [CELL.lo + 1], base=1) == 2


def test_writers_in_different_sky_both_succeed(db: database.Database) -> None:
    add_seeds(db, [CELL.lo], base=0)
    other = Cell(3, 6)
    file = store_rows(db.root, db.id, seeds([other.lo]), "object_seeds", cell=other.key)
    ranges = np.array([[other.lo, other.hi]])
    assert db.commit(Changes("test", "test", 0, adds=(file,), cells=(other,), reads=ranges, writes=ranges)) == 2


def test_replacing_a_file_that_is_gone_is_refused(db: database.Database) -> None:
    add_seeds(db, [CELL.lo], base=0)
    (old,) = db.snapshot().files("object_seeds")
    db.commit(Changes("test", "test", 1, replaces=(old.name,)))
    with pytest.raises(CommitConflict):
        db.commit(Changes("test", "test", 2, replaces=(old.name,)))
    assert db.snapshot(1).files("object_seeds") == [old]
    assert db.snapshot().files("object_seeds") == []


def test_missing_last_manifest_is_written_again_at_opening(db: database.Database) -> None:
    number = add_seeds(db, [CELL.lo], base=0)
    path = manifest_path(db.root, number)
    first = json.loads(path.read_text())
    path.unlink()
    database.open(db.root)
    assert json.loads(path.read_text()) == first
    assert first["files_added"][0]["table_name"] == "object_seeds"


def test_failed_transaction_leaves_nothing(db: database.Database) -> None:
    def fail() -> None:
        with writing(db.root) as connection:
            connection.execute("INSERT INTO meta VALUES ('a', 'b')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with writing(db.root) as connection:
        assert connection.execute("SELECT COUNT(*) FROM meta WHERE key = 'a'").fetchone() == (0,)


def test_catalog_tables_have_their_declared_schemas(db: database.Database) -> None:
    add_seeds(db, [CELL.lo], base=0)
    for name in ("cells", "hosts", "snapshots", "ingest_log", "calibrations"):
        catalog_table(db.snapshot(), name)
    cells = catalog_table(db.snapshot(), "cells").to_pylist()
    assert cells[0]["n_files"] == 1
    assert cells[0]["stale"] is False


def test_tag_names_a_snapshot_for_ever(db: database.Database) -> None:
    add_seeds(db, [CELL.lo], base=0)
    assert set_tag(db.root, "PV1") == 1
    add_seeds(db, [CELL.lo + 1], base=1)
    assert db.snapshot("PV1").id == 1
    with pytest.raises(UsageError, match="already"):
        set_tag(db.root, "PV1")
    with pytest.raises(UsageError, match="no tag named 'PV2'"):
        db.snapshot("PV2")
    assert (db.root / "tags" / "PV1.sqlite").exists()


def test_create_refuses_a_full_directory(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(UsageError, match="not an empty directory"):
        database.create(tmp_path)


def test_opening_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no skydb database"):
        database.open(tmp_path)


def test_ranges_survive_packing() -> None:
    ranges = np.array([[0, 5], [7, 12 << 58]])
    assert (unpack_ranges(pack_ranges(ranges)) == ranges).all()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([[0, 5]], [[5, 9]], False), ([[0, 6]], [[5, 9]], True), ([[0, 1], [20, 30]], [[5, 9], [29, 31]], True),
     ([], [[0, 9]], False), ([[10, 20]], [[0, 5]], False)],
)  # fmt: skip
def test_overlap_of_ranges(first: list[list[int]], second: list[list[int]], expected: bool) -> None:
    def ranges(pairs: list[list[int]]) -> np.ndarray:
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    assert overlap(ranges(first), ranges(second)) is expected
    assert overlap(ranges(second), ranges(first)) is expected
