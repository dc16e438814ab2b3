"""What every executor promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skydb.errors import DataError, SkydbError, UsageError
from skydb.parallel.executor import Executor, ProcessExecutor, SerialExecutor, executor_for, stop_workers

EXECUTORS: list[Callable[[], Executor]] = [SerialExecutor, lambda: ProcessExecutor(2)]
pytestmark = pytest.mark.filterwarnings("ignore:.*worker stopped while some jobs:UserWarning")


def square(x: int) -> int:
    return x * x


def late_first(x: int) -> int:
    time.sleep(0.2 if x == 0 else 0.0)
    return x


def fail_at_three(x: int) -> int:
    if x == 3:
        raise DataError("three is bad", "item 3", "leave it out")
    return x


def die(x: int) -> int:
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.mark.parametrize("make", EXECUTORS)
def test_answers_come_in_the_order_of_the_items(make: Callable[[], Executor]) -> None:
    assert list(make().map(late_first, range(9))) == list(range(9))
    assert list(make().map(square, [])) == []
    assert list(make().map(square, [3])) == [9]


@pytest.mark.parametrize("make", EXECUTORS)
def test_error_of_a_task_arrives_whole(make: Callable[[], Executor]) -> None:
    with pytest.raises(DataError, match="item 3: three is bad; leave it out"):
        list(make().map(fail_at_three, range(6)))
    assert list(make().map(square, range(4))) == [0, 1, 4, 9]


@pytest.mark.parametrize("make", EXECUTORS)
def test_progress_counts_every_item(make: Callable[[], Executor]) -> None:
    seen: list[tuple[int, int]] = []
    list(make().map(square, range(3), progress=lambda done, of: seen.append((done, of))))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def folder_of(_: int) -> str:
    return os.getcwd()


@pytest.mark.parametrize("make", EXECUTORS)
def test_tasks_run_where_their_caller_is(
    make: Callable[[], Executor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(make().map(folder_of, range(4)))
    monkeypatch.chdir(tmp_path)
    assert set(make().map(folder_of, range(4))) == {str(tmp_path)}


def test_killed_worker_is_an_error_that_says_so() -> None:
    with pytest.raises(SkydbError, match="worker process died"):
        list(ProcessExecutor(2).map(die, range(6)))
    assert list(ProcessExecutor(2).map(square, range(3))) == [0, 1, 4]


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
from skydb.parallel.executor import ProcessExecutor

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
