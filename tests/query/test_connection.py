"""What a connection promises: one snapshot, complete answers, clear errors, nothing left open."""

from __future__ import annotations

import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import ICRS, Angle, Latitude, Longitude, SkyCoord
from astropy.table import MaskedColumn, Table

import skydb
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.flags import FLAGS_OF_COLUMN, Flags, flag_rows
from skydb.ingest.addstar import addstar
from skydb.query.connection import STANDARD, Connection, StaleWarning, connect
from skydb.query.flag_functions import FLAG_FUNCTIONS
from skydb.query.views import visible_columns, visible_tables
from skydb.sky.regions import Box, Cone
from skydb.store.changes import Changes
from skydb.store.tags import set_tag
from tests.ingest.skies import write_night
from tests.query.databases import new_database

COUNT = "SELECT count(*) FROM measurements"
HERE = SkyCoord(0, 10, unit="deg")


def number(con: Connection, query: str) -> int:
    return int(con.sql(query).arrow().column(0)[0].as_py())


@pytest.fixture
def copy(survey: Database, tmp_path: Path) -> Database:
    """A database that a test may damage."""
    shutil.copytree(survey.root, tmp_path / "c.sky")
    return skydb.open(tmp_path / "c.sky")


# One snapshot


def test_connection_sees_its_snapshot_whatever_is_committed_later(tmp_path: Path) -> None:
    db = new_database(tmp_path / "t.sky", cell_rows=100)
    files = write_night(tmp_path / "night", exposures=3, stars=40)
    addstar(db, files[:2], workers=1)
    set_tag(db.root, "first")
    before = connect(db)
    old = number(before, COUNT)
    pending = before.sql("SELECT object_id, mag FROM measurements")
    addstar(db, files[2:], workers=1)
    new = number(connect(db.root), COUNT)
    assert old < new
    assert number(before, COUNT) == old == pending.arrow().num_rows
    names = ("first", before.snapshot.id, str(before.snapshot.id))
    assert [number(connect(db, at=at), COUNT) for at in names] == [old] * 3
    assert number(connect(db, at=0), COUNT) == 0


