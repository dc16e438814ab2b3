"""Going back: a new snapshot that has what an earlier one has, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import skydb
from skydb.database import Database
from skydb.errors import CommitConflict, UsageError
from skydb.parallel.executor import SerialExecutor
from skydb.store.catalog import reading
from skydb.store.changes import Changes, Declaration, Host, LogEntry
from skydb.store.compact import compact
from skydb.store.difference import Difference
from skydb.store.files import DataFile
from skydb.store.history import catalog_table, summary
from skydb.store.layout import manifest_path
from skydb.store.rollback import rollback_changes
from skydb.store.tags import live_tags, set_tag
from skydb.tools.cli import main
from tests.calibration.test_recalibrate import applied
from tests.ingest.skies import assert_same, check_conservation, check_nothing_is_left_over, contents, new_database
from tests.ingest.skies import write_night as write


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("night"), exposures=3, stars=60)


@pytest.fixture(scope="module")
def pristine(night: list[Path]) -> Path:
    """Two files (snapshots 2, 3), a split (4), a calibration (5); only to be copied."""
    made = new_database(night[0].with_name("pristine.sky"))
    for file in night[:2]:
        skydb.addstar(made, file, compact=False, workers=1)
    compact(made.snapshot, made.commit, None, cell_rows=40, executor=SerialExecutor())
    applied(made, 0.1)
    return made.root


@pytest.fixture
def db(tmp_path: Path, pristine: Path) -> Database:
    """A copy of it."""
    return skydb.open(shutil.copytree(pristine, tmp_path / "t.sky"))


def is_nothing(found: Difference) -> bool:
    return not (found.tables or found.files_came or found.files_went or found.images_came or found.images_went)


def state(db: Database) -> dict[str, object]:
    """What a snapshot has, whatever it is called."""
    snapshot = db.snapshot()
    log = catalog_table(snapshot, "ingest_log").drop_columns(["snapshot"]).to_pylist()
    return {
        "cells": [(c.key, c.drift_arcsec, c.stale) for c in snapshot.cells()],
        "calibration": snapshot.calibration_id, "log": sorted(log, key=lambda row: row["digest"]),
    }  # fmt: skip


def test_every_row_is_what_it_was(db: Database, night: list[Path], tmp_path: Path) -> None:
    then = new_database(tmp_path / "then.sky")
    skydb.addstar(then, night[0], compact=False, workers=1)
    report = skydb.rollback(db, 2)
    assert (report.snapshot, report.to, report.is_new, report.calibration_id) == (6, 2, True, 0)
    assert_same(contents(db), contents(then))
    assert state(db) == state(then) | {"log": state(db)["log"]}
    assert is_nothing(skydb.diff(db, 2))
    check_conservation(db)


def test_the_way_forward_is_open_too(db: Database) -> None:
    before, rows = state(db), contents(db)
    skydb.rollback(db, 2)
    assert state(db) != before
    skydb.rollback(db, 5)
    assert state(db) == before
    assert_same(contents(db), rows)
    assert is_nothing(skydb.diff(db, 5))
    check_nothing_is_left_over(db)


def test_file_ingested_since_can_be_ingested_again(db: Database, night: list[Path]) -> None:
    seeds = contents(db, ["object_seeds"])["object_seeds"]
    skydb.rollback(db, 2)
    assert len(contents(db, ["object_seeds"])["object_seeds"]) < len(seeds)
    report = skydb.addstar(db, night[1], compact=False, workers=1)
    assert report.files[0].status == "ingested"
    assert contents(db, ["object_seeds"])["object_seeds"].equals(seeds)
    assert skydb.addstar(db, night[0], workers=1).files[0].status == "known"
    check_conservation(db)


def test_rollback_to_what_is_there_does_nothing_and_says_so(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", str(db.root), "5"]) == 0
    assert capsys.readouterr().out == "nothing to do: snapshot 5 has what snapshot 5 has\n"
    set_tag(db.root, "PV1")
    assert not skydb.rollback(db, "PV1").is_new
    assert db.snapshot().id == 6


def test_tags_and_hosts_stay_and_others_return(db: Database) -> None:
    db.commit(Changes("test", "test", 5, declarations=(Declaration("own", "{}"),)))
    db.commit(Changes("test", "test", 6, hosts=(Host("far", "/far"),), ends_declarations=("own",)))
    set_tag(db.root, "PV1", 7)
    skydb.rollback(db, 6)
    with reading(db.root) as connection:
        declared = connection.execute("SELECT * FROM declarations WHERE end_snapshot IS NULL").fetchall()
        hosts = {name for (name,) in connection.execute("SELECT name FROM hosts WHERE end_snapshot IS NULL")}
    assert declared == [("own", "{}", 9, None)]
    assert hosts == {"local", "far"}
    assert live_tags(db.root) == {"PV1": 7}


def test_changed_log_entry_returns_as_it_was(db: Database) -> None:
    entry = LogEntry("a.smf", "d", 1, "smf", 1, 9, 5, 4, 0, 9, 0, {})
    db.commit(Changes("test", "test", 5, log=(entry,)))
    less = LogEntry("a.smf", "d", 1, "smf", 1, 9, 5, 4, 0, 9, 0, {}, 3, 3)
    db.commit(Changes("test", "test", 6, ends_log=("d",), log=(less,)))
    skydb.rollback(db, 6)
    log = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    assert [row["n_deleted"] for row in log if row["digest"] == "d"] == [0]


def test_cells_return_to_the_hosts_that_keep_their_sky(db: Database) -> None:
    placed = tuple((*c.key, "far") for c in db.snapshot().cells())
    db.commit(Changes("hosts", "hosts", 5, hosts=(Host("far", "/far"),), placed=placed))
    changes = rollback_changes(db.snapshot(), db.snapshot(2))
    assert changes is not None
    assert [(c.key, c.host) for c in changes.cells] == [((0, 4), "far")]


def test_snapshot_that_was_given_up_is_refused(db: Database) -> None:
    assert 3 in skydb.gc(db, grace="0").given_up
    with pytest.raises(UsageError, match="snapshot 3 was given up by snapshot 6"):
        skydb.rollback(db, 3)


def test_writer_that_began_before_is_refused(db: Database) -> None:
    """It may have read a photcode, an exposure or a cell that is no more, even where it writes elsewhere."""
    base = db.snapshot().id
    skydb.rollback(db, 4)
    file = DataFile("f" * 32, "objects", 3, 700, "local", "data/x", 1, 1, "", 0, 0)
    with pytest.raises(CommitConflict, match=r"snapshot 6 \(rollback\) may have changed all"):
        db.commit(Changes("test", "test", base, adds=(file,)))


def test_rollback_starts_again_when_another_commit_comes_first(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    original, tried = Database.commit, []

    def commit(self: Database, changes: Changes) -> int:
        if changes.kind == "rollback":
            tried.append(changes.base)
            if len(tried) == 1:
                skydb.refresh(db, every=True, workers=1)
        return original(self, changes)

    monkeypatch.setattr(Database, "commit", commit)
    assert skydb.rollback(db, 3).snapshot == 7
    assert tried == [5, 6]
    assert is_nothing(skydb.diff(db, 3))


def test_manifest_tells_all_of_a_rollback(db: Database) -> None:
    number = skydb.rollback(db, 3).snapshot
    told = json.loads(manifest_path(db.root, number).read_text())
    names = {f.name for f in db.snapshot(3).files("measurements")}
    assert names <= {row["name"] for row in told["files_added"]}
    assert told["snapshot"]["calibration_id"] == 0


def test_commands_show_it(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(db.root)
    assert main(["rollback", root, "2"]) == 0
    assert capsys.readouterr().out.startswith("snapshot 6 has what snapshot 2 has, under calibration 0: ")
    assert main(["snapshots", root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][-1]["kind"] == "rollback"
    assert summary(db.snapshot())["ingested_files"] == 1
    assert main(["log", root, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1


def test_connection_that_is_open_sees_no_change(db: Database) -> None:
    query = "SELECT object_id, mag FROM measurements ORDER BY ALL"
    with skydb.connect(db) as con:
        before: pa.Table = con.sql(query).arrow()
        skydb.rollback(db, 2)
        skydb.gc(db, grace="0")
        assert con.sql(query).arrow().equals(before)
