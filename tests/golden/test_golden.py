"""Databases that released versions wrote: opened, asked, and written to by this one."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import skydb
from skydb.query.views import OWN, Views
from skydb.schema.model import SCHEMA_VERSION, Column, Table
from skydb.schema.tables import TABLES
from skydb.store.catalog import FORMAT_VERSION
from tests.golden.make import GOLDEN, QUESTIONS, answers, answers_path, archive_path
from tests.ingest.skies import write_night

FORMATS = sorted(int(path.name.split("-")[1].split(".")[0]) for path in GOLDEN.glob("format-*.tar.xz"))


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of a golden database, and what it answered when it was written."""
    with tarfile.open(archive_path(request.param)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"format-{request.param}.sky", json.loads(answers_path(request.param).read_text())


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Table:
    """The table of objects; it and the others as a later version may declare them, for as long as a test runs."""
    for name, table in list(TABLES.items()):
        if table.kind != "catalog":
            monkeypatch.setitem(TABLES, name, later_version(table))
    monkeypatch.setattr(OWN, "__dict__", vars(Views(TABLES)))
    return TABLES["objects"]


def later_version(table: Table) -> Table:
    """A table with all types as wide as they can be, and two columns more."""
    version = SCHEMA_VERSION + 1
    widened = [replace(c, type=WIDEST.get(c.type, c.type), widened=((version, c.type),) * (c.type in WIDEST))
               for c in table]  # fmt: skip
    added = (
        Column("my_note", "string", None, "meta.note", "added", since=version),
        Column("my_rank", "int16", None, "meta.number", "added", since=version, default=7, required=True),
    )
    return replace(table, columns=(*widened, *added), version=version)


WIDEST = {"int16": "int64", "int32": "int64", "uint16": "int64", "uint32": "int64", "float32": "float64"}


def same(found: Any, wanted: Any) -> bool:
    """Compare answers; JSON keeps every digit of a float."""
    return bool(json.loads(json.dumps(found)) == wanted)


def test_database_of_this_format_is_stored() -> None:
    assert FORMAT_VERSION in FORMATS
    assert archive_path(FORMAT_VERSION).stat().st_size < 500_000


def test_stored_database_answers_as_it_did_when_it_was_written(stored: tuple[Path, dict[str, Any]]) -> None:
    path, wanted = stored
    found = answers(path)
    then = {table["name"]: table["columns"] for table in wanted["tables"]}
    found["tables"] = [
        {**table, "columns": then[table["name"]]} for table in found["tables"] if table["name"] in then
    ]  # others have come since, and other columns
    assert set(QUESTIONS) | {"lightcurve", "cone"} == set(wanted)
    for name in wanted:
        assert same(found[name], wanted[name]), name
    assert all(wanted.values())


def test_stored_database_answers_as_it_did_under_a_later_schema(
    stored: tuple[Path, dict[str, Any]], later: Table
) -> None:
    path, wanted = stored
    found = answers(path)
    for name in wanted.keys() - {"tables", "lightcurve"}:
        assert same(found[name], wanted[name]), name
    with skydb.connect(path) as con:
        rows = con.sql("SELECT n_measurements, flags, my_note, my_rank FROM objects").arrow()
    assert rows.schema.types == [later[name].arrow.type for name in rows.column_names]
    assert set(rows["my_note"].to_pylist()) == {None}
    assert set(rows["my_rank"].to_pylist()) == {7}


def test_nothing_is_wrong_with_a_stored_database(stored: tuple[Path, dict[str, Any]]) -> None:
    report = skydb.fsck(stored[0], deep=True, workers=1)
    assert report.clean, report.findings


def test_nothing_is_wrong_with_a_stored_database_under_a_later_schema(
    stored: tuple[Path, dict[str, Any]], later: Table
) -> None:
    report = skydb.fsck(stored[0], deep=True, workers=1)
    assert report.clean, report.findings


def test_stored_database_takes_another_night_and_keeps_its_rows(stored: tuple[Path, dict[str, Any]]) -> None:
    path, wanted = stored
    db = skydb.open(path)
    added = skydb.addstar(
        db, write_night(path.parent / "night3", exposures=2, stars=25, ra=45.0, dec=30.0, seed=3), workers=1
    )
    with skydb.connect(db) as con:
        found = con.sql(QUESTIONS["measurements"][0]).arrow().to_pylist()
        keys = {(row["image_id"], row["det_id"]) for row in found}
    assert {(row["image_id"], row["det_id"]) for row in wanted["measurements"]} <= keys
    assert len(found) == len(wanted["measurements"]) + added.count("n_measurements") > len(wanted["measurements"])


def test_golden_database_was_written_by_the_command_line_alone(stored: tuple[Path, dict[str, Any]]) -> None:
    _, wanted = stored
    assert [row["kind"] for row in wanted["snapshots"]] == [
        "create", "photcodes", "addstar", "tag", "addstar", "relcal", "table", "addrows", "compact", "delete",
    ]  # fmt: skip
    assert all("/" not in row["command"].replace("night1/", "").replace("night2/", "") for row in wanted["snapshots"])
