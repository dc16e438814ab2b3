"""A user without a folder for caches gets a private one; nobody else's settings are touched."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from skydb.caches import place_caches

NAMES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder, of a user who may write nothing else; not numba, which the other tests use."""
    monkeypatch.setattr(os, "access", lambda path, _: str(path).startswith(str(tmp_path)))  # root may write everywhere
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    return tmp_path


def test_caches_of_a_homeless_user_lie_in_a_folder_of_their_own(homeless: Path) -> None:
    place_caches()
    (folder,) = {Path(os.environ[name]).parent for name in NAMES}
    assert folder == homeless / f"skydb-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    place_caches()
    assert list(homeless.iterdir()) == [folder]


@pytest.mark.parametrize("kind", ["open", "link"])
def test_folder_that_another_may_write_is_not_used(homeless: Path, kind: str) -> None:
    name = homeless / f"skydb-{os.getuid()}"
    (homeless / "other").mkdir(mode=0o700)
    name.symlink_to(homeless / "other") if kind == "link" else name.mkdir()
    name.chmod(0o770)
    place_caches()
    folder = Path(os.environ["NUMBA_CACHE_DIR"]).parent
    assert folder not in (name, homeless / "other")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_caches_stay_where_they_may_be_written_or_are_said_to_be(
    homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "mine")
    place_caches()
    assert [os.environ[name] for name in NAMES] == ["mine", "mine"]
    for name in NAMES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(homeless / "not" / "yet"))
    place_caches()
    assert [os.environ.get(name) for name in NAMES] == [None, None]
    assert list(homeless.iterdir()) == []
