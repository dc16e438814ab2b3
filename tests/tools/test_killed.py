"""`skydb addstar` ended by a signal in the middle: the database is readable, and the next run leaves it as if whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import skydb.database as database
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from tests.ingest.skies import assert_same, check_nothing_is_left_over, contents, named_files, stored_files

COMMAND = "import sys; from skydb.tools.cli import main; sys.exit(main())"
FILES = 4


@pytest.fixture(scope="module")
def survey(tiny: Callable[..., Path]) -> Path:
    return tiny()


def files_of(survey: Path) -> list[Path]:
    return sorted((survey / "exposures").glob("*.smf"))[:FILES]


@pytest.fixture(scope="module")
def empty(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the survey's photcodes, and small cells, so that there are many files to write."""
    db = database.create(tmp_path_factory.mktemp("killed") / "empty.sky", cell_rows=200)
    import_photcodes(db, survey / "photcodes.dat")
    return db.root


@pytest.fixture(scope="module")
def undisturbed(survey: Path, empty: Path) -> dict[str, pa.Table]:
    db = database.open(shutil.copytree(empty, empty.with_name("undisturbed.sky")))
    addstar(db, files_of(survey), workers=1)
    return contents(db)


def start(db: Path, survey: Path) -> subprocess.Popen[str]:
    """Start `skydb addstar` with two workers in a session of its own."""
    words = [sys.executable, "-c", COMMAND, "addstar", str(db), *map(str, files_of(survey)), "--workers", "2"]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def processes_of(session: int) -> list[str]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[3]) == session and words[0] != "Z":
            found.append(stat.parent.name)
    return found


def wait_for(what: Callable[[], object]) -> None:
    for _ in range(3000):
        if what():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def stop(run: subprocess.Popen[str], how: signal.Signals) -> str:
    """Send a signal to the command alone, see all its processes end, and return what it said."""
    run.send_signal(how)
    said = run.communicate()[1]
    wait_for(lambda: not processes_of(run.pid))
    return said


def check_next_run(db: Path, survey: Path, undisturbed: dict[str, pa.Table]) -> None:
    """The database is readable as it is; a further run leaves nothing over, and what an undisturbed one leaves."""
    opened = database.open(db)
    opened.snapshot().cells()
    addstar(opened, files_of(survey), workers=1)
    check_nothing_is_left_over(opened)
    assert_same(contents(opened), undisturbed)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_writing_leaves_nothing_that_the_next_run_does_not_clear_up(
    survey: Path, empty: Path, undisturbed: dict[str, pa.Table], tmp_path: Path, how: signal.Signals
) -> None:
    db = Path(shutil.copytree(empty, tmp_path / "t.sky"))
    opened = database.open(db)
    with start(db, survey) as run:
        wait_for(lambda: run.poll() is not None or len(stored_files(opened)) >= 4)
        said = stop(run, how)
    assert run.returncode == (-9 if how is signal.SIGKILL else 143)
    if how is signal.SIGTERM:
        assert said.strip().endswith("skydb: terminated")
        check_nothing_is_left_over(opened)
    else:
        assert stored_files(opened) - named_files(opened)
    check_next_run(db, survey, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_killed_at_any_time(
    survey: Path, empty: Path, undisturbed: dict[str, pa.Table], tmp_path: Path, seed: int
) -> None:
    """Twenty SIGKILL, ten SIGTERM, at random times."""
    db = Path(shutil.copytree(empty, tmp_path / "t.sky"))
    with start(db, survey) as run:
        time.sleep(random.Random(seed).uniform(1.0, 6.0))
        stop(run, signal.SIGTERM if seed % 3 == 0 else signal.SIGKILL)
    if seed % 3 == 0:
        check_nothing_is_left_over(database.open(db))
    check_next_run(db, survey, undisturbed)
