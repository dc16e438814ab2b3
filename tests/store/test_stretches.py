"""Long work is committed stretch by stretch: a stop loses one, a lost race redoes one, and the answers are the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from skydb import database
from skydb.calibration import recalibrate
from skydb.calibration.rewriting import RewrittenCell
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.store import compact as compaction
from skydb.store import stretches as module
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.compact import Compacted, compact
from skydb.store.snapshot import Snapshot
from skydb.store.stretches import cells_in, stretches
from tests.ingest.skies import assert_same, check_nothing_is_left_over, contents, new_database, write_night

CELLS = 3

Work = Callable[[Database], int | None]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of many cells, all of which wait for a refresh; only to be copied."""
    folder = tmp_path_factory.mktemp("night")
    made = new_database(folder / "pristine.sky", cell_rows=40)
    first, *later = write_night(folder, exposures=5, stars=80)
    addstar(made, later, compact=False, workers=1)
    compact(made.snapshot, made.commit, None, cell_rows=made.cell_rows, executor=SerialExecutor())
    addstar(made, first, defer=True, compact=False, workers=1)
    assert sum(c.stale for c in made.snapshot().cells()) > 2 * CELLS
    return made.root


@pytest.fixture
def db(tmp_path: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(module, "CELLS", CELLS)
    return database.open(shutil.copytree(pristine, tmp_path / "t.sky"))


def refreshed(db: Database) -> int | None:
    return recalibrate.refresh(db.snapshot, db.commit, executor=SerialExecutor())


def compacted(db: Database) -> int | None:
    cells = db.snapshot().cells()
    return compact(db.snapshot, db.commit, cells, cell_rows=db.cell_rows, executor=SerialExecutor())


WORKS: dict[str, Work] = {"refresh": refreshed, "compact": compacted}


def expected_of(pristine: Path, folder: Path, work: Work) -> tuple[dict[str, object], int]:
    """What the work makes of a database in one stretch, and how many stretches there are."""
    db = database.open(shutil.copytree(pristine, folder / "expected.sky"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", 10**6)
        before, cells = db.snapshot().id, len(db.snapshot().cells())
        work(db)
    assert db.snapshot().id == before + 1
    return contents(db), -(-cells // CELLS)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Tell which cells are worked on."""
    done: list[tuple[int, int]] = []
    refresh_cell, compact_cell = recalibrate.refresh_cell, compaction.compact_cell

    def refresh(cell: Cell, *, task: recalibrate.RecalibrateTask) -> RewrittenCell:
        done.append(cell.key)
        return refresh_cell(cell, task=task)

    def fold(cell: Cell, **task: object) -> Compacted:
        done.append(cell.key)
        return compact_cell(cell, **task)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(recalibrate, "refresh_cell", refresh)
    monkeypatch.setattr(compaction, "compact_cell", fold)
    return done


@pytest.mark.parametrize("verb", WORKS)
def test_stretches_together_are_the_whole(db: Database, pristine: Path, tmp_path: Path, verb: str) -> None:
    expected, n_stretches = expected_of(pristine, tmp_path, WORKS[verb])
    before = db.snapshot().id
    assert WORKS[verb](db) == db.snapshot().id
    assert before + 2 < db.snapshot().id <= before + n_stretches
    assert_same(contents(db), expected)
    check_nothing_is_left_over(db)


@pytest.mark.parametrize("verb", WORKS)
def test_who_is_stopped_has_done_what_was_committed(
    db: Database, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    expected, _ = expected_of(pristine, tmp_path, WORKS[verb])
    before, original = db.snapshot().id, Database.commit

    def commit(self: Database, changes: Changes) -> int:
        if self.snapshot().id == before + 2:
            raise KeyboardInterrupt
        return original(self, changes)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            WORKS[verb](db)
    assert db.snapshot().id == before + 2
    check_nothing_is_left_over(db)
    done = counting(monkeypatch)
    left = sum(c.stale for c in db.snapshot().cells())
    WORKS[verb](db)
    assert verb == "compact" or len(done) == left < len(db.snapshot().cells())
    assert_same(contents(db), expected)


@pytest.mark.parametrize("verb", WORKS)
def test_lost_race_costs_one_stretch(
    db: Database, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Another writer ingests into all cells while the second stretch is worked on."""
    night = write_night(tmp_path / "more", exposures=1, stars=80, seed=1)
    original, raced, before = Database.commit, [], db.snapshot().id

    def commit(self: Database, changes: Changes) -> int:
        if changes.kind == verb and self.snapshot().id == before + 1 and not raced:
            raced.append(True)
            addstar(self, night, compact=False, workers=1)
        return original(self, changes)

    monkeypatch.setattr(Database, "commit", commit)
    done = counting(monkeypatch)
    there = len([c for c in db.snapshot().cells() if c.stale or verb == "compact"])
    WORKS[verb](db)
    assert raced
    assert len(done) <= there + CELLS
    check_nothing_is_left_over(db)
    if verb == "refresh":
        refreshed(db)
        held = contents(db)
        recalibrate.refresh(db.snapshot, db.commit, executor=SerialExecutor(), every=True)
        assert_same(contents(db), held)


def test_cells_that_split_meanwhile_are_still_in_their_stretch(db: Database) -> None:
    cells = db.snapshot().cells()
    parts = [stretch for stretch, _ in stretches(cells)]
    compact(db.snapshot, db.commit, cells[:1], cell_rows=5, executor=SerialExecutor())
    after = db.snapshot()
    assert len(after.cells()) > len(cells)
    found = [cells_in(after, part) for part in parts]
    assert [c for part in found for c in part] == list(after.cells())
    assert len(found[0]) > CELLS
    assert found[1] == [*cells[CELLS : 2 * CELLS]]


def test_larger_cell_that_came_back_is_in_every_stretch_that_it_shares_sky_with(db: Database) -> None:
    """As after a rollback: a refresh in progress finds it, and nothing is left waiting."""
    cells = db.snapshot().cells()
    parts = [stretch for stretch, _ in stretches(cells)]
    assert [cells_in(db.snapshot(0), part) for part in parts] == [[]] * len(parts)
    larger = sorted({Cell(0, cell.lo >> 58) for cell in cells})
    found = [cells_in(cast(Snapshot, SimpleNamespace(cells=lambda: larger)), part) for part in parts]
    assert {c for part in found for c in part} == set(larger)
    assert all(found)


def test_progress_is_of_the_whole(db: Database) -> None:
    told: list[tuple[int, int]] = []
    cells = db.snapshot().cells()
    executor = SerialExecutor()
    compact(
        db.snapshot, db.commit, cells, cell_rows=db.cell_rows, executor=executor,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == sorted(told)
    assert {total for _, total in told} == {len(cells)}
    assert told[-1] == (len(cells), len(cells))
