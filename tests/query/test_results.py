"""Answers in every form and format keep values, NULLs, units and meanings."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from skydb.query.results import PRINTED_ROWS, Result, declared_as, write
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


@pytest.mark.parametrize("form", ["arrow", "table", "df", "pandas", "__str__", "_repr_html_", "__len__"])
def test_query_that_fails_while_it_runs_is_a_clear_error(con: duckdb.DuckDBPyConnection, form: str) -> None:
    failing = "CASE WHEN i > 5000 THEN error('boom') ELSE 1 END"
    result = Result(con.sql(f"SELECT {failing} AS x FROM range(9000) t(i) ORDER BY -i"))
    with pytest.raises(UsageError, match=r"the query failed: .*boom"):
        getattr(result, form)()


def test_rows_are_counted_and_looped_over(con: duckdb.DuckDBPyConnection) -> None:
    ra = "CASE WHEN i = 2 THEN NULL ELSE 1.5::DOUBLE END"
    result = Result(con.sql(f"SELECT i AS object_id, {ra} AS ra FROM range(3) t(i)"))
    assert [row["object_id"] for row in result] == [0, 1, 2]
    assert len(result) == 3
    assert list(result)[2] == {"object_id": 2, "ra": None}
    repeated = Result(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    assert list(repeated) == [{"a": 1, "a_2": 2}]


def test_answer_is_pickled_with_its_rows(result: Result) -> None:
    back = pickle.loads(pickle.dumps(result))
    assert back.arrow().equals(result.arrow(), check_metadata=True)
    assert back.table()["ra"].unit == u.deg


def test_repr_names_columns_and_computes_nothing(con: duckdb.DuckDBPyConnection) -> None:
    result = Result(con.sql("SELECT error('computed') AS x, 1 AS n"))
    assert "not fetched yet; columns: x, n;" in repr(result)
    assert "rows: 2; columns: ra;" in repr(Result(pa.table({"ra": [1.0, 2.0]})))


def test_print_shows_the_first_rows_with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = str(Result(pa.table({"ra": np.arange(50.0)}))).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["ra", "(deg)", "─────"]
    assert lines[PRINTED_ROWS + 2].strip() == "19"
    assert lines[PRINTED_ROWS + 3].startswith("… 30 more rows")
    assert "(no rows)" in str(Result(pa.table({"ra": []})))


def test_notebook_shows_the_first_rows_and_no_markup_of_the_data() -> None:
    html = Result(pa.table({"ra": np.arange(50.0), "<b>": ["<i>x</i>" * 100] * 50}))._repr_html_()
    assert html.count("<tr>") == PRINTED_ROWS + 1
    assert "<small>deg</small>" in html
    assert "<th>&lt;b&gt;</th>" in html
    assert "<i>" not in html
    assert len(html) < 500 * PRINTED_ROWS
    assert "30 more rows" in html


def test_first_rows_are_shown_without_computing_the_others(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT CASE WHEN i > 500000 THEN error('too far') ELSE i END AS n FROM range(900000) t(i)"
    result = Result(con.sql(query))
    assert "19" in str(result)
    assert "more rows" in result._repr_html_()
    with pytest.raises(UsageError, match="too far"):
        result.arrow()


def test_small_answer_that_was_shown_is_not_computed_again(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE SEQUENCE runs")
    result = Result(con.sql("SELECT nextval('runs') AS n"))
    assert str(result).split()[-1] == str(len(result)) == "1"
    assert result.arrow()["n"].to_pylist() == [1]


def test_one_time_stream_survives_being_shown() -> None:
    rows = pa.table({"ra": np.arange(50.0)})
    streamed = Result(pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))
    assert "19" in str(streamed)
    assert len(streamed) == 50


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


def on_terminal(result: Result, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of 80 columns shows of an answer."""
    screen = io.BytesIO()
    monkeypatch.setenv("COLUMNS", "80")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="utf-8", write_through=True))
        patched.setattr(sys.stdout, "isatty", lambda: True)
        write(result, "table")
        return screen.getvalue().decode()


def wide(rows: int) -> Result:
    """An answer of 30 columns, too wide for most terminals: one is empty, one is a long text."""
    columns = {f"c{i:02d}": np.arange(rows) + 10_000_000 * i for i in range(28)}
    return Result(pa.table({"none": pa.nulls(rows, pa.float64()), "words": ["several words " * 9] * rows, **columns}))


def test_table_is_complete_in_a_file(tmp_path: Path) -> None:
    lines = saved(wide(SHOWN_ROWS + 234), "table", tmp_path).read_text().splitlines()
    assert len(lines) == SHOWN_ROWS + 234 + 2
    assert lines[0].split()[-1] == "c27"
    assert {line.split()[-1] for line in lines[2:]} == {str(270_000_000 + i) for i in range(SHOWN_ROWS + 234)}


def test_terminal_shows_the_first_rows_and_says_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_terminal(Result(pa.table({"n": np.arange(SHOWN_ROWS + 234)})), monkeypatch).splitlines()
    assert lines[-1].startswith(f"… more than {SHOWN_ROWS} rows")
    assert len(lines) == SHOWN_ROWS + 3


def test_no_line_on_a_terminal_is_longer_than_it_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for rows in (1, 3, 50):
        assert max(map(len, on_terminal(wide(rows), monkeypatch).splitlines())) <= 80


def test_few_wide_rows_show_every_column_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.split() for line in on_terminal(wide(3), monkeypatch).splitlines()]
    assert ["c27", "270000000"] in [line[:2] for line in lines]
    assert {"none", "words", *(f"c{i:02d}" for i in range(28))} <= {line[0] for line in lines}
    values = {value for line in lines for value in line}
    assert {"270000000", "270000001", "270000002"} <= values


def test_many_wide_rows_name_the_columns_that_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(wide(50), monkeypatch)
    head = text.split("\n", 1)[0].split()
    note = text[text.index("… columns"):].replace("\n", " ")
    assert head[0] == "words"
    assert "empty: none." in note
    for name in (f"c{i:02d}" for i in range(28)):
        assert (name in head) != (f"{name}," in note or f"{name};" in note)


def test_long_text_is_folded_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"n": [1, 2], "words": ["several words " * 9] * 2})
    lines = on_terminal(Result(rows), monkeypatch).splitlines()
    assert sum(line.count("several") for line in lines) == 18
    assert all(len(line) <= 80 for line in lines)


def test_control_characters_do_not_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(Result(pa.table({"x": ["a\x1b[31m", "b\nc"]})), monkeypatch)
    assert text.splitlines()[-2:] == ["a\\x1b[31m", "b\\nc"]


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


def test_pipe_and_device_are_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        write(Result(pa.table({"x": [1]})), "csv", pipe)
        assert read.result(10) == "x\n1\n"
    assert pipe.is_fifo()
    with pytest.raises(UsageError, match="cannot write /dev/full: No space left"):
        write(Result(pa.table({"x": [1]})), "csv", "/dev/full")
    assert Path("/dev/full").is_char_device()


def test_what_cannot_be_written_is_a_clear_error(result: Result, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write(result, "csv", tmp_path / "no" / "such" / "folder.csv")
    with pytest.raises(UsageError, match="exists"):
        write(result, "csv", tmp_path)
    with pytest.raises(UsageError, match=r"no format named 'fit'.*did you mean 'fits'"):
        write(result, "fit", tmp_path / "x")
