"""What commands print: plain values, aligned text, JSON that every parser reads."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skydb.tools.output import emit, plain_value, progress, text_of


@dataclasses.dataclass(frozen=True)
class Report:
    path: Path
    n: np.int64
    parts: tuple[float, ...]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Report(Path("a.fits"), np.int64(3), (1.0, float("inf"))), {"path": "a.fits", "n": 3, "parts": [1.0, None]}),
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        ({1: {"b", "a"}}, {"1": ["a", "b"]}),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
        (pa.table({"a": [1, None]}), [{"a": 1}, {"a": None}]),
        (2**62 + 1, 2**62 + 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_becomes_what_json_knows(value: object, plain: object) -> None:
    assert plain_value(value) == plain
    assert type(plain_value(value)) is type(plain)


def test_table_is_one_object_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit(pa.table({"band": ["g"], "mag": [float("nan")]}), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"rows": [{"band": "g", "mag": None}]}


def test_table_is_aligned_with_numbers_to_the_right() -> None:
    rows = [{"band": "g", "n": 12, "ok": True}, {"band": "NULL", "n": None, "ok": False}]
    assert text_of(rows) == "band   n  ok\n----  --  ---\ng     12  yes\nNULL      no"


def test_position_keeps_its_digits() -> None:
    assert text_of({"ra": 359.999999876}) == "ra  359.999999876"


@pytest.mark.parametrize("terminal", [True, False])
def test_wide_table_is_folded_on_a_terminal_only(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"snapshot": n, "parent": n - 1 if n else None, "command": "word " * 30, "tags": ["a", "b"]}
            for n in range(9)]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    emit(rows)
    lines = capsys.readouterr().out.splitlines()
    assert (max(map(len, lines)) <= 60) == terminal
    assert (len(lines) > 11) == terminal
    assert sum(line.count("word") for line in lines) == 9 * 30
    assert sum("a, b" in line for line in lines) == 9


def test_empty_table_says_so() -> None:
    assert text_of([]) == "(no rows)"


def test_nested_mapping_stays_on_its_line() -> None:
    assert text_of({"reasons": {"nan": 2, "edge": 1}, "tags": ["a", "b"]}) == "reasons  nan: 2, edge: 1\ntags     a, b"


def test_progress_is_drawn_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress("cells") as nothing:
        assert nothing is None
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress("cells") as show:
        assert show is not None
        show(1, 2)
