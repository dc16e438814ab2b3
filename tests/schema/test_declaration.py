"""Declarations: what is accepted, what is refused and how, and those that come with skydb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from skydb.errors import DataError, UsageError
from skydb.schema.declaration import (
    RESERVED,
    declaration_text,
    declared_table,
    read_declaration,
    shipped,
    table_of,
)
from skydb.schema.model import Column, Table

SPECTRA: dict[str, Any] = {
    "name": "spectra", "meaning": "redshifts", "keyed_by": "object", "key": ["programme"],
    "columns": [
        {"name": "programme", "type": "string", "meaning": "observing programme"},
        {"name": "redshift", "type": "float32", "ucd": "src.redshift", "meaning": "redshift"},
    ],
}  # fmt: skip


def with_column(**words: Any) -> dict[str, Any]:
    column = {"name": "z", "type": "float32", "meaning": "redshift", **words}
    return {**SPECTRA, "columns": [*SPECTRA["columns"], {k: v for k, v in column.items() if v is not None}]}


def test_declared_table_begins_with_its_keys() -> None:
    table = declared_table(SPECTRA, "here")
    assert table.names == ("object_id", "programme", "redshift")
    assert table.sort == ("object_id", "programme")
    assert table["programme"].required
    assert not table["redshift"].required
    assert table.kind == "sky"


def test_table_of_measurements_begins_with_the_keys_of_a_measurement() -> None:
    table = declared_table({**SPECTRA, "keyed_by": "measurement", "key": []}, "here")
    assert table.sort == table.names[:3] == ("object_id", "image_id", "det_id")


@pytest.mark.parametrize("table", shipped().values(), ids=shipped().keys())
def test_shipped_declaration_survives_its_way_through_the_catalog(table: Table) -> None:
    assert table_of(table.name, declaration_text(table)) == table


def test_history_of_a_column_survives_its_way_through_the_catalog() -> None:
    given = {**with_column(since=2, default=0.5, unit="mag", dvo="Z", psphot="Z_PSF"), "version": 3}
    given["columns"].append({"name": "n", "type": "int64", "meaning": "count", "widened": [[3, "int32"]]})
    table = declared_table(given, "here")
    assert table["n"].widened == ((3, "int32"),)
    assert table_of("spectra", declaration_text(table)) == table


def test_shipped_names_are_those_of_their_files() -> None:
    assert {name: table.name for name, table in shipped().items()} == {
        name: name for name in ("difference", "galphot", "lens_objects", "lensing", "starpar", "xfit", "xrad", "xsrc")
    }


def test_declaration_is_read_from_a_file_or_by_a_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nmeaning = "m"\nkeyed_by = "object"\n'
                    '[[columns]]\nname = "a"\ntype = "bool"\nmeaning = "b"\n')  # fmt: skip
    assert read_declaration(path)["a"] == Column("a", "bool", None, "", "b")
    assert read_declaration("starpar") == shipped()["starpar"]


def test_reserved_words_are_those_of_duckdb() -> None:
    query = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    assert {name for (name,) in duckdb.sql(query).fetchall()} == RESERVED


@pytest.mark.parametrize(("given", "said"), [
    ({**SPECTRA, "name": "objects"}, "'objects' is a table of skydb or a word of SQL"),
    ({**SPECTRA, "name": "average"}, "'average' is a table of skydb"),
    ({**SPECTRA, "name": "select"}, "word of SQL"),
    ({**SPECTRA, "name": "main"}, "word of SQL"),
    ({**SPECTRA, "name": "pragma_table_info"}, "word of SQL"),
    ({**SPECTRA, "dvo": "Measure"}, "'Measure' is a table of skydb"),
    ({**SPECTRA, "dvo": "my spectra"}, "'my spectra' is no name"),
    ({**SPECTRA, "name": "My Table"}, "'My Table' is no name"),
    ({**SPECTRA, "keyed_by": "image"}, "keyed_by is 'image'"),
    ({**SPECTRA, "keyed-by": "object"}, "no word 'keyed-by'; did you mean 'keyed_by'"),
    ({k: v for k, v in SPECTRA.items() if k != "meaning"}, "no meaning is given; add meaning ="),
    ({**SPECTRA, "key": ["epoch"]}, "key names 'epoch', which is no column"),
    ({**SPECTRA, "columns": ["z"]}, r"'z' where a table of words is expected; write \[\[columns\]\]"),
    (with_column(type="flaot32"), "column 3: no type named 'flaot32'; did you mean 'float32'"),
    (with_column(name="Redshift"), "'Redshift' is no name of a column"),
    (with_column(name="order"), "'order' is no name of a column"),
    (with_column(name="redshift"), "column redshift is there already"),
    (with_column(name="object_id"), "column object_id is there already; keys come first by themselves"),
    (with_column(meaning=None), "column 3: no meaning is given"),
    (with_column(since=2), "version is 1, but a column changed later"),
    (with_column(widened=["int32"]), "widened is"),
    (with_column(unit=5), "unit is 5"),
])  # fmt: skip
def test_wrong_declaration_is_refused_with_what_to_do(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        declared_table(given, "here")


@pytest.mark.parametrize(("words", "said"), [
    ('unit = "parsnip"', "column a: .*parsnip"), ('ucd = "no.such"', "column a: .*no.such"),
    ("unit = ", "cannot be read"),
])  # fmt: skip
def test_unit_or_ucd_that_the_vo_does_not_know_is_refused(tmp_path: Path, words: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nmeaning = "m"\nkeyed_by = "object"\n'
                    f'[[columns]]\nname = "a"\ntype = "int32"\nmeaning = "b"\n{words}\n')  # fmt: skip
    with pytest.raises(UsageError, match=said):
        read_declaration(path)


def test_unknown_declaration_is_answered_with_the_closest_shipped_name() -> None:
    with pytest.raises(UsageError, match="no such declaration; did you mean 'starpar'"):
        read_declaration("starpa")


def test_declaration_that_only_a_later_skydb_knows_is_an_error_of_the_table() -> None:
    with pytest.raises(DataError, match=r"table spectra: its declaration cannot be read: .*; upgrade skydb"):
        table_of("spectra", '{"name": "spectra", "colour": 1}')
