"""What a cell's task takes along, and where it may run."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from skydb.database import Database
from skydb.parallel.executor import SerialExecutor
from skydb.store.carried import Carried, Packed, _Load, map_cells
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.snapshot import Snapshot
from tests.ingest.skies import new_database

CELL = Cell(3, 17, host="north")


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    db: Database = new_database(tmp_path / "t.sky")
    return db.snapshot()


def file_at(host: str, backup: str | None) -> DataFile:
    return DataFile(f"{host}{backup}", "objects", 3, 17, host, "a.parquet", 1, 1, "", 0, 0, backup=backup)


def carried(snapshot: Snapshot, *files: DataFile, cell: Cell = CELL) -> Carried[Cell]:
    tables = [name for name, table in snapshot.tables.items() if table.kind == "sky"]
    snapshot.learn({(name, cell): list(files) if name == "objects" else [] for name in tables})
    return Carried(cell, (cell,), _Load(snapshot, [(cell,)]))


@pytest.mark.parametrize(("files", "backup"), [
    ([], None),
    ([("north", None)], None),
    ([("north", "south"), ("north", "south")], "south"),
    ([("north", "south"), ("north", "east")], None),
    ([("north", "south"), ("south", None)], "south"),
    ([("north", "south"), ("north", None)], None),
])  # fmt: skip
def test_backup_is_the_host_that_has_copies_of_all_files(
    snapshot: Snapshot, files: list[tuple[str, str | None]], backup: str | None
) -> None:
    item = carried(snapshot, *(file_at(*place) for place in files))
    assert (item.host, item.backup) == ("north", backup)


def test_at_its_backup_a_cell_lies_there_and_knows_the_same_files(snapshot: Snapshot) -> None:
    file = file_at("north", "south")
    packed = carried(snapshot, file).at_backup()
    assert packed.item == replace(CELL, host="south")
    assert packed.files["objects", replace(CELL, host="south")] == [file]


def test_item_arrives_with_its_files(snapshot: Snapshot) -> None:
    file = file_at("north", None)
    arrived = pickle.loads(pickle.dumps(carried(snapshot, file)))
    assert arrived == Packed(CELL, arrived.files)
    assert arrived.files["objects", CELL] == [file]


@dataclass(frozen=True)
class Task:
    """Reads through its snapshot."""

    snapshot: Snapshot

    def __call__(self, cell: Cell) -> list[DataFile]:
        return self.snapshot.files("objects", cell)


class Elsewhere(SerialExecutor):
    """Runs tasks as another process would."""

    def map(self, task, items, *, progress=None):  # type: ignore[no-untyped-def]  # as that of its base
        for item in items:
            call, arrived = pickle.loads(pickle.dumps((task, item)))
            yield call(arrived)


def test_task_elsewhere_knows_the_files_of_its_cell(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_at("north", None)
    carried(snapshot, file)
    snapshot.look_up_for_tasks()
    monkeypatch.setattr(Snapshot, "_look_up", lambda *_: pytest.fail("asked the catalog"))
    assert list(map_cells(Elsewhere(), Task(snapshot), snapshot, [CELL])) == [[file]]


def test_nothing_is_looked_up_for_tasks_of_this_process(snapshot: Snapshot) -> None:
    assert list(map_cells(SerialExecutor(), lambda cell: cell.key, snapshot, [CELL])) == [CELL.key]
    assert ("objects", CELL) not in snapshot.known_files
