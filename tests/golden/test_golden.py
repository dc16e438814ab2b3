"""Databases that released versions wrote: opened, asked, and written to by this one."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import skydb
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


def same(found: Any, wanted: Any) -> bool:
    """Compare answers; JSON keeps every digit of a float."""
    return bool(json.loads(json.dumps(found)) == wanted)


def test_database_of_this_format_is_stored() -> None:
    assert FORMAT_VERSION in FORMATS
    assert archive_path(FORMAT_VERSION).stat().st_size < 500_000


def test_stored_database_answers_as_it_did_when_it_was_written(stored: tuple[Path, dict[str, Any]]) -> None:
    path, wanted = stored
    found = answers(path)
    then = {table["name"] for table in wanted["tables"]}
    found["tables"] = [table for table in found["tables"] if table["name"] in then]  # others have come since
    assert set(QUESTIONS) | {"lightcurve", "cone"} == set(wanted)
    for name in wanted:
        assert same(found[name], wanted[name]), name
    assert all(wanted.values())


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
