"""A reader written after docs/reference/format.md alone, of sqlite3, pyarrow and zlib, finds what skydb finds."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skydb.database import Database
from skydb.query.connection import connect
from skydb.schema.model import SCHEMA_VERSION
from skydb.store.catalog import FORMAT_VERSION
from skydb.store.catalog_tables import catalog_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "format.md"
(ALIVE,) = re.findall(r"```sql\n(.*?)\n```", PAGE.read_text(), re.S)


def rows_of(root: Path, query: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(f"{(root / 'catalog.sqlite').as_uri()}?mode=ro", uri=True)) as catalog:
        catalog.row_factory = sqlite3.Row
        return catalog.execute(query).fetchall()


def files_of(root: Path, table: str, snapshot: int) -> list[sqlite3.Row]:
    query = "SELECT files.*, root FROM files JOIN (SELECT * FROM hosts WHERE end_snapshot IS NULL) AS hosts"
    query += f" ON hosts.name = host WHERE table_name = '{table}' AND "
    alive = re.sub(r"\b(begin|end)_snapshot\b", r"files.\1_snapshot", re.sub(r"\bS\b", str(snapshot), ALIVE))
    return rows_of(root, query + alive)


def whole_table(root: Path, file: sqlite3.Row) -> pa.Table:
    """Read a file after every check that the page allows."""
    content = (Path(file["root"] or root) / file["path"]).read_bytes()
    assert (len(content), zlib.crc32(content[file["tail_start"] :])) == (file["bytes"], file["tail_crc"])
    parquet = pq.ParquetFile(pa.BufferReader(content))
    shape = parquet.metadata.num_row_groups, parquet.metadata.num_columns
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    sums = np.frombuffer(content[:footer], "<u4", offset=footer - 4 * shape[0] * shape[1]).reshape(shape)
    for group, column in np.ndindex(shape):
        chunk = parquet.metadata.row_group(group).column(column)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        assert zlib.crc32(content[start : start + chunk.total_compressed_size]) == sums[group, column]
    return parquet.read().replace_schema_metadata()


def read_table(root: Path, table: str, snapshot: int) -> pa.Table:
    if table != "measurements":
        return pa.concat_tables(whole_table(root, file) for file in files_of(root, table, snapshot))
    raw = {file["name"]: file for file in files_of(root, table, snapshot)}
    parts = []
    for file in files_of(root, "measurements_cal", snapshot):
        part, beside = whole_table(root, file), whole_table(root, raw.pop(file["base"]))
        for name in beside.column_names:
            part = part if name in part.column_names else part.append_column(name, beside.column(name))
        parts.append(part)
    assert not raw
    return pa.concat_tables(parts)


def in_order(table: pa.Table) -> list[str]:
    return sorted(str(row) for row in table.to_pylist())


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("table", ["objects", "object_bands", "measurements", "images", "exposures", "photcodes"])
def test_reader_written_after_the_page_finds_the_same_rows(survey: Database, table: str, back: int) -> None:
    (newest,) = rows_of(survey.root, "SELECT max(snapshot) FROM snapshots")[0]
    found = read_table(survey.root, table, newest - back)
    with connect(survey, at=newest - back) as con:
        expected = con.sql(f"SELECT {', '.join(found.column_names)} FROM {table}").arrow()
    assert found.num_rows > 0
    assert in_order(found) == in_order(expected)


def test_objects_lie_in_the_cells_that_the_page_says(survey: Database) -> None:
    snapshot = survey.snapshot().id
    for file in files_of(survey.root, "measurements_cal", snapshot):
        ids = whole_table(survey.root, file).column("object_id").to_numpy()
        assert set(ids >> 2 * (29 - file["norder"])) == {file["npix"]}
        assert (ids.min(), ids.max()) == (file["min_key"], file["max_key"])


def test_pages_name_the_versions_and_every_table_and_column_of_the_catalog(survey: Database) -> None:
    assert f"format {FORMAT_VERSION}, schema version {SCHEMA_VERSION}." in PAGE.read_text()
    sections = catalog_page().split("\n## ")[1:]
    named = {section.split("\n")[0]: re.findall(r"^\| `(\w+)`", section, re.M) for section in sections}
    tables = [row["name"] for row in rows_of(survey.root, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    stored = {name: [row["name"] for row in rows_of(survey.root, f"PRAGMA table_info({name})")] for name in tables}
    assert named == stored


def test_metadata_keys_are_those_of_the_page(survey: Database) -> None:
    told = set(re.findall(r"`(skydb\.\w+)`", PAGE.read_text()))
    for table in ("images", "measurements_cal"):
        file = files_of(survey.root, table, survey.snapshot().id)[0]
        keys = {key.decode() for key in pq.read_metadata(survey.root / file["path"]).metadata or {}}
        assert {key for key in keys if key.startswith("skydb.")} == told


def test_manifests_one_after_another_give_the_live_files_and_cells(survey: Database) -> None:
    files: dict[str, dict[str, object]] = {}
    cells = set()
    for path in sorted((survey.root / "commits").glob("*.json")):
        manifest = json.loads(path.read_text())
        assert all(f"`{key}`" in PAGE.read_text() for key in manifest)
        cells -= {(row["norder"], row["npix"]) for row in manifest["cells_ended"]}
        cells |= {(row["norder"], row["npix"]) for row in manifest["cells_added"]}
        files = {name: row for name, row in files.items() if {"name": name} not in manifest["files_ended"]}
        files |= {row["name"]: row for row in manifest["files_added"]}
        body, line = path.read_bytes().rsplit(b' "crc32"', 1)
        assert f"{zlib.crc32(body):08x}".encode() in line
    follows = {"begin_snapshot", "end_snapshot", "moved_snapshot"}
    live = map(dict, rows_of(survey.root, "SELECT * FROM files WHERE end_snapshot IS NULL"))
    assert files == {row["name"]: {k: v for k, v in row.items() if k not in follows} for row in live}
    assert cells == {cell.key for cell in survey.snapshot().cells()}
