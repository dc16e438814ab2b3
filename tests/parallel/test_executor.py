"""What every executor promises."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skydb.errors import DataError, SkydbError, UsageError
from skydb.parallel.executor import Executor, ProcessExecutor, SerialExecutor, executor_for

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


def test_fewer_than_one_worker_is_refused() -> None:
    with pytest.raises(UsageError):
        executor_for(0)
    assert executor_for(1).workers == 1
