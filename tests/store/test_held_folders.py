"""A folder for work goes with its user, or is removed by the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from skydb.store import held_folders
from skydb.store.held_folders import held_folder


def leave_one(parent: Path) -> None:
    """Have a process make a folder with a file, and be killed."""
    script = """
import os, signal, sys
from pathlib import Path
from skydb.store.held_folders import held_folder
with held_folder(Path(sys.argv[1]), "skydb-", ".tmp") as folder:
    (folder / "rows").write_text("spilled")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script, str(parent)], check=False).returncode == -9


def test_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    leave_one(tmp_path)
    (left,) = tmp_path.iterdir()
    with held_folder(tmp_path, "skydb-", ".tmp") as folder:
        assert list(tmp_path.iterdir()) == [folder]
        assert folder != left
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_and_folders_of_other_names_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("skydb-", "skydb-0.tmp", f"skydb-{'0' * 32}", f"x-{'0' * 32}.tmp")]
    for other in others:
        other.mkdir()
    with held_folder(tmp_path, "skydb-", ".tmp") as first:
        with held_folder(tmp_path, "skydb-", ".tmp"):
            assert first.is_dir()
        assert sorted(tmp_path.iterdir()) == sorted([*others, first])


def test_folder_that_was_given_another_name_stays(tmp_path: Path) -> None:
    with held_folder(tmp_path, ".dr1.", ".tmp") as folder:
        folder.rename(tmp_path / "dr1")
    assert [path.name for path in tmp_path.iterdir()] == ["dr1"]


def test_folder_goes_when_its_user_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held_folder(tmp_path, "skydb-"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_nothing_is_cleared_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(37, "No locks available")

    leave_one(tmp_path)
    (left,) = tmp_path.iterdir()
    for name in ("shared", "alone"):
        monkeypatch.setattr(held_folders, name, refused)
    with held_folder(tmp_path, "skydb-", ".tmp") as folder:
        assert set(tmp_path.iterdir()) == {left, folder}
