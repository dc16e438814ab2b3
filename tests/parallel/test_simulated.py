"""Whatever a cluster does to tasks, the database that they make is the same, and nothing is left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.derived import refresh
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import Executor, SerialExecutor
from skydb.store.compact import compact
from skydb.store.history import catalog_table
from tests.ingest.skies import assert_same, check_conservation, check_nothing_is_left_over, contents, new_database
from tests.ingest.skies import write_night as night_of

from .contract import ExecutorContract
from .simulated import SimulatedExecutor
from .tasks import solve


class TestQuietSimulation(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return SimulatedExecutor(1, trouble=0.0)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Two nights of one field at a corner of base pixels."""
    folder = tmp_path_factory.mktemp("nights")
    return [night_of(folder / str(seed), exposures=3, stars=60, ra=45.0, dec=0.0, seed=seed) for seed in (1, 2)]


def survey(path: Path, nights: list[list[Path]], executor: Executor) -> Database:
    """A database that has been through every verb that runs tasks."""
    db = new_database(path, cell_rows=60)
    addstar(db, nights[0], workers=executor)
    addstar(db, nights[1], workers=executor, defer=True)
    refresh(db, workers=executor)
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=db.cell_rows, executor=executor)
    solve(db, workers=executor)
    return db


def cells_and_log(db: Database) -> list[object]:
    log = catalog_table(db.snapshot(), "ingest_log").drop_columns(["file"])
    return [db.snapshot().id, db.snapshot().cells(), log.to_pylist()]


@pytest.fixture(scope="module")
def serial(nights: list[list[Path]], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, pa.Table], object]:
    db = survey(tmp_path_factory.mktemp("serial") / "t.sky", nights, SerialExecutor())
    return contents(db), cells_and_log(db)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))])
def test_trouble_changes_nothing(
    seed: int, nights: list[list[Path]], serial: tuple[dict[str, pa.Table], object], tmp_path: Path
) -> None:
    executor = SimulatedExecutor(seed)
    db = survey(tmp_path / "t.sky", nights, executor)
    executor.let_late_tasks_run()
    assert min(executor.befell[fate] for fate in ("repeated", "lost", "crashed", "late")) > 3
    assert_same(contents(db), serial[0])
    assert cells_and_log(db) == serial[1]
    check_conservation(db)
    check_nothing_is_left_over(db)


@pytest.mark.slow
def test_same_seed_does_the_same(nights: list[list[Path]], tmp_path: Path) -> None:
    befell = []
    for name in "ab":
        executor = SimulatedExecutor(7)
        addstar(new_database(tmp_path / f"{name}.sky", cell_rows=60), nights[0], workers=executor)
        befell.append(executor.befell)
    assert befell[0] == befell[1]
    assert sum(befell[0].values()) > 10


def test_second_run_of_a_task_writes_beside_the_first(nights: list[list[Path]], tmp_path: Path) -> None:
    """A worker that was given up and goes on must not write into what others read meanwhile."""
    db = new_database(tmp_path / "t.sky", cell_rows=60)
    executor = Watching(db.work)
    addstar(db, nights[0], workers=executor)
    solve(db, workers=executor)
    assert executor.tasks > 10
    assert executor.rewritten == set()


class Watching:
    """Runs every task twice, and notes which files in work/ the second run touches."""

    workers = 1

    def __init__(self, folder: Path) -> None:
        self.folder, self.tasks, self.rewritten = folder, 0, set[str]()

    def map(self, task: Any, items: Any, *, progress: Any = None) -> Any:
        def twice(item: Any) -> Any:
            answer, before = task(item), self.written()
            task(item)
            self.tasks += 1
            self.rewritten |= {path for path, when in self.written().items() if before.get(path, when) != when}
            return answer

        return SerialExecutor().map(twice, items, progress=progress)

    def written(self) -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in self.folder.glob("*/*") if path.is_file()}
