"""Files of three versions of their tables in one cell: every way of asking gives what the present version declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skydb import database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.parallel.executor import executor_for
from skydb.query.connection import Connection, connect
from skydb.query.views import OWN, Views
from skydb.schema.model import ARROW_TYPES, Column, Table
from skydb.schema.tables import TABLES
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.compact import compact
from skydb.store.files import DataFile
from skydb.store.parquet import sort_rows, store_rows
from tests.query.release.skies import CODES, Sky

CELL = Cell(0, 0)
VERSIONS = (1, 2, 3)
MADE_UP = (
    Column("my_count", "int64", None, "meta.number", "widened", widened=((2, "int32"),)),
    Column("my_width", "float64", None, "meta.number", "widened", widened=((3, "float32"),)),
    Column("my_mask", "uint32", None, "meta.number", "widened", widened=((2, "uint16"),)),
    Column("my_note", "string", None, "meta.note", "added", since=2),
    Column("my_share", "float64", None, "meta.number", "added, then widened", since=2, widened=((3, "float32"),)),
    Column("my_rank", "int16", None, "meta.number", "added with a default", since=3, default=-7, required=True),
    Column("my_name", "string", None, "meta.id", "added with a default that has to be quoted", since=3, default="o'x"),
    Column("my_good", "bool", None, "meta.code", "added with a default", since=2, default=True),
    Column("my_edges", "list<float64>", None, "meta.number", "added", since=3),
    Column("my_bits", "int64", None, "meta.number", "widened, and signed now", widened=((3, "uint32"),)),
    Column("my_step", "int64", None, "meta.number", "widened twice", widened=((2, "int16"), (3, "int32"))),
)
EVOLVED = ("objects", "measurements", "measurements_cal", "images")
"""The tables that get the made-up columns; a measurement has some of them in the raw file, some in both."""


def present(name: str) -> Table:
    """A table of skydb with made-up columns, as its third version declares it."""
    made_up = MADE_UP[::2] if name == "measurements_cal" else MADE_UP
    return replace(TABLES[name], columns=(*TABLES[name].columns, *made_up), version=3)


def as_of(table: Table, version: int) -> Table:
    """The table as a version declared it."""
    columns = [replace(c, type=c.type_in(version), widened=()) for c in table if c.since <= version]
    return replace(table, columns=tuple(columns), version=version)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, Table]:
    """The tables by name, evolved for as long as a test runs."""
    for name in EVOLVED:
        monkeypatch.setitem(TABLES, name, present(name))
    monkeypatch.setattr(OWN, "__dict__", vars(Views(TABLES)))
    return TABLES


def values(column: Column, version: int, rng: np.random.Generator, count: int) -> pa.Array:
    """Values that a version can store; some NULL where they may be."""
    kind = column.type_in(version)
    if kind == "string":
        drawn = pa.array([f"{version}'{i}" for i in range(count)])
    elif kind == "list<float64>":
        drawn = pa.array([[float(i), 0.5] for i in range(count)])
    elif kind == "bool":
        drawn = pa.array(rng.random(count) < 0.5)
    elif kind.startswith("float"):
        drawn = pa.array(rng.normal(0, 1e20, count)).cast(ARROW_TYPES[kind])
    else:
        bounds = np.iinfo(kind)
        drawn = pa.array(rng.integers(bounds.min, bounds.max, count, dtype=np.dtype(kind), endpoint=True))
    missing = pa.array(rng.random(count) < (0.0 if column.required else 0.3))
    return pa.compute.if_else(missing, pa.nulls(count, drawn.type), drawn)


def with_made_up(rows: pa.Table, table: Table, version: int, rng: np.random.Generator) -> pa.Table:
    for column in table:
        if column in MADE_UP and column.since <= version and column.name not in rows.column_names:
            rows = rows.append_column(column.name, values(column, version, rng, rows.num_rows))
    return rows


def expected(rows: pa.Table, table: Table) -> list[dict[str, Any]]:
    """The rows as the present version has them, value by value."""
    return [{c.name: row.get(c.name, c.default) if c.name in row else c.default for c in table}
            for row in rows.to_pylist()]  # fmt: skip


class Survey:
    """A database of one cell into which every version has written objects and their measurements, and all its rows."""

    def __init__(self, path: Path, tables: dict[str, Table], seed: int) -> None:
        self.tables, self.rng = tables, np.random.default_rng(seed)
        self.db: Database = database.create(path)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in EVOLVED}
        adds = [store_rows(self.db.root, self.db.id, CODES.to_arrow(), "photcodes")]
        for version in VERSIONS:
            adds += self._night(version)
        self.db.commit(Changes("test", "test", 0, adds=tuple(adds), cells=(CELL,)))

    def _night(self, version: int) -> Iterator[DataFile]:
        count = 40
        ra, dec = 45.0 + self.rng.uniform(-1, 1, count), 45.0 + self.rng.uniform(-0.5, 0.5, count)
        sky = Sky.at(ra, dec, points=version)
        assert ((sky.object_id >= CELL.lo) & (sky.object_id < CELL.hi)).all()
        yield self._store("object_seeds", sky.object_seeds(), version)
        yield self._store("objects", sky.objects(), version)
        raw = with_made_up(sky.measurements(), self.tables["measurements"], version, self.rng)
        cal = sky.measurements_cal()
        cal = with_made_up(cal, self.tables["measurements_cal"], version, self.rng)
        stored = self._store("measurements", raw, version)
        yield stored
        yield self._store("measurements_cal", cal, version, base=stored.name)
        ids = pa.array(np.arange(5) + 10 * version)
        keys = pa.table({"image_id": ids, "image_key": ids.cast("string"), "exposure_id": ids, "kind": ["chip"] * 5,
                         "code": pa.array([11] * 5, pa.int32()), "mjd": 6e4 + np.arange(5.0)})  # fmt: skip
        yield self._store("images", keys, version)

    def _store(self, name: str, rows: pa.Table, version: int, base: str | None = None) -> DataFile:
        table = self.tables[name]
        declared = as_of(table, version) if name in EVOLVED else table
        rows = declared.conform(sort_rows(with_made_up(rows, table, version, self.rng), name))
        if name in EVOLVED:
            self.rows[name] += expected(rows, table)
        cell = CELL.key if table.kind == "sky" else None
        return store_rows(self.db.root, self.db.id, rows, name, cell=cell, base=base, declared=declared)

    def measurements(self) -> list[dict[str, Any]]:
        """Raw and calibrated rows side by side; a column that both have is the calibrated one."""
        beside = {(r["image_id"], r["det_id"], r["object_id"]): r for r in self.rows["measurements_cal"]}
        return [{**r, **beside[r["image_id"], r["det_id"], r["object_id"]]} for r in self.rows["measurements"]]


@pytest.fixture(params=range(3))
def survey(tmp_path: Path, tables: dict[str, Table], request: pytest.FixtureRequest) -> Survey:
    return Survey(tmp_path / "s.sky", tables, request.param)


def same(found: pa.Table, wanted: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    names = [n for n in found.column_names if n in wanted[0]]
    assert {c.name for c in MADE_UP} & set(names)

    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(({n: row[n] for n in names} for row in rows), key=lambda row: tuple(row[k] for k in keys))

    assert ordered(found.to_pylist()) == ordered(wanted)


def every_way(con: Connection, survey: Survey) -> None:
    """Ask in every way there is and compare with the rows that were written."""
    wanted, keys = survey.measurements(), ("object_id", "image_id", "det_id")
    same(con.sql("SELECT * FROM objects").arrow(), survey.rows["objects"], ("object_id",))
    same(con.sql("SELECT * FROM measurements").arrow(), wanted, keys)
    same(con.sql("SELECT object_id, image_id, det_id, my_count, my_good FROM measurements").arrow(), wanted, keys)
    same(con.sql("SELECT * FROM images").arrow(), survey.rows["images"], ("image_id",))
    same(con.cone(45, 45, 3, columns="*").arrow(), survey.rows["objects"], ("object_id",))
    same(con.cone(45, 45, 3, table="measurements", columns="*").arrow(), wanted, keys)
    inside = con.cone(45, 45, 0.4).arrow()["object_id"].to_pylist()
    assert 0 < len(inside) < 120
    some = [row for row in survey.rows["objects"] if row["object_id"] in inside]
    same(con.sql("SELECT * FROM objects WHERE in_cone(ra, dec, 45, 45, 0.4)").arrow(), some, ("object_id",))
    same(con.lightcurve(inside, columns="*").arrow(), [r for r in wanted if r["object_id"] in inside], keys)


def test_every_way_of_asking_gives_the_rows_of_all_versions(survey: Survey) -> None:
    with connect(survey.db) as con:
        every_way(con, survey)


def test_types_are_those_of_the_present_whatever_is_read(survey: Survey) -> None:
    with connect(survey.db) as con:
        schema = con.sql("SELECT * FROM objects").schema
    assert {c.name: schema.field(c.name).type for c in MADE_UP} == {c.name: c.arrow.type for c in MADE_UP}


def test_compaction_writes_the_present_version_and_changes_no_answer(survey: Survey) -> None:
    db = survey.db
    compact(db.snapshot, db.commit, [CELL], cell_rows=10**6, executor=executor_for(1))
    files = [f for name in ("objects", "measurements", "measurements_cal") for f in db.snapshot().files(name)]
    assert [f.schema_version for f in files] == [3, 3, 3]
    footer = pq.read_schema(db.snapshot().path_of(files[0])).metadata
    assert footer[b"skydb.schema_version"] == b"3"
    with connect(db) as con:
        every_way(con, survey)


def test_file_of_a_later_version_is_refused_in_every_way(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EVOLVED:
        monkeypatch.setitem(TABLES, name, as_of(TABLES[name], 2))
    monkeypatch.setattr(OWN, "__dict__", vars(Views(TABLES)))
    with connect(survey.db) as con:
        for ask in (
            lambda: con.sql("SELECT my_count FROM objects").arrow(),
            lambda: con.cone(45, 45, 3, columns="my_count"),
            lambda: con.lightcurve(survey.rows["objects"][-1]["object_id"], columns="my_count"),
        ):
            with pytest.raises(UsageError, match=r"has version 3 of its table, .* upgrade skydb"):
                ask()

