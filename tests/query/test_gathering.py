"""Cells that workers read, each on its host: the same answers, from rows that wait in bounded room."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.hosts import add_host, set_copies, set_host
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import Executor, SerialExecutor, executor_for
from skydb.parallel.interface import Progress
from skydb.query.connection import Connection, connect
from skydb.query.functions import register
from skydb.query.parse import parse
from skydb.query.results import Result
from skydb.query.row_filters import RowFilter
from skydb.store.copies import BackupWarning
from tests.ingest.skies import write_night
from tests.parallel.simulated import SimulatedExecutor

from .databases import new_database
from .test_connection_answers import DVO, SOURCES, WHERE, WHOLE, check

FEW = [
    "SELECT * FROM measurements",
    "SELECT band, count(*), avg(mag), min(x) FROM measurements WHERE band = 'g' AND mag < 18 GROUP BY band",
    "SELECT o.ra, m.mag, i.name FROM objects o JOIN measurements m USING (object_id) JOIN images i USING (image_id)"
    " WHERE in_cone(o.ra, o.dec, 0, 10, 0.02) AND m.photcode LIKE 'CAM%'",
    "SELECT a.object_id, b.mag FROM objects a LEFT JOIN object_bands b ON a.object_id = b.object_id AND b.band = 'g'"
    " WHERE a.n_measurements > 3 AND b.mag IS NULL",
    "WITH bright AS (SELECT object_id FROM objects WHERE dec < 0) SELECT count(*) FROM bright a, bright b"
    " WHERE a.object_id < b.object_id",
    "SELECT object_id FROM objects ORDER BY ra DESC LIMIT 7",
    "SELECT count(*) FROM objects WHERE dec > 100",
]
"""A query of each kind of scan: pairs of files, one file, filters on names, joins, two uses, no cells."""


@pytest.fixture(scope="module")
def gathering(survey: Database) -> Iterator[Connection]:
    """A connection whose workers are lost now and then, and cannot open the catalog."""
    with connect(survey, workers=SimulatedExecutor(5)) as connection:
        yield connection


@pytest.mark.parametrize("query", FEW)
def test_unreliable_workers_give_the_same_answers(
    gathering: Connection, plain: duckdb.DuckDBPyConnection, query: str
) -> None:
    check(gathering, plain, query)


@pytest.mark.slow
@pytest.mark.parametrize(
    "executor", [SerialExecutor(), SimulatedExecutor(6), executor_for(2)], ids=["serial", "simulated", "processes"]
)
def test_queries_of_every_shape_answer_the_same(
    survey: Database, plain: duckdb.DuckDBPyConnection, executor: Executor
) -> None:
    ids = [row[0] for row in plain.sql("SELECT object_id FROM objects ORDER BY object_id").fetchall()]
    limits = [w.format(t=t, ids=", ".join(map(str, ids[5::40])), low=ids[100], high=ids[300])
              for w in WHERE for t in "om"]  # fmt: skip
    with connect(survey, workers=executor) as con:
        for query in WHOLE:
            check(con, plain, query)
        for query, expected in DVO.items():
            check(con, plain, query, expected)
        for number, limit in enumerate(limits):
            sources = SOURCES["om"[number % 2]]
            shown = "om"[number % 2]
            query = f"SELECT {shown}.object_id, {shown}.ra FROM {sources[number % len(sources)]} WHERE {limit}"
            check(con, plain, query)


@pytest.mark.parametrize("table", ["objects", "measurements"])
def test_cones_and_light_curves_are_the_same(con: Connection, gathering: Connection, table: str) -> None:
    for place in ((0.0, 10.0, 0.03), (200.0, 89.9, 0.2), (50.0, 50.0, 0.1)):
        ours, theirs = (c.cone(*place, table=table, columns="*").arrow() for c in (gathering, con))
        assert ours == theirs
    ids = con.cone(0.0, 10.0, 0.02).arrow()["object_id"].to_pylist()[:20]
    for flags in (False, True):
        ours, theirs = (c.lightcurve(ids, derive_flags=flags).arrow() for c in (gathering, con))
        assert ours == theirs
        assert ours.num_rows > 50


def test_many_cells_go_out_stage_by_stage(
    survey: Database, plain: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skydb.query.gathering.CELLS_AT_ONCE", 4)
    stages = Noting()
    with connect(survey, workers=stages) as con:
        check(con, plain, "SELECT object_id, ra FROM objects")
    assert [len(stage) for stage in stages.asked] == [4] * 9 + [3]


# What is decided beside the files


@pytest.mark.parametrize(
    ("where", "conditions"),
    [
        ("mag < 20 AND band = 'g'", ['("mag" < 20)', '("band" = \'g\')']),
        ("20 >= M_APER", ['(20 >= "ap_mag")']),
        ("(mag < 20 OR mag_err IS NOT NULL)", ['(("mag" < 20) OR (NOT ("mag_err" IS NULL)))']),
        ("mag NOT BETWEEN -5 AND 10/2 AND photcode IN ('a', 'it''s')",
         ['(NOT ("mag" BETWEEN -5 AND (10 / 2)))', "(\"photcode\" IN ('a', 'it''s'))"]),
        ("in_cone(ra, dec, 1, 2, 5/60)", ['in_cone("ra", "dec", 1, 2, (5 / 60))']),
        ("db_flags & measurement_flag('BLEND_MEAS') = 0",
         ["((\"db_flags\" & measurement_flag('BLEND_MEAS')) = 0)"]),
        ("mag < inst_mag", ['("mag" < "inst_mag")']),
        ("object_id = 5 AND object_id IN (1, 2)", []),
        ("mag + 1 < 20 AND 1 / mag > 2 AND sqrt(mag) > 1 AND mag::INTEGER = 5", []),
        ("mag > 'a' AND band > 5 AND band LIKE 'g%'", []),
        ("random() < 0.5 AND mag < random() AND mag IN (SELECT 1)", []),
        ("mag IS NOT DISTINCT FROM 5 AND mag = ANY([1])", []),
        ("in_polygon(ra, dec, [[0, 0], [1, 0], [1, 1]])", []),
    ],
)  # fmt: skip
def test_conditions_on_one_table_that_cannot_fail_are_decided_there(where: str, conditions: list[str]) -> None:
    query = f"SELECT mag, inst_mag FROM measurements WHERE {where}"
    assert list(parse(query).references[0].conditions) == conditions


@pytest.mark.parametrize(
    ("query", "conditions"),
    [
        ("SELECT 1 FROM objects o JOIN object_bands b USING (object_id) WHERE o.ra > 5 AND b.mag < 20 AND o.ra < b.mag",
         {"objects": ('("ra" > 5)',), "object_bands": ('("mag" < 20)',)}),
        ("SELECT 1 FROM objects o LEFT JOIN object_bands b USING (object_id) WHERE o.ra > 5 AND b.mag < 20",
         {"objects": ('("ra" > 5)',), "object_bands": ()}),
        ("SELECT 1 FROM objects o RIGHT JOIN object_bands b USING (object_id) WHERE o.ra > 5",
         {"objects": (), "object_bands": ()}),
        ("SELECT 1 FROM objects o JOIN object_bands b ON b.mag < 20 AND o.ra > 5", {"objects": (), "object_bands": ()}),
        ("SELECT count(*) FROM objects o GROUP BY ra HAVING ra > 5", {"objects": ()}),
        ("SELECT ra + 1 AS ra FROM objects WHERE ra > 5", {"objects": ('("ra" > 5)',)}),
        ("SELECT * FROM objects USING SAMPLE 5", {"objects": ()}),
        ("SELECT * FROM objects TABLESAMPLE 10% WHERE ra > 5", {"objects": ()}),
        ("SELECT x FROM (SELECT ra AS x FROM objects WHERE dec < 0) WHERE x > 5", {"objects": ('("dec" < 0)',)}),
        ("SELECT x FROM objects AS t(i, x) WHERE x > 5", {"objects": ()}),
        ("SELECT 1 FROM objects o WHERE EXISTS (SELECT 1 FROM images i WHERE i.mjd > 5 AND o.ra > 5)",
         {"objects": (), "images": ('("mjd" > 5)',)}),
    ],
)  # fmt: skip
def test_conditions_are_those_that_every_row_of_the_answer_meets(
    query: str, conditions: dict[str, tuple[str, ...]]
) -> None:
    assert {r.table: r.conditions for r in parse(query).references} == conditions


def test_rows_are_kept_as_duckdb_keeps_them() -> None:
    """NaN is above all numbers, NULL nowhere; names are looked up."""
    nan, inf = float("nan"), float("inf")
    rows = pa.table({
        "mag": pa.array([1.0, nan, None, inf, -inf, 17.1, 5.0], pa.float32()), "code": pa.array([1, 2, 2, 1, 2, 2, 1]),
        "ra": [359.9, 0.0, None, 1.0, 2.0, 10.0, nan], "dec": [0.0] * 7,
        "db_flags": pa.array([0, 1, 2, 3, None, 5, 6], pa.uint32()),
    })  # fmt: skip
    codes = pa.table({"code": [1, 2], "name": ["CAM.g", "CAM.r"], "band": ["g", "r"]})
    wheres = ["mag > 5", "mag <= 17.1", "NOT mag > 5", "mag IS NULL OR mag = 5", "mag <> 5", "mag IN (1, 5)",
              "band = 'r'", "band < 'r' AND photcode = 'CAM.g'", "in_cone(ra, dec, 0, 0, 2)",
              "in_box(ra, dec, 350, 5, -1, 1)", "db_flags & 2 = 2", "db_flags & 1 <> 0",
              "mag BETWEEN 1 AND 1e30"]  # fmt: skip
    named = rows.append_column("photcode", codes["name"].take(pa.array([c - 1 for c in rows["code"].to_pylist()])))
    named = named.append_column("band", codes["band"].take(pa.array([c - 1 for c in rows["code"].to_pylist()])))
    with duckdb.connect(config={"threads": 1}) as plain:
        register(plain)
        plain.register("arrow_rows", named)
        plain.execute("CREATE TABLE measurements AS SELECT * FROM arrow_rows")
        for where in wheres:
            (reference,) = parse(f"SELECT * FROM measurements WHERE {where}").references
            assert reference.conditions, where
            kept = RowFilter(reference.conditions, ("photcode", "band"), codes).kept(rows)
            assert kept.schema == rows.schema
            expected = plain.sql(f"SELECT mag, code, ra, dec, db_flags FROM measurements WHERE {where}").fetchall()
            assert repr(list(zip(*kept.to_pydict().values(), strict=True))) == repr(expected), where
            assert 0 < len(expected) < 7, where


# Room


class Noting:
    """Runs tasks here, and notes how many items each stage had, and how many of them were worked on."""

    workers = 2

    def __init__(self) -> None:
        self.asked: list[list[Any]] = []
        self.done = 0

    def map(
        self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None
    ) -> Iterator[Any]:
        """Yield `task(item)` for every item."""
        self.asked.append(list(items))
        for item in self.asked[-1]:
            self.done += 1
            yield task(item)


def waiting() -> list[Path]:
    """The files of gathered rows in the temporary folder."""
    return list(Path(tempfile.gettempdir()).glob("skydb-*/*.arrow"))


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder for the test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_nothing_is_gathered_before_rows_are_asked_for_and_then_once(survey: Database, room: Path) -> None:
    noting = Noting()
    with connect(survey, workers=noting) as con:
        answer = con.sql("SELECT object_id, ra FROM objects")
        assert con.sql("DESCRIBE SELECT ra + 1 AS x FROM objects").arrow()["name"].to_pylist() == ["x"]
        assert answer.schema.names == ["object_id", "ra"]
        assert not noting.asked
        answer.first(3)
        rows = answer.arrow()
        assert len(noting.asked) == 1
        assert rows.num_rows == sum(f.rows for f in con.snapshot.files("objects"))


def test_gathered_rows_wait_in_a_file_that_goes_with_the_answer(survey: Database, room: Path) -> None:
    with connect(survey, workers=SerialExecutor()) as con:
        answer = con.sql("SELECT object_id FROM objects")
        next(answer.batches(10))
        assert len(waiting()) == 1
        del answer
        assert waiting() == []
        kept = con.sql("SELECT object_id FROM objects")
        next(kept.batches(10))
        assert len(waiting()) == 1
    assert list(room.glob("skydb-*")) == []
    with pytest.raises(UsageError, match="the connection was closed"):
        kept.arrow()
    assert list(room.glob("skydb-*")) == []


def test_query_that_would_bring_too_much_says_so_before_any_cell_is_read(survey: Database) -> None:
    noting = Noting()
    with connect(survey, workers=noting, gather_limit=1000) as con:
        with pytest.raises(UsageError, match=r"would bring about .* GB from its hosts.*gather_limit"):
            con.sql("SELECT i.name, m.mag FROM images i JOIN measurements m USING (image_id)").arrow()
        assert noting.asked == []
        assert con.sql("SELECT count(*) FROM images").arrow().num_rows == 1
        assert con.sql("SELECT object_id FROM objects WHERE dec > 89.99").arrow().num_rows < 100
        with pytest.raises(UsageError, match="brings more than"):
            con.sql("SELECT object_id FROM objects WHERE dec > -89.99").arrow()
        assert 0 < noting.done < len(con.snapshot.cells())


def test_full_disk_is_the_room_there_is(survey: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr("skydb.query.gathering.shutil.disk_usage", lambda _: usage)
    with connect(survey, workers=SerialExecutor()) as con, pytest.raises(UsageError, match="TMPDIR"):
        con.sql("SELECT * FROM objects").arrow()


def test_explain_says_what_is_decided_there_and_what_comes(gathering: Connection) -> None:
    query = "SELECT m.mag, m.band, i.name FROM measurements m JOIN images i USING (image_id) WHERE m.band = 'g'"
    told = {row["table"]: row for row in gathering.explain(query).arrow().to_pylist()}
    assert told["measurements"]["decided_there"] == '("band" = \'g\')'
    assert told["measurements"]["gathered_bytes"] == told["measurements"]["rows"] * (8 + 4 + 4)  # image_id, code, mag
    assert told["images"]["decided_there"] is told["images"]["gathered_bytes"] is None


# Hosts


class IsolatedHosts:
    """Runs a task where only the files of its item's host can be read, and none elsewhere; those of `lost` never."""

    workers = 3

    def __init__(self, roots: dict[str, Path]) -> None:
        self.roots, self.lost = roots, set[str]()
        for root in roots.values():
            root.rename(root.with_suffix(".hidden"))

    def map(
        self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None
    ) -> Iterator[Any]:
        """Yield `task(item)` for every item."""
        for item in items:
            with self._seen(item.host):
                call, sent = pickle.loads(pickle.dumps((task, item)))
                yield call(sent)

    @contextmanager
    def _seen(self, host: str) -> Iterator[None]:
        root = self.roots[host]
        if host in self.lost:
            yield
            return
        root.with_suffix(".hidden").rename(root)
        try:
            yield
        finally:
            root.rename(root.with_suffix(".hidden"))