@pytest.mark.parametrize(("at", "says"), [(99, "no snapshot 99"), ("DR7", "no tag named 'DR7'")])
def test_snapshot_that_is_not_there_is_named(survey: Database, at: int | str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        connect(survey, at=at)


@pytest.mark.parametrize("at", [2.5, True, np.True_, [], b"DR1", np.float64(1)])
def test_what_names_no_snapshot_is_refused(survey: Database, at: Any) -> None:
    with pytest.raises(UsageError, match="names no snapshot"):
        connect(survey, at=at)


def test_snapshot_is_named_by_any_whole_number(survey: Database) -> None:
    with connect(survey, at=np.int64(1)) as one:
        assert one.snapshot.id == 1


@pytest.mark.parametrize("db", [None, 5, b"x.sky"])
def test_what_is_no_database_is_refused(db: Any) -> None:
    with pytest.raises(UsageError, match="is no database"):
        connect(db)


@pytest.mark.parametrize("query", [None, 5, b"SELECT 1", ["SELECT 1"]])
def test_query_that_is_no_text_is_refused(con: Connection, query: Any) -> None:
    for ask in (con.sql, con.explain, con.columns):
        with pytest.raises(UsageError, match="is no text"):
            ask(query)


def test_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no skydb database here.*skydb create"):
        connect(tmp_path / "no.sky")


def test_empty_database_answers(tmp_path: Path) -> None:
    with connect(new_database(tmp_path / "e.sky", cell_rows=10)) as con:
        assert number(con, COUNT) == number(con, "SELECT count(*) FROM images") == 0
        assert con.cone(1.0, 2.0, 180.0).arrow().num_rows == 0
        assert con.cone(1.0, 2.0, 1.0, table="measurements").table().colnames == list(STANDARD["measurements"])
        assert con.lightcurve([]).arrow().num_rows == 0
        assert con.explain("SELECT * FROM objects").arrow()["files"].to_pylist() == [0]


# Answers stay what they are


def test_pending_answers_do_not_take_each_others_rows(con: Connection) -> None:
    """Queries limit what their tables hold; an answer that is fetched late must not see another's limits."""
    queries = [f"SELECT count(*) FROM objects WHERE in_cone(ra, dec, {ra}, {dec}, 0.2)"
               for ra, dec in ((0, 10), (123, -45), (123, 45))]
    expected = [number(con, query) for query in queries]
    pending = [con.sql(query) for query in queries]
    assert [int(p.arrow().column(0)[0].as_py()) for p in pending] == expected
    assert len(set(expected)) == 3


def test_answers_stream_side_by_side(con: Connection) -> None:
    one = con.sql("SELECT object_id FROM measurements").batches(100)
    other = con.sql("SELECT object_id, inst_mag FROM measurements").batches(100)
    rows = [(len(a), len(b)) for a, b in zip(one, other, strict=False)]
    assert number(con, COUNT) > 0
    assert sum(a for a, _ in rows) >= 1500
    assert max(a for a, _ in rows) <= 100


def test_two_connections_answer_independently(survey: Database) -> None:
    with connect(survey) as one, connect(survey) as other:
        one.register("mine", pa.table({"a": [1]}))
        assert number(one, "SELECT a FROM mine") == 1
        with pytest.raises(UsageError, match="no table named 'mine'"):
            other.sql("SELECT a FROM mine")
        assert number(one, COUNT) == number(other, COUNT)


def test_closed_connection_says_so(survey: Database) -> None:
    con = connect(survey)
    assert number(con, COUNT) > 0
    con.close()
    con.close()
    by_text = (lambda: con.sql("SELECT 1"), lambda: con.explain("SELECT 1"))
    for ask in (*by_text, lambda: con.cone(0, 0, 1), lambda: con.lightcurve(5)):
        with pytest.raises(UsageError, match="the connection is closed"):
            ask()
    assert "closed" in repr(con)


def test_answer_that_outlives_its_connection_says_so(survey: Database) -> None:
    con = connect(survey)
    lost, kept = con.sql(COUNT), con.sql(COUNT)
    expected = len(kept)
    con.close()
    assert len(kept) == expected
    with pytest.raises(UsageError, match="closed before the rows were fetched"):
        lost.arrow()
    assert lost.columns == ["count_star()"]


def test_connection_is_not_pickled_and_answers_are(survey: Database) -> None:
    with connect(survey) as con:
        with pytest.raises(UsageError, match=r"cannot be pickled.*skydb\.connect"):
            pickle.dumps(con)
        answer = con.sql("SELECT object_id, mag AS m, photcode FROM measurements ORDER BY object_id, m LIMIT 5")
        back = pickle.loads(pickle.dumps(answer))
        assert back.arrow().equals(answer.arrow(), check_metadata=True)
        assert str(back.table()["m"].unit) == "mag"


# What there is


def test_tables_are_those_of_sql_and_of_the_user(survey: Database) -> None:
    with connect(survey) as con:
        con.register("Mine", pa.table({"a": [1.5], "b": ["x"]}))
        listed = {row["name"]: row for row in con.tables()}
        assert set(listed) == {*visible_tables(), "mine"}
        assert listed["objects"]["dvo"] == "Average"
        assert listed["measurements"]["columns"] == len(visible_columns("measurements"))
        assert [(c["name"], c["type"], c["unit"]) for c in con.columns("mine")] == [
            ("a", "float64", None), ("b", "string", None),
        ]  # fmt: skip
        for query in ("SHOW TABLES", "show all tables;", " Show Tables "):
            assert con.sql(query).arrow().equals(con.tables().arrow())


@pytest.mark.parametrize("table", visible_tables())
def test_columns_are_those_that_select_gives_with_their_declarations(con: Connection, table: str) -> None:
    facts = con.columns(table).arrow().to_pylist()
    given = con.sql(f"SELECT * FROM {table}")
    assert [f["name"] for f in facts] == given.columns
    for fact, column in zip(facts, visible_columns(table), strict=True):
        declared = (column.column.unit, column.column.ucd, column.column.meaning, column.column.dvo)
        assert (fact["unit"], fact["ucd"], fact["meaning"], fact["dvo"]) == declared
    assert con.sql(f"DESCRIBE SELECT * FROM {table}").arrow().equals(con.sql(f"describe {table}").arrow())


@pytest.mark.parametrize(
    "query",
    ["DESC objects", "-- what is there?\n/* in it */ DESCRIBE main.objects;", 'describe "Objects"', "SHOW Average",
     "SHOW COLUMNS FROM objects"],
)
def test_a_table_is_described_as_in_other_databases(con: Connection, query: str) -> None:
    assert con.sql(query).arrow().equals(con.columns("objects").arrow())


def test_answer_of_a_query_is_described_without_its_rows(con: Connection) -> None:
    query = "DESCRIBE SELECT ra AS x, count(*) AS n, avg(mag) AS m FROM Measure WHERE error('rows') GROUP BY ra"
    facts = [(f["name"], f["type"], f["unit"]) for f in con.sql(query)]
    assert facts == [("x", "float64", "deg"), ("n", "int64", None), ("m", "float64", None)]


def test_describe_of_what_is_not_there_is_refused(con: Connection) -> None:
    with pytest.raises(UsageError, match=r"no table named 'object'; did you mean 'objects'"):
        con.sql("DESCRIBE object")
    with pytest.raises(UsageError, match="no column named 'rra'"):
        con.sql("DESCRIBE SELECT rra FROM objects")
    for query in ("SELECT * FROM (DESCRIBE objects)", "SUMMARIZE objects", "SHOW TABLES; SELECT 1"):
        with pytest.raises(UsageError, match="SELECT"):
            con.sql(query)


# Light curves


def test_lightcurve_is_ordered_by_time_and_complete(con: Connection) -> None:
    rows = con.sql("SELECT object_id, n_measurements FROM objects ORDER BY n_measurements DESC LIMIT 3").arrow()
    for object_id, n in zip(*(c.to_pylist() for c in rows.columns), strict=True):
        curve = con.lightcurve(object_id).arrow()
        assert curve.num_rows == n
        assert curve["mjd"].to_pylist() == sorted(curve["mjd"].to_pylist())
        assert set(curve["object_id"].to_pylist()) == {object_id}
    assert curve.column_names == list(STANDARD["measurements"])


@pytest.mark.parametrize("kind", [list, np.array, pa.array, tuple, set, iter])
def test_lightcurves_of_several_objects_come_in_any_container(con: Connection, kind: type) -> None:
    ids = con.sql("SELECT object_id FROM objects ORDER BY dec, object_id LIMIT 40").arrow()["object_id"].to_pylist()
    curves = con.lightcurve(kind([*ids, ids[0]]), columns=["object_id", "mjd", "inst_mag", "band"]).arrow()
    expected = con.sql(
        "SELECT object_id, mjd, inst_mag, band FROM measurements WHERE object_id IN"
        f" ({', '.join(map(str, ids))}) ORDER BY object_id, mjd, image_id, det_id"
    ).arrow()
    assert curves.equals(expected.cast(curves.schema))


@pytest.mark.parametrize("ids", [5, -1, [5], 2**62])
def test_light_curve_of_an_unknown_object_is_an_error(con: Connection, ids: int | list[int]) -> None:
    with pytest.raises(UsageError, match="no object has the id"):
        con.lightcurve(ids)


def test_one_unknown_object_among_known_ones_is_named(con: Connection) -> None:
    known = number(con, "SELECT max(object_id) FROM objects")
    with pytest.raises(UsageError, match=r"no object has the id 7, 8\b"):
        con.lightcurve([known, 7, 8])


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.array, pa.scalar, int])
def test_one_id_comes_as_any_whole_number(con: Connection, kind: Callable[[int], Any]) -> None:
    known = number(con, "SELECT max(object_id) FROM objects")
    assert set(con.lightcurve(kind(known)).arrow()["object_id"].to_pylist()) == {known}


