"""The commands that ask: sql, explain, cone, lightcurve; and what they spare who asks little."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from skydb.database import Database
from skydb.query.connection import STANDARD, Connection, StaleWarning, connect
from skydb.store.changes import Changes
from skydb.store.tags import set_tag
from skydb.tools.cli import main
from tests.ingest.skies import write_night
from tests.query.databases import new_database

SPARED = {"numba", "healpy", "astropy", "scipy", "pandas", "matplotlib", "duckdb", "sqlglot"}
READERS = {"csv": "ascii.csv", "fits": "fits", "votable": "votable", "ecsv": "ascii.ecsv"}


@pytest.fixture(scope="module")
def object_id(con: Connection) -> int:
    query = "SELECT arg_max(object_id, n_measurements) FROM objects WHERE dec > 0"
    return int(con.sql(query).arrow().column(0)[0].as_py())


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command prints, which must succeed."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    return said.out


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_sql_prints_a_table(survey: Database, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["sql", str(survey.root), "SELECT band, count(*) AS n FROM measurements GROUP BY band ORDER BY n"]) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert lines[0].split() == ["band", "n"]
    assert len(lines) == 7


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "fits", "votable", "ecsv", "table"])
def test_every_format_goes_into_a_file(survey: Database, form: str, tmp_path: Path, con: Connection) -> None:
    query = "SELECT object_id, ra, dec, n_measurements FROM objects WHERE dec > 80 ORDER BY object_id"
    path = tmp_path / f"answer.{form}"
    assert main(["sql", str(survey.root), query, "--format", form, "--out", str(path)]) == 0
    expected = con.sql(query).arrow()["object_id"].to_pylist()
    if form == "table":
        found = [int(line.split()[0]) for line in path.read_text().splitlines() if line[0].isdigit()]
    elif form == "json":
        found = [row["object_id"] for row in json.loads(path.read_text())]
    elif form == "parquet":
        found = pq.read_table(path)["object_id"].to_pylist()
    else:
        found = Table.read(path, format=READERS[form])["object_id"].tolist()
    assert found == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_json_is_one_object(survey: Database, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(asked(capsys, "sql", survey.root, "SELECT sum(n_measurements) AS n FROM objects", "--json"))
    assert answer == {"rows": [{"n": 1826}]}


@pytest.mark.parametrize("words", [["--format", "csv"], ["--out", "x.csv"]])
def test_json_and_another_output_exclude_each_other(
    survey: Database, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["sql", str(survey.root), "SELECT 1", "--json", *words]) == 2
    assert "leave out --format and --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("position", "radius"), [(("0", "10"), "0.02"), (("00:00:00", "+10:00:00"), "1.2arcmin"), (("0h", "10d"), '72"')]
)
def test_cone_takes_degrees_and_sexagesimal(
    survey: Database, con: Connection, position: tuple[str, str], radius: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["cone", str(survey.root), *position, radius, "--format", "csv"]) == (0 if position[0] != "0h" else 2)
    if position[0] != "0h":
        found = {int(row["object_id"]) for row in rows_of(capfdbinary.readouterr().out.decode())}
        assert found == set(con.cone(0.0, 10.0, 0.02).arrow()["object_id"].to_pylist()) != set()


def test_cone_takes_southern_declinations(survey: Database, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for dec in ("-45", "-45:00:00", "-45.0deg"):
        assert main(["cone", str(survey.root), "123", dec, "1arcmin", "--format", "csv"]) == 0
        assert len(rows_of(capfdbinary.readouterr().out.decode())) > 5


def test_cone_of_measurements_has_standard_or_chosen_columns(
    survey: Database, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cone = ["cone", str(survey.root), "0", "10", "1arcmin", "--table", "measurements", "--format", "csv"]
    assert main(cone) == 0
    assert tuple(rows_of(capfdbinary.readouterr().out.decode())[0]) == STANDARD["measurements"]
    assert main([*cone, "--columns", "band,inst_mag"]) == 0
    assert list(rows_of(capfdbinary.readouterr().out.decode())[0]) == ["band", "inst_mag"]
    assert main([*cone, "--columns", "*"]) == 0
    assert len(rows_of(capfdbinary.readouterr().out.decode())[0]) > 70


def test_lightcurve_lists_measurements_by_time(
    survey: Database, object_id: int, con: Connection, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["lightcurve", str(survey.root), str(object_id), "--format", "csv"]) == 0
    rows = rows_of(capfdbinary.readouterr().out.decode())
    assert [float(r["mjd"]) for r in rows] == con.lightcurve(object_id).arrow()["mjd"].to_pylist()


def test_explain_lists_tables(survey: Database, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT m.mag FROM objects o JOIN measurements m USING (object_id) WHERE in_cone(o.ra, o.dec, 0, 10, 0.01)"
    rows = json.loads(asked(capsys, "explain", survey.root, query, "--json"))["rows"]
    assert [(row["table"], row["reads"]) for row in rows] == [
        ("objects", "objects"), ("measurements", "measurements_cal"),
    ]  # fmt: skip
    assert 0 < rows[1]["cells"] < len(survey.snapshot().cells()) / 2


def test_at_asks_an_earlier_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skydb.ingest.addstar import addstar

    db = new_database(tmp_path / "t.sky", cell_rows=1000)
    set_tag(db.root, "empty")
    addstar(db, write_night(tmp_path / "night", exposures=1, stars=30), workers=1)
    query = "SELECT count(*) AS n FROM objects"
    counts = [json.loads(asked(capsys, "sql", db.root, query, "--json", *at))["rows"][0]["n"]
              for at in ((), ("--at", "empty"), ("--at", 1))]  # fmt: skip
    assert counts[0] > 20
    assert counts[1:] == [0, 0]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["sql", "{db}", "SELECT nothing FROM objects"], 2, "no column named 'nothing'"),
        (["sql", "{db}", "DROP TABLE objects"], 2, "not a SELECT statement"),
        (["sql", "{db}", "SELECT 1", "--at", "DR9"], 2, "no tag named 'DR9'"),
        (["sql", "/no/where.sky", "SELECT 1"], 2, "no skydb database here"),
        (["sql", "{db}", "SELECT 1", "--out", "/no/where.csv"], 2, "/no/where.csv"),
        (["cone", "{db}", "0", "95", "1"], 2, "outside -90 to 90"),
        (["cone", "{db}", "0", "10", "wide"], 2, "is not an angle"),
        (["cone", "{db}", "0", "10", "1", "--columns", "rra"], 2, "no column named 'rra'"),
        (["lightcurve", "{db}", "5"], 2, "no object has the id 5"),
        (["lightcurve", "{db}", "five"], 2, "five"),
        (["explain", "{db}", "SELECT 1 FROM nowhere"], 2, "no table named 'nowhere'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    survey: Database, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    assert main([word.format(db=survey.root) for word in words]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert says in said.err


def test_stale_cells_are_a_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skydb.ingest.addstar import addstar

    db = new_database(tmp_path / "t.sky", cell_rows=1000)
    addstar(db, write_night(tmp_path / "night", exposures=1, stars=30), workers=1)
    cells = db.snapshot().cells()
    db.commit(Changes("test", "test", db.snapshot().id, cells=tuple(replace(c, stale=True) for c in cells),
                      ends_cells=tuple(c.key for c in cells)))  # fmt: skip
    assert main(["sql", str(db.root), "SELECT count(*) AS n FROM objects", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"][0]["n"] > 0
    assert said.err.startswith("skydb: ")
    assert "skydb refresh" in said.err


def test_stale_cells_are_named_beside_the_error_that_they_may_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from skydb.ingest.addstar import addstar

    db = new_database(tmp_path / "t.sky", cell_rows=1000)
    addstar(db, write_night(tmp_path / "night", exposures=1, stars=30), workers=1, defer=True)
    with connect(db) as con, pytest.warns(StaleWarning):
        assert len(con.cone(0, 10, 180)) == 0
    assert main(["lightcurve", str(db.root), "0", "10"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "skydb refresh" in first
    assert "no object" in second


@pytest.mark.parametrize("question", ["cone", "lightcurve", "measurements"])
def test_small_question_loads_little(survey: Database, object_id: int, question: str) -> None:
    """Loading what a cone or a light curve does not need took 2 s of 2.4 s."""
    words = {
        "cone": ["cone", "0", "10", "1arcmin"],
        "measurements": ["cone", "0", "10", "1arcmin", "--table", "measurements", "--format", "csv"],
        "lightcurve": ["lightcurve", str(object_id)],
    }[question]
    script = (
        "import sys; from skydb.tools.cli import main;"
        f"code = main({[words[0], str(survey.root), *words[1:]]!r});"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(run.stdout.splitlines()) > 5
    assert set(run.stderr.split()) & SPARED == set()