QUESTIONS: list[Callable[[Connection], Result]] = [
    lambda con: con.sql("SELECT * FROM measurements ORDER BY object_id, image_id, det_id"),
    lambda con: con.sql("SELECT o.ra, m.mag, i.name FROM objects o JOIN measurements m USING (object_id)"
                        " JOIN images i USING (image_id) WHERE m.band = 'g' AND o.dec > 10 ORDER BY ALL"),
    lambda con: con.cone(0, 10, 0.1, table="measurements", columns="*"),
    lambda con: con.lightcurve(con.cone(0.0, 10.0, 0.1).arrow()["object_id"], derive_flags=True),
]  # fmt: skip


@dataclass(frozen=True)
class Apart:
    """A database on hosts that are seen by their own workers alone, and what it answered before."""

    db: Database
    hosts: IsolatedHosts
    answers: list[pa.Table]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Apart:
    folder = tmp_path_factory.mktemp("apart")
    db = new_database(folder / "n.sky", cell_rows=40)
    roots = {name: folder / name for name in ("north", "south")}
    for name, root in roots.items():
        add_host(db, name, str(root))
    set_host(db, "local", state="draining")
    addstar(db, write_night(folder / "night", exposures=2, stars=50), workers=1)
    set_copies(db, 2)
    with connect(db) as con:
        answers = [ask(con).arrow() for ask in QUESTIONS]
    return Apart(db, IsolatedHosts(roots), answers)