@pytest.mark.parametrize(
    "ids",
    [1.5, [1e18], ["7"], "abc", b"7", "", None, True, [None], [True], pa.array([None, 5]), np.array([1.0]), [[1.0]],
     MaskedColumn([1, 2], mask=[True, False])],
    ids=str,
)  # fmt: skip
def test_ids_that_are_no_whole_numbers_are_refused(con: Connection, ids: Any) -> None:
    with pytest.raises(UsageError, match="give whole numbers"):
        con.lightcurve(ids)


@pytest.mark.parametrize("ids", [2**64, -(2**70), np.uint64(2**63), [5, 99999999999999999999]])
def test_id_that_no_object_can_have_is_named(con: Connection, ids: Any) -> None:
    with pytest.raises(UsageError, match=r"no object has the id -?\d{19}"):
        con.lightcurve(ids)


def test_table_is_no_list_of_ids(con: Connection) -> None:
    rows = con.cone(0, 10, 0.02)
    for table in (rows, rows.table(), rows.df(), rows.arrow(), {"object_id": 5}):
        with pytest.raises(UsageError, match="give its column"):
            con.lightcurve(table)  # type: ignore[arg-type]  # that is the test
    assert len(con.lightcurve(rows.df()["object_id"])) == len(con.lightcurve(rows.table()["object_id"])) > len(rows)


