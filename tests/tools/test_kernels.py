"""A first run that compiles says so, and only then."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Event

import pytest

from skydb.tools.kernels import NOTE, kernels_compiled_since, tell_of_compilation, telling_of_compilation

NEVER = 2.0**40
"""Later than any file."""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel in a cache folder of its own, compiled in the year 2200: no test compiles later."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    path = tmp_path / "kernels_1" / "match-1.py311.nbi"
    path.parent.mkdir()
    path.touch()
    os.utime(path, (7.3e9, 7.3e9))
    return path


def test_kernel_counts_that_was_compiled_since(kernel: Path) -> None:
    assert kernels_compiled_since(7.2e9)
    assert not kernels_compiled_since(7.4e9)
    kernel.unlink()
    assert not kernels_compiled_since(7.2e9)


def test_compilation_is_told_once(kernel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_of_compilation(Event(), 7.2e9, 0.0)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"{NOTE}\n")


def test_nothing_is_told_where_nothing_was_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    tell_of_compilation(Event(), NEVER, 0.0)
    assert capsys.readouterr().err == ""


def test_nothing_is_told_after_the_end(kernel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Event()
    done.set()
    tell_of_compilation(done, 7.2e9, 0.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_told(
    kernel: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[float] = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr("skydb.tools.kernels.tell_of_compilation", lambda done, since, every_s: started.append(every_s))
    with telling_of_compilation():
        pass
    assert len(started) == int(terminal)
