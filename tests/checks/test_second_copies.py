"""Files that have a second copy on another host: each is mended from the other, and a host that is away waited for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from skydb import database
from skydb.checks.fsck import fsck
from skydb.checks.report import FsckReport
from skydb.database import Database
from skydb.deletion import delete
from skydb.hosts import add_host, balance, drain, lose_host, set_copies, set_host
from skydb.ingest.addstar import addstar
from skydb.snapshots import gc
from skydb.store.cells import LOCAL
from skydb.store.files import DataFile
from tests.checks.damages import file_of, flip, flip_older
from tests.ingest.skies import assert_same, check_conservation, contents

Harm = Callable[[Path], None]


def loop(path: Path) -> None:
    """Make a file a link to itself, which nobody can read."""
    path.unlink()
    path.symlink_to(path.name)


HARMS = pytest.mark.parametrize("harm", [flip, Path.unlink, loop], ids=["flipped", "missing", "unread"])
TABLES = pytest.mark.parametrize(
    "table", ["measurements", "images", *(pytest.param(t, marks=pytest.mark.slow) for t in ("objects", "object_seeds"))]
)


@pytest.fixture(scope="module")
def template(pristine: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small database and another host beside it; every file lies on both."""
    folder = tmp_path_factory.mktemp("copies")
    shutil.copytree(pristine.root, folder / "d.sky")
    db = database.open(folder / "d.sky")
    add_host(db, "b", folder / "b")
    set_copies(db, 2, workers=1)
    return folder


@pytest.fixture
def db(template: Path, tmp_path: Path) -> Database:
    """A copy of that database, to damage."""
    shutil.copytree(template, tmp_path / "at")
    made = database.open(tmp_path / "at" / "d.sky")
    set_host(made, "b", root=tmp_path / "at" / "b")
    return made


def copy_of(db: Database, file: DataFile, host: str) -> Path:
    return (db.root if host == LOCAL else db.root.parent / "b") / file.path


def other_than(file: DataFile) -> str:
    """The host of a file's second copy."""
    assert file.backup is not None
    return file.backup


def kinds(report: FsckReport) -> set[tuple[str, str | None]]:
    return {(f.kind, f.file) for f in report.findings}


@HARMS
@TABLES
def test_damaged_file_is_mended_from_its_second_copy(db: Database, table: str, harm: Harm) -> None:
    before, head = contents(db), db.snapshot().id
    file = file_of(db, table)
    was = copy_of(db, file, file.host).read_bytes()
    harm(copy_of(db, file, file.host))
    found = fsck(db, workers=1)
    assert kinds(found) == {("file-missing" if harm is Path.unlink else "file-damaged", file.path)}
    report = fsck(db, repair=True, workers=1)
    assert (report.findings, report.lost) == ((), ())
    (done,) = report.mended
    assert done.what == f"copied again from host {other_than(file)} to host {file.host}"
    assert copy_of(db, file, file.host).read_bytes() == was
    assert db.snapshot().id == head
    assert_same(contents(db), before)


@HARMS
@TABLES
def test_damaged_second_copy_is_mended_from_the_first(db: Database, table: str, harm: Harm) -> None:
    file = file_of(db, table)
    path = copy_of(db, file, other_than(file))
    was = path.read_bytes()
    harm(path)
    assert kinds(fsck(db, workers=1)) == {("backup-damaged", file.path)}
    report = fsck(db, repair=True, workers=1)
    assert (report.findings, report.lost) == ((), ())
    assert report.mended[0].what == f"copied again from host {file.host} to host {other_than(file)}"
    assert path.read_bytes() == was


def test_copies_of_older_files_are_mended_from_each_other(db: Database) -> None:
    flip_older(db)
    (found,) = fsck(db, workers=1).findings
    assert found.kind == "old-file-damaged"
    report = fsck(db, repair=True, workers=1)
    assert (report.findings, len(report.mended)) == ((), 1)


@pytest.mark.parametrize("harms", [(flip, flip), (Path.unlink, flip), (Path.unlink, Path.unlink)],
                         ids=["flipped", "missing and flipped", "missing"])  # fmt: skip
