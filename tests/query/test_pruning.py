"""Tables cut down to what a parsed query asks for give the same answers as whole ones."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from skydb.query.functions import register
from skydb.query.parse import ParsedQuery, parse
from skydb.query.views import visible_columns
from skydb.sky.partition import pixel_of


def rows_of(table: str, count: int, seed: int) -> pa.Table:
    """Random rows of a visible table; objects and measurements of 40 objects, clustered at three places."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(1)
    ra0 = (places.choice([359.9, 10.0, 200.0], 40) + places.normal(0, 0.5, 40)) % 360
    dec0 = np.clip(places.choice([0.0, -20.5, 89.5], 40) + places.normal(0, 0.5, 40), -90, 90)
    ids = pixel_of(ra0, dec0)
    which = rng.integers(0, 40, count) if table != "objects" else np.arange(count) % 40
    columns = {}
    for view in visible_columns(table):
        field = view.column.arrow
        values: list[object] = rng.integers(0, 50, count).tolist()
        if view.name == "object_id":
            values = ids[which].tolist()
        elif view.name in ("ra", "dec"):
            values = (ra0 if view.name == "ra" else dec0)[which].tolist()
        elif pa.types.is_string(field.type):
            values = [f"v{v}" for v in rng.integers(0, 3, count)]
        elif pa.types.is_list(field.type):
            values = [[1.0, 2.0]] * count
        columns[view.name] = pa.array(values, pa.float64()).cast(field.type) if pa.types.is_floating(field.type) \
            else pa.array([bool(v) for v in values] if pa.types.is_boolean(field.type) else values, field.type)
    return pa.table(columns)


@pytest.fixture(scope="module")
def stored() -> dict[str, pa.Table]:
    tables = ("objects", "object_bands", "measurements", "images")
    return {t: rows_of(t, 40 if t == "objects" else 150, i) for i, t in enumerate(tables)}


