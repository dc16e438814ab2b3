"""Executors: `executor.map(task, items)` in this process or in local worker processes.

Tasks are module-level functions (or partials of them), idempotent, and return small things: Arrow tables, arrays,
lists of files. Results come in the order of the items, so that no answer depends on which worker was first.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeVar

from skydb.arguments import at_least_one
from skydb.errors import SkydbError

from .workers import lifeline, start_worker

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

IDLE_SECONDS = 600
"""How long workers wait for the next call; starting one anew costs seconds of imports and compiled code."""

_WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    # loky takes a worker that has grown by 300 MB for leaky and restarts it: a task's arrays are larger than that.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
}
"""One thread of everything in a worker, so that workers do not fight over cores."""


_pools: weakref.WeakSet[Any] = weakref.WeakSet()


class Executor(Protocol):
    """Whatever runs tasks."""

    workers: int

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order; an exception of a task is raised here."""
        ...


class SerialExecutor:
    """Runs every task in this process."""

    workers = 1

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order."""
        todo = list(items)
        for done, item in enumerate(todo, 1):
            yield task(item)
            if progress:
                progress(done, len(todo))


class ProcessExecutor:
    """Runs tasks in local worker processes (loky: no `__main__` guard needed), one thread each.

    At most two tasks per worker are in flight, so that results do not pile up in memory.
    """

    def __init__(self, workers: int) -> None:
        self.workers = at_least_one(workers, "workers")

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order."""
        todo: Sequence[Item] = list(items)
        if len(todo) <= 1:
            yield from SerialExecutor().map(task, todo, progress=progress)
            return
        from loky import get_reusable_executor

        pool = get_reusable_executor(
            self.workers, timeout=IDLE_SECONDS, initializer=start_worker, initargs=(lifeline(),),
            env=_WORKER_ENVIRONMENT,
        )  # fmt: skip
        _pools.add(pool)
        call = partial(_in_folder, os.getcwd(), task)
        waiting = deque(pool.submit(call, item) for item in todo[: 2 * self.workers])
        try:
            for done in range(1, len(todo) + 1):
                answer = _answer_of(waiting.popleft())
                if done + len(waiting) < len(todo):
                    waiting.append(pool.submit(call, todo[done + len(waiting)]))
                yield answer
                if progress:
                    progress(done, len(todo))
        finally:
            for future in waiting:
                future.cancel()


def _in_folder(folder: str, task: Callable[[Item], Answer], item: Item) -> Answer:
    """Run a task where its caller is, so that relative paths mean the same: workers outlive a change of folder."""
    if os.getcwd() != folder:
        os.chdir(folder)
    return task(item)


def _answer_of(future: Future[Answer]) -> Answer:
    from loky.process_executor import TerminatedWorkerError

    try:
        return future.result()
    except TerminatedWorkerError as error:
        raise SkydbError(
            "a worker process died", None, "was it killed, or out of memory? try fewer --workers"
        ) from error


def stop_workers() -> None:
    """Kill the workers of this process, whatever they are at; what they leave is cleared up by their job."""
    for pool in list(_pools):
        pool.shutdown(wait=True, kill_workers=True)
    _pools.clear()


def executor_for(workers: int | None = None) -> Executor:
    """Return an executor of so many workers; None: one per core.

    Raises
    ------
    UsageError
        Fewer than one worker, or no whole number.
    """
    count = at_least_one(workers, "workers") if workers is not None else os.cpu_count() or 1
    return SerialExecutor() if count == 1 else ProcessExecutor(count)