# Cones


def test_cone_has_standard_chosen_or_all_columns(con: Connection) -> None:
    assert con.cone(0, 10, 0.1).arrow().column_names == [c.name for c in visible_columns("objects")]
    chosen = con.cone(0, 10, 0.1, table="measurements", columns=["band", "inst_mag"]).arrow()
    assert chosen.column_names == ["band", "inst_mag"]
    assert {*chosen["band"].to_pylist()} == {"g", "r", "R.G", "R.B", "R.C"}
    everything = con.cone(0, 10, 0.1, table="measurements", columns="*").arrow()
    assert everything.column_names == [c.name for c in visible_columns("measurements")]
    assert everything.num_rows == chosen.num_rows


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 91, 1), "no place on the sky"), ((0, -90.1, 1), "no place on the sky"),
        ((0, 0, -1), "radius"), ((0, 0, 181), "radius"), ((0, 0), "no radius"),
        ((float("nan"), 0, 1), "ra nan is no angle"), ((0, 0, float("inf")), "radius inf is no angle"),
        ((None, 0, 1), "ra None is no angle"), ((0, None, 1), "no declination"), ((True, 0, 1), "ra True is no angle"),
        ((np.array([1.0, 2.0]), 0, 1), "ra holds 2 values"), ((np.ma.masked, 0, 1), "is no angle"),
        ((0, 0, "wide"), "is not an angle"), ((0, "+91:00:00", 1), "outside -90 to 90"),
        (("400", 0, 1), "outside 0 to 360"),
        ((0, 0, 5 * u.m), "unit of angle"), ((0 * u.s, 0, 1), "unit of angle"), ((0, 0, 5 * u.one), "unit of angle"),
        ((SkyCoord([1, 2], [3, 4], unit="deg"), 1), "ra holds 2 values"), ((HERE, 0, 1), "a declination beside it"),
        ((HERE,), "no radius"), ((SkyCoord(0 * u.deg, 0 * u.deg, frame="altaz"), 1), "turned into ICRS"),
        (("10 20 30", 1), "is not a position"),
    ],
)  # fmt: skip
def test_cone_that_is_none_is_refused(con: Connection, arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        con.cone(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 10, "1.2arcmin"), ("00:00:00", "+10:00:00", "72arcsec"), ("0", 10.0, 0.02), (0.0, "10d", 0.02 * u.deg),
        ("00:00:00 +10:00:00", 0.02), (np.float64(0), np.int16(10), np.float64(0.02)), (np.array(360.0), 10, 0.02),
        (-360, 10, 0.02), (720.0, 10, 0.02), (Angle("0h"), Angle("10d"), Angle("1.2m")),
        (0 * u.hourangle, 600 * u.arcmin, 72 * u.arcsec), (Longitude("360d"), Latitude("10d"), 0.02),
        (SkyCoord(0, 10, unit="deg"), 72 * u.arcsec), (SkyCoord(0, 10, unit="deg").galactic, "1.2arcmin"),
        (pa.scalar(0.0), pa.scalar(10.0), pa.scalar(0.02)), (ICRS(0 * u.deg, 10 * u.deg), 0.02),
    ],
    ids=str,
)  # fmt: skip
def test_cone_takes_what_astronomers_have(con: Connection, arguments: tuple[Any, ...]) -> None:
    query = "SELECT object_id FROM objects WHERE in_cone(ra, dec, 0, 10, 0.02)"
    expected = set(con.sql(query).arrow()["object_id"].to_pylist())
    assert set(con.cone(*arguments).arrow()["object_id"].to_pylist()) == expected != set()


