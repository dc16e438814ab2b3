"""Who keeps a host: of a database and its copies, which all have the same hosts, one writes and removes there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from skydb import database
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import UsageError
from skydb.hosts import add_host, balance, drain, remove_host, set_copies, set_host
from skydb.ingest.addstar import addstar
from skydb.snapshots import gc
from skydb.store.host_report import host_rows
from skydb.store.layout import HOST_FILE
from skydb.store.leftovers import orphans
from skydb.store.scratch import scratch
from tests.ingest.skies import assert_same, contents, new_database, write_night

REFUSED = r"only the database at .* may write and remove files here.*`skydb hosts DB set b --root "
HOUR_LATER = timedelta(hours=2)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("later"), exposures=1, stars=12)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small database whose cells lie on a host beside it."""
    folder = tmp_path_factory.mktemp("template")
    db = new_database(folder / "t.sky", cell_rows=100)
    add_host(db, "b", folder / "b")
    set_host(db, "local", state="draining")
    addstar(db, write_night(folder / "night", exposures=1, stars=12, seed=3), workers=1)
    set_host(db, "local", state="active")
    return folder


@pytest.fixture
def db(template: Path, tmp_path: Path) -> Database:
    """The original."""
    for name in ("t.sky", "b"):
        shutil.copytree(template / name, tmp_path / name)
    db = database.open(tmp_path / "t.sky")
    set_host(db, "b", root=tmp_path / "b")
    return db


@pytest.fixture
def copy(db: Database) -> Database:
    return database.open(shutil.copytree(db.root, db.root.with_name("copy.sky")))


def collected(db: Database) -> None:
    gc(db, grace="0", now=datetime.now(UTC) + HOUR_LATER)


def on_host(db: Database) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in (db.root.parent / "b").rglob("*") if p.is_file()}


def test_copy_writes_and_removes_nothing_on_a_host_of_its_original(
    db: Database, copy: Database, later: list[Path]
) -> None:
    addstar(db, later, workers=1)  # the copy knows nothing of these files
    before, held = contents(db), on_host(db)
    todo: list[Callable[[], object]] = [
        lambda: collected(copy), lambda: balance(copy), lambda: drain(copy, "b"), lambda: set_copies(copy, 2),
        lambda: addstar(copy, later, workers=1),
    ]  # fmt: skip
    for do in todo:
        with pytest.raises(UsageError, match=REFUSED):
            do()
    assert orphans(copy.root, datetime.now(UTC) + HOUR_LATER, datetime.now(UTC), remove=True) == ()
    assert on_host(db) == held
    collected(db)
    assert_same(contents(db), before)
    assert fsck(db, workers=1).findings == ()


def test_copy_is_read_and_named_as_one(db: Database, copy: Database) -> None:
    assert_same(contents(copy), contents(db))
    report = fsck(copy, workers=1)
    assert report.clean
    assert [f.kind for f in report.findings] == ["host-kept"]
    reachable = {row.name: row.reachable for row in host_rows(copy.root)}
    assert reachable["local"] == "yes"
    assert reachable["b"].startswith(f"only the database at {db.root.resolve()} ")


def test_copy_has_a_copied_host_for_itself(db: Database, copy: Database, later: list[Path]) -> None:
    shutil.copytree(db.root.parent / "b", db.root.parent / "own")
    set_host(copy, "b", root=db.root.parent / "own", check=True)
    held, before = on_host(db), contents(db)
    addstar(copy, later, workers=1)
    drain(copy, "local")
    collected(copy)
    assert on_host(db) == held
    assert_same(contents(db), before)


def test_moved_database_takes_its_hosts_over_and_the_old_place_is_refused(db: Database, later: list[Path]) -> None:
    old = shutil.copytree(db.root, db.root.with_name("old"))
    moved = database.open(db.root.rename(db.root.with_name("moved.sky")))
    with pytest.raises(UsageError, match=REFUSED):
        collected(moved)
    set_host(moved, "b", root=db.root.parent / "b")
    addstar(moved, later, workers=1)
    collected(moved)
    old.rename(db.root)
    with pytest.raises(UsageError, match=REFUSED):
        collected(database.open(db.root))
    assert fsck(moved, workers=1).findings == ()


def test_copy_in_the_same_place_is_told_by_its_inode(db: Database) -> None:
    db.root.rename(db.root.with_name("kept"))
    shutil.copytree(db.root.with_name("kept"), db.root)
    with pytest.raises(UsageError, match=REFUSED):
        collected(db)


def test_link_to_a_database_is_that_database(db: Database) -> None:
    db.root.with_name("link.sky").symlink_to(db.root)
    collected(database.open(db.root.with_name("link.sky")))
    collected(db)


def test_host_that_names_no_keeper_is_kept_by_the_first_writer(db: Database, copy: Database) -> None:
    said = db.root.parent / "b" / HOST_FILE
    named = json.loads(said.read_text())
    said.write_text(json.dumps({key: named[key] for key in ("database", "host")}))
    assert [row.reachable for row in host_rows(copy.root)] == ["yes", "yes"]
    collected(db)
    assert json.loads(said.read_text()) == named
    with pytest.raises(UsageError, match=REFUSED):
        collected(copy)


def test_copied_notes_of_a_running_job_do_not_remove_what_it_commits(db: Database) -> None:
    note = "0" * 32
    folder = db.root.parent / "b"
    with scratch(db.root) as place:
        lying = next(path for path in on_host(db) if path.suffix == ".parquet")
        new = lying.with_name(f"{note}.parquet")
        shutil.copy(lying, new)
        (place.path / f"{note}.stored").write_text(f"b\t{folder}\t{new.relative_to(folder)}\n")
        copy = shutil.copytree(db.root, db.root.with_name("copy.sky"))
        with scratch(copy):
            pass
        assert new.exists()
    assert not new.exists(), "the note names it rightly: the original removes it"


def test_host_in_use_is_not_added_or_forgotten_by_a_copy(db: Database, copy: Database) -> None:
    said = (db.root.parent / "b" / HOST_FILE).read_text()
    add_host(db, "c", db.root.parent / "c")
    with pytest.raises(UsageError, match=r"this is host 'c' of the database .*, at .*t\.sky"):
        add_host(copy, "c", db.root.parent / "c")
    late = database.open(shutil.copytree(db.root, db.root.with_name("late.sky")))
    remove_host(late, "c")
    assert (db.root.parent / "c" / HOST_FILE).exists()
    assert (db.root.parent / "b" / HOST_FILE).read_text() == said


def test_hosts_behind_urls_have_a_keeper_too(db: Database) -> None:
    files = fsspec.filesystem("memory")
    add_host(db, "m", "memory://kept/m")
    balance(db)
    copy = database.open(shutil.copytree(db.root, db.root.with_name("copy.sky")))
    set_host(copy, "b", root=shutil.copytree(db.root.parent / "b", db.root.parent / "own"))
    held = files.find("/kept")
    for do in (lambda: collected(copy), lambda: drain(copy, "m")):
        with pytest.raises(UsageError, match=r"only the database at .* set m --root memory://kept/m`"):
            do()
    assert files.find("/kept") == held
    set_host(copy, "m", root="memory://kept/m")
    with pytest.raises(UsageError, match="only the database at"):
        drain(db, "m")
    drain(copy, "m")
    files.rm("/kept", recursive=True)
