"""Answers in every form and format keep values, NULLs, units and meanings."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Table

from skydb.errors import UsageError
from skydb.query.formats import FORMATS, SHOWN_ROWS
from skydb.query.parse import parse
from skydb.query.results import Result, declared_as, write
from skydb.schema.tables import OBJECTS, TABLES

BIG = 3_458_764_513_820_540_927
QUERY = f"""
    SELECT {BIG}::BIGINT + i AS object_id, 10.5::DOUBLE + i AS ra, -0.25::DOUBLE AS dec, (21.2 + i)::FLOAT AS mag,
           CASE WHEN i = 1 THEN NULL ELSE i END::INTEGER AS n_used, CASE WHEN i = 2 THEN NULL ELSE 'g' || i END AS band,
           [1.5::DOUBLE, i] AS corner_ra, list_transform(range(i), lambda x: x::DOUBLE) AS ragged,
           sum(i) OVER () AS total, 1.25 AS price, i = 1 AS stale, 4294967295::UINTEGER AS flags,
           CASE WHEN i = 0 THEN NULL ELSE 7 END::UINTEGER AS photflags, NULL::DOUBLE AS parallax,
           DATE '2026-11-01' AS day, {{'a': i}} AS nested, NULL AS nothing
    FROM range(3) t(i) ORDER BY i"""


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


@pytest.fixture
def result(con: duckdb.DuckDBPyConnection) -> Result:
    return Result(con.sql(QUERY))


# Forms


def test_arrow_carries_unit_ucd_and_description(result: Result) -> None:
    rows = result.arrow()
    assert rows.num_rows == 3
    assert rows.schema.field("ra").metadata == OBJECTS["ra"].arrow.metadata
    assert not rows.schema.field("ragged").metadata
    assert rows["object_id"].to_pylist() == [BIG, BIG + 1, BIG + 2]


def test_table_has_units_meanings_and_masks(result: Result) -> None:
    table = result.table()
    assert table["ra"].unit == u.deg
    assert table["mag"].unit == u.mag
    assert table["ra"].description == OBJECTS["ra"].meaning
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert table["object_id"].dtype == np.int64
    assert table["object_id"].tolist() == [BIG, BIG + 1, BIG + 2]
    assert table["n_used"].tolist() == [0, None, 2]
    assert table["band"].tolist() == ["g0", "g1", None]
    assert table["corner_ra"].shape == (3, 2)
    assert [len(v) for v in table["ragged"]] == [0, 1, 2]
    assert table["total"].dtype == np.int64
    assert table["flags"].dtype == np.uint32
    assert table["parallax"].mask.all()
    assert table["day"][0] == "2026-11-01"
    assert json.loads(table["nested"][1]) == {"a": 1}
    assert not isinstance(table["ra"], type(table["parallax"]))


def test_data_frame_keeps_the_digits_of_ids_beside_nulls(con: duckdb.DuckDBPyConnection) -> None:
    frame = Result(con.sql(f"SELECT * FROM (VALUES ({BIG}, 1.5::DOUBLE), (NULL, NULL)) t(object_id, ra)")).df()
    assert frame["object_id"][0] == BIG
    assert frame["object_id"].isna().tolist() == [False, True]
    assert frame.attrs["units"] == {"ra": "deg"}


def test_data_frame_without_pandas_says_what_to_do(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pandas is not installed.*pip install pandas"):
        result.df()


def test_batches_stream_all_rows(con: duckdb.DuckDBPyConnection) -> None:
    result = Result(con.sql("SELECT i AS object_id FROM range(10000) t(i)"))
    batches = list(result.batches(rows=2048))
    assert len(batches) > 3
    assert sum(batch.num_rows for batch in batches) == 10000
    assert batches[0].schema.field("object_id").metadata == OBJECTS["object_id"].arrow.metadata


def test_relation_may_be_asked_again_and_a_one_time_stream_not() -> None:
    rows = pa.table({"ra": [1.0, 2.0]})
    streamed = Result(pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))
    assert sum(batch.num_rows for batch in streamed.batches()) == 2
    with pytest.raises(UsageError, match="streamed and are gone"):
        streamed.arrow()
    kept = Result(pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))
    assert kept.arrow().num_rows == kept.table()["ra"].size == 2
    with duckdb.connect() as con:
        again = Result(con.sql("SELECT 1.0::DOUBLE AS ra"))
        assert list(again.batches()) == list(again.batches())


def test_duckdb_and_arrow_take_a_result_as_it_is(con: duckdb.DuckDBPyConnection) -> None:
    assert pa.table(Result(pa.table({"ra": [1.0, 2.0]})))["ra"].to_pylist() == [1.0, 2.0]


def test_declarations_come_from_the_query_where_it_knows(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE objects AS SELECT 1::DOUBLE AS ra, 2::DOUBLE AS dec")
    query = parse("SELECT ra AS x, dec + 1 AS ra FROM objects")
    table = Result(con.sql(query.sql), declared=dict(query.declared)).table()
    assert table["x"].unit == u.deg
    assert table["ra"].unit is None


def test_name_alone_declares_only_where_all_tables_agree() -> None:
    assert declared_as("pm_ra") == OBJECTS["pm_ra"]
    assert declared_as("PM_RA") == OBJECTS["pm_ra"]
    assert declared_as("radius") is not None
    assert declared_as("sky") is not None
    assert declared_as("no_such_column") is None


@pytest.mark.parametrize("form", ["arrow", "table", "df"])
def test_query_that_fails_while_it_runs_is_a_clear_error(con: duckdb.DuckDBPyConnection, form: str) -> None:
    result = Result(con.sql("SELECT CASE WHEN i > 5000 THEN error('boom') ELSE 1 END AS x FROM range(9000) t(i)"))
    with pytest.raises(UsageError, match=r"the query failed: .*boom"):
        getattr(result, form)()


def test_repeated_column_names_get_numbers() -> None:
    rows = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], names=["ra", "RA", "ra_2"])
    assert Result(rows).table().colnames == ["ra", "RA_2", "ra_2_2"]


def test_every_declared_unit_is_one_that_astropy_and_fits_know() -> None:
    for unit in {c.unit for table in TABLES.values() for c in table if c.unit}:
        assert u.Unit(u.Unit(unit).to_string("fits"), format="fits") == u.Unit(unit)


# Formats


def saved(result: Result, format: str, folder: Path) -> Path:
    path = folder / f"answer.{format}"
    write(result, format, path)
    assert list(folder.iterdir()) == [path]
    return path


def test_csv_reads_back(result: Result, tmp_path: Path) -> None:
    with saved(result, "csv", tmp_path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["object_id"] == str(BIG + 1)
    assert rows[1]["mag"] == "22.2"
    assert [row["n_used"] for row in rows] == ["0", "", "2"]
    assert rows[0]["corner_ra"] == "[1.5, 0.0]"
    assert rows[0]["total"] == "3"


def test_csv_quotes_what_needs_it(tmp_path: Path) -> None:
    rows = pa.table({"a,b": ['x"y', "line\nbreak", "é, ö", None]})
    with saved(Result(rows), "csv", tmp_path).open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a,b"], ['x"y'], ["line\nbreak"], ["é, ö"], [""]]


def test_json_is_one_array_of_objects(result: Result, tmp_path: Path) -> None:
    rows = json.loads(saved(result, "json", tmp_path).read_text())
    assert rows[0]["object_id"] == BIG
    assert rows[1]["n_used"] is None
    assert rows[0]["mag"] == 21.2
    assert (rows[0]["total"], rows[0]["price"], rows[1]["stale"]) == (3, 1.25, True)
    assert rows[2]["ragged"] == [0.0, 1.0]
    assert rows[0]["nested"] == {"a": 0}


def test_json_has_no_nan(tmp_path: Path) -> None:
    rows = pa.table({"x": [float("nan"), float("inf"), 1.5], "l": [[float("nan")], [1.0], None]})
    text = saved(Result(rows), "json", tmp_path).read_text()
    assert "NaN" not in text
    assert json.loads(text) == [{"x": None, "l": [None]}, {"x": None, "l": [1.0]}, {"x": 1.5, "l": None}]


def test_parquet_reads_back_with_its_notes(result: Result, tmp_path: Path) -> None:
    path = saved(result, "parquet", tmp_path)
    assert pq.read_table(path).equals(result.arrow().cast(pq.read_table(path).schema))
    assert pq.read_schema(path).field("mag").metadata[b"unit"] == b"mag"
    assert len(pd.read_parquet(path)) == 3


def test_fits_reads_back_with_units_ucds_and_nulls(result: Result, tmp_path: Path) -> None:
    path = saved(result, "fits", tmp_path)
    table = Table.read(path)
    header = fits.getheader(path, 1)
    ra = table.colnames.index("ra") + 1
    assert header[f"TUCD{ra}"] == "pos.eq.ra;meta.main"
    assert header[f"TCOMM{ra}"] == OBJECTS["ra"].meaning
    assert table["ra"].unit == u.deg
    assert table["object_id"].tolist() == [BIG, BIG + 1, BIG + 2]
    assert table["n_used"].tolist() == [0, None, 2]
    assert table["flags"].tolist() == [4294967295] * 3
    assert table["photflags"].tolist() == [None, 7, 7]
    assert table["band"].tolist()[:2] == ["g0", "g1"]
    assert table["corner_ra"].shape == (3, 2)
    assert [len(v) for v in fits.getdata(path)["ragged"]] == [0, 1, 2]
    assert table["stale"].tolist() == [False, True, False]
    with fits.open(path) as file:
        file.verify("exception")


def test_fits_refuses_text_that_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"column band.*write votable"):
        write(Result(pa.table({"band": ["é"]})), "fits", tmp_path / "x.fits")
    assert list(tmp_path.iterdir()) == []


def test_votable_reads_back_with_units_and_ucds(result: Result, tmp_path: Path) -> None:
    path = saved(result, "votable", tmp_path)
    table = Table.read(path, format="votable")
    assert table["ra"].unit == u.deg
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert table["object_id"].tolist() == [BIG, BIG + 1, BIG + 2]
    assert table["n_used"].tolist() == [0, None, 2]
    assert table["flags"].tolist() == [4294967295] * 3
    assert table["photflags"].tolist() == [None, 7, 7]
    assert table["band"].tolist()[:2] == ["g0", "g1"]
    types = {f.name: f.datatype for f in votable.parse_single_table(path).fields}
    assert types["flags"] == "long"
    assert types["band"] == "char"
    assert not {"unsignedInt", "unsignedShort", "unsignedLong"} & set(types.values())


def test_votable_holds_any_text(tmp_path: Path) -> None:
    path = saved(Result(pa.table({"name": ["é <&>", "plain"]})), "votable", tmp_path)
    assert Table.read(path, format="votable")["name"].tolist() == ["é <&>", "plain"]


def test_ecsv_reads_back_with_units_ucds_and_types(result: Result, tmp_path: Path) -> None:
    table = Table.read(saved(result, "ecsv", tmp_path), format="ascii.ecsv")
    assert table["mag"].unit == u.mag
    assert table["mag"].dtype == np.float32
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert table["n_used"].tolist() == [0, None, 2]
    assert table["corner_ra"].shape == (3, 2)


def test_table_shows_names_units_and_values(result: Result, tmp_path: Path) -> None:
    text = saved(result, "table", tmp_path).read_text()
    assert "(deg)" in text
    assert str(BIG) in text
    assert "None" not in text
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_table_says_how_many_rows_it_leaves_out(tmp_path: Path) -> None:
    text = saved(Result(pa.table({"n": np.arange(SHOWN_ROWS + 234)})), "table", tmp_path).read_text()
    assert "… 234 more rows" in text
    assert len(text.splitlines()) < SHOWN_ROWS + 10


@pytest.mark.parametrize("format", FORMATS)
def test_answer_without_rows_is_written_in_every_format(
    con: duckdb.DuckDBPyConnection, format: str, tmp_path: Path
) -> None:
    path = saved(Result(con.sql(f"SELECT * FROM ({QUERY}) WHERE ra < 0")), format, tmp_path)
    if format == "json":
        assert json.loads(path.read_text()) == []
    else:
        assert "object_id" in path.read_bytes().decode("latin1")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_goes_to_stdout(result: Result, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sink, encoding="utf-8", write_through=True))
    write(result, format)
    assert len(sink.getvalue()) > 100


def test_binary_format_is_kept_from_a_terminal(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for format in ("parquet", "fits"):
        with pytest.raises(UsageError, match="no text for a terminal"):
            write(result, format)


def test_file_is_replaced_whole_or_left_alone(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "answer.csv"
    path.write_text("old")
    bad = Result(con.sql("SELECT CASE WHEN i > 500000 THEN error('boom') ELSE i END AS x FROM range(900000) t(i)"))
    with pytest.raises(UsageError, match="boom"):
        write(bad, "csv", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="exists"):
        write(Result(pa.table({"x": [1]})), "csv", path, overwrite=False)
    write(Result(pa.table({"x": [1]})), "csv", path)
    assert path.read_text() == "x\n1\n"


def test_what_cannot_be_written_is_a_clear_error(result: Result, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write(result, "csv", tmp_path / "no" / "such" / "folder.csv")
    with pytest.raises(UsageError, match="exists"):
        write(result, "csv", tmp_path)
    with pytest.raises(UsageError, match=r"no format named 'fit'.*did you mean 'fits'"):
        write(result, "fit", tmp_path / "x")