def test_cone_of_no_radius_finds_what_lies_exactly_there(con: Connection) -> None:
    star = con.sql("SELECT object_id, ra, dec FROM objects ORDER BY object_id LIMIT 1 OFFSET 7").arrow().to_pylist()[0]
    ra, dec = star["ra"], star["dec"]
    for radius in (0, 0.0, "0arcsec", 0 * u.deg):
        assert con.cone(ra, dec, radius).arrow()["object_id"].to_pylist() == [star["object_id"]]
        assert len(con.cone(ra, dec + 1e-6, radius)) == 0
    assert con.within(Cone(ra, dec, 0.0)).arrow().num_rows == 1
    assert con.sql(f"SELECT 1 FROM objects WHERE in_cone(ra, dec, {ra!r}, {dec!r}, 0)").arrow().num_rows == 1


def test_cone_takes_its_radius_by_name(con: Connection) -> None:
    assert len(con.cone(HERE, radius=72 * u.arcsec)) == len(con.cone(0, 10, radius=0.02)) > 0


def test_unknown_table_and_column_are_refused_with_advice(con: Connection) -> None:
    with pytest.raises(UsageError, match="no positions in table 'images'"):
        con.cone(0, 0, 1, table="images")
    with pytest.raises(UsageError, match=r"no column named 'magn'.*did you mean"):
        con.cone(0, 0, 1, table="measurements", columns=["magn"])
    with pytest.raises(UsageError, match="no column named 'ra_raww'"):
        con.lightcurve(5, columns=["ra_raww"])
    with pytest.raises(UsageError, match="no column named '1'"):
        con.lightcurve(5, columns=[1])  # type: ignore[list-item]  # that is the test
    with pytest.raises(UsageError, match="is no list of names"):
        con.lightcurve(5, columns=5)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(UsageError, match="no column is named"):
        con.cone(0, 0, 1, columns=[])
    with pytest.raises(UsageError, match="no positions in table None"):
        con.cone(0, 0, 1, table=None)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(UsageError, match="a str is no region"):
        con.within("everywhere")  # type: ignore[arg-type]  # that is the test


def test_names_of_tables_and_columns_are_those_of_sql(con: Connection) -> None:
    rows = con.cone(0, 10, 0.1, table="Measure", columns="MAG, Band,TIME , mag").arrow()
    assert rows.column_names == ["mag", "band", "mjd"]


def test_other_regions_work_like_cones(con: Connection) -> None:
    boxed = con.within(Box(359.9, 0.1, 9.9, 10.1), columns=["object_id"]).arrow()["object_id"].to_pylist()
    query = "SELECT object_id FROM objects WHERE in_box(ra, dec, 359.9, 0.1, 9.9, 10.1)"
    assert sorted(boxed) == sorted(con.sql(query).arrow()["object_id"].to_pylist()) != []


