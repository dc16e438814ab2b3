"""What the commands that answer questions print."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

import skydb
from skydb.query.formats import FORMATS
from skydb.tools.cli import main


@pytest.fixture
def db(tmp_path: Path) -> str:
    skydb.create(tmp_path / "t.sky")
    return str(tmp_path / "t.sky")


def test_json_is_one_object_with_the_rows(db: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["sql", db, "SELECT count(*) AS n FROM objects", "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == {"rows": [{"n": 0}]}


def test_json_takes_no_other_format(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", db, "SELECT 1 AS x", "--json", "--format", "csv"]) == 2
    assert "--json writes one object" in capsys.readouterr().err


def test_cone_of_an_empty_database_is_empty(db: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["cone", db, "0", "-90", "1arcmin", "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == {"rows": []}


def test_unknown_object_has_no_light_curve(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lightcurve", db, "17"]) == 2
    assert "no object has the id 17" in capsys.readouterr().err


def test_tables_and_columns_are_listed(db: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["sql", db, "SHOW TABLES", "--json"]) == 0
    tables = [row["name"] for row in json.loads(capfdbinary.readouterr().out)["rows"]]
    assert {"objects", "measurements", "images"} <= set(tables)
    assert main(["sql", db, "DESCRIBE Measure", "--format", "csv"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert lines[0] == "name,type,unit,meaning,dvo,ucd"
    assert '"mjd","float64","d",' in "\n".join(lines)


@pytest.mark.parametrize("id_", ["99999999999999999999", "five"])
def test_what_is_no_object_id_is_said_plainly(db: str, id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lightcurve", db, id_]) == 2
    said = capsys.readouterr().err
    assert id_ in said
    assert "object" in said.lower()
    assert "type" not in said


@pytest.mark.parametrize(
    "words",
    [["--help"], ["cone", "--help"], ["status", "DB"], ["cone", "DB", "0", "0", "1", "--json"],
     *(["sql", "DB", "SELECT i FROM range(30000) t(i)", "--format", form] for form in FORMATS)],
    ids=lambda words: words[-1],
)  # fmt: skip
def test_closed_pipe_ends_quietly_in_every_format(
    db: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stdout = io.TextIOWrapper(os.fdopen(writer, "wb"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert main([db if word == "DB" else word for word in words]) == 141
    stdout.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [["sql", "DB", "SELECT ra FROM objects"], ["cone", "DB", "0", "0", "1"]])
@pytest.mark.parametrize("wide", [True, False])
def test_text_of_an_answer_without_rows_says_so(
    db: str, words: list[str], wide: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(stdout, "isatty", lambda: wide)
    monkeypatch.setattr(sys, "stdout", stdout)
    words = [db if word == "DB" else word for word in words]
    assert main(words) == main([*words, "--out", str(tmp_path / "f.txt")]) == 0
    shown = stdout.buffer.getvalue().decode()  # type: ignore[attr-defined]  # of BytesIO
    assert shown.splitlines()[-1] == (tmp_path / "f.txt").read_text().splitlines()[-1] == "(no rows)"
    assert (" ra" in shown) == (not wide or "sql" in words)  # a head that is too wide for a terminal is left out
