"""Three Dask workers, each of which sees the files of one host only, and none the catalog (mount namespaces)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import SkydbError
from skydb.executors import executor_of
from skydb.hosts import add_host, set_copies, set_host
from skydb.ingest.addstar import addstar
from skydb.parallel import dask_client
from skydb.parallel.executor import Executor, Progress
from skydb.query.connection import Connection, connect
from skydb.query.release import release
from skydb.store.compact import compact
from skydb.store.files import DataFile, StoredFile
from skydb.store.snapshot import Snapshot
from skydb.tools.cli import main
from tests.checks.damages import flip
from tests.ingest.skies import assert_same, check_conservation, contents, new_database
from tests.ingest.skies import write_night as night_of

from .tasks import Part, solve, where

HOSTS = ("north", "south", "east")
QUESTIONS = (
    "SELECT band, count(*) AS n, min(mag) AS brightest, max(mjd) AS last FROM measurements WHERE mag < 30 AND dec > -1"
    " GROUP BY band ORDER BY band",
    "SELECT o.object_id, o.n_measurements, b.band, b.mag, i.name, m.x FROM objects o"
    " JOIN object_bands b USING (object_id) JOIN measurements m ON m.object_id = o.object_id AND m.band = b.band"
    " JOIN images i USING (image_id) WHERE in_cone(o.ra, o.dec, 45, 0, 0.05) AND b.source = 'chip' ORDER BY ALL",
    "SELECT object_id, mjd, mag - lag(mag) OVER (PARTITION BY object_id, band ORDER BY mjd) AS step FROM measurements"
    " ORDER BY ALL",
)


def may_hide() -> bool:
    """Whether this process may make mount namespaces."""
    return shutil.which("unshare") is not None and not subprocess.run(
        ["unshare", "-m", "true"], capture_output=True, check=False
    ).returncode


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not may_hide(), reason="mount namespaces need the right to make them"),
    pytest.mark.filterwarnings("ignore:other copies are read:skydb.store.copies.BackupWarning"),
]


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """A database whose cells go to three hosts."""
    db = new_database(tmp_path / "t.sky", cell_rows=60)
    for host in HOSTS:
        add_host(db, host, str(tmp_path / host), worker=host)
    set_host(db, "local", state="draining")
    return db


@contextmanager
def worker_of(host: str, address: str, db: Database) -> Iterator[None]:
    """A worker that finds nothing where the other hosts are, and nothing where the catalog is."""
    hidden = [f"mount -t tmpfs none {db.root.parent / other}" for other in HOSTS if other != host]
    hidden.append(f"mount --bind /dev/null {db.root / 'catalog.sqlite'}")
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--name", host, "--nthreads", "1",
               "--no-dashboard", "--no-nanny", "--death-timeout", "20"]  # fmt: skip
    script = " && ".join([*hidden, f"exec {' '.join(command)}"])
    worker = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


@pytest.fixture
def address(db: Database, local_cluster: Callable[..., Any]) -> Iterator[str]:
    """The scheduler of the three."""
    cluster = local_cluster(n_workers=0)
    with ExitStack() as stack:
        for host in HOSTS:
            stack.enter_context(worker_of(host, cluster.scheduler_address, db))
        yield cluster.scheduler_address
        dask_client.disconnect()


@pytest.fixture
def nights(tmp_path: Path) -> list[list[Path]]:
    return [night_of(tmp_path / str(n), exposures=3, stars=60, ra=45.0, dec=0.0, seed=n) for n in (1, 2)]


def all_there(executor: Executor) -> dict[str, int]:
    """Wait for the workers, and return their processes."""
    while executor.workers < len(HOSTS):
        time.sleep(0.05)
    return {host: process for _, host, process in executor.map(where, [Part(0, host) for host in HOSTS])}


def test_hosts_that_see_nothing_of_each_other_make_the_same_database(
    db: Database, address: str, nights: list[list[Path]], tmp_path: Path
) -> None:
    """The first half with all three, then each file gets a second copy and one worker is killed."""
    alone = new_database(tmp_path / "alone.sky", cell_rows=60)
    processes = all_there(executor_of(db, cluster=address))
    addstar(db, nights[0], cluster=address)
    addstar(alone, nights[0], workers=1)
    assert_same(contents(db), contents(alone))
    assert {cell.host for cell in db.snapshot().cells()} == set(HOSTS)
    set_copies(db, 2)
    assert fsck(db, deep=True, cluster=address).findings == ()
    second = db.snapshot().files("measurements")[0]
    copy = tmp_path / str(second.backup) / second.path
    was = copy.read_bytes()
    flip(copy)
    (found,) = fsck(db, cluster=address).findings
    assert (found.kind, found.file) == ("backup-damaged", second.path)
    copy.write_bytes(was)

    os.kill(processes["north"], signal.SIGKILL)
    for executor, one in ((executor_of(db, cluster=address), db), (executor_of(alone, 1), alone)):
        addstar(one, nights[1], workers=executor)
        solve(one, workers=executor)
        compact(one.snapshot, one.commit, one.snapshot().cells(), cell_rows=one.cell_rows, executor=executor)
        release(one, one.root.with_suffix(".hats"), name="dr", workers=executor)
    assert_same(contents(db), contents(alone))
    check_conservation(db)


def test_lost_worker_whose_files_have_no_other_copy_is_an_error_that_names_cell_and_host(
    db: Database, address: str, nights: list[list[Path]]
) -> None:
    executor: Any = executor_of(db, cluster=address)
    process = all_there(executor)
    addstar(db, nights[0], workers=executor)
    head = db.snapshot().id
    executor.patience = 1.0
    os.kill(process["north"], signal.SIGKILL)
    with pytest.raises(SkydbError, match=r"cell \d+/\d+.*no Dask worker is on host 'north'"):
        solve(db, workers=executor)
    assert db.snapshot().id == head


def answers(con: Connection) -> dict[str, pa.Table]:
    """What some questions are answered: aggregates, joins, cones, light curves."""
    ids = con.cone(45.0, 0.0, 0.05).arrow()["object_id"]
    found = {query: con.sql(query) for query in QUESTIONS} | {
        "cone": con.cone(45.0, 0.0, 0.05), "measurements": con.cone(45.0, 0.0, 0.02, table="measurements", columns="*"),
        "light curves": con.lightcurve(ids), "with flags": con.lightcurve(ids, derive_flags=True),
    }  # fmt: skip
    return {name: answer.arrow() for name, answer in found.items()}


@contextmanager
def reading_no_host(db: Database) -> Iterator[None]:
    """Let this process fail where it reads a file of a host."""
    stored = Snapshot.stored

    def of_no_host(snapshot: Snapshot, file: DataFile) -> StoredFile:
        assert file.host == "local", f"{file.path} is read here"
        return stored(snapshot, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshot, "stored", of_no_host)
        yield


def test_hosts_that_see_nothing_of_each_other_answer_as_one_process(
    db: Database, address: str, nights: list[list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all three workers; with one killed in mid-query, by the second copies; without these, not at all."""
    alone = new_database(tmp_path / "alone.sky", cell_rows=60)
    for one in (db, alone):
        addstar(one, [*nights[0], *nights[1]], workers=1)
    with connect(alone) as con:
        expected = answers(con)
    assert min(answer.num_rows for answer in expected.values()) > 1
    executor: Any = executor_of(db, cluster=address)
    processes, executor.patience = all_there(executor), 1.0
    with reading_no_host(db), connect(db, workers=executor) as con:
        assert {*con.explain(QUESTIONS[0]).arrow()["hosts"][0].as_py().split(", ")} == set(HOSTS)
        assert answers(con) == expected

    set_copies(db, 2)
    killing = Killing(executor, processes["north"])
    with reading_no_host(db), connect(db, workers=killing) as con:
        assert con.sql(QUESTIONS[0]).arrow() == expected[QUESTIONS[0]]
        assert killing.killed
        assert answers(con) == expected
        assert main(["sql", str(db.root), QUESTIONS[0], "--cluster", address, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == expected[QUESTIONS[0]].to_pylist()

    set_copies(db, 1)
    with reading_no_host(db), connect(db, workers=executor) as con:
        questions: list[Callable[[], Any]] = [con.sql(QUESTIONS[0]).arrow, lambda: con.cone(45.0, 0.0, 0.05)]
        for ask in questions:
            with pytest.raises(SkydbError, match=r"cell \d+/\d+.*no Dask worker is on host 'north'"):
                ask()


class Killing:
    """Runs tasks on another executor, and kills a process when the first of them is done and many are not."""

    def __init__(self, executor: Executor, process: int) -> None:
        self.executor, self.process, self.killed = executor, process, False
        self.workers = executor.workers

    def map(
        self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None
    ) -> Iterator[Any]:
        """Yield `task(item)` for every item."""
        todo = list(items)
        for answer in self.executor.map(task, todo, progress=progress):
            if not self.killed and len(todo) > 8:
                os.kill(self.process, signal.SIGKILL)
                self.killed = True
            yield answer