def test_answers_carry_units(con: Connection) -> None:
    assert str(con.cone(0, 10, 0.1).table()["ra"].unit) == "deg"
    assert str(con.sql("SELECT m.mag AS brightness, m.ra_raw FROM measurements m").table()["brightness"].unit) == "mag"
    curve = con.lightcurve(number(con, "SELECT max(object_id) FROM objects"))
    assert curve.table()["flux"].unit is not None


@pytest.mark.parametrize(
    ("call", "signature"),
    [
        ("in_cone(ra, dec, 1)", "in_cone(ra, dec, ra0, dec0, radius)"),
        ("in_cone(ra, dec, 1, 2, 'wide'::BLOB)", "in_cone(ra, dec, ra0, dec0, radius)"),
        ("in_box(ra, dec)", "in_box(ra, dec, ra1, ra2, dec1, dec2)"), ("in_polygon(ra)", "in_polygon(ra, dec, [["),
        ("separation(ra, dec, 1)", "separation(ra1, dec1, ra2, dec2)"),
    ],
)  # fmt: skip
def test_function_of_the_sky_that_is_called_wrongly_is_shown_how(con: Connection, call: str, signature: str) -> None:
    for query in (f"SELECT {call} FROM objects", f"SELECT ra FROM objects WHERE NOT {call}"):
        with pytest.raises(UsageError, match=re.escape(f"write {signature}")) as caught:
            con.sql(query).arrow()
        assert "Candidate" not in str(caught.value)


def test_translated_query_is_not_shown_in_errors(con: Connection) -> None:
    with pytest.raises(UsageError, match="the query failed: ") as caught:
        con.sql("SELECT OBJ_ID + 'five' FROM Average").arrow()
    assert "LINE" not in str(caught.value)


@pytest.mark.parametrize(("function", "flags"), FLAG_FUNCTIONS.items())
def test_every_flag_has_its_bit_in_sql(con: Connection, function: str, flags: type[Flags]) -> None:
    calls = ", ".join(f"{function}('{name.lower()}') AS {name}" for name, _, _ in flag_rows(flags))
    assert con.sql(f"SELECT {calls}").arrow().to_pylist() == [{name: bit for name, bit, _ in flag_rows(flags)}]


def test_every_column_of_flags_has_a_function() -> None:
    assert set(FLAG_FUNCTIONS.values()) == set(FLAGS_OF_COLUMN.values())


def test_unknown_flag_is_named(con: Connection) -> None:
    with pytest.raises(UsageError, match=r"no flag or field named 'PHOTOM_POR'; did you mean 'PHOTOM_POOR'"):
        con.sql("SELECT name FROM images WHERE (flags & image_flag('PHOTOM_POR')) > 0").arrow()


# Tables of the user


def test_registered_tables_join(con: Connection) -> None:
    ids = con.sql("SELECT object_id FROM objects ORDER BY object_id LIMIT 3").arrow()["object_id"].to_pylist()
    masked = Table({"object_id": np.array(ids), "weight": MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])})
    big_endian = Table({"object_id": np.array(ids).astype(">i8"), "weight": np.array([1.0, 2.0, 3.0], dtype=">f8")})
    frame = con.sql("SELECT object_id, 1.0 AS weight FROM objects ORDER BY object_id LIMIT 3").df()
    arrow = pa.table({"object_id": ids, "weight": [1.0, None, 3.0]})
    joined = "SELECT count(weight), count(*) FROM objects JOIN mine USING (object_id)"
    for table, weights in ((masked, 2), (big_endian, 3), (frame, 3), (arrow, 2), (con.cone(0, 10, 1).table(), None)):
        con.register("Mine", table)
        if weights is not None:
            assert con.sql(joined).arrow().to_pylist() == [{"count(weight)": weights, "count_star()": 3}]
    assert number(con, "SELECT count(*) FROM mine WHERE ra IS NOT NULL") > 10


