"""Compaction: other files and cells, the same rows."""

from __future__ import annotations

import errno
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from skydb import database
from skydb.database import Database
from skydb.errors import DataError
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.store import scratch
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.compact import DELTAS_ALLOWED, GLOBAL_FILES_ALLOWED, cells_to_compact, compact, files_to_fold
from skydb.store.files import DataFile
from skydb.store.parquet import read_file
from tests.ingest.skies import (
    SKY_TABLES,
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
)

N_FILES = 4


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=N_FILES, stars=60)


@pytest.fixture(scope="module")
def pristine(night: list[Path]) -> Path:
    """A database with one delta per file; only to be copied."""
    made = new_database(night[0].with_name("pristine.sky"))
    for file in night:
        addstar(made, file, compact=False, workers=1)
    return made.root


@pytest.fixture
def db(tmp_path: Path, pristine: Path) -> Database:
    """A copy of it."""
    return database.open(shutil.copytree(pristine, tmp_path / "t.sky"))


def compacted(db: Database, cells: list[Cell] | None = None, *, cell_rows: int | None = None) -> int | None:
    return compact(db.snapshot, db.commit, cells, cell_rows=cell_rows or db.cell_rows, executor=SerialExecutor())


def files_per_table(db: Database) -> dict[str, int]:
    return {name: len(db.snapshot().files(name)) for name in (*SKY_TABLES, "measurements_cal")}


def test_deltas_fold_into_one_file_and_no_row_changes(db: Database) -> None:
    before, rows = contents(db), files_per_table(db)
    assert rows["measurements"] == rows["measurements_cal"] == N_FILES
    assert compacted(db, db.snapshot().cells()) == db.snapshot().id
    assert set(files_per_table(db).values()) == {1}
    assert_same(contents(db), before)
    check_conservation(db)


def test_folded_files_are_sorted_and_lie_side_by_side(db: Database) -> None:
    compacted(db, db.snapshot().cells())
    snapshot = db.snapshot()
    ((raw, cal),) = snapshot.measurement_pairs(snapshot.cells()[0])
    first, second = (read_file(snapshot.stored(f)) for f in (raw, cal))
    for key in ("object_id", "image_id", "det_id", "code", "mjd"):
        assert first[key].equals(second[key])
    keys = list(zip(*(first[k].to_pylist() for k in ("object_id", "mjd", "image_id", "det_id")), strict=True))
    assert keys == sorted(keys)


def test_full_cell_splits_into_children_and_no_row_changes(db: Database) -> None:
    before = contents(db)
    compacted(db, cell_rows=40)
    cells = db.snapshot().cells()
    assert len(cells) > 4
    assert all(a.hi == b.lo for a, b in pairwise(cells))
    assert (cells[0].lo, cells[-1].hi) == (Cell(0, 4).lo, Cell(0, 4).hi)
    for cell in cells:
        ids = db.snapshot().read_cell("measurements", cell, ["object_id"])["object_id"].to_pylist()
        assert len(ids) <= 40
        assert all(cell.lo <= i < cell.hi for i in ids)
    assert_same(contents(db), before)
    check_conservation(db)
    assert compacted(db, cell_rows=40) is None


def test_split_cells_take_further_files(db: Database, night: list[Path], tmp_path: Path) -> None:
    alone = new_database(tmp_path / "alone.sky")
    compacted(db, cell_rows=40)
    other = write_night(tmp_path / "later", exposures=2, stars=60, seed=3)
    addstar(db, other, compact=False, workers=1)
    addstar(alone, [*night, *other], workers=1)
    assert_same(contents(db), contents(alone))


def test_compaction_starts_with_many_deltas(db: Database, tmp_path: Path) -> None:
    assert cells_to_compact(db.snapshot(), db.cell_rows) == []
    assert cells_to_compact(db.snapshot(), db.cell_rows, deltas_allowed=N_FILES - 1) == db.snapshot().cells()
    for file in write_night(tmp_path / "more", exposures=DELTAS_ALLOWED + 1 - N_FILES, stars=9, seed=5):
        assert files_per_table(db)["measurements"] > 1
        addstar(db, file, workers=1)
    assert files_per_table(db)["measurements"] == 1


