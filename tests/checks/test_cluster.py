"""Workers that have no catalog, and that fail, find and mend what one process does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skydb import database
from skydb.checks.findings import Finding
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.hosts import add_host, set_copies
from skydb.parallel.executor import SerialExecutor
from tests.checks.damages import DAMAGES, aliased, file_of, flip, flip_older, path_of, with_table
from tests.ingest.skies import assert_same, contents
from tests.parallel.simulated import SimulatedExecutor

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]


@pytest.fixture
def db(pristine: Database, tmp_path: Path) -> Database:
    """The small database on two hosts, with a table of the user's own and old ids."""
    shutil.copytree(pristine.root, tmp_path / "d.sky")
    made = database.open(tmp_path / "d.sky")
    with_table("measurement")(made)
    aliased(made)
    add_host(made, "b", tmp_path / "b", worker="b")
    return made


def found(db: Database, executor: SerialExecutor | SimulatedExecutor) -> list[Finding]:
    return list(fsck(db, deep=True, workers=executor).findings)


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_without_a_catalog_find_what_one_process_finds(db: Database, seed: int) -> None:
    for kind in ("pair-misaligned", "measurement-twice", "alias-broken"):
        DAMAGES[kind][-1](db)
    set_copies(db, 2, workers=1)
    for path in (path_of(db, file_of(db, "objects", 2)), db.root.parent / "b" / file_of(db, "images").path):
        flip(path)
    flip_older(db)
    executor = SimulatedExecutor(seed)
    expected = found(db, SerialExecutor())
    assert {f.kind for f in expected} == {
        "pair-misaligned", "measurement-twice", "alias-broken", "row-twice", "file-damaged", "backup-damaged",
        "old-file-damaged",
    }  # fmt: skip
    assert found(db, executor) == expected
    executor.let_late_tasks_run()
    assert executor.befell["lost"] + executor.befell["repeated"] > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_without_a_catalog_mend_what_one_process_mends(db: Database, seed: int) -> None:
    before = contents(db)
    for table in ("objects", "measurements_cal", "object_seeds"):
        flip(path_of(db, file_of(db, table)))
    executor = SimulatedExecutor(seed)
    report = fsck(db, repair=True, workers=executor)
    executor.let_late_tasks_run()
    assert report.clean, report.text()
    assert report.lost == ()
    assert_same(contents(db), before)
    assert list(db.work.iterdir()) == []
