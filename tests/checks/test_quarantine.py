"""A file that is given up is kept: moved out of the way wherever it lay, and if it cannot be, that is said."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import fsspec
import pytest

from skydb import database
from skydb.checks import quarantine, repair
from skydb.checks.fsck import fsck
from skydb.checks.quarantine import give_up, is_quarantined
from skydb.database import Database
from skydb.hosts import add_host, balance, set_host
from skydb.store.cells import LOCAL
from skydb.store.files import DataFile
from skydb.store.roots import Place
from tests.checks.damages import file_of, flip, path_of

CONTENT = b"damaged" * 1000


def places_of(file: DataFile, *roots: object) -> tuple[Place, ...]:
    return tuple(Place("b", str(root), file.path) for root in roots)


@pytest.fixture
def file(pristine: Database) -> DataFile:
    return file_of(pristine, "measurements")


@pytest.fixture
def far(file: DataFile, tmp_path: Path) -> Path:
    """The root of another host, with the file."""
    path = tmp_path / "far" / file.path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return tmp_path / "far"


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be renamed out of the other host."""
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if "far" in path.parts:
            raise OSError(number, "refused", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)


def test_repair_that_was_killed_before_it_moved_a_file_away_is_completed_by_the_next(
    pristine: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    db = database.open(shutil.copytree(pristine.root, tmp_path / "t.sky"))
    damaged = file_of(db, "objects")
    flip(path_of(db, damaged))
    with monkeypatch.context() as patch:
        patch.setattr(repair, "give_up", killed)
        with pytest.raises(KeyboardInterrupt):
            fsck(db, repair=True, workers=1)
    assert {f.kind for f in fsck(db, workers=1).damage} == {"old-file-damaged"}
    report = fsck(db, repair=True, workers=1)
    assert (report.clean, [m.file for m in report.mended]) == (True, [damaged.path])
    assert is_quarantined(db.root, damaged)


def test_file_of_another_file_system_is_moved_whole(
    file: DataFile, far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(errno.EXDEV, monkeypatch)
    kept = give_up(tmp_path, file, places_of(file, far))
    assert kept == f"quarantine/{file.path}"
    assert (tmp_path / kept).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / kept).parent.iterdir()] == [Path(kept).name]
    assert not (far / file.path).exists()


def test_file_that_cannot_be_moved_stays_and_that_is_said(
    file: DataFile, far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(errno.EACCES, monkeypatch)
    assert give_up(tmp_path, file, places_of(file, far)) == str(far / file.path)
    assert (far / file.path).read_bytes() == CONTENT
    assert is_quarantined(tmp_path, file)
    (note,) = (path for path in (tmp_path / "quarantine").rglob("*") if path.is_file())
    assert f"could not be moved from {far / file.path}" in note.read_text()


def test_copy_that_fails_leaves_the_file_where_it_was(
    file: DataFile, far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(place: Place, to: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left", str(to))

    refuse(errno.EXDEV, monkeypatch)
    monkeypatch.setattr(quarantine, "fetch_file", full)
    assert give_up(tmp_path, file, places_of(file, far)) == str(far / file.path)
    assert (far / file.path).read_bytes() == CONTENT


def test_file_that_nothing_is_left_of_is_noted(file: DataFile, tmp_path: Path) -> None:
    assert give_up(tmp_path, file, places_of(file, tmp_path / "nowhere", "memory://skydb-nowhere")) is None
    assert is_quarantined(tmp_path, file)


def test_file_of_a_host_behind_a_url_is_moved_and_said(db: Database) -> None:
    add_host(db, "far", "memory://skydb-quarantine")
    set_host(db, LOCAL, state="draining")
    balance(db, workers=1)
    file = next(f for f in db.snapshot().files("measurements") if f.host == "far")
    store, path = fsspec.filesystem("memory"), f"/skydb-quarantine/{file.path}"
    damaged = store.cat_file(path)[:-100]
    store.pipe_file(path, damaged)
    report = fsck(db, repair=True, workers=1)
    assert report.clean, report.text()
    (loss,) = (loss for loss in report.lost if loss.table == "measurements")
    assert loss.quarantine == f"quarantine/{file.path}"
    assert (db.root / loss.quarantine).read_bytes() == damaged
    assert not store.exists(path)
    store.rm("/skydb-quarantine", recursive=True)
