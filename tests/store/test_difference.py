"""What differs between two snapshots, from the catalog alone."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

import skydb
import skydb.database as database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.parallel.executor import SerialExecutor
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.compact import compact
from skydb.store.difference import GLOBAL, Counts, Difference, common_ancestors
from skydb.store.files import DataFile
from skydb.store.tags import set_tag
from tests.calibration.test_recalibrate import applied
from tests.ingest.skies import SKY_TABLES, contents, new_database, write_night


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Two ingests (snapshots 2 and 3), a split into many cells (4), a calibration (5), a refresh of all (6)."""
    folder = tmp_path_factory.mktemp("diff")
    made = new_database(folder / "t.sky")
    for file in write_night(folder / "night", exposures=2, stars=60):
        skydb.addstar(made, file, compact=False, workers=1)
    compact(made.snapshot, made.commit, None, cell_rows=40, executor=SerialExecutor())
    applied(made, 0.1)
    skydb.refresh(made, every=True, workers=1)
    return made


def of_table(found: Difference, table: str) -> Counts:
    return next((t.counts for t in found.tables if t.table == table), Counts())


def rows(counts: Counts) -> tuple[int, int, int, int]:
    return counts.added, counts.removed, counts.rewritten, counts.recalibrated


def test_ingest_adds_rows_and_names_its_file_and_image(db: Database) -> None:
    found = skydb.diff(db, 2, 3)
    held = {n: [s.files(n) for s in (db.snapshot(2), db.snapshot(3))] for n in ("measurements", "objects")}
    (first, second) = (sum(f.rows for f in files) for files in held["measurements"])
    assert rows(of_table(found, "measurements")) == (second - first, 0, 0, 0)
    founded = sum(f.rows for f in held["objects"][1]) - sum(f.rows for f in held["objects"][0])
    assert rows(of_table(found, "objects")) == (founded, 0, sum(f.rows for f in held["objects"][0]), 0)
    assert [f.n_measurements for f in found.files_came] == [second - first]
    assert (len(found.images_came), found.files_went, found.images_went) == (1, (), ())
    assert found.commits == {"addstar": 1}


def test_split_rewrites_rows_and_is_counted_in_the_cell_that_split(db: Database) -> None:
    found = skydb.diff(db, 3, 4)
    assert (found.before.n_cells, found.after.n_cells) == (1, len(db.snapshot(4).cells()))
    assert found.after.n_cells > 4
    total = len(contents(db, ["measurements"])["measurements"])
    assert rows(of_table(found, "measurements")) == (0, 0, total, 0)
    assert {(c.table, c.norder, c.npix) for c in found.cells} == {(t, 0, 4) for t in (*SKY_TABLES, "measurements_cal")}
    assert found.files_came == found.files_went == ()


def test_calibration_recalibrates_rows_beside_their_raw_files(db: Database) -> None:
    found = skydb.diff(db, 4, 5)
    total = len(contents(db, ["measurements"])["measurements"])
    assert rows(of_table(found, "measurements_cal")) == (0, 0, 0, total)
    assert "measurements" not in {t.table for t in found.tables}
    assert (found.before.calibration_id, found.after.calibration_id) == (0, 1)
    assert [(c.calibration_id, c.snapshot) for c in found.calibrations] == [(1, 5)]


def test_refresh_rewrites_derived_tables_only(db: Database) -> None:
    found = skydb.diff(db, 5, 6)
    assert {t.table for t in found.tables} == {"objects", "object_bands"}
    assert all(rows(t.counts)[:2] == (0, 0) and t.counts.rewritten > 0 for t in found.tables)


def test_what_came_one_way_went_the_other(db: Database) -> None:
    there, back = skydb.diff(db, 2, 6), skydb.diff(db, 6, 2)
    for one, other in zip(there.tables, back.tables, strict=True):
        a, b = astuple(one.counts), astuple(other.counts)
        assert (one.table, a[:2], a[2:4], a[4:6], a[6:]) == (other.table, b[1::-1], b[2:4], b[5:3:-1], b[:5:-1])
    assert (there.files_came, there.images_came) == (back.files_went, back.images_went)
    assert (there.before, there.after) == (back.after, back.before)
    assert there.commits == back.commits


def test_snapshot_does_not_differ_from_itself(db: Database) -> None:
    found = skydb.diff(db, 4, 4)
    assert (found.tables, found.cells, found.files_came, found.images_went, found.commits) == ((), (), (), (), {})


def test_sums_over_cells_are_those_of_tables(db: Database) -> None:
    found = skydb.diff(db, 0)
    for table in SKY_TABLES:
        cells = [c.counts for c in found.cells if c.table == table]
        assert sum(c.added for c in cells) == of_table(found, table).added == len(contents(db, [table])[table])
        assert sum(c.bytes_added for c in cells) == of_table(found, table).bytes_added


def file_of(number: int, cell: Cell, rows: int) -> DataFile:
    return DataFile(f"{number:032x}", "objects", *cell.key, "local", f"data/{number}", rows, 10 * rows, "", 0, 0)


def test_rows_that_went_are_set_against_those_that_came_cell_by_cell(tmp_path: Path) -> None:
    made, one, other = database.create(tmp_path / "t.sky"), Cell(2, 7), Cell(2, 8)
    files = [file_of(1, one, 100), file_of(2, other, 100)]
    made.commit(Changes("test", "test", 0, adds=tuple(files), cells=(one, other)))
    adds = (file_of(3, one, 70), file_of(4, other, 130))
    made.commit(Changes("test", "test", 1, adds=adds, replaces=tuple(f.name for f in files)))
    found = skydb.diff(made, 1)
    counted = {(c.norder, c.npix): rows(c.counts) for c in found.cells}
    assert counted == {(2, 7): (0, 30, 70, 0), (2, 8): (30, 0, 100, 0)}
    assert rows(of_table(found, "objects")) == (30, 30, 170, 0)


def test_tags_of_both_and_between_are_named(db: Database, tmp_path: Path) -> None:
    made = database.create(tmp_path / "t.sky")
    for number in range(4):
        made.commit(Changes("test", "test", number))
    for name, number in (("A", 1), ("B", 2), ("C", 4)):
        set_tag(made.root, name, number)
    assert skydb.diff(made, "A", 3).tags == {"A": 1, "B": 2}


def test_unknown_snapshot_is_refused(db: Database) -> None:
    with pytest.raises(UsageError, match="no snapshot 99"):
        skydb.diff(db, 99)


def test_common_ancestors_are_the_coarsest_of_nested_cells() -> None:
    nested = [(3, 4 * 4 * 9 + 7), (1, 9), (2, 4 * 9 + 1), (2, 40), (GLOBAL, GLOBAL), (2, 41), (1, 9)]
    norder, npix = common_ancestors(*np.array(nested).T)
    assert list(zip(norder.tolist(), npix.tolist(), strict=True)) == [
        (1, 9), (1, 9), (1, 9), (2, 40), (GLOBAL, GLOBAL), (2, 41), (1, 9),
    ]  # fmt: skip
    assert [len(found) for found in common_ancestors(*np.empty((2, 0), dtype=np.int64))] == [0, 0]