@pytest.mark.parametrize("name", ["objects", "Average", "a b", "x; DROP", ""])
def test_name_that_means_something_else_cannot_be_registered(con: Connection, name: str) -> None:
    with pytest.raises(UsageError, match="table"):
        con.register(name, pa.table({"a": [1]}))


def test_name_that_is_no_text_cannot_be_registered(con: Connection) -> None:
    with pytest.raises(UsageError, match="is no text"):
        con.register(pa.table({"a": [1]}), "mine")  # type: ignore[arg-type]  # that is the test


def test_what_is_no_table_cannot_be_registered(con: Connection) -> None:
    with pytest.raises(UsageError, match="dict is not a table"):
        con.register("mine", {"a": [1]})


def test_variables_of_the_caller_are_no_tables(con: Connection) -> None:
    frame = pa.table({"a": [1]})
    assert frame.num_rows
    with pytest.raises(UsageError, match="no table named 'frame'"):
        con.sql("SELECT * FROM frame")


# Trouble


def test_stale_cells_warn_where_means_are_read(copy: Database) -> None:
    cells = copy.snapshot().cells()
    copy.commit(Changes("test", "test", copy.snapshot().id, cells=tuple(replace(c, stale=True) for c in cells[:3]),
                        ends_cells=tuple(c.key for c in cells[:3])))  # fmt: skip
    with connect(copy) as con:
        with pytest.warns(StaleWarning, match="3 cells wait for `skydb refresh`"):
            con.sql("SELECT ra FROM objects")
        with pytest.warns(StaleWarning):
            con.cone(0, 0, 180)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            con.sql(COUNT)
            con.cone(0, 0, 180, table="measurements")


@pytest.mark.parametrize("harm", ["remove", "cut", "empty"])
@pytest.mark.parametrize("query", ["SELECT sum(mag) FROM measurements", "SELECT sum(inst_mag) FROM measurements",
                                   "SELECT mag FROM measurements WHERE in_cone(ra, dec, 0, 10, 0.01)"])  # fmt: skip
def test_missing_or_damaged_file_is_named(copy: Database, harm: str, query: str) -> None:
    with connect(copy) as con:
        explained = con.explain(query).arrow().to_pylist()[0]
        assert explained["files"] > 0
        for file in copy.snapshot().files("measurements_cal"):
            path = copy.root / file.path
            content = path.read_bytes()
            path.unlink()
            if harm != "remove":
                path.write_bytes(content[: len(content) // 2 if harm == "cut" else 0])
        with pytest.raises(DataError, match=r"Npix=.*parquet: a stored file is (missing|damaged).*from a copy"):
            con.sql(query).arrow()


def test_damaged_file_is_named_by_cones_and_light_curves(copy: Database) -> None:
    with connect(copy) as con:
        object_id = number(con, "SELECT max(object_id) FROM objects")
        for file in copy.snapshot().files("measurements_cal"):
            (copy.root / file.path).unlink()
        for ask in (lambda: con.lightcurve(object_id), lambda: con.cone(0, 10, 1, table="measurements")):
            with pytest.raises(DataError, match="a stored file is missing"):
                ask()


def test_settings_that_duckdb_refuses_are_a_usage_error(survey: Database) -> None:
    with connect(survey, memory_limit="lots") as con, pytest.raises(UsageError, match="refuses its settings"):
        con.sql("SELECT 1")


def test_small_memory_limit_suffices_for_a_scan(survey: Database) -> None:
    with connect(survey, memory_limit="100MB", threads=1) as con:
        assert number(con, "SELECT count(DISTINCT inst_mag) FROM measurements") > 100


# Photcodes


def test_alternative_photcodes_double_no_rows(con: Connection, survey: Database) -> None:
    """An ALT photcode shares the number of a SEC one; no measurement has it."""
    assert "ALT" in survey.snapshot().read_global("photcodes")["kind"].to_pylist()
    assert number(con, "SELECT count(band) FROM measurements") == number(con, COUNT)
    assert number(con, "SELECT count(photcode) FROM images") == number(con, "SELECT count(*) FROM images")
