"""A process that has everything imported and compiled, and forks a child for every case: 0.1 s instead of 3 s.

It takes one case a line on stdin, as JSON, and answers each with a line on stdout; `cases.py` talks to it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import skydb.database as database
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import SkydbError
from skydb.parallel.processes import stop_workers
from skydb.store import crashpoints
from skydb.store.collect import collect
from skydb.store.scratch import scratch
from tests.faults.checks import (
    as_words,
    check_clear,
    check_jobs_are_cleared_up,
    check_whole,
    open_if_there,
    state_of,
)
from tests.faults.inbox import check_files, check_nothing_half_written
from tests.faults.inputs import write_inputs
from tests.faults.workload import DAMAGED, ONCE, STEPS, is_damaged

HANGS_SECONDS = 300.0

Say = Callable[[dict[str, Any]], None]


def run_steps(case: dict[str, Any], say: Say) -> None:
    """Do steps one after another, and acknowledge each as it returns."""
    root = Path(case["root"])
    for name in case["steps"]:
        STEPS[name](root, Path(case["inputs"]), case.get("workers", 1))
        say({"acknowledged": name})
    if "count" in case:
        say({"passed": crashpoints.passed})


def describe(case: dict[str, Any], say: Say) -> None:
    """Say what a database holds, at its newest snapshot and, if asked for, at all since one."""
    db = database.open(case["root"])
    newest = state_of(db)
    since = newest.snapshot if case["since"] is None else case["since"]
    states = [state_of(db, number) for number in range(since, newest.snapshot)]
    say({"newest": as_words(newest), "since": [as_words(s) for s in states]})


def recover(case: dict[str, Any], say: Say) -> None:
    """Look at what a stopped step left, do the step again, and look again.

    `allowed` and `after` are digests of the database: at the snapshots that the step makes and before it, and at its
    end; `acknowledged` says whether the step had returned, `cut` whether the power was cut.
    """
    root, inputs, step = Path(case["root"]), Path(case["inputs"]), case["step"]
    db, found = open_if_there(root), None
    if db is not None and not (step in DAMAGED and is_damaged(db)):
        found = state_of(db).digest
        assert found in case["allowed"], "the database is neither as before nor as after"
        check_whole(db)
    assert found == case["after"] or not case["acknowledged"], "acknowledged, and lost"
    before = list(STEPS)[: list(STEPS).index(step)]
    check_files(root, inputs, [*before, *([step] if case["acknowledged"] else [])])
    if found != case["after"] or step not in ONCE:
        STEPS[step](root, inputs, 1)
    check_files(root, inputs, [*before, step])
    check_nothing_half_written(root)
    settle(database.open(root), noted="cut" not in case)
    assert state_of(database.open(root)).digest == case["after"], "done again, it is not as if nothing had happened"
    say({"found": found})


def settle(db: Database, *, noted: bool = True) -> None:
    """Let the next job clear up, and `gc` an hour later; nothing is left over then.

    A job finds what is left over by its notes, `gc` without them too: a power cut may take notes.
    """
    with scratch(db.root):
        pass
    if noted:
        check_jobs_are_cleared_up(db)
    collect(db.root, grace=timedelta(0), now=datetime.now(UTC) + timedelta(hours=2))
    check_clear(db)
    report = fsck(db, workers=1)
    assert report.clean, report.findings


TASKS: dict[str, Callable[[dict[str, Any], Say], None]] = {
    "run": run_steps, "describe": describe, "recover": recover,
}  # fmt: skip


def in_child(case: dict[str, Any]) -> dict[str, Any]:
    """Do a case in a child, and gather what it says until it ends, is killed or takes too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _work(case, lambda words: os.write(writer, (json.dumps(words) + "\n").encode()))
    os.close(writer)
    text, ended = _listen(child, reader, case)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    said = [json.loads(line) for line in text.decode().splitlines()]
    answer = {key: value for words in said for key, value in words.items() if key != "acknowledged"}
    answer["acknowledged"] = [words["acknowledged"] for words in said if "acknowledged" in words]
    return {**answer, "code": os.waitstatus_to_exitcode(status), "ended": ended}


def _listen(child: int, reader: int, case: dict[str, Any]) -> tuple[bytes, str]:
    """Read until the child closes its end; kill it after `kill_after` seconds, or when it must hang."""
    text, start = b"", time.monotonic()
    limit = case.get("kill_after", HANGS_SECONDS)
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, start + limit - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            return text, "killed" if "kill_after" in case else "hung"
        more = os.read(reader, 1 << 16)
        if not more:
            return text, "itself"
        text += more


def _work(case: dict[str, Any], say: Callable[[dict[str, Any]], object]) -> None:
    """Be the child."""
    code = 70
    try:
        for point in crashpoints.passed:
            crashpoints.passed[point] = 0
        if case.get("crash"):
            os.environ[crashpoints.VARIABLE] = case["crash"]
        TASKS[case["do"]](case, say)
        code = 0
    except SkydbError as error:
        say({"refused": f"{type(error).__name__}: {error}", "where": traceback.format_exc()})
        code = error.exit_code
    except BaseException as error:
        say({"broken": f"{type(error).__name__}: {error}", "where": traceback.format_exc()})
    finally:
        stop_workers()
        os._exit(code)


def warm_up(folder: Path) -> None:
    """Do every step once, here, so that children find all kernels compiled and all modules loaded."""
    write_inputs(folder)
    root = folder / "warm" / "t.sky"
    root.parent.mkdir()
    for step in STEPS.values():
        step(root, folder, 1)
    settle(database.open(root))
    state_of(database.open(root))
    shutil.rmtree(root.parent)


def main() -> None:
    """Warm up in the folder of the first argument, then serve."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    warm_up(Path(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(in_child(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
