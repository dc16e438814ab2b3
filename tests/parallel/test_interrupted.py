"""Ctrl-C in the middle of a job leaves the database as it was; a job that is run again goes on from its last commit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skydb import database
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.store.unfinished import unfinished_jobs
from tests.ingest.skies import assert_same, check_nothing_is_left_over, contents, new_database, stored_files
from tests.ingest.skies import write_night as night_of

SLOW = """
import signal, sys, time
from functools import partial
from skydb.calib import relcal
from skydb.calib.select import SelectionRules
from skydb.ingest import batches
from skydb.store.scratch import Scratch
from skydb.tools.cli import main

def store(*args, quick=Scratch.store, **more):
    time.sleep(0.2)
    return quick(*args, **more)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
Scratch.store = store  # there is time to strike
relcal.SelectionRules = partial(SelectionRules, min_psf_qf=-1.0)  # made-up rows have every quality
batches.BATCH_BYTES = int(sys.argv.pop(1))
sys.exit(main())
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return night_of(tmp_path_factory.mktemp("night"), exposures=4, stars=60, ra=45.0, dec=0.0, seed=1)


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return new_database(tmp_path / "t.sky", cell_rows=60)


@contextmanager
def started(db: Database, command: str, *words: object, batch_bytes: int = 10**9) -> Iterator[subprocess.Popen[str]]:
    """Run a command slowly, in a session of its own, as a terminal does."""
    line = [sys.executable, "-c", SLOW, str(batch_bytes), command, str(db.root), *map(str, words), "--workers", "1"]
    with subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as run:  # fmt: skip
        try:
            yield run
        finally:
            run.kill()


def wait_for(what: Callable[[], object], run: subprocess.Popen[str]) -> None:
    while not what():
        assert run.poll() is None, "it has ended already"
        time.sleep(0.01)


def interrupt(run: subprocess.Popen[str]) -> str:
    """Strike Ctrl-C, and return the last line that the command says."""
    os.killpg(run.pid, signal.SIGINT)
    return run.communicate()[1].strip().splitlines()[-1]


def test_interrupted_addstar_leaves_the_last_snapshot_and_nothing_else(db: Database, night: list[Path]) -> None:
    addstar(db, night[:2], workers=1)
    head, before, there = db.snapshot().id, contents(db), stored_files(db)
    with started(db, "addstar", *night) as run:
        wait_for(lambda: len(stored_files(db) - there) >= 2, run)
        assert interrupt(run) == "skydb: interrupted"
    assert run.returncode == 130
    opened = database.open(db.root)
    assert opened.snapshot().id == head
    assert_same(contents(opened), before)
    check_nothing_is_left_over(opened)
    assert [f.status for f in addstar(opened, night, workers=1).files] == ["known", "known", "ingested", "ingested"]
    check_nothing_is_left_over(opened)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_relcal_leaves_the_last_snapshot_and_is_resumed(
    db: Database, night: list[Path], tmp_path: Path, how: signal.Signals
) -> None:
    addstar(db, night, workers=1)
    undisturbed = database.open(shutil.copytree(db.root, tmp_path / "undisturbed.sky"))
    words = ("--exclude-photflags", "0", "--max-mag-err", "1")
    with started(undisturbed, "relcal", *words) as run:
        assert run.wait() == 0, run.communicate()
    head, before, there = db.snapshot().id, contents(db), stored_files(db)
    with started(db, "relcal", *words) as run:
        wait_for(lambda: len(stored_files(db) - there) >= 4, run)
        os.killpg(run.pid, how)
        said = run.communicate()[1]
    assert run.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
    opened = database.open(db.root)
    assert opened.snapshot().id == head
    assert_same(contents(opened), before)
    (job,) = unfinished_jobs(db.root)
    assert job.n_done >= 1
    assert how == signal.SIGKILL or f"; to go on: skydb relcal {db.root} --resume" in said
    with started(db, "relcal", "--resume") as run:
        assert run.wait() == 0, run.communicate()
    assert_same(contents(opened), contents(undisturbed))
    check_nothing_is_left_over(opened)


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_stopped_ingest_keeps_the_batches_that_were_committed(
    db: Database, night: list[Path], tmp_path: Path, how: signal.Signals
) -> None:
    """A batch is a file here; the second run ingests what the first did not come to, and no more."""
    alone = database.open(shutil.copytree(db.root, tmp_path / "alone.sky"))
    addstar(alone, night, workers=1)
    head = db.snapshot().id
    with started(db, "addstar", *night, batch_bytes=1) as run:
        wait_for(lambda: db.snapshot().id > head, run)
        os.killpg(run.pid, how)
        run.communicate()
    opened = database.open(db.root)
    committed = opened.snapshot().id - head
    assert 1 <= committed < len(night)
    statuses = [f.status for f in addstar(opened, night, workers=1).files]
    assert sorted(statuses) == ["ingested"] * (len(night) - committed) + ["known"] * committed
    assert_same(contents(opened, ["measurements", "object_seeds", "objects"]), contents(
        alone, ["measurements", "object_seeds", "objects"]))  # fmt: skip
    check_nothing_is_left_over(opened)
