"""What the commands that answer questions print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import skydb
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
