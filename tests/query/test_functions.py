"""The SQL functions of the sky against the regions that prune cells."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from skydb.query.functions import register
from skydb.sky.arcs import separation
from skydb.sky.regions import Box, Cone, Polygon, Region


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        register(connection)
        connection.register("points", points())
        yield connection


def points() -> pa.Table:
    """Points everywhere, on a grid of edges and corners, near them, and at both ends of right ascension."""
    rng = np.random.default_rng(11)
    ra, dec = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    grid_ra, grid_dec = (g.ravel() for g in np.meshgrid(np.arange(0, 361, 5.0), np.arange(-90, 91, 5.0)))
    near = rng.normal(0, 1e-7, (2, len(grid_ra)))
    all_dec = np.clip(np.concatenate((dec, grid_dec, grid_dec + near[1])), -90, 90)
    return pa.table({"ra": np.concatenate((ra, grid_ra, grid_ra + near[0])), "dec": all_dec})


def sql(region: Region) -> str:
    if isinstance(region, Cone):
        return f"in_cone(ra, dec, {region.ra!r}, {region.dec!r}, {region.radius_deg!r})"
    if isinstance(region, Box):
        return f"in_box(ra, dec, {region.ra1!r}, {region.ra2!r}, {region.dec1!r}, {region.dec2!r})"
    assert isinstance(region, Polygon)
    return f"in_polygon(ra, dec, {[list(v) for v in region.vertices]})"


REGIONS = [
    Cone(10.0, 20.0, 0.0), Cone(10.0, 20.0, 5.0), Cone(0.0, 0.0, 1e-7), Cone(0.0, 90.0, 10.0), Cone(77.0, -90.0, 90.0),
    Cone(359.9, 0.0, 30.0), Cone(123.4, -56.7, 180.0), Cone(123.4, -56.7, 179.9), Cone(360.0, 45.0, 2.5),
    Box(350.0, 10.0, -5.0, 5.0), Box(0.0, 360.0, -90.0, 90.0), Box(0.0, 360.0, -1.0, 1.0), Box(10.0, 10.0, -90.0, 90.0),
    Box(90.0, 80.0, 85.0, 90.0), Box(-10.0, 10.0, -90.0, -85.0), Box(350.0, 360.0, 0.0, 10.0),
    Box(360.0, 5.0, 0.0, 10.0), Polygon(((350.0, -5.0), (10.0, -5.0), (10.0, 5.0), (350.0, 5.0))),
    Polygon(((0.0, 80.0), (120.0, 80.0), (240.0, 80.0))), Polygon(((30.0, -88.0), (150.0, -60.0), (260.0, -75.0))),
    Polygon(((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 2.0), (0.0, 10.0))),
    Polygon(((1.0, 1.0), (81.0, 2.0), (85.0, 80.0), (300.0, 60.0), (290.0, -20.0), (1.0, 1.0))),
]  # fmt: skip


@pytest.mark.parametrize("region", REGIONS, ids=str)
def test_predicate_agrees_with_the_region(con: duckdb.DuckDBPyConnection, region: Region) -> None:
    answer = con.sql(f"SELECT ra, dec, {sql(region)} AS inside FROM points").to_arrow_table()
    ra, dec, inside = (np.asarray(answer[name]) for name in answer.column_names)
    expected = region.contains(ra, dec)
    clear = np.abs(region.distance(ra, dec)) > 1e-12 if isinstance(region, Polygon) else np.ones(len(ra), dtype=bool)
    assert np.array_equal(inside[clear], expected[clear])
    assert con.execute(f"SELECT count(*) FROM points WHERE {sql(region)}").fetchall() == [(int(inside.sum()),)]


def test_separation_is_that_of_the_regions_to_the_last_bit(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT a.ra, a.dec, b.ra, b.dec, separation(a.ra, a.dec, b.ra, b.dec) FROM points a POSITIONAL JOIN " \
            "(SELECT * FROM points ORDER BY hash(ra)) b"
    ra1, dec1, ra2, dec2, found = (np.asarray(c) for c in con.sql(query).to_arrow_table().columns)
    assert np.allclose(found, separation(ra1, dec1, ra2, dec2), rtol=1e-15, atol=0)


def test_separation_is_exact_where_it_matters(con: duckdb.DuckDBPyConnection) -> None:
    row = con.execute("SELECT separation(0, 41, 360, 41), separation(3, 41, 183, -41), separation(5, 90, 99, 90), "
                      "separation(10, 60, 10, 60 + 1e-9) / 1e-9").fetchall()[0]
    assert row[:2] == (0.0, 180.0)
    assert row[2] < 1e-14
    assert row[3] == pytest.approx(1.0, abs=1e-5)


def test_polygon_may_be_a_flat_list_or_name_its_pole(con: duckdb.DuckDBPyConnection) -> None:
    flat, pairs = "[1, 1, 11, 2, 2.5, 11]", "[[1, 1], [11, 2], [2.5, 11]]"
    calls = [f"in_polygon(ra, dec, {form})" for form in (flat, pairs, f"{flat}, [5, 5]", f"{pairs}, [5, 5]")]
    counts = {con.execute(f"SELECT count(*) FROM points WHERE {call}").fetchall()[0] for call in calls}
    assert len(counts) == 1
    assert counts.pop() != (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("in_polygon(ra, dec, [[0, 0], [1, 1]])", "3 or more vertices"),
        ("in_polygon(ra, dec, [0, 0, 1, 1, 2])", "3 or more vertices"),
        ("in_polygon(ra, dec, [[0, 0], [120, 0], [240, 0]])", "within 90 degrees of the pole"),
    ],
)
def test_polygon_that_makes_no_sense_is_an_error(con: duckdb.DuckDBPyConnection, call: str, message: str) -> None:
    with pytest.raises(duckdb.InvalidInputException, match=message):
        con.execute(f"SELECT count(*) FROM points WHERE {call}").fetchall()


def test_position_that_is_missing_or_not_finite_lies_in_no_region(con: duckdb.DuckDBPyConnection) -> None:
    rows = "(VALUES (NULL, 1), (1, NULL), ('nan'::DOUBLE, 1), (1, 'nan'::DOUBLE), ('inf'::DOUBLE, 1)) t(ra, dec)"
    for region in REGIONS:
        assert con.execute(f"SELECT count(*) FROM {rows} WHERE {sql(region)}").fetchall() == [(0,)]


def test_cone_lets_duckdb_skip_rows_by_declination(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE OR REPLACE TEMP TABLE stored AS SELECT * FROM points")
    plan = con.execute("EXPLAIN SELECT ra FROM stored WHERE in_cone(ra, dec, 10.5, 20, 1)").fetchall()[0][1]
    scan = plan[plan.index("Scan"):]
    assert "dec >= 18.99" in scan
    assert "dec <= 21.0" in scan


def test_functions_take_other_number_types_and_columns(con: duckdb.DuckDBPyConnection) -> None:
    query = """SELECT count(*) FROM (VALUES (10::FLOAT, 20::DECIMAL(9, 5), 11)) t(a, b, c)
               WHERE in_cone(a, b, c, b, 1) AND in_box(a, b, a, c, -90, 90)
                 AND in_polygon(a, b, [[0, 0], [a * 2, 0], [a, 40]])"""
    assert con.execute(query).fetchall() == [(1,)]
