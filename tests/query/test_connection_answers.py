"""Queries over pruned cells answer like plain DuckDB over the same rows in plain tables."""

from __future__ import annotations

import itertools
import math
from typing import Any

import duckdb
import pytest

from skydb.errors import UsageError
from skydb.query.connection import Connection

JOINED = "objects o JOIN measurements m USING (object_id)"
THREE = f"{JOINED} JOIN images i USING (image_id)"
FOUR = f"{THREE} JOIN object_bands b ON b.object_id = o.object_id AND b.band = m.band"

SOURCES = {
    "o": ["objects o", JOINED, "objects o LEFT JOIN measurements m ON m.object_id = o.object_id", THREE, FOUR],
    "m": ["measurements m", JOINED, THREE, FOUR, "measurements m SEMI JOIN objects o USING (object_id)"],
}
SELECTS = {
    "o": ["count(*) AS n, sum(o.ra), min(o.dec)", "o.object_id, o.ra, o.dec, o.n_measurements",
          "o.flags % 3 AS f, count(*), avg(o.ra_err) AS e", "DISTINCT floor(o.dec)"],
    "m": ["count(*) AS n, avg(m.mag)", "m.photcode, m.band, count(*), stddev(m.mag)", "m.det_id, m.mag, m.inst_mag",
          "m.band, m.mag - m.inst_mag AS zero, m.x, m.ra_raw, m.mjd, m.image_id",
          "m.object_id, m.mag, row_number() OVER (PARTITION BY m.object_id ORDER BY m.mjd, m.det_id, m.mag) AS k"],
}  # fmt: skip
WHERE = [
    "in_cone({t}.ra, {t}.dec, 0.0, 10.0, 0.02)",
    "in_cone({t}.ra, {t}.dec, 200, 90, 0.12) AND {t}.ra > 10",
    "in_box({t}.ra, {t}.dec, 359.98, 0.01, 9.9, 10.02)",
    "in_polygon({t}.ra, {t}.dec, [[122.9, -45.1], [123.1, -45.1], [123.0, -44.97]])",
    "{t}.ra BETWEEN 122.9 AND 123.02 AND {t}.dec < -40",
    "{t}.object_id IN ({ids})",
    "{t}.object_id BETWEEN {low} AND {high}",
    "{t}.object_id IN (SELECT object_id FROM object_bands WHERE mag < 20)",
    "NOT in_cone({t}.ra, {t}.dec, 0.0, 10.0, 0.02)",
    "(in_cone({t}.ra, {t}.dec, 0, 10, 0.01) OR in_cone({t}.ra, {t}.dec, 123, -45, 0.01))",
    "{t}.dec > 100",
    "TRUE",
]

APART = "objects a, objects b WHERE in_cone(a.ra, a.dec, 0, 10, 0.01) AND in_cone(b.ra, b.dec, 123, -45, 0.01)"
"""Pairs of objects in two fields far from each other."""

