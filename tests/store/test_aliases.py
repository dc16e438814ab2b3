"""Ids that other databases gave to objects lead to the objects that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.schema.tables import OBJECT_ALIASES
from skydb.store.aliases import current_ids
from skydb.store.changes import Changes
from skydb.store.parquet import sort_rows
from skydb.store.scratch import scratch
from tests.ingest.skies import new_database, write_night

OTHER = "0" * 32


def add_aliases(db: Database, ids: Mapping[int, int], database_id: str = OTHER) -> None:
    """Commit aliases, id by id."""
    snapshot = db.snapshot()
    with scratch(db.root) as place:
        files = []
        for cell in snapshot.cells():
            own = {old: new for old, new in ids.items() if cell.lo <= old < cell.hi}
            rows = OBJECT_ALIASES.conform(pa.table({
                "object_id": [*own], "stands_for": [*own.values()], "database_id": [database_id] * len(own)
            }, schema=OBJECT_ALIASES.arrow))  # fmt: skip
            if own:
                files.append(place.store(snapshot, sort_rows(rows, "object_aliases"), "object_aliases", cell=cell))
        db.commit(Changes("test", "test", snapshot.id, adds=tuple(files)))


@pytest.fixture
def db(tmp_path: Path) -> Database:
    db = new_database(tmp_path / "t.sky")
    addstar(db, write_night(tmp_path / "n", exposures=1, stars=20, ra=45.0, dec=0.0), workers=1)
    return db


def ids_of(db: Database) -> list[int]:
    return sorted(id_ for cell in db.snapshot().cells() for id_ in
                  db.snapshot().read_cell("object_seeds", cell, ["object_id"])["object_id"].to_pylist())  # fmt: skip


def test_id_of_another_database_leads_to_its_object_and_own_ids_are_kept(db: Database) -> None:
    first, second, *_ = ids_of(db)
    add_aliases(db, {first + 1: first, second + 1: second, second + 2: second})
    asked = np.array([second + 2, first, first + 1, 7, second + 3])
    assert current_ids(db.snapshot(), asked).tolist() == [second, first, first, 7, second + 3]


def test_object_of_the_database_itself_goes_before_an_alias(db: Database) -> None:
    first, second, *_ = ids_of(db)
    add_aliases(db, {first: second})
    assert current_ids(db.snapshot(), np.array([first])).tolist() == [first]


def test_id_that_two_databases_gave_to_different_objects_stands_for_none(db: Database) -> None:
    first, second, *_ = ids_of(db)
    add_aliases(db, {first + 1: first})
    add_aliases(db, {first + 1: first}, "1" * 32)
    assert current_ids(db.snapshot(), np.array([first + 1])).tolist() == [first]
    add_aliases(db, {first + 1: second}, "2" * 32)
    assert current_ids(db.snapshot(), np.array([first + 1])).tolist() == [first + 1]
