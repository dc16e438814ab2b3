"""The catalog is read wherever it lies, also where nothing can be written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skydb.database as database
from skydb.database import Database
from skydb.errors import BusyError, DataError, UsageError
from skydb.store import catalog
from skydb.store.catalog import alive, reading
from skydb.store.cells import Cell
from skydb.store.layout import CATALOG, manifest_path
from tests.store.test_scratch import ingest


@pytest.fixture
def closed(tmp_path: Path) -> Database:
    """A database of two snapshots where SQLite cannot make its shared memory, as on a read-only or a full disk."""
    db = database.create(tmp_path / "t.sky")
    ingest(db)
    shared = db.root / f"{CATALOG}-shm"
    shared.symlink_to("nowhere")  # which SQLite refuses to open
    return db


def test_reader_writes_nothing_but_sqlites_shared_memory(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    before = {p: p.read_bytes() for p in db.root.rglob("*") if p.is_file()}
    database.open(db.root).snapshot().cells()
    assert {p: p.read_bytes() for p in db.root.rglob("*") if p.is_file()} == before


def test_catalog_is_read_where_nothing_can_be_written(closed: Database) -> None:
    manifest_path(closed.root, 1).unlink()
    assert len(database.open(closed.root).snapshot().files("object_seeds")) == 1


def test_catalog_that_changes_while_it_is_read_as_it_stands_is_refused(closed: Database) -> None:
    with pytest.raises(BusyError, match="changed while it was read"), reading(closed.root):
        os.utime(closed.root / CATALOG, ns=(0, 0))


def test_commits_that_wait_in_an_unusable_log_are_not_overlooked(closed: Database) -> None:
    log = closed.root / f"{CATALOG}-wal"
    log.write_bytes(b"frames")
    with pytest.raises(DataError, match="newest commits wait"), reading(closed.root):
        pass


def test_writing_where_nothing_can_be_written_says_so(closed: Database) -> None:
    with pytest.raises(UsageError, match=r"catalog.sqlite: permission denied"):
        ingest(closed)


def test_commit_beyond_the_space_of_the_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """The limit is in force within the commit only, so that it is SQLite that meets it."""
    db = database.create(tmp_path / "t.sky")
    script = """
import resource, sys
import skydb.database as database
from skydb.store.catalog import writing
from skydb.tools import cli
def fill():
    with writing(database.open(sys.argv[1]).root) as connection:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
        connection.execute("INSERT INTO meta VALUES ('big', ?)", ("x" * 1_000_000,))
try:
    fill()
except BaseException as error:
    sys.exit(cli._report(error))
"""
    run = subprocess.run([sys.executable, "-c", script, str(db.root)], capture_output=True, text=True, check=False)
    assert (run.returncode, "catalog.sqlite: input/output error; check the disk" in run.stderr) == (3, True), run.stderr
    with reading(db.root) as connection:
        assert connection.execute("SELECT count(*) FROM meta WHERE key = 'big'").fetchone() == (0,)
    ingest(db)


@pytest.mark.parametrize(("query", "indexes"), [
    (f"files WHERE table_name = 'objects' AND norder = 3 AND npix = 7 AND {alive(1)}", {"live_files", "ended_files"}),
    (f"files WHERE table_name = 'images' AND {alive(1)}", {"live_files", "ended_files"}),
    ("files WHERE begin_snapshot = 1", {"files_by_begin"}),
    ("files WHERE end_snapshot = 1", {"files_by_end"}),
    ("cells WHERE begin_snapshot = 1", {"cells_by_begin"}),
    ("cells WHERE end_snapshot = 1", {"cells_by_end"}),
    ("ingest_log WHERE begin_snapshot = 1", {"log_by_begin"}),
    ("image_index WHERE begin_snapshot = 1", {"images_of_snapshot"}),
])  # fmt: skip
def test_rows_of_a_cell_a_table_or_a_commit_are_found_by_an_index(
    tmp_path: Path, query: str, indexes: set[str]
) -> None:
    db = database.create(tmp_path / "t.sky")
    with reading(db.root) as connection:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {query}"))
    assert set(re.findall(r"INDEX (\w+_\w+)", plan)) == indexes, plan


def test_files_of_cells_are_those_of_each_cell(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    ingest(db)
    snapshot = db.snapshot()
    (cell,) = snapshot.cells()
    nowhere = Cell(cell.norder, cell.npix + 1)
    answers = snapshot.files_of_cells("object_seeds", [nowhere, cell, cell])
    assert answers == [[], *[db.snapshot().files("object_seeds", cell)] * 2]
    assert len(answers[1]) == 1


def test_network_file_system_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/export {tmp_path / 'far'} nfs4 rw 0 0\n")
    monkeypatch.setattr(catalog, "MOUNTS", mounts)
    with pytest.raises(UsageError, match=r"may not lie on a network file system \(nfs4\)"):
        database.create(tmp_path / "far" / "survey.sky")
    assert not (tmp_path / "far").exists()
    assert database.create(tmp_path / "farther.sky").root == tmp_path / "farther.sky"


def test_database_that_has_lost_its_catalog_says_how_to_make_it_again(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    (db.root / CATALOG).unlink()
    with pytest.raises(DataError, match=r"the catalog is not there; run `skydb fsck --rebuild-catalog`"):
        database.open(db.root)


@pytest.mark.parametrize("at", [10**30, "9" * 30, -1])
def test_number_that_no_snapshot_can_have_is_refused(tmp_path: Path, at: int | str) -> None:
    db = database.create(tmp_path / "t.sky")
    with pytest.raises(UsageError, match="no snapshot"):
        db.snapshot(at)
    with pytest.raises(UsageError, match="no tag named"):
        db.snapshot("٣")