def test_rows_whose_copies_are_all_damaged_are_lost_and_said_and_kept(db: Database, harms: tuple[Harm, Harm]) -> None:
    file = file_of(db, "measurements")
    for harm, host in zip(harms, (file.host, other_than(file)), strict=True):
        harm(copy_of(db, file, host))
    left = [p.read_bytes() for h in (file.host, other_than(file)) if (p := copy_of(db, file, h)).exists()]
    report = fsck(db, repair=True, workers=1)
    first = "file-damaged" if harms[0] is flip else "file-missing"
    assert {f.kind for f in report.found if f.severity == "damage"} == {first, "backup-damaged"}
    (loss,) = (loss for loss in report.lost if loss.table == "measurements")
    assert (loss.cell, loss.rows) == (f"{file.norder}/{file.npix}", file.rows)
    assert loss.files
    assert report.clean, report.text()
    assert {f.kind for f in report.findings} == {"quarantined"}
    if left:
        assert (db.root / str(loss.quarantine)).read_bytes() == left[0]
    else:
        assert loss.quarantine is None
    gc(db, grace="0s")
    assert fsck(db, workers=1).clean


def test_host_that_is_away_is_one_finding_and_nothing_is_given_up(db: Database) -> None:
    away = db.root.parent / "b"
    away.rename(away.with_name("unplugged"))
    away.mkdir()
    head = db.snapshot().id
    report = fsck(db, repair=True, workers=1)
    assert [f.kind for f in report.damage] == ["host-away"]
    assert "host b: no host's files are here" in report.damage[0].what
    assert "0 rows have none elsewhere" in report.damage[0].what
    assert (report.mended, report.lost, db.snapshot().id) == ((), (), head)
    assert list(away.iterdir()) == []
    away.rmdir()
    away.with_name("unplugged").rename(away)
    assert fsck(db, workers=1).findings == ()


def test_rows_that_only_a_host_that_is_away_has_are_neither_checked_nor_given_up(
    pristine: Database, tmp_path: Path
) -> None:
    shutil.copytree(pristine.root, tmp_path / "d.sky")
    db = database.open(tmp_path / "d.sky")
    add_host(db, "b", tmp_path / "b")
    drain(db, LOCAL, workers=1)
    before, head = contents(db), db.snapshot().id
    (tmp_path / "b").rename(tmp_path / "unplugged")
    report = fsck(db, deep=True, repair=True, workers=1)
    assert {f.kind for f in report.findings} == {"host-away", "unchecked", "removal-waiting"}
    assert " 0 rows" not in report.damage[0].what
    assert db.snapshot().id == head
    (tmp_path / "unplugged").rename(tmp_path / "b")
    assert fsck(db, deep=True, workers=1).clean
    assert_same(contents(db), before)


@pytest.mark.slow
def test_rows_of_a_host_that_was_given_up_are_counted_as_lost(pristine: Database, tmp_path: Path) -> None:
    shutil.copytree(pristine.root, tmp_path / "d.sky")
    db = database.open(tmp_path / "d.sky")
    add_host(db, "b", tmp_path / "b")
    balance(db, workers=1)
    rows = sum(f.rows for f in db.snapshot().files("measurements"))
    shutil.rmtree(tmp_path / "b")
    _, lost = lose_host(db, "b", accept_loss=True, workers=1)
    gone = sum(part.rows for part in lost if part.table == "measurements")
    assert 0 < gone < rows
    report = fsck(db, deep=True, repair=True, workers=1)
    assert {f.kind for f in report.found if f.severity == "damage"} == {"log-differs", "image-count"}
    assert report.clean, report.text()
    (loss,) = (loss for loss in report.lost if loss.table == "measurements")
    assert (loss.rows, loss.quarantine, len(loss.files)) == (gone, None, 5)
    check_conservation(db)
    files = [file for file in loss.files if file.endswith(".cmf")]
    delete(db, files=files, workers=1)
    addstar(db, files, workers=1)
    assert fsck(db, deep=True, workers=1).clean
