"""The declared tables that come with skydb: rows of small files are ingested, asked for, merged and released."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table as AstropyTable

import skydb
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.schema.declaration import read_declaration
from skydb.schema.model import Table
from tests.ingest.skies import contents, new_database, write_night

KEYS: dict[str, dict[str, list[str]]] = {
    "lensing": {}, "lens_objects": {"band": ["g", "r"]}, "galphot": {"model": ["DEV", "EXP", "SER"]},
}  # fmt: skip
"""The tables, and the keys that each has besides its object or measurement."""
WRITTEN = {"lensing": "psphot", "lens_objects": "name", "galphot": "dvo"}
"""Under which of their names a file has the columns; that of lensing is a FITS file, as psphot writes it."""
ASKED = {"lensing": "Lensing", "lens_objects": "LensObj", "galphot": "GalPhot"}

Rows = dict[tuple[Any, ...], dict[str, Any]]
"""Rows by their key."""


@dataclass(frozen=True)
class Survey:
    """A database with rows of each table, one that it was merged into, what that was released as; and what was given.

    `given` has the rows by what they are keyed by in any database: the measurement, or one of the object's.
    """

    source: Database
    merged: Database
    released: Path
    reports: dict[str, Any]
    given: dict[str, Rows]


def values_of(table: Table, number: int) -> dict[str, np.ndarray]:
    """A value for each column that is no key, other ones in each column."""
    columns = [c for c in table if c.name not in table.sort]
    rows = np.arange(number)
    return {c.name: (rows + 100 * place).astype(c.type) for place, c in enumerate(columns)}


def owners_of(db: Database) -> dict[tuple[int, int], int]:
    """The object of every measurement."""
    rows = contents(db, ["measurements"])["measurements"]
    return {(r["image_id"], r["det_id"]): r["object_id"] for r in rows.to_pylist()}


def keys_of(table: Table, owners: dict[tuple[int, int], int]) -> dict[str, list[Any]]:
    """The keys of all rows: of every measurement or object, with each of the table's own."""
    if table.keyed_by == "measurement":
        given = [{"image_id": image, "det_id": det} for image, det in sorted(owners)]
    else:
        given = [{"object_id": owner} for owner in sorted(set(owners.values()))]
    for name, words in KEYS[table.name].items():
        given = [{**row, name: word} for row in given for word in words]
    return {name: [row[name] for row in given] for name in given[0]}


def file_of(table: Table, columns: dict[str, Any], folder: Path) -> Path:
    """A file with these columns, under the names of its kind."""
    kind = WRITTEN[table.name]
    named = {(getattr(table[n], kind) if n in table else None) or n: values for n, values in columns.items()}
    if kind == "psphot":
        AstropyTable(named).write(folder / f"{table.name}.fits")
        return folder / f"{table.name}.fits"
    pq.write_table(pa.table(named), folder / f"{table.name}.parquet")
    return folder / f"{table.name}.parquet"


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    folder = tmp_path_factory.mktemp("shipped")
    *mine, theirs = write_night(folder / "night", exposures=3, stars=20)
    source, merged = (new_database(folder / name) for name in ("source.sky", "merged.sky"))
    skydb.addstar(source, mine, workers=1)
    skydb.addstar(merged, theirs, workers=1)
    owners, reports, given = owners_of(source), {}, {}
    for name in KEYS:
        table = read_declaration(name)
        skydb.declare_table(source, name)
        keys = keys_of(table, owners)
        columns = keys | values_of(table, len(next(iter(keys.values()))))
        reports[name] = skydb.addrows(source, name, file_of(table, columns, folder), workers=1)
        given[name] = by_key(table, pa.table(columns).to_pylist())
    skydb.merge(merged, source, workers=1)
    skydb.release(merged, folder / "dr1", workers=1)
    return Survey(source, merged, folder / "dr1", reports, given)


def by_key(table: Table, rows: list[dict[str, Any]]) -> Rows:
    """Rows by their key, without what depends on the database."""
    names = [name for name in table.sort if name != "object_id" or table.keyed_by == "object"]
    values = [name for name in table.names if name not in table.sort]
    found = {tuple(row[n] for n in names): {n: row[n] for n in values} for row in rows}
    assert len(found) == len(rows)
    return found


def asked(db: Database, query: str) -> list[dict[str, Any]]:
    with skydb.connect(db) as con:
        return con.sql(query).arrow().to_pylist()


@pytest.mark.parametrize("name", KEYS)
def test_every_row_is_ingested_with_its_values_and_the_id_of_its_object(survey: Survey, name: str) -> None:
    report, table = survey.reports[name], read_declaration(name)
    assert report.count("n_in") == report.count("n_matched") == len(survey.given[name]) > 0
    assert report.files[0].unused == ()
    rows = asked(survey.source, f"SELECT * FROM {ASKED[name]}")
    assert by_key(table, rows) == survey.given[name]
    owners = owners_of(survey.source)
    if table.keyed_by == "measurement":
        assert all(owners[r["image_id"], r["det_id"]] == r["object_id"] for r in rows)


def test_tables_are_joined_with_measurements_and_objects_under_dvos_names(survey: Survey) -> None:
    joined = asked(survey.source, (
        "SELECT m.object_id, l.X11_SM_OBJ AS x, g.GAL_MAG AS mag, o.band FROM measurements m"
        " JOIN Lensing l USING (image_id, det_id) JOIN GalPhot g USING (image_id, det_id)"
        " JOIN LensObj o ON o.object_id = m.object_id AND o.band = 'g' WHERE g.model = 'SER'"
    ))  # fmt: skip
    assert len(joined) == len(survey.given["lensing"])
    wanted = [row["x11_sm_obj"] for row in survey.given["lensing"].values()]
    assert sorted(row["x"] for row in joined) == sorted(wanted)
    mags = [row["mag"] for key, row in survey.given["galphot"].items() if "SER" in key]
    assert sorted(row["mag"] for row in joined) == sorted(mags)


@pytest.mark.parametrize("name", KEYS)
def test_merge_brings_every_row_to_the_object_of_here(survey: Survey, name: str) -> None:
    table, owners = read_declaration(name), owners_of(survey.merged)
    rows = asked(survey.merged, f"SELECT * FROM {name}")
    if table.keyed_by == "measurement":
        assert by_key(table, rows) == survey.given[name]
        assert all(owners[r["image_id"], r["det_id"]] == r["object_id"] for r in rows)
        return
    there = {owner: key for key, owner in owners_of(survey.source).items()}
    given = {(owners[there[key[0]]], *key[1:]): row for key, row in survey.given[name].items()}
    assert by_key(table, rows) == given


def test_merged_tables_are_sound(survey: Survey) -> None:
    assert fsck(survey.merged, deep=True, workers=1).findings == ()


@pytest.mark.parametrize("name", KEYS)
def test_release_has_every_row(survey: Survey, name: str) -> None:
    table = read_declaration(name)
    files = sorted((survey.released / f"dr1_{name}" / "dataset").glob("Norder=*/Dir=*/Npix=*.parquet"))
    rows = pa.concat_tables(pq.ParquetFile(path).read() for path in files).to_pylist()
    stored = by_key(table, asked(survey.merged, f"SELECT * FROM {name}"))
    assert by_key(table, [{**dict.fromkeys(table.names), **row} for row in rows]) == stored