def pruned(query: ParsedQuery, stored: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The rows and columns that each reference says it needs, and no others."""
    kept = []
    for reference in query.references:
        rows = stored[reference.table]
        keep = np.ones(len(rows), dtype=bool)
        if reference.region is not None:
            keep &= reference.region.contains(rows["ra"].to_numpy(), rows["dec"].to_numpy())
        if reference.object_ids is not None:
            ids = rows["object_id"].to_numpy()
            keep &= np.array([any(a <= i < b for a, b in reference.object_ids) for i in ids.tolist()])
        kept.append(rows.filter(pa.array(keep)))
    for _ in kept:
        for i, reference in enumerate(query.references):
            for j in reference.follows:
                keep = np.isin(kept[i]["object_id"].to_numpy(), kept[j]["object_id"].to_numpy())
                kept[i] = kept[i].filter(pa.array(keep))
    pairs = zip(query.references, kept, strict=True)
    return {r.relation: rows.select(list(r.columns) or rows.column_names[:1]) for r, rows in pairs}


def answer(sql: str, tables: dict[str, pa.Table]) -> tuple[list[str], list[str]]:
    with duckdb.connect(config={"threads": 1}) as con:
        register(con)
        for name, rows in tables.items():
            con.register(name, rows)
        result = con.sql(sql)
        return list(result.columns), sorted(map(str, result.fetchall()))


NEAR = "in_cone(o.ra, o.dec, 0.1, 0, 1.5)"
QUERIES = [
    "SELECT * FROM objects WHERE in_cone(ra, dec, 10, -20.5, 1)",
    "SELECT count(*), avg(ra) FROM objects WHERE in_box(ra, dec, 359, 1, -1, 1) AND flags > 10",
    "SELECT ra FROM objects WHERE ra > 359.5 AND dec BETWEEN -1 AND 1",
    "SELECT ra + 1 AS ra FROM objects WHERE in_cone(ra, dec, 10, -20.5, 1)",
    "SELECT count(*) FROM objects WHERE in_polygon(ra, dec, [[0, 88], [120, 88], [240, 88]])",
    f"SELECT o.object_id, m.mag FROM objects o JOIN measurements m USING (object_id) WHERE {NEAR}",
    f"SELECT o.object_id, m.mag FROM objects o LEFT JOIN measurements m USING (object_id) WHERE {NEAR}",
    f"SELECT o.ra, b.mag FROM object_bands b LEFT JOIN objects o ON o.object_id = b.object_id AND {NEAR}",
    f"SELECT o.ra, b.mag FROM object_bands b LEFT JOIN objects o ON o.object_id = b.object_id WHERE {NEAR}",
    f"SELECT count(*) FROM objects o FULL JOIN measurements m USING (object_id) WHERE {NEAR}",
    f"SELECT object_id FROM objects o ANTI JOIN measurements m USING (object_id) WHERE {NEAR}",
    f"SELECT object_id FROM objects o SEMI JOIN measurements m USING (object_id) WHERE {NEAR}",
    "SELECT object_id, n, o.epoch FROM (SELECT object_id, count(*) AS n FROM measurements"
    " WHERE in_box(ra, dec, 9, 11, -22, -19) GROUP BY ALL) JOIN objects o USING (object_id)",
    f"WITH near AS (SELECT object_id AS i FROM objects o WHERE {NEAR} ORDER BY i LIMIT 3)"
    " SELECT i, band, mag FROM near JOIN object_bands b ON b.object_id = near.i",
    f"SELECT m.mag, q.ra FROM measurements m LEFT JOIN (SELECT * FROM objects o WHERE {NEAR}) q USING (object_id)",
    "SELECT a.object_id, b.object_id FROM objects a, objects b WHERE separation(a.ra, a.dec, b.ra, b.dec) < 0.2"
    " AND in_cone(a.ra, a.dec, 10, -20.5, 2)",
    "SELECT ra FROM objects WHERE in_cone(ra, dec, 10, -20.5, 1) UNION ALL SELECT mag FROM object_bands WHERE mag > 25",
    "SELECT i.name, m.mag FROM measurements m JOIN images i ON i.nx = m.image_id"
    " WHERE in_cone(m.ra, m.dec, 10, -20.5, 1)",
    "SELECT photcode, band, count(*) FROM measurements WHERE in_cone(ra, dec, 10, -20.5, 1) GROUP BY ALL",
    "WITH objects AS (SELECT * FROM objects WHERE in_cone(ra, dec, 10, -20.5, 1))"
    " SELECT count(*), max(epoch) FROM objects",
    "SELECT o.object_id, (SELECT max(mag) FROM measurements m WHERE m.object_id = o.object_id)"
    " FROM objects o WHERE dec > 50",
    f"SELECT mag FROM measurements WHERE object_id IN (SELECT object_id FROM objects o WHERE {NEAR})",
    f"SELECT mag FROM measurements WHERE object_id NOT IN (SELECT object_id FROM objects o WHERE {NEAR})",
    "SELECT count(*) FROM objects o JOIN object_bands b USING (object_id) JOIN measurements m USING (object_id)"
    " WHERE m.ra < 20 AND b.mag > 5",
]  # fmt: skip


@pytest.mark.parametrize("sql", QUERIES)
def test_pruned_tables_give_the_same_answer(sql: str, stored: dict[str, pa.Table]) -> None:
    query = parse(sql)
    expected = answer(sql, stored)
    assert answer(query.sql, pruned(query, stored)) == expected
    assert expected[1]


def test_dvo_query_answers_like_its_translation(stored: dict[str, pa.Table]) -> None:
    dvo = parse("SELECT a.OBJ_ID, sum(m.M_APER) AS s FROM Average a JOIN Measure m USING (OBJ_ID) GROUP BY a.OBJ_ID")
    joined = "objects a JOIN measurements m USING (object_id)"
    plain = f"SELECT a.object_id AS OBJ_ID, sum(m.ap_mag) AS s FROM {joined} GROUP BY 1"
    assert answer(dvo.sql, pruned(dvo, stored)) == answer(plain, stored)


def test_single_object_reads_one_id(stored: dict[str, pa.Table]) -> None:
    one = stored["objects"]["object_id"][3].as_py()
    query = parse(f"SELECT * FROM objects JOIN measurements USING (object_id) WHERE object_id = {one}")
    rows = pruned(query, stored)
    assert len(rows["objects"]) == 1
    assert set(rows["measurements"]["object_id"].to_pylist()) == {one}