def test_stale_cells_stay_stale(db: Database, tmp_path: Path) -> None:
    addstar(db, write_night(tmp_path / "more", exposures=1, stars=9, seed=6), defer=True, workers=1)
    compacted(db, db.snapshot().cells())
    assert [c.stale for c in db.snapshot().cells()] == [True]


def global_file(number: int, rows: int) -> DataFile:
    return DataFile(f"{number:032x}", "images", None, None, "local", f"data/images/{number}", rows, 1, "", 0, 0)


def test_global_files_stay_few_and_no_row_is_written_often() -> None:
    files: list[DataFile] = []
    nights, written, most = 2_000, 0, 0
    for night in range(nights):
        files.append(global_file(night, 60 + night % 7))
        if folded := files_to_fold(files):
            rows = sum(f.rows for f in folded)
            files = [f for f in files if f not in folded] + [global_file(nights + night, rows)]
            written += rows
        most = max(most, len(files))
    assert sum(f.rows for f in files) == sum(60 + night % 7 for night in range(nights))
    assert most <= 2 * GLOBAL_FILES_ALLOWED
    assert written < 8 * sum(f.rows for f in files)


def test_large_global_files_are_left_alone() -> None:
    large = [global_file(number, 900_000) for number in range(12)]
    assert files_to_fold(large) == []
    nights = [global_file(12 + number, 10) for number in range(GLOBAL_FILES_ALLOWED + 1)]
    assert files_to_fold([*large, *nights]) == nights


def test_global_tables_fold_as_nights_come_in_and_no_row_changes(tmp_path: Path) -> None:
    nights = write_night(tmp_path, exposures=GLOBAL_FILES_ALLOWED + 2, stars=12)
    db, whole = new_database(tmp_path / "many.sky"), new_database(tmp_path / "whole.sky")
    for file in nights:
        addstar(db, file, workers=1)
    addstar(whole, nights, workers=1)
    for table in ("images", "images_cal", "exposures"):
        assert len(db.snapshot().files(table)) <= 3
        assert db.snapshot().read_global(table).equals(whole.snapshot().read_global(table))
    check_nothing_is_left_over(db)


def test_older_snapshot_reads_as_before(db: Database) -> None:
    old, before = db.snapshot(), contents(db, ["objects"])
    compacted(db, cell_rows=40)
    parts = [old.read_cell("objects", cell) for cell in old.cells()]
    assert pa.concat_tables(parts).sort_by("object_id").equals(before["objects"])


def test_conflicting_ingest_in_between_is_not_lost(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = write_night(tmp_path / "more", exposures=1, stars=30, seed=4)
    original, tried = Database.commit, []

    def commit(self: Database, changes: Changes) -> int:
        if changes.kind == "compact":
            tried.append(changes.base)
            if len(tried) == 1:
                addstar(db, more, compact=False, workers=1)
        return original(self, changes)

    monkeypatch.setattr(Database, "commit", commit)
    cells = db.snapshot().cells()
    assert compacted(db, cells) == db.snapshot().id
    assert len(tried) == 2
    assert set(files_per_table(db).values()) == {1}
    check_conservation(db)
    check_nothing_is_left_over(db)


@pytest.mark.parametrize("number", [1, 4, 9])
def test_full_disk_leaves_no_trace(db: Database, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before, head, original, calls = contents(db), db.snapshot().id, scratch.store_rows, []

    def store_rows(*args: object, **more: object) -> DataFile:
        calls.append(args)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **more)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(scratch, "store_rows", store_rows)
    with pytest.raises(DataError, match="no space left on device; free some space"):
        compacted(db, cell_rows=40)
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)
    assert_same(contents(db), before)
