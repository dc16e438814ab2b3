"""Bad files are set aside with their reason, and none is lost, whatever comes in between."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from skydb.errors import UsageError
from skydb.ingest.quarantine import REASON, set_aside
from skydb.ingest.report import FileReport
from tests.stateful.killing import killed_at


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    path = tmp_path / "inbox" / "x.cmf"
    path.write_bytes(b"half of a file")
    return path


def failed(path: Path) -> FileReport:
    return FileReport(str(path), "failed", error=f"{path}: cut off", exit_code=3, fault="content")


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.mark.parametrize("point", ["file.filled:1", "file.renamed:1", "quarantine.noted:1", "quarantine.moved:1"])
def test_killed_at_any_time_the_file_is_here_or_there_and_the_same_call_goes_on(bad: Path, point: str) -> None:
    aside = bad.parents[1] / "aside"
    assert killed_at(point, lambda: set_aside([failed(bad)], aside))
    there = [folder for folder in (bad.parent, aside) if held(folder).get(bad.name) == b"half of a file"]
    assert there == [aside if point == "quarantine.moved:1" else bad.parent]
    set_aside([failed(bad)], aside)
    assert held(bad.parent) == {}
    assert held(aside).keys() == {bad.name, bad.name + REASON}, "the reason of the first time is taken up"


def test_reasons_of_other_files_of_that_name_are_left(bad: Path) -> None:
    aside = bad.parents[1] / "aside"
    aside.mkdir()
    (aside / f"x.cmf{REASON}").write_text("2026-11-22\n/elsewhere/x.cmf\ncut off\n")
    (report,) = set_aside([failed(bad)], aside)
    assert report.quarantined == str(aside / "x.cmf.1")
    assert str(bad) in (aside / f"x.cmf.1{REASON}").read_text()
    assert "/elsewhere/" in (aside / f"x.cmf{REASON}").read_text()


@pytest.fixture
def another_disk(bad: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to which nothing can be renamed from elsewhere."""
    folder, rename = bad.parents[1] / "disk", Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renamed)
    return folder


def test_to_another_disk_a_file_is_copied_and_then_removed(bad: Path, another_disk: Path) -> None:
    (report,) = set_aside([failed(bad)], another_disk)
    assert held(another_disk)["x.cmf"] == b"half of a file"
    assert (report.quarantined, bad.exists()) == (str(another_disk / "x.cmf"), False)


def test_file_stays_where_the_other_disk_is_full(
    bad: Path, another_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copy2", full)
    with suppress(UsageError):
        assert set_aside([failed(bad)], another_disk)[0].quarantined is None
    assert held(bad.parent) == {"x.cmf": b"half of a file"}
    assert "x.cmf" not in held(another_disk)


def test_file_that_another_call_has_moved_is_left_to_it(bad: Path) -> None:
    aside = bad.parents[1] / "aside"
    report = failed(bad.with_name("gone.cmf"))
    assert set_aside([report], aside) == (report,)
    assert held(aside) == {}