WHOLE = [
    "SELECT * FROM objects",
    "SELECT * FROM measurements",
    "SELECT * FROM images",
    "SELECT * FROM object_bands",
    "SELECT * FROM exposures",
    "SELECT * FROM photcodes",
    "SELECT * FROM object_seeds",
    "SELECT * FROM cells",
    "SELECT * FROM snapshots",
    "SELECT * FROM ingest_log",
    "SELECT * FROM calibrations",
    "SELECT * FROM hosts",
    "SELECT 1 AS one",
    "SELECT count(*) FROM objects",
    "FROM objects SELECT object_id, ra WHERE dec > 80 ORDER BY object_id LIMIT 5",
    "SELECT band, count(*) AS n, avg(mag), median(mag), sum(db_flags) FROM measurements GROUP BY band ORDER BY n, band",
    "SELECT photcode, min(mjd), max(airmass) FROM measurements GROUP BY ALL HAVING count(*) > 10",
    "SELECT code, photcode, mcal_source, zero_point, name, n_detections FROM images WHERE band = 'g'",
    "SELECT a.object_id, b.object_id AS other, separation(a.ra, a.dec, b.ra, b.dec) * 3600 AS away FROM objects a,"
    " objects b WHERE a.object_id < b.object_id AND separation(a.ra, a.dec, b.ra, b.dec) < 3 / 3600"
    " AND in_cone(a.ra, a.dec, 0, 10, 0.05)",
    "WITH near AS (SELECT object_id, ra FROM objects WHERE in_cone(ra, dec, 0, 10, 0.02)), m AS (SELECT * FROM"
    " measurements WHERE mag_err < 0.2) SELECT near.ra, m.mag FROM near JOIN m USING (object_id)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 4) SELECT n, count(*) FROM t"
    " JOIN objects ON n_measurements >= n GROUP BY n",
    "WITH objects AS (SELECT * FROM objects WHERE dec < 0) SELECT count(*), avg(dec) FROM objects",
    "SELECT object_id, ra FROM objects WHERE dec > 80 UNION SELECT object_id, ra FROM objects WHERE dec < 0",
    "SELECT object_id FROM objects EXCEPT SELECT object_id FROM object_bands WHERE band = 'g'",
    "SELECT band, mag FROM object_bands UNION ALL BY NAME SELECT mag, band FROM measurements WHERE det_id < 3",
    "SELECT o.object_id, (SELECT max(m.mag) FROM measurements m WHERE m.object_id = o.object_id AND m.band = 'g') AS g"
    " FROM objects o WHERE in_cone(o.ra, o.dec, 123, -45, 0.03)",
    "SELECT object_id FROM objects o WHERE NOT EXISTS (SELECT 1 FROM measurements m"
    " WHERE m.object_id = o.object_id AND m.band = 'r')",
    "SELECT object_id, mag, mag - lag(mag) OVER (PARTITION BY object_id, photcode ORDER BY mjd) AS step"
    " FROM measurements WHERE in_cone(ra, dec, 0, 10, 0.02) QUALIFY step IS NOT NULL",
    "SELECT o.object_id, b.mag FROM objects o LEFT JOIN object_bands b ON b.object_id = o.object_id"
    " AND b.band = 'R.G' WHERE o.dec BETWEEN 9.9 AND 10.1",
    "SELECT count(*) FROM objects o FULL JOIN object_bands b USING (object_id) WHERE o.ra IS NULL OR b.mag > 18",
    "SELECT g.object_id, g.mag - r.mag AS color FROM object_bands g JOIN object_bands r USING (object_id)"
    " WHERE g.band = 'g' AND r.band = 'r' AND g.source = 'chip' ORDER BY color, g.object_id LIMIT 20",
    "SELECT e.name, count(*) FROM exposures e JOIN images i USING (exposure_id) JOIN measurements m USING (image_id)"
    " GROUP BY e.name",
    "SELECT object_id, list(mag ORDER BY mjd, det_id) AS mags FROM measurements WHERE dec > 80 GROUP BY object_id",
    "SELECT * FROM (SELECT object_id, band, mag FROM object_bands WHERE source = 'chip')"
    " PIVOT (first(mag) FOR band IN ('g', 'r'))",
    "SELECT * FROM (PIVOT objects ON n_measurements IN (5, 6) USING sum(dec) GROUP BY object_id)",
    "SELECT q.ra FROM (SELECT object_id, n_measurements, dec FROM objects) PIVOT (sum(dec) FOR n_measurements"
    " IN (6 AS ra)) q WHERE q.ra > 80",
    "SELECT COLUMNS('mag.*') FROM object_bands WHERE band = 'r'",
    "SELECT * EXCLUDE (ra, dec) FROM objects WHERE dec > 80",
    "SELECT count(*) FILTER (WHERE band = 'g') AS g, count(DISTINCT photcode) FROM measurements",
    "SELECT m.object_id, p.name, p.zero_point_mmag FROM measurements m JOIN photcodes p USING (code) WHERE m.dec > 80",
    "SELECT norder, n_objects FROM cells WHERE n_objects > 5",
    "SELECT sum(n_measurements) FROM cells",
    "SELECT * FROM objects NATURAL JOIN (SELECT DISTINCT object_id FROM measurements WHERE mag < 18)",
    f"SELECT m.mjd, q.object_id, q.ra_1 FROM (SELECT a.object_id, b.object_id, a.ra, b.ra FROM {APART}) q"
    " JOIN measurements m ON m.object_id = q.object_id",
    f"SELECT m.mjd, m.object_id FROM (SELECT a.object_id, b.object_id FROM {APART}) q"
    " JOIN measurements m ON m.object_id = q.object_id_1",
    f"SELECT m.mjd, m.object_id FROM (SELECT a.flags, b.flags, a.object_id FROM {APART}) t(x, y, z)"
    " JOIN measurements m ON m.object_id = t.z",
    "SELECT m.mjd, m.object_id FROM (SELECT * FROM (SELECT object_id + 0 AS object_id FROM objects WHERE dec < 0) q,"
    " objects o WHERE in_cone(o.ra, o.dec, 0, 10, 0.01)) t JOIN measurements m ON m.object_id = t.object_id",
    "SELECT m.mjd, m.object_id FROM (SELECT * FROM (FROM objects WHERE dec > 80) RIGHT JOIN"
    " (FROM objects WHERE dec < 0) USING (object_id)) t JOIN measurements m ON m.object_id = t.object_id",
]

