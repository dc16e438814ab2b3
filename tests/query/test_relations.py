"""The planner reads only what a question can touch, by the road that it says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.query.atlas import COVER_RANGES, Atlas, CellPart, common_parts
from skydb.query.connection import Connection
from skydb.query.parse import parse
from skydb.query.relations import Scan, plan, relation_of
from skydb.query.sources import CellRows, CellStream, in_threads
from skydb.sky.regions import Cone
from skydb.store.cells import Cell

SMALL = "in_cone({t}.ra, {t}.dec, 0, 10, 0.002)"
CASES = [
    ("SELECT ra FROM objects o WHERE {o}", {"objects": "few"}),
    ("SELECT ra FROM objects o WHERE NOT {o}", {"objects": "all"}),
    ("SELECT ra FROM objects o WHERE {o} OR dec > 80", {"objects": "all"}),
    ("SELECT m.mag FROM objects o JOIN measurements m USING (object_id) WHERE {o}",
     {"objects": "few", "measurements": "few"}),
    ("SELECT m.mag FROM objects o JOIN measurements m USING (object_id) WHERE {m}",
     {"objects": "few", "measurements": "few"}),
    ("SELECT m.mag FROM measurements m LEFT JOIN objects o USING (object_id) WHERE {m}",
     {"objects": "few", "measurements": "few"}),
    ("SELECT m.mag FROM measurements m LEFT JOIN objects o USING (object_id) WHERE {o}",
     {"objects": "all", "measurements": "all"}),
    ("SELECT 1 FROM objects o JOIN object_bands b ON o.object_id = b.object_id JOIN measurements m"
     " ON m.object_id = b.object_id JOIN images i USING (image_id) WHERE {o}",
     {"objects": "few", "object_bands": "few", "measurements": "few", "images": "no cells"}),
    ("SELECT 1 FROM objects o, measurements m WHERE {o}", {"objects": "few", "measurements": "all"}),
    ("SELECT mag FROM measurements WHERE object_id = 5", {"measurements": "none"}),
    ("SELECT mag FROM measurements WHERE dec > 80", {"measurements": "few"}),
    ("SELECT mag FROM measurements WHERE object_id IN (SELECT object_id FROM objects o WHERE {o})",
     {"objects": "few", "measurements": "few"}),
    ("SELECT count(*) FROM cells", {"cells": "no cells"}),
]  # fmt: skip


def scans_of(con: Connection, query: str) -> dict[str, Scan]:
    text = query.format(o=SMALL.format(t="o"), m=SMALL.format(t="m"))
    return {scan.table: scan for scan in plan(Atlas(con.snapshot), parse(text))}


@pytest.mark.parametrize(("query", "expected"), CASES)
def test_cells_are_pruned_where_the_answer_allows(con: Connection, query: str, expected: dict[str, str]) -> None:
    scans = scans_of(con, query)
    all_cells = len(con.snapshot.cells())
    assert all_cells > 30
    assert set(scans) == set(expected)
    for table, how in expected.items():
        parts = scans[table].parts
        assert (parts is None) == (how == "no cells")
        if parts is not None:
            least, most = {"none": (0, 0), "few": (1, all_cells // 2), "all": (all_cells, all_cells)}[how]
            assert least <= len(parts) <= most
            files = [f for part in parts for name in scans[table].stored for f in con.snapshot.files(name, part.cell)]
            assert sorted(f.name for f in scans[table].files) == sorted(f.name for f in files)


@pytest.mark.parametrize(
    ("columns", "stored"),
    [
        ("mag, ra, photcode, band, image_id, airmass", ["measurements_cal"]),
        ("count(*)", ["measurements_cal"]),
        ("inst_mag", ["measurements_cal", "measurements"]),
        ("mag, ra_raw", ["measurements_cal", "measurements"]),
        ("*", ["measurements_cal", "measurements"]),
    ],
)
def test_raw_files_are_read_only_for_raw_columns(con: Connection, columns: str, stored: list[str]) -> None:
    assert list(scans_of(con, f"SELECT {columns} FROM measurements")["measurements"].stored) == stored


def test_solutions_of_images_are_read_only_for_their_columns(con: Connection) -> None:
    assert scans_of(con, "SELECT name, band FROM images")["images"].stored == ("images",)
    assert scans_of(con, "SELECT name, mcal FROM images")["images"].stored == ("images", "images_cal")


def test_whole_cells_are_read_by_duckdb_and_parts_as_streams(con: Connection) -> None:
    """The fast road of a scan: no row passes through Python."""
    whole = relation_of(con.snapshot, scans_of(con, "SELECT mag, band FROM measurements")["measurements"])
    assert "read_parquet" in whole.sql
    assert whole.streams == {}
    query = "SELECT mag FROM measurements m WHERE {m}"
    partial = relation_of(con.snapshot, scans_of(con, query)["measurements"])
    (stream,) = partial.streams.values()
    assert isinstance(stream, CellStream)
    assert 0 < stream.read().num_rows < 300
    both = relation_of(con.snapshot, scans_of(con, "SELECT mag, x FROM measurements")["measurements"])
    assert "read_parquet" not in both.sql


def test_files_of_many_cells_are_looked_up_at_once(survey: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query of the catalog for all cells, not one each."""
    asked: list[int] = []
    snapshot = survey.snapshot()
    look_up = type(snapshot)._look_up_cells
    monkeypatch.setattr(
        type(snapshot), "_look_up_cells", lambda s, table, cells: asked.append(len(cells)) or look_up(s, table, cells)
    )
    atlas = Atlas(snapshot)
    parts = atlas.parts_of_region(None)
    assert len(parts) > 1
    many = atlas.files("objects", parts)
    assert many == atlas.files("objects", parts)
    assert asked == [len(parts)]
    assert many == [survey.snapshot().files("objects", part.cell) for part in parts]


