"""Reading queries: what they need, what prunes, what is refused; and that pruned tables give the same answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skydb.errors import UsageError
from skydb.query.connection import Connection
from skydb.query.parse import ParsedQuery, TableReference, parse
from skydb.query.views import visible_columns, visible_tables
from skydb.schema.tables import TABLES
from skydb.sky.regions import Box, Cone, Intersection, Polygon


def only(query: ParsedQuery) -> TableReference:
    assert len(query.references) == 1
    return query.references[0]


# What is used


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT ra FROM objects WHERE dec > 0 ORDER BY epoch", ("ra", "dec", "epoch")),
        ("SELECT count(*) FROM objects", ()),
        ("SELECT o.RA, \"Dec\" FROM Objects o", ("ra", "dec")),
        ("SELECT count(DISTINCT object_id) FILTER (WHERE flags & 4 = 0) FROM objects", ("object_id", "flags")),
        ("SELECT ra AS x, x + 1 AS y FROM objects GROUP BY ALL HAVING y > 2", ("ra",)),
        ("SELECT 1 FROM objects WHERE EXISTS (SELECT * FROM (SELECT 1) t WHERE epoch > 2000)", ("epoch",)),
        ("WITH t AS (SELECT ra, dec FROM objects) SELECT ra FROM t", ("ra", "dec")),
        ("SELECT list_transform([1], lambda x: x + ra) FROM objects", ("ra",)),
        ("SELECT [x + ra FOR x IN [1, 2]] FROM objects", ("ra",)),
        ("SELECT sum(ra) OVER w FROM objects WINDOW w AS (PARTITION BY flags) QUALIFY row_number() OVER w = 1",
         ("ra", "flags")),
        ("FROM objects SELECT ra", ("ra",)),
        ("SELECT main.objects.ra FROM main.objects", ("ra",)),
    ],
)  # fmt: skip
def test_only_the_columns_that_a_query_names_are_read(sql: str, columns: tuple[str, ...]) -> None:
    assert only(parse(sql)).columns == columns


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM objects", "FROM objects", "SELECT o.* FROM objects o", "SELECT * EXCLUDE (ra) FROM objects",
     "SELECT COLUMNS('ra.*') FROM objects", "SELECT o FROM objects o", "SELECT * FROM objects AS t(a, b)",
     "SELECT * REPLACE (ra + 1 AS ra) FROM objects", "SELECT * FROM (SELECT * FROM objects)", "TABLE objects",
     "SELECT 1 FROM objects NATURAL JOIN (SELECT 1 AS ra)",
     "SELECT * FROM objects PIVOT (sum(ra) FOR flags IN (1, 2))"],
)  # fmt: skip
def test_star_takes_every_visible_column_in_order(sql: str) -> None:
    assert only(parse(sql)).columns == tuple(c.name for c in visible_columns("objects"))


def test_two_uses_of_a_table_are_two_references() -> None:
    query = parse("SELECT a.ra, b.dec FROM objects a JOIN objects b ON b.object_id = a.object_id + 1")
    assert [(r.alias, r.relation, r.columns) for r in query.references] == [
        ("a", "objects", ("object_id", "ra")), ("b", "objects_2", ("object_id", "dec")),
    ]  # fmt: skip
    assert query.sql == "SELECT a.ra, b.dec FROM objects a JOIN objects_2 b ON b.object_id = a.object_id + 1"


def test_a_cte_hides_a_table_only_where_sql_says_so() -> None:
    query = parse("WITH objects AS (SELECT * FROM objects WHERE object_id = 5) SELECT ra FROM objects, Average")
    assert [r.relation for r in query.references] == ["objects_2", "objects_3"]
    assert query.references[0].object_ids == ((5, 6),)
    assert query.references[1].object_ids is None


def test_columns_of_an_outer_query_are_found_in_inner_ones() -> None:
    inner = "SELECT max(mag) FROM measurements m WHERE m.object_id = o.object_id AND epoch > 2000"
    query = parse(f"SELECT ({inner}) FROM objects o")
    used = {r.table: r.columns for r in query.references}
    assert used == {"measurements": ("object_id", "mag"), "objects": ("object_id", "epoch")}


def test_files_and_functions_outside_are_named_and_left_alone() -> None:
    files = "JOIN 'my.parquet' f ON f.a = o.object_id JOIN read_csv('x.csv') c ON c.a = f.a"
    sql = f"SELECT o.ra, f.b FROM objects o {files}"
    query = parse(sql)
    assert query.sql == sql
    assert query.outside == ("my.parquet", "READ_CSV('x.csv')")
    assert only(query).columns == ("object_id", "ra")


def test_tables_that_the_connection_knows_are_left_alone() -> None:
    query = parse("SELECT mine.x, o.ra FROM Mine JOIN objects o USING (object_id)", extra=["mine"])
    assert only(query).columns == ("object_id", "ra")
    assert parse("SELECT anything FROM objects", extra=["OBJECTS"]).references == ()


# DVO's names


@pytest.mark.parametrize(
    ("sql", "rewritten"),
    [
        ("SELECT RA FROM Average", "SELECT RA AS RA FROM objects AS Average"),
        ('SELECT "Ra", o.Dec, RA + 1 FROM objects o', 'SELECT "Ra" AS "Ra", o.Dec AS Dec, RA + 1 FROM objects o'),
        ("SELECT OBJ_ID FROM average a", "SELECT object_id AS OBJ_ID FROM objects a"),
        ("SELECT a.U_RA + 1 FROM Average a ORDER BY a.u_ra", "SELECT a.pm_ra + 1 FROM objects a ORDER BY a.pm_ra"),
        ("SELECT MAG_CHI FROM SecFilt WHERE nused > 3",
         "SELECT chi2 AS MAG_CHI FROM object_bands AS SecFilt WHERE n_used > 3"),
        ("SELECT M_APER, MAG, PHOTCODE FROM Measure",
         "SELECT ap_mag AS M_APER, MAG AS MAG, PHOTCODE AS PHOTCODE FROM measurements AS Measure"),
        ("SELECT SECZ FROM Image WHERE TZERO > 5", "SELECT airmass AS SECZ FROM images AS Image WHERE utc_start > 5"),
        ("SELECT Average.PAR FROM Average JOIN Measure USING (OBJ_ID)",
         "SELECT Average.parallax AS PAR FROM objects AS Average JOIN measurements AS Measure USING (object_id)"),
        ("SELECT OBJ_ID FROM (SELECT OBJ_ID FROM Average)",
         "SELECT OBJ_ID AS OBJ_ID FROM (SELECT object_id AS OBJ_ID FROM objects AS Average)"),
        ("SELECT 'Average' AS \"OBJ_ID\", OBJ_ID /* PAR é */ FROM Average -- OBJ_ID",
         "SELECT 'Average' AS \"OBJ_ID\", OBJ_ID /* PAR é */ FROM objects AS Average -- OBJ_ID"),
        ("SELECT main.Average.PAR FROM main.Average", "SELECT Average.parallax AS PAR FROM objects AS Average"),
        ("SELECT * EXCLUDE (PAR) FROM objects", "SELECT * EXCLUDE (parallax) FROM objects"),
        ("SELECT ra, 1//2 AS é, 2**3, a[1:2], x->>'$.y' FROM objects, t", None),
    ],
)  # fmt: skip
def test_dvo_names_are_translated_and_all_else_stays_as_written(sql: str, rewritten: str | None) -> None:
    assert parse(sql, extra=["t"]).sql == (rewritten or sql)


def test_every_dvo_name_is_understood_in_any_case() -> None:
    for table in visible_tables():
        known = {c.name: c.column.dvo for c in visible_columns(table)}
        for dvo in filter(None, known.values()):
            for name in (dvo, dvo.lower()):
                used = only(parse(f"SELECT {name} FROM {TABLES[table].dvo or table}")).columns
                assert len(used) == 1
                assert dvo == known[used[0]] or used[0] == dvo.lower()


# Where on the sky


@pytest.mark.parametrize(
    ("where", "region"),
    [
        ("in_cone(ra, dec, 10, -20.5, 5/60)", Cone(10.0, -20.5, 5 / 60)),
        ("IN_CONE(o.RA, o.Dec, 10.0, -(20 + .5), 1e-3) AND flags = 0", Cone(10.0, -20.5, 1e-3)),
        ("flags = 0 AND (in_box(ra, dec, 350, 10, -5, 5) AND epoch > 2000)", Box(350.0, 10.0, -5.0, 5.0)),
        ("in_polygon(ra, dec, [[0, 0], [10, 0], [0, 10]])", Polygon(((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)))),
        ("in_polygon(ra, dec, [0, 0, 10, 0, 0, 10.0], [5, 5])", Polygon(((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)))),
        ("in_cone(ra, dec, 1, 2, 3) AND in_box(ra, dec, 0, 2, 0, 2)",
         Intersection((Cone(1.0, 2.0, 3.0), Box(0.0, 2.0, 0.0, 2.0)))),
        ("ra BETWEEN 10 AND 11 AND dec > -5.5", Box(10.0, 11.0, -5.5, 90.0)),
        ("10 <= ra AND 5 > dec", Box(10.0, 360.0, -90.0, 5.0)),
        ("dec > 5 AND dec < 4", None),
        ("in_cone(ra, dec, 1, 2, 3) OR flags = 0", None),
        ("NOT in_cone(ra, dec, 1, 2, 3)", None),
        ("in_cone(dec, ra, 1, 2, 3)", None),
        ("in_cone(ra, dec, epoch, 2, 3)", None),
        ("in_cone(ra + 1, dec, 1, 2, 3)", None),
        ("in_polygon(ra, dec, [[0, 0], [epoch, 0], [0, 10]])", None),
        ("ra > epoch AND dec <> 5", None),
    ],
)  # fmt: skip
def test_region_is_what_holds_for_every_row(where: str, region: object) -> None:
    assert only(parse(f"SELECT 1 FROM objects o WHERE {where}")).region == region


@pytest.mark.parametrize(
    ("where", "ranges"),
    [
        ("object_id = 5", ((5, 6),)),
        ("5 = o.OBJ_ID", ((5, 6),)),
        ("object_id IN (7, 5, 5, '9')", ((5, 6), (7, 8), (9, 10))),
        ("object_id BETWEEN 5 AND 9 AND object_id IN (3, 5, 9, 10)", ((5, 6), (9, 10))),
        ("object_id >= 5 AND object_id < 3000000000000000000", ((5, 3000000000000000000),)),
        ("object_id = 5 AND object_id = 6", ()),
        ("object_id = '5'::BIGINT", ((5, 6),)),
        ("object_id = 5::UTINYINT", None),
        ("object_id = 5 OR flags = 0", None),
        ("object_id <> 5", None),
        ("NOT object_id = 5", None),
        ("object_id IN (5, flags)", None),
        ("object_id IN (SELECT 5)", None),
        ("object_id = 5.5", None),
        ("object_id + 1 = 5", None),
    ],
)
def test_object_ids_are_what_holds_for_every_row(where: str, ranges: object) -> None:
    assert only(parse(f"SELECT 1 FROM objects o WHERE {where}")).object_ids == ranges


CONE = "in_cone(o.ra, o.dec, 1, 2, 3)"


@pytest.mark.parametrize(
    ("sql", "pruned", "follows"),
    [
        (f"FROM objects o JOIN measurements m USING (object_id) WHERE {CONE}", {"o"}, {("m", "o"), ("o", "m")}),
        (f"FROM objects o, measurements m WHERE {CONE} AND m.object_id = o.object_id", {"o"}, {("m", "o"), ("o", "m")}),
        (f"FROM objects o LEFT JOIN measurements m USING (object_id) WHERE {CONE}", {"o"}, {("m", "o")}),
        (f"FROM measurements m LEFT JOIN objects o ON m.object_id = o.object_id WHERE {CONE}", set(), {("o", "m")}),
        (f"FROM measurements m RIGHT JOIN objects o ON m.object_id = o.object_id WHERE {CONE}", set(), set()),
        (f"FROM measurements m FULL JOIN objects o ON m.object_id = o.object_id WHERE {CONE}", set(), set()),
        (f"FROM objects o ANTI JOIN measurements m USING (object_id) WHERE {CONE}", {"o"}, {("m", "o")}),
        (f"FROM objects o SEMI JOIN measurements m USING (object_id) WHERE {CONE}", {"o"}, {("m", "o"), ("o", "m")}),
        (f"FROM objects o POSITIONAL JOIN measurements m WHERE {CONE}", set(), set()),
        (f"FROM measurements m ASOF JOIN objects o ON m.object_id = o.object_id AND m.mjd >= o.epoch WHERE {CONE}",
         set(), {("o", "m"), ("m", "o")}),
        (f"FROM objects o JOIN measurements m ON m.object_id = o.object_id + 1 WHERE {CONE}", {"o"}, set()),
        (f"FROM objects o JOIN measurements m ON m.object_id = o.object_id OR m.mag > 1 WHERE {CONE}", {"o"}, set()),
        (f"FROM objects o TABLESAMPLE 5 ROWS WHERE {CONE}", set(), set()),
        (f"FROM (objects o JOIN measurements m USING (object_id)) WHERE {CONE}", set(), set()),
        (f"FROM (SELECT * FROM objects LIMIT 5) o WHERE {CONE}", set(), set()),
        (f"FROM (SELECT object_id AS i FROM objects o WHERE {CONE} LIMIT 5) q JOIN measurements m ON m.object_id = q.i",
         {"o"}, {("m", "o")}),
        (f"FROM (SELECT object_id + 1 AS i FROM objects o WHERE {CONE}) q JOIN measurements m ON m.object_id = q.i",
         {"o"}, set()),
        (f"FROM measurements m LEFT JOIN (SELECT object_id FROM objects o WHERE {CONE}) q USING (object_id)",
         {"o"}, set()),
        (f"FROM objects o JOIN object_bands b USING (object_id) LEFT JOIN measurements m USING (object_id)"
         f" WHERE {CONE}", {"o"}, {("b", "o"), ("o", "b"), ("m", "o")}),
        (f"FROM measurements m WHERE EXISTS (SELECT 1 FROM objects o WHERE {CONE} AND o.object_id = m.object_id)",
         {"o"}, set()),
        (f"FROM measurements m WHERE object_id IN (SELECT object_id FROM objects o WHERE {CONE} LIMIT 3)",
         {"o"}, {("m", "o")}),
        (f"FROM measurements m WHERE object_id NOT IN (SELECT object_id FROM objects o WHERE {CONE})", {"o"}, set()),
        (f"FROM measurements m WHERE object_id IN (SELECT object_id + 1 FROM objects o WHERE {CONE})", {"o"}, set()),
        (f"FROM measurements m WHERE image_id IN (SELECT object_id FROM objects o WHERE {CONE})", {"o"}, set()),
        (f"FROM objects o WHERE EXISTS (SELECT 1 FROM measurements m WHERE {CONE})", set(), set()),
    ],
)  # fmt: skip
def test_joins_prune_only_what_cannot_change_the_answer(
    sql: str, pruned: set[str], follows: set[tuple[str, str]]
) -> None:
    references = parse(f"SELECT 1 {sql}").references
    assert {r.alias for r in references if r.region is not None} == pruned
    assert {(r.alias, references[i].alias) for r in references for i in r.follows} == follows


def test_examples_of_the_manual_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "sql.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 5
    parsed = [parse(example) for example in examples]
    assert any(reference.region is not None and reference.follows for query in parsed for reference in query.references)


def test_pivot_gives_columns_that_only_it_knows(con: Connection) -> None:
    bands = "PIVOT (first(mag) FOR band IN ('g', 'r'))"
    columns = "SELECT object_id, g - r AS color FROM"
    source = "(SELECT object_id, band, mag FROM object_bands WHERE source = 'chip')"
    by_hand = "first(mag) FILTER (WHERE band = 'g') AS g, first(mag) FILTER (WHERE band = 'r') AS r"
    grouped = f"(SELECT object_id, {by_hand} FROM {source} GROUP BY object_id)"
    expected = con.sql(f"{columns} {grouped} ORDER BY ALL").arrow()
    assert expected.num_rows > 5
    for query in (f"{columns} {source} {bands}", f"WITH c AS {source} {columns} c {bands}"):
        assert con.sql(f"{query} ORDER BY ALL").arrow().equals(expected)


# What is refused


@pytest.mark.parametrize(
    "sql",
    ["", "SELECT 1; SELECT 2", "CREATE TABLE t (a INT)", "INSERT INTO objects VALUES (1)", "DROP TABLE objects",
     "COPY objects TO 'f.csv'", "WITH c AS (COPY (SELECT 1) TO 'f.csv') SELECT * FROM c", "PRAGMA database_list",
     "WITH c AS (DELETE FROM objects RETURNING *) SELECT * FROM c", "SET threads = 1", "ATTACH 'x.db'", "SHOW TABLES",
     "FROM (SHOW TABLES)", "DESCRIBE objects", "EXPLAIN SELECT 1", "SELECT FROM objects", "SELECT 'a",
     "INSTALL httpfs"],
)  # fmt: skip
def test_anything_but_one_select_is_refused(sql: str) -> None:
    with pytest.raises(UsageError, match="one SELECT"):
        parse(sql)


BY_BAND = "PIVOT object_bands ON band {} USING first(mag) GROUP BY object_id"
NAMED = BY_BAND.format("IN ('g', 'r')")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (f"SELECT * FROM ({BY_BAND.format('')})", r"PIVOT needs the values .* PIVOT \(first\(mag\) FOR band IN \('g'"),
        (BY_BAND.format(""), "PIVOT needs the values"),
        (NAMED, "PIVOT is supported behind a table only; write one SELECT … FROM object_bands PIVOT"),
        (f"WITH p AS ({NAMED}) SELECT * FROM p", "PIVOT is supported behind a table only"),
        (f"SELECT p.g FROM ({NAMED}) AS p", "PIVOT is supported behind a table only"),
        ("UNPIVOT objects ON ra, dec", "UNPIVOT is supported behind a table only; write one SELECT … FROM objects UN"),
        ("VALUES (1)", r"VALUES is supported in a FROM only; write SELECT \* FROM \(VALUES \(1\)\) AS t\(x\)"),
        ("SUMMARIZE objects", "SUMMARIZE is not supported; DESCRIBE lists"),
        ("SELECT * FROM (SUMMARIZE objects)", "SUMMARIZE is not supported"),
        (f"CREATE TABLE pivot AS {BY_BAND.format('')}", "give one SELECT; tables are changed"),
        ("WITH c AS (COPY (SELECT 1) TO 'f') SELECT * FROM objects PIVOT (sum(ra) FOR flags IN (1))", "COPY inside"),
        ("INSERT INTO t SELECT * FROM (PIVOT objects ON ra USING sum(dec))", "tables are changed by the commands"),
        ("SELECT 1 FROM files", "no table named 'files'; known: calibrations"),
        ("SELECT 1 FROM objcts", "no table named 'objcts'; did you mean 'objects'"),
        ("SELECT 1 FROM measurements_cal", "no table named 'measurements_cal'; did you mean 'measurements'"),
        ("SELECT paralax FROM objects", "tables objects: no column named 'paralax'; did you mean 'parallax'"),
        ("SELECT o.Paralax FROM objects o", "table o: no column named 'Paralax'; did you mean 'parallax'"),
        ("SELECT t.paralax FROM (SELECT parallax FROM objects) t", "did you mean 'parallax'"),
        ("SELECT mag FROM objects", "no column named 'mag'; it is a column of object_bands, measurements"),
        ("SELECT o.mcal FROM objects o", "table o: no column named 'mcal'; it is a column of measurements, images"),
        ("SELECT o.ra FROM objects", "no table or alias named 'o' in the query; its tables are objects"),
        ("SELECT 1 FROM objects WHERE M.mag > 5", "no table or alias named 'M' in the query"),
        ("SELECT 1 FROM objects WHERE in_cone(ra, dec, 1, 2, -3)", "radius"),
        ("SELECT 1 FROM objects WHERE in_cone(ra, dec, 1, 2)", "4 arguments"),
        ("SELECT 1 FROM objects WHERE in_box(ra, dec, 1, 2, 5, 3)", "swap"),
        ("SELECT a.ra FROM objects a, objects a", "a"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "nest|expression|depth"),
    ],
)
def test_what_certainly_makes_no_sense_is_refused_with_advice(sql: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(sql)


@pytest.mark.parametrize(
    "sql", ["SELECT q FROM objects, read_csv('x.csv')", "SELECT q FROM objects, t", "SELECT t.q FROM t"]
)
def test_column_that_may_exist_is_not_refused(sql: str) -> None:
    parse(sql, extra=["t"])


@pytest.mark.parametrize(
    "sql",
    ["SELECT list_transform([{'a': ra}], lambda v: v.a) FROM objects", "SELECT [v.a FOR v IN [{'a': ra}]] FROM objects",
     "SELECT s.a FROM (SELECT {'a': ra} AS s FROM objects)",
     "SELECT (SELECT max(m.mag) FROM measurements m WHERE m.object_id = o.object_id) FROM objects o",
     "WITH c AS (SELECT 1 AS x) SELECT c.x, objects.ra FROM objects, c",
     "SELECT u.x FROM objects, (VALUES (1)) AS u(x)", "SELECT l.y FROM objects o, LATERAL (SELECT o.ra + 1 AS y) l"],
)  # fmt: skip
def test_field_of_a_value_is_no_unknown_table(sql: str, con: Connection) -> None:
    con.sql(f"{sql} LIMIT 2").arrow()


def test_declarations_of_result_columns_follow_them() -> None:
    joined = "Average o JOIN object_bands USING (object_id)"
    declared = dict(parse(f"SELECT o.RA AS x, mag, mag + 1 AS y, OBJ_ID FROM {joined}").declared)
    assert {name: (c.name, c.unit) for name, c in declared.items()} == {
        "x": ("ra", "deg"), "mag": ("mag", "mag"), "obj_id": ("object_id", None),
    }  # fmt: skip
    assert dict(parse("SELECT * EXCLUDE (ra) FROM objects").declared)["dec"].unit == "deg"
    assert "ra" not in dict(parse("SELECT * REPLACE (1 AS ra) FROM objects").declared)
