"""A query may name two columns alike; its answer does not, in any form or format."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import Table

from skydb.query.connection import Connection
from skydb.query.formats import FORMATS
from skydb.query.result_names import unique_names
from skydb.query.results import Result, write
from skydb.schema.tables import OBJECT_BANDS, OBJECTS
from skydb.tools.cli import main

PAIRS = (
    "SELECT a.mag, b.mag{third} FROM object_bands a JOIN object_bands b USING (object_id)"
    " WHERE a.band = 'g' AND b.band = 'r' AND a.source = 'chip' AND b.source = 'chip' ORDER BY object_id LIMIT 3"
)
PLAIN = PAIRS.format(third="")
COLLIDING = PAIRS.format(third=", a.n_used AS mag_2")


def read_back(path: Path, form: str) -> dict[str, list[object]]:
    """The columns of a written answer, as an ordinary reader of the format sees them."""
    if form == "json":
        rows = json.loads(path.read_text())
        return {name: [row[name] for row in rows] for name in rows[0]}
    if form == "parquet":
        return {name: c.tolist() for name, c in pd.read_parquet(path).items()}
    if form in ("csv", "table"):
        text = path.read_text()
        lines = list(csv.reader(io.StringIO(text))) if form == "csv" else [line.split() for line in text.splitlines()]
        rows = lines[1:] if form == "csv" else lines[3:]
        return {name: [float(row[i]) for row in rows] for i, name in enumerate(lines[0])}
    table = Table.read(path, format={"fits": "fits", "votable": "votable", "ecsv": "ascii.ecsv"}[form])
    return {name: table[name].tolist() for name in table.colnames}


@pytest.mark.parametrize(("query", "names"), [(PLAIN, ["mag", "mag_2"]), (COLLIDING, ["mag", "mag_3", "mag_2"])])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_keeps_every_column_under_a_name_of_its_own(
    con: Connection, plain: duckdb.DuckDBPyConnection, form: str, query: str, names: list[str], tmp_path: Path
) -> None:
    write(con.sql(query), form, tmp_path / "answer")
    found = read_back(tmp_path / "answer", form)
    assert list(found) == names
    expected = plain.sql(query).fetchall()
    assert len(expected) == 3
    assert expected[0][0] != expected[0][1]
    assert [pytest.approx(row) for row in zip(*found.values(), strict=True)] == expected


def test_every_form_in_python_has_the_names_of_every_other(con: Connection) -> None:
    answer = con.sql(COLLIDING)
    names = ["mag", "mag_3", "mag_2"]
    assert answer.columns == answer.schema.names == answer.reader().schema.names == names
    assert [batch.schema.names for batch in answer.batches()] == [names]
    assert answer.first(1)[0].column_names == list(next(iter(answer))) == names
    assert answer.arrow().column_names == list(answer.df().columns) == answer.table().colnames == names
    assert pa.table(answer).column_names == pickle.loads(pickle.dumps(answer)).columns == names
    assert str(con.sql(COLLIDING)).split()[:3] == names
    assert "<th>mag_3<br>" in answer._repr_html_()
    assert [row["name"] for row in con.sql(f"DESCRIBE {COLLIDING}")] == names


def test_json_of_the_command_has_every_column(con: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", str(con.snapshot.root), PLAIN, "--json"]) == 0
    assert [list(row) for row in json.loads(capsys.readouterr().out)["rows"]] == [["mag", "mag_2"]] * 3


def test_renamed_column_keeps_unit_ucd_and_description(con: Connection) -> None:
    answer = con.sql("SELECT a.mag, m.ra, b.mag FROM object_bands a JOIN object_bands b USING (object_id)"
                     " JOIN measurements m USING (object_id) LIMIT 2")  # fmt: skip
    assert answer.units == {"mag": "mag", "ra": "deg", "mag_2": "mag"}
    table = pickle.loads(pickle.dumps(answer)).table()
    assert table["mag_2"].unit == u.mag
    assert table["mag_2"].description == OBJECT_BANDS["mag"].meaning
    assert table["mag_2"].meta["ucd"] == OBJECT_BANDS["mag"].ucd
    assert answer.arrow().schema.field("mag_2").metadata == OBJECT_BANDS["mag"].arrow.metadata


@pytest.mark.parametrize(
    ("select", "declared"),
    [
        ("SELECT * FROM objects o JOIN object_bands b USING (object_id)", [OBJECTS, OBJECT_BANDS]),
        ("SELECT b.*, o.* FROM objects o JOIN object_bands b USING (object_id)", [OBJECT_BANDS, OBJECTS]),
        ("SELECT * FROM (SELECT object_id, flags FROM object_bands) q JOIN objects o USING (object_id)",
         [OBJECT_BANDS, OBJECTS]),
        ("SELECT o.flags, b.flags + 1 AS flags FROM objects o JOIN object_bands b USING (object_id)", [OBJECTS, None]),
        ("SELECT b.flags + 1 AS flags, o.flags FROM objects o JOIN object_bands b USING (object_id)", [None, OBJECTS]),
        ("SELECT *, b.flags FROM objects SEMI JOIN measurements USING (object_id) JOIN object_bands b"
         " USING (object_id)", [OBJECTS, OBJECT_BANDS, OBJECT_BANDS]),
        ("SELECT mine.*, objects.flags FROM mine, objects", [None, None]),
    ],
)  # fmt: skip
def test_columns_of_one_name_are_declared_each_as_its_own(
    con: Connection, select: str, declared: list[object]
) -> None:
    con.register("mine", pa.table({"flags": [1]}))
    answer = con.sql(f"{select} LIMIT 1")
    names = [name for name in answer.columns if name.startswith("flags")]
    expected = [table and table["flags"] for table in declared]  # type: ignore[index]  # a table
    assert [answer.declared.get(name) for name in names] == expected


def test_numbers_are_those_that_no_column_has() -> None:
    assert unique_names(["mag", "mag", "mag_2"]) == ["mag", "mag_3", "mag_2"]
    assert unique_names(["ra", "RA", "ra", "Ra_2"]) == ["ra", "RA_3", "ra_4", "Ra_2"]
    assert unique_names(["a_2", "a", "a", "a_2"]) == ["a_2", "a", "a_3", "a_2_2"]


def test_answer_of_an_arrow_table_is_renamed_with_what_its_name_declares(tmp_path: Path) -> None:
    rows = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["pm_ra", "pm_ra"])
    write(Result(rows), "parquet", tmp_path / "r.parquet")
    schema = pq.read_table(tmp_path / "r.parquet").schema
    assert schema.names == ["pm_ra", "pm_ra_2"]
    assert schema.field("pm_ra_2").metadata[b"unit"] == b"mas/yr"
