"""Worker processes of this machine: killed ones, orphans, wrong numbers. What all executors promise: `contract`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from skydb.errors import SkydbError, UsageError
from skydb.parallel.executor import SerialExecutor, executor_for
from skydb.parallel.processes import ProcessExecutor, stop_workers

from .tasks import die_at_two, die_once, square

pytestmark = pytest.mark.filterwarnings("ignore:.*worker stopped while some jobs:UserWarning")


def test_task_that_kills_its_worker_every_time_is_an_error_that_says_so() -> None:
    with pytest.raises(SkydbError, match="a worker process died, 3 times in all; was it killed, or out of memory"):
        list(ProcessExecutor(2).map(die_at_two, range(6)))
    assert list(ProcessExecutor(2).map(square, range(3))) == [0, 1, 4]


def test_what_a_killed_worker_was_at_is_done_by_another(tmp_path: Path) -> None:
    assert list(ProcessExecutor(2).map(partial(die_once, folder=tmp_path), range(12))) == list(range(12))
    assert (tmp_path / "died").exists()


def test_pool_of_a_thread_that_ended_harms_no_other() -> None:
    answers: list[list[int]] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: answers.append(list(ProcessExecutor(2).map(square, range(4)))))
        thread.start()
        thread.join()
        answers.append(list(ProcessExecutor(2).map(square, range(4))))
    assert answers == 4 * [[0, 1, 4, 9]]


PARENT = """
import ctypes, os, sys, time
from skydb.parallel.processes import ProcessExecutor

def work(item):
    os.write(1, b"%d\\n" % os.getpid())  # at once: a line that is printed may be cut in two by the other worker's
    time.sleep(0.5)  # so that the other worker takes the other item
    ctypes.PyDLL(None).sleep(600)  # no thread of Python runs meanwhile, as in a compiled kernel

list(ProcessExecutor(2).map(work, range(2)))
"""


def test_workers_die_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            workers = [int(parent.stdout.readline()) for _ in range(2)]
            assert all(map(is_alive, workers))
        finally:
            parent.kill()  # whatever fails: leaving the block waits for it
        assert parent.stdout.read() == ""  # ends when the last process that could write closes its files
    for _ in range(1000):
        if not any(map(is_alive, workers)):
            return
        time.sleep(0.01)
    pytest.fail("a worker lives on")


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_worker_whose_parent_is_gone_already_ends() -> None:
    script = "from skydb.parallel.workers import Lifeline, die_with; die_with(Lifeline(2**22 + 1, 3)); print('lives')"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")


def test_stopped_workers_are_replaced() -> None:
    assert list(ProcessExecutor(2).map(square, range(3))) == [0, 1, 4]
    stop_workers()
    assert list(ProcessExecutor(2).map(square, range(3))) == [0, 1, 4]


def test_fewer_than_one_worker_is_refused() -> None:
    for number in (0, -1, "2", 1.5, True):
        with pytest.raises(UsageError, match=f"workers must be .*{number}"):
            executor_for(number)  # type: ignore[arg-type]  # on purpose
    assert executor_for(1).workers == 1


def test_executor_that_is_given_is_taken() -> None:
    mine = SerialExecutor()
    assert executor_for(mine) is mine


def test_default_is_one_process_per_core() -> None:
    assert executor_for().workers == os.cpu_count()
