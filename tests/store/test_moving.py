"""A move that is killed, at every named point of it: nothing is lost, and the next one brings it to its end."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from skydb import database
from skydb.database import Database
from skydb.derived import refresh
from skydb.errors import DataError
from skydb.hosts import add_host, balance, drain, remove_host, set_copies, set_host
from skydb.ingest.addstar import addstar
from skydb.snapshots import gc
from skydb.store import crashpoints, moving
from skydb.store.catalog import reading
from skydb.store.cells import LOCAL
from skydb.store.hosts import storage_of
from skydb.store.moving import Group, groups_of
from skydb.store.tags import set_tag
from tests.ingest.skies import assert_same, contents, new_database, write_night
from tests.stateful.killing import killed_at


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small tagged database on two hosts, one beside it."""
    folder = tmp_path_factory.mktemp("template")
    db = new_database(folder / "t.sky", cell_rows=10)
    add_host(db, "b", folder / "b")
    addstar(db, write_night(folder / "night", exposures=1, stars=12), workers=1)
    set_tag(db.root, "PV1")
    return folder


def copied(template: Path, folder: Path) -> Database:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    db = database.open(folder / "t.sky")
    set_host(db, "b", root=folder / "b")
    return db


def lying(db: Database) -> set[tuple[str, str]]:
    folders = {LOCAL: db.root, "b": db.root.parent / "b"}
    return {(n, str(p.relative_to(f))) for n, f in folders.items() for p in (f / "data").rglob("*") if p.is_file()}


def named(db: Database) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The copies that the catalog needs, and those that it needs no more."""
    query = "SELECT host, path FROM files UNION SELECT backup, path FROM files WHERE backup IS NOT NULL"
    with reading(db.root) as connection:
        return set(connection.execute(query)), set(connection.execute("SELECT host, path FROM removals"))


def passed_by(action: Callable[[], object]) -> Counter[str]:
    before = Counter(crashpoints.passed)
    action()
    return Counter(crashpoints.passed) - before


ACTIONS: dict[str, Callable[[Database], object]] = {
    "drain": lambda db: drain(db, "b"), "backup": lambda db: set_copies(db, 2),
}  # fmt: skip


QUICK = ("store.stored", "move.copied", "commit.applied", "commit.committed", "move.committed", "job.ending")


ALL = [pytest.param(name, marks=pytest.mark.slow) for name in ACTIONS]


@pytest.mark.parametrize("action", [pytest.param("drain", id="quick"), *ALL])
def test_killed_move_loses_nothing_and_goes_on_when_it_is_run_again(
    template: Path, tmp_path: Path, action: str, request: pytest.FixtureRequest
) -> None:
    """At each point; the first, the middle and the last time that the process passes it, or in short the middle."""
    do = ACTIONS[action]
    undisturbed = copied(template, tmp_path / "u")
    rows = contents(undisturbed)
    points = passed_by(lambda: do(undisturbed))
    assert points["move.copied"] == points["move.committed"] == points["move.published"] == 1
    assert points["store.stored"] >= 10
    every = [f"{name}:{n}" for name, count in points.items() for n in {1, (count + 1) // 2, count}]
    short = [f"{name}:{(points[name] + 1) // 2}" for name in QUICK]
    for point in short if "quick" in request.node.name else every:
        db = copied(template, tmp_path / "t")
        assert killed_at(point, lambda db=db: do(db)), point
        db = database.open(db.root)
        needed, left = named(db)
        assert needed <= lying(db), point
        assert_same(contents(db), rows)
        do(db)
        needed, left = named(db)
        assert lying(db) == needed | left, point
        gc(db, grace=0)
        assert lying(db) == named(db)[0], point
        assert list(db.work.iterdir()) == []
        assert_same(contents(db), rows)


def test_killed_move_is_cleared_up_by_another_job(template: Path, tmp_path: Path) -> None:
    db = copied(template, tmp_path / "t")
    before = lying(db)
    assert killed_at("move.copied:1", lambda: drain(db, "b"))
    assert lying(db) > before
    addstar(db, write_night(tmp_path / "later", exposures=1, stars=6, ra=180, seed=9), workers=1)
    needed, left = named(db)
    assert (lying(db), left) == (needed, set())


def test_moves_are_committed_in_batches_of_whole_cells(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "BATCH_FILES", 6)
    db = copied(template, tmp_path / "t")
    cells = sum(c.host == "b" for c in db.snapshot().cells())
    moved = drain(db, "b")
    assert cells >= 2
    assert len(moved.snapshots) == cells
    assert {c.host for c in db.snapshot().cells()} == {LOCAL}


def test_files_that_came_while_a_host_was_drained_move_too(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = copied(template, tmp_path / "t")
    batches, calls = moving._batches, []

    def while_moving(groups: list[Group]) -> object:
        calls.append(groups)
        if len(calls) == 1:
            addstar(db, write_night(tmp_path / "later", exposures=1, stars=12, seed=4), workers=1, compact=False)
        return batches(groups)

    monkeypatch.setattr(moving, "_batches", while_moving)
    drain(db, "b")
    assert len(calls) == 2
    assert {g.host for g in groups_of(db.root)} == {LOCAL}
    remove_host(db, "b")


def test_copy_that_was_left_behind_is_used_again(template: Path, tmp_path: Path) -> None:
    db = copied(template, tmp_path / "t")
    there = {p: p.stat().st_ino for p in (tmp_path / "t" / "b").rglob("*.parquet")}
    drain(db, "b")
    set_host(db, "b", state="active")
    drain(db, LOCAL)
    assert {p: p.stat().st_ino for p in there} == there
    assert storage_of(db.root).active == ("b",)
    gc(db, grace=0)
    assert lying(db) == named(db)[0]
    assert set(there) <= {tmp_path / "t" / "b" / path for host, path in lying(db) if host == "b"}


def test_older_file_that_is_gone_does_not_keep_a_host_from_being_drained(template: Path, tmp_path: Path) -> None:
    """A repair gives files up, which older snapshots go on to name."""
    db = copied(template, tmp_path / "t")
    older = next(f for f in db.snapshot().files("objects") if f.host == "b")
    refresh(db, every=True, workers=1)
    (tmp_path / "t" / "b" / older.path).unlink()
    drain(db, "b")
    assert {g.host for g in groups_of(db.root)} == {LOCAL}
    newest = db.snapshot().files("objects")[0]
    for root in (db.root, tmp_path / "t" / "b"):
        (root / newest.path).unlink(missing_ok=True)
    set_host(db, "b", state="active")
    with pytest.raises(DataError, match="a stored file is missing"):
        set_copies(db, 2)


def test_balance_with_nothing_to_do_commits_nothing(template: Path, tmp_path: Path) -> None:
    db = copied(template, tmp_path / "t")
    balance(db)
    head = db.snapshot().id
    assert balance(db).snapshots == ()
    assert db.snapshot().id == head