def test_coordinator_opens_no_file_of_a_cell(apart: Apart) -> None:
    assert {cell.host for cell in apart.db.snapshot().cells()} == {"north", "south"}
    with connect(apart.db, workers=apart.hosts) as con:
        assert [ask(con).arrow() for ask in QUESTIONS] == apart.answers
        assert min(answer.num_rows for answer in apart.answers) > 20
        with pytest.raises(UsageError, match="Conversion Error"):  # and no file is said to be missing
            con.sql("SELECT CAST('x' AS INTEGER) FROM objects").arrow()
    with connect(apart.db) as con, pytest.raises(DataError, match="missing"):
        con.sql("SELECT * FROM objects").arrow()


def test_cells_of_a_lost_host_are_read_from_its_backup(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker is there, and finds nothing."""
    with connect(apart.db, workers=apart.hosts) as con:
        monkeypatch.setattr(apart.hosts, "lost", {"north"})
        with pytest.warns(BackupWarning, match="instead of those on host north: .*north"):
            assert [ask(con).arrow() for ask in QUESTIONS] == apart.answers
        monkeypatch.setattr(apart.hosts, "lost", {"north", "south"})
        for ask in QUESTIONS[1:3]:
            with pytest.raises(DataError, match=r"cell \d+/\d+: no copy of a stored file .*host \w+: .*host \w+: "):
                ask(con).arrow()