DVO = {
    "SELECT a.OBJ_ID, a.RA, m.M_APER, m.TIME FROM Average a JOIN Measure m USING (OBJ_ID)"
    " WHERE m.PHOTCODE = 'CAM.g.XY01'":
        "SELECT a.object_id, a.ra, m.ap_mag, m.mjd FROM objects a JOIN measurements m USING (object_id)"
        " WHERE m.code = 100",
    "SELECT NMEASURE, count(*) FROM Average WHERE in_cone(RA, DEC, 0, 10, 0.05) GROUP BY NMEASURE":
        "SELECT n_measurements, count(*) FROM objects WHERE in_cone(ra, dec, 0, 10, 0.05) GROUP BY n_measurements",
    "SELECT s.OBJ_ID, s.MAG, s.MAG_CHI, s.NUSED FROM SecFilt s WHERE s.NCODE > 2":
        "SELECT object_id, mag, chi2, n_used FROM object_bands WHERE n_measurements > 2",
    "SELECT NAME, MCAL_PSF, SECZ FROM Image": "SELECT name, mcal, airmass FROM images",
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def sortable(row: tuple[Any, ...]) -> str:
    return repr([f"{v:.12g}" if isinstance(v, float) else v for v in row])


def check(con: Connection, plain: duckdb.DuckDBPyConnection, query: str, expected_query: str | None = None) -> int:
    """Fail unless both give the same rows, in order where the query orders them; return how many."""
    rows = con.sql(query).arrow()
    expected = plain.sql(expected_query or query)
    if expected_query is None:
        assert rows.column_names == expected.columns
    ours = list(zip(*(c.to_pylist() for c in rows.columns), strict=True))
    theirs = expected.fetchall()
    if "ORDER BY" not in query.rpartition(")")[2]:
        ours, theirs = sorted(ours, key=sortable), sorted(theirs, key=sortable)
    assert len(ours) == len(theirs), query
    different = [(a, b) for a, b in zip(ours, theirs, strict=True) if not same(a, b)]
    assert different == [], query
    return len(ours)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("limited", ["o", "m"])
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_limited_queries_answer_like_plain_tables(
    con: Connection, plain: duckdb.DuckDBPyConnection, limited: str, where: str, every: int
) -> None:
    """Every third query, others for each condition; or all."""
    ids = [row[0] for row in plain.sql("SELECT object_id FROM objects ORDER BY object_id").fetchall()]
    condition = where.format(t=limited, ids=", ".join(map(str, ids[5::40])), low=ids[100], high=ids[300])
    counts = []
    pairs = list(itertools.product(SOURCES[limited], SELECTS[limited]))
    for source, select in pairs[WHERE.index(where) % every :: every]:
        grouped = any(word in select for word in ("count(", "avg(", "sum("))
        counts.append(check(con, plain, f"SELECT {select} FROM {source} WHERE {condition}{' GROUP BY ALL' * grouped}"))
    assert max(counts) > 1 or "> 100" in where


@pytest.mark.parametrize("query", WHOLE)
def test_queries_of_every_shape_answer_like_plain_tables(
    con: Connection, plain: duckdb.DuckDBPyConnection, query: str
) -> None:
    check(con, plain, query)


@pytest.mark.parametrize("query", DVO)
def test_dvo_names_mean_their_columns(con: Connection, plain: duckdb.DuckDBPyConnection, query: str) -> None:
    assert check(con, plain, query, DVO[query]) > 5


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT * FROM stars", "no table named 'stars'"),
        ("SELECT magnitude FROM objects", "no column named 'magnitude'"),
        ("SELECT in_circle(ra, dec, 1, 2, 3) FROM objects", "in_circle"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("DROP TABLE objects", "not a SELECT"),
        ("CREATE TABLE x AS SELECT * FROM objects", "not a SELECT"),
        ("COPY objects TO 'x.csv'", "not a SELECT"),
        ("ATTACH 'x.db'", "not a SELECT"),
        ("SET threads = 1", "not a SELECT"),
        ("PRAGMA version", "SELECT"),
        ("SELECT FROM WHERE", "syntax error"),
        ("SELECT ra FROM objects GROUP BY dec", "GROUP BY"),
        ("SELECT ra FROM objects WHERE in_cone(ra, dec, 10, 95, 1)", "no place on the sky"),
        ("SELECT ra FROM objects WHERE in_cone(ra, dec, 10, 9)", "in_cone"),
        ("SELECT CAST('x' AS INTEGER) FROM objects", "Conversion Error"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_a_usage_error(con: Connection, query: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        con.sql(query).arrow()
    assert says.lower() in str(raised.value).lower()
    assert "Traceback" not in str(raised.value)
