"""Damaged files are set aside, each once and with its reason; nothing else is moved, and nothing is lost on the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest import quarantine
from skydb.ingest.addstar import addstar
from tests.ingest.skies import stored_files, write_night

BAD = b"SIMPLE  = nothing"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_of_one_name_are_kept_beside_each_other(db: Database, tmp_path: Path) -> None:
    files = [tmp_path / folder / "x.cmf" for folder in "abc"]
    for number, path in enumerate(files):
        path.parent.mkdir()
        path.write_bytes(BAD + bytes([number]))
    aside = tmp_path / "bad"
    aside.mkdir()
    (aside / "x.cmf.1").write_text("somebody's own")
    report = addstar(db, files, quarantine=aside, workers=1)
    assert [f.quarantined for f in report.files] == [str(aside / name) for name in ("x.cmf", "x.cmf.2", "x.cmf.3")]
    for number, name in enumerate(("x.cmf", "x.cmf.2", "x.cmf.3")):
        assert (aside / name).read_bytes() == BAD + bytes([number])
        assert (aside / f"{name}.why.txt").read_text().splitlines()[1:] == [
            str(files[number]), report.files[number].error,
        ]  # fmt: skip
    assert (aside / "x.cmf.1").read_text() == "somebody's own"


def test_two_that_set_files_aside_at_once_take_no_name_from_each_other(tmp_path: Path) -> None:
    places = [tmp_path / folder / "x.cmf" for folder in "ab"]
    found = [quarantine._reserved(tmp_path, place, f"\n{place}\n")[0].name for place in places]
    assert found == ["x.cmf", "x.cmf.1"]


def test_link_is_moved_and_what_it_leads_to_stays(db: Database, tmp_path: Path) -> None:
    (tmp_path / "real.cmf").write_bytes(BAD)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.cmf").symlink_to("../real.cmf")
    (report,) = addstar(db, tmp_path / "in" / "x.cmf", quarantine=tmp_path / "bad", workers=1).files
    assert names(tmp_path / "in") == set()
    assert (tmp_path / "bad" / "x.cmf").resolve() == tmp_path / "real.cmf"
    assert (tmp_path / "real.cmf").read_bytes() == BAD
    assert report.quarantined


def test_files_of_a_database_are_never_moved(db: Database, tmp_path: Path) -> None:
    addstar(db, write_night(tmp_path / "night", exposures=1, stars=20), workers=1)
    before = stored_files(db)
    files = [db.root / "catalog.sqlite", *(db.root / path for path in before)]
    report = addstar(db, files, quarantine=tmp_path / "bad", workers=1)
    assert report.n_failed == len(files)
    assert stored_files(db) == before
    assert (db.root / "catalog.sqlite").exists()
    assert not (tmp_path / "bad").exists()


def test_file_that_cannot_be_moved_stays_and_the_report_says_so(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name with the ending of the reason is longer than a name may be."""
    long, other = tmp_path / f"{'x' * 250}.cmf", tmp_path / "y.cmf"
    for path in (long, other):
        path.write_bytes(BAD + path.name.encode())
    night = write_night(tmp_path / "night", exposures=1, stars=20)
    report = addstar(db, [long, other, *night], quarantine=tmp_path / "bad", workers=1)
    assert [(f.status, bool(f.quarantined)) for f in report.files] == [
        ("failed", False), ("failed", True), ("ingested", False),
    ]  # fmt: skip
    assert "it cannot be set aside in" in (report.files[0].error or "")
    assert long.exists()
    assert names(tmp_path / "bad") == {"y.cmf", "y.cmf.why.txt"}


def test_file_that_can_be_copied_but_not_removed_is_not_in_two_places(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another disk, from a folder that may not be written."""

    rename, unlink = Path.rename, Path.unlink

    def renamed(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, target)

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        if path == tmp_path / "x.cmf":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        unlink(path, missing_ok)

    (tmp_path / "x.cmf").write_bytes(BAD)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "unlink", unlinked)
    (report,) = addstar(db, tmp_path / "x.cmf", quarantine=tmp_path / "bad", workers=1).files
    assert report.quarantined is None
    assert (tmp_path / "x.cmf").read_bytes() == BAD
    assert names(tmp_path / "bad") == set()


@pytest.mark.parametrize("where", ["file", "file/below", "t.sky/quarantine", "t.sky", ""])
def test_folder_that_cannot_take_files_is_refused_before_anything_is_read(
    db: Database, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("")
    night = write_night(tmp_path / "night", exposures=1, stars=20)
    head = db.snapshot().id
    with pytest.raises(UsageError, match=r"files cannot be set aside there|the path is empty"):
        addstar(db, night, quarantine=str(tmp_path / where) if where else "", workers=1)
    assert db.snapshot().id == head


def test_folder_of_another_is_refused(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.cmf").write_bytes(BAD)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="it may not be written"):
        addstar(db, tmp_path / "x.cmf", quarantine=tmp_path / "bad", workers=1)