def test_explain_names_what_would_be_read(con: Connection) -> None:
    joined = "objects o JOIN measurements m USING (object_id) JOIN images i USING (image_id)"
    query = f"SELECT o.ra, m.x, i.name FROM {joined}"
    whole = {r["table"]: r for r in con.explain(query).arrow().to_pylist()}
    assert whole["objects"] | {"bytes": 0} == {
        "table": "objects", "relation": "objects", "reads": "objects", "columns": "object_id, ra", "hosts": "local",
        "cells": len(con.snapshot.cells()), "files": len(con.snapshot.files("objects")), "bytes": 0,
        "rows": sum(f.rows for f in con.snapshot.files("objects")),
    }  # fmt: skip
    assert whole["measurements"]["reads"] == "measurements_cal, measurements"
    assert whole["measurements"]["rows"] == sum(f.rows for f in con.snapshot.files("measurements"))
    assert whole["images"]["cells"] is None
    near = {r["table"]: r for r in con.explain(f"{query} WHERE {SMALL.format(t='o')}").arrow().to_pylist()}
    for column in ("cells", "files", "bytes", "rows"):
        assert near["measurements"][column] < whole["measurements"][column] / 2


def test_self_join_names_each_use(con: Connection) -> None:
    rows = con.explain("SELECT 1 FROM objects a JOIN objects b ON a.object_id = b.object_id + 1").arrow().to_pylist()
    assert [(r["table"], r["relation"]) for r in rows] == [("objects", "objects"), ("objects", "objects_2")]


# Arithmetic of parts


def test_shared_parts_are_intersections() -> None:
    cells = [Cell(3, n) for n in range(4)]
    ranges = [np.array([[c.lo + 10, c.lo + 20], [c.lo + 30, c.lo + 40]]) for c in cells]
    one = [CellPart(cells[0], None), CellPart(cells[1], ranges[1]), CellPart(cells[2], ranges[2])]
    other = [CellPart(cells[2], ranges[2] + 15), CellPart(cells[0], ranges[0]), CellPart(cells[1], ranges[1] + 100)]
    shared = common_parts(one, other)
    assert [part.cell for part in shared] == [cells[0], cells[2]]
    assert shared[0].ranges is ranges[0]
    assert (shared[1].ranges - cells[2].lo).tolist() == [[30, 35]]


def test_parts_of_ids_are_those_of_a_loop(con: Connection) -> None:
    rng = np.random.default_rng(2)
    atlas = Atlas(con.snapshot)
    edges = [edge for cell in con.snapshot.cells() for edge in (cell.lo - 1, cell.lo, cell.hi - 1, cell.hi)]
    for _ in range(50):
        ids = rng.choice([*edges, 0, (12 << 58) - 1, *rng.integers(0, 12 << 58, 20).tolist()], rng.integers(1, 30))
        expected = {c.key: sorted({i for i in ids.tolist() if c.lo <= i < c.hi}) for c in con.snapshot.cells()}
        found = {p.cell.key: p.ranges[:, 0].tolist() for p in atlas.parts_of_objects(ids)}
        assert found == {key: values for key, values in expected.items() if values}


def test_cover_of_a_cone_has_few_ranges(con: Connection) -> None:
    parts = Atlas(con.snapshot).parts_of_region(Cone(0.0, 10.0, 0.02))
    assert 0 < sum(len(p.ranges) for p in parts if p.ranges is not None) <= COVER_RANGES


# Threads


def test_threads_keep_the_order_and_raise_in_it() -> None:
    assert list(in_threads(lambda i: i * i, range(100))) == [i * i for i in range(100)]
    answers = in_threads(lambda i: 1 // (i - 5), range(100))
    assert [next(answers) for _ in range(5)] == [-1, -1, -1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_stream_that_is_left_early_reads_no_further(con: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    real = type(con.snapshot).cell_parts
    noted = lambda self, table, cell, *rest, **limits: read.append(cell) or real(self, table, cell, *rest, **limits)  # noqa: E731  one line
    monkeypatch.setattr(type(con.snapshot), "cell_parts", noted)
    parts = tuple(Atlas(con.snapshot).parts_of_region(None))
    stream = CellStream(CellRows(con.snapshot, "objects", ("object_id",)), parts)
    tables = stream.tables()
    next(tables)
    tables.close()
    assert len(read) < len(con.snapshot.cells()) / 2


def test_streams_can_be_read_again(con: Connection) -> None:
    rows = CellRows(con.snapshot, "objects", ("object_id", "ra"))
    stream = CellStream(rows, tuple(Atlas(con.snapshot).parts_of_region(None)))
    assert pa.table(stream).equals(pa.table(stream))
    assert pa.table(stream).schema.names == ["object_id", "ra"]
