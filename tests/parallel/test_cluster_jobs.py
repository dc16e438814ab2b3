"""Every verb that runs cell by cell gives on a Dask cluster what it gives in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from skydb import database
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.derived import refresh
from skydb.executors import executor_of
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import Executor, SerialExecutor
from skydb.query.connection import connect
from skydb.query.release import release
from skydb.store.compact import compact
from skydb.tools.cli import main
from tests.checks.damages import file_of, flip, path_of
from tests.ingest.skies import assert_same, check_conservation, check_nothing_is_left_over, contents, new_database
from tests.ingest.skies import write_night as night_of

from .simulated import SimulatedExecutor
from .tasks import solve

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*worker stopped while some jobs:UserWarning")]
MEANS = "SELECT band, count(*), sum(mag), min(n_measurements) FROM object_bands GROUP BY band ORDER BY band"


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    folder = tmp_path_factory.mktemp("nights")
    return [night_of(folder / str(seed), exposures=3, stars=60, ra=45.0, dec=0.0, seed=seed) for seed in (1, 2)]


def survey(path: Path, nights: list[list[Path]], **asked: Any) -> Database:
    """A database made by every verb, and its release beside it."""
    db = new_database(path, cell_rows=60)
    addstar(db, nights[0], **asked)
    addstar(db, nights[1], defer=True, **asked)
    refresh(db, **asked)
    executor = executor_of(db, asked.get("workers"), asked.get("cluster"))
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=db.cell_rows, executor=executor)
    solve(db, **asked)
    release(db, path.with_suffix(".hats"), name="dr", **asked)
    return db


@pytest.fixture(scope="module")
def serial(nights: list[list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Database:
    return survey(tmp_path_factory.mktemp("serial") / "t.sky", nights, workers=1)


def check_same(db: Database, serial: Database) -> None:
    assert_same(contents(db), contents(serial))
    assert db.snapshot().cells() == serial.snapshot().cells()
    check_conservation(db)
    check_nothing_is_left_over(db)
    with connect(db.root) as con, connect(serial.root) as other:
        assert con.sql(MEANS).arrow().equals(other.sql(MEANS).arrow())
    assert released(db) == released(serial)


def released(db: Database) -> dict[str, Any]:
    folder = db.root.with_suffix(".hats")
    return {str(path.relative_to(folder)): pq.read_table(path) for path in sorted(folder.rglob("Npix=*.parquet"))}


def test_cluster_of_three_makes_the_same_database_and_release(
    cluster: Any, nights: list[list[Path]], serial: Database, tmp_path: Path
) -> None:
    check_same(survey(tmp_path / "t.sky", nights, cluster=cluster.scheduler_address), serial)


def test_tasks_need_no_catalog(nights: list[list[Path]], serial: Database, tmp_path: Path) -> None:
    """The simulated workers cannot open it."""
    executor = SimulatedExecutor(1, trouble=0.0)
    check_same(survey(tmp_path / "t.sky", nights, workers=executor), serial)
    assert executor.befell["answered"] > 30


def test_check_on_a_cluster_finds_what_one_process_finds(cluster: Any, serial: Database, tmp_path: Path) -> None:
    shutil.copytree(serial.root, tmp_path / "t.sky")
    db = database.open(tmp_path / "t.sky")
    assert fsck(db, deep=True, cluster=cluster.scheduler_address).findings == ()
    for table in ("objects", "measurements_cal"):
        flip(path_of(db, file_of(db, table)))
    alone, together = fsck(db, workers=1), fsck(db, cluster=cluster.scheduler_address)
    assert together.findings == alone.findings
    assert len(alone.damage) == 2
    report = fsck(db, repair=True, cluster=cluster.scheduler_address)
    assert (report.clean, report.lost) == (True, ())
    assert list(db.work.iterdir()) == []
    assert_same(contents(db), contents(serial))


def test_executor_of_a_database_knows_where_its_hosts_are(cluster: Any, serial: Database) -> None:
    executor: Executor = executor_of(serial, cluster=cluster)
    assert executor.places == {}  # type: ignore[attr-defined]  # of the Dask executor
    mine = SerialExecutor()
    assert executor_of(serial, mine) is mine


def test_command_line_runs_on_a_cluster(
    cluster: Any, nights: list[list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, address = new_database(tmp_path / "t.sky", cell_rows=60), cluster.scheduler_address
    called = ["--cluster", address, "--json"]
    assert main(["addstar", str(db.root), *map(str, nights[0]), *called]) == 0
    assert json.loads(capsys.readouterr().out)["complete"]
    for command in (["refresh", "--all"], ["compact", "--all"]):
        assert main([command[0], str(db.root), *command[1:], *called]) == 0
    assert main(["relcal", str(db.root), *called]) == 3  # runs, and finds nothing good enough in these files
    assert main(["release", str(db.root), str(tmp_path / "dr1"), *called]) == 0
    capsys.readouterr()
    asked = (["sql", "SELECT object_id FROM objects ORDER BY 1"], ["explain", "FROM objects"], ["cone", "45", "0", "1"],
             ["lightcurve", "45", "0", "--radius", "600"])  # fmt: skip
    for command, *words in asked:
        answers = []
        for how in (called, ["--json"]):
            assert main([command, str(db.root), *words, *how]) == 0
            answers.append(json.loads(capsys.readouterr().out)["rows"])
        assert [ours | theirs for ours, theirs in zip(*answers, strict=True)] == answers[0] != []


@pytest.mark.parametrize("command", [
    "addstar", "relcal", "refresh", "compact", "release", "fsck", "sql", "explain", "cone", "lightcurve",
])  # fmt: skip
def test_unreachable_cluster_is_an_error_of_the_call(
    command: str, serial: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, local_cluster: Callable[..., Any],
) -> None:  # fmt: skip
    monkeypatch.setattr("skydb.parallel.dask_client.CONNECT_SECONDS", 0.2)
    asked = {"sql": ["SELECT 1"], "explain": ["SELECT 1"], "cone": ["1", "2", "3"], "lightcurve": ["5"]}
    words = ({"addstar": ["a.smf"], "release": [str(tmp_path / "dr1")]} | asked).get(command, [])
    assert main([command, str(serial.root), *words, "--cluster", "tcp://127.0.0.1:9"]) == 2
    assert "tcp://127.0.0.1:9: no Dask scheduler answers; start one" in capsys.readouterr().err
    if command in asked:  # without a cluster, these have no workers
        return
    assert main([command, str(serial.root), *words, "--cluster", "tcp://127.0.0.1:9", "--workers", "2"]) == 2
    assert "workers and a cluster are given; give one" in capsys.readouterr().err
