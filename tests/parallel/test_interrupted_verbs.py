"""Ctrl-C under other verbs, and with workers: the last snapshot, a clean check, and the same command finishes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skydb import database
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.hosts import add_host, set_host
from skydb.ingest.addstar import addstar
from tests.faults.checks import check_jobs_are_cleared_up
from tests.ingest.skies import assert_same, check_conservation, contents, new_database
from tests.ingest.skies import write_night as night_of

from .test_interrupted import wait_for

pytestmark = pytest.mark.slow

SLOW = """
import time
from skydb.store.scratch import Scratch

def slowly(do):
    def later(*args, **more):
        time.sleep(0.2)
        return do(*args, **more)
    return later

Scratch.store, Scratch.copy = slowly(Scratch.store), slowly(Scratch.copy)  # there is time to strike
"""
"""What every process does as it starts, workers too."""

COMMAND = """
import signal, sys
from skydb.tools.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
sys.exit(main())
"""


@dataclass(frozen=True)
class Setting:
    """A database of two hosts, files that it does not know, another database, and what makes processes slow."""

    root: Path
    night: list[Path]
    apart: Path
    slow: dict[str, str]

    def copied(self, folder: Path) -> Database:
        """A copy of the database and its second host."""
        shutil.copytree(self.root.parent, folder)
        db = database.open(folder / self.root.name)
        set_host(db, "b", root=folder / "b")
        return db


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("setting")
    night = night_of(folder / "night", exposures=5, stars=60, ra=45.0, dec=0.0, seed=1)
    (folder / "slow").mkdir()
    (folder / "slow" / "sitecustomize.py").write_text(SLOW)
    apart = new_database(folder / "apart.sky", cell_rows=60)
    addstar(apart, night[4:], workers=1)
    (folder / "two").mkdir()
    db = new_database(folder / "two" / "t.sky", cell_rows=60)
    add_host(db, "b", folder / "two" / "b")
    for file in night[:2]:
        addstar(db, file, workers=1)
    paths = os.pathsep.join([str(folder / "slow"), *sys.path])
    return Setting(db.root, night, apart.root, {**os.environ, "PYTHONPATH": paths})


Words = Callable[[Database, Setting], list[object]]
VERBS: dict[str, Words] = {
    "addstar": lambda db, setting: ["addstar", db.root, *setting.night[2:4]],
    "merge": lambda db, setting: ["merge", db.root, setting.apart],
    "compact": lambda db, setting: ["compact", db.root, "--all"],
    "drain": lambda db, setting: ["hosts", db.root, "drain", "b"],
}


@contextmanager
def started(words: Sequence[object], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own, as a terminal does."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env=environment,
    ) as run:  # fmt: skip
        try:
            yield run
        finally:
            run.kill()


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*.parquet") if path.is_file()}


def check_interrupted(setting: Setting, folder: Path, verb: str, *how: str) -> None:
    """Strike when a few files are written; then the database must be as it was, and the command do the rest."""
    db, undisturbed = setting.copied(folder / "t"), setting.copied(folder / "undisturbed")
    before, there = contents(db), files_in(folder / "t")
    words = [*VERBS[verb](db, setting), *how]
    with started(words, setting.slow) as run:
        wait_for(lambda: len(files_in(folder / "t") - there) >= 2, run)
        os.killpg(run.pid, signal.SIGINT)
        assert run.communicate()[1].strip() == "skydb: interrupted"
    assert run.returncode == 130
    opened = database.open(db.root)
    assert_same(contents(opened), before)
    assert fsck(opened, workers=1).clean
    for each in (words, [*VERBS[verb](undisturbed, setting), "--workers", "1"]):
        with started(each, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as run:
            said = run.communicate()[1]
        assert run.returncode == 0, said
    assert_same(contents(opened), contents(undisturbed))
    assert opened.snapshot().cells() == undisturbed.snapshot().cells()
    check_conservation(opened)
    check_jobs_are_cleared_up(opened)
    assert fsck(opened, workers=1).clean


@pytest.mark.parametrize("verb", ["merge", "compact", "drain"])
def test_interrupted_verb_leaves_the_last_snapshot_and_is_finished_by_the_next(
    verb: str, setting: Setting, tmp_path: Path
) -> None:
    check_interrupted(setting, tmp_path, verb, "--workers", "1")


@pytest.mark.parametrize("verb", ["addstar", "merge", "compact", "drain"])
def test_verb_that_is_interrupted_on_two_processes_is_finished_by_the_next(
    verb: str, setting: Setting, tmp_path: Path
) -> None:
    check_interrupted(setting, tmp_path, verb, "--workers", "2")


@pytest.fixture(scope="module")
def scheduler(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask cluster of two slow workers, which hear no Ctrl-C."""
    pytest.importorskip("distributed", reason="needs the extra: pip install 'skydb[cluster]'")
    said = tmp_path_factory.mktemp("dask") / "scheduler.json"
    quiet: dict[str, Any] = {"env": setting.slow, "stderr": subprocess.DEVNULL, "start_new_session": True}
    dask = [sys.executable, "-m"]
    place = ["--scheduler-file", str(said)]
    with ExitStack() as stack:
        first = [*dask, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1"]
        worker = [*dask, "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        for words in (first, worker, worker):
            run = stack.enter_context(subprocess.Popen([*words, *place], **quiet))
            stack.callback(run.kill)
            wait_for(said.exists, run)
        yield str(json.loads(said.read_text())["address"])


@pytest.mark.parametrize("verb", ["addstar", "merge", "compact"])
def test_verb_that_is_interrupted_on_a_cluster_is_finished_by_the_next(
    verb: str, setting: Setting, scheduler: str, tmp_path: Path
) -> None:
    check_interrupted(setting, tmp_path, verb, "--cluster", scheduler)
