"""Tasks in local worker processes (loky: no `__main__` guard needed), one thread each."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic

from skydb.arguments import at_least_one
from skydb.errors import SkydbError

from .interface import Answer, Item, Progress, SerialExecutor
from .workers import lifeline, start_worker

IDLE_SECONDS = 600
"""How long workers wait for the next call; starting one anew costs seconds of imports and compiled code."""

DEATHS = 2
"""How often a stage goes on after workers have died; a task that kills its worker does so every time."""

_WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    # loky takes a worker that has grown by 300 MB for leaky and restarts it: a task's arrays are larger than that.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
}
"""One thread of everything in a worker, so that workers do not fight over cores."""


_pools: weakref.WeakSet[Any] = weakref.WeakSet()


class ProcessExecutor:
    """Runs tasks in local worker processes, which it keeps for the next call.

    At most two tasks per worker are in flight, so that results do not pile up in memory.
    """

    def __init__(self, workers: int) -> None:
        self.workers = at_least_one(workers, "workers")

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order.

        Raises
        ------
        SkydbError
            Workers died again and again: what was lost with them was run anew so often.
        """
        todo: Sequence[Item] = list(items)
        if len(todo) <= 1:
            yield from SerialExecutor().map(task, todo, progress=progress)
            return
        stage = _Stage(self.workers, partial(_in_folder, os.getcwd(), task), todo)
        try:
            for done, answer in enumerate(stage.answers(), 1):
                yield answer
                if progress:
                    progress(done, len(todo))
        finally:
            stage.cancel()


class _Stage(Generic[Item, Answer]):
    """The tasks of one call of `map`: those in flight, in order, each with its item."""

    def __init__(self, workers: int, call: Callable[[Item], Answer], todo: Sequence[Item]) -> None:
        self._workers, self._call, self._todo = workers, call, todo
        self._flying: deque[tuple[Item, Future[Answer]]] = deque()
        self._deaths = 0

    def answers(self) -> Iterator[Answer]:
        """Yield the answers in order."""
        from loky.process_executor import TerminatedWorkerError

        started = 0
        while started < len(self._todo) or self._flying:
            try:
                while started < len(self._todo) and len(self._flying) < 2 * self._workers:
                    self._start(self._todo[started])
                    started += 1
                answer = self._flying[0][1].result()
            except TerminatedWorkerError as error:
                self._start_again(error)
                continue
            self._flying.popleft()
            yield answer

    def cancel(self) -> None:
        """Start no more tasks; those that run end by themselves."""
        for _, future in self._flying:
            future.cancel()

    def _start(self, item: Item) -> None:
        from loky.process_executor import TerminatedWorkerError

        try:
            future = _pool(self._workers).submit(self._call, item)
        except TerminatedWorkerError as error:  # a worker that has just died: as if it had died a moment later
            future = Future()
            future.set_exception(error)
        self._flying.append((item, future))

    def _start_again(self, error: Exception) -> None:
        """Run anew, in new workers, what was lost with the old ones: all in flight that had not ended."""
        self._deaths += 1
        if self._deaths > DEATHS:
            what = f"a worker process died, {self._deaths} times in all"
            raise SkydbError(what, None, "was it killed, or out of memory? try fewer --workers") from error
        flying, self._flying = self._flying, deque()
        for item, future in flying:
            if future.done() and not future.cancelled() and not _is_lost(future):
                self._flying.append((item, future))
            else:
                self._start(item)


def _is_lost(future: Future[Answer]) -> bool:
    from loky.process_executor import TerminatedWorkerError

    return isinstance(future.exception(), TerminatedWorkerError)


def _pool(workers: int) -> Any:
    """Return the pool of workers of this process; a new one where the last is broken."""
    from loky import get_reusable_executor

    pool = get_reusable_executor(
        workers, timeout=IDLE_SECONDS, initializer=start_worker, initargs=(lifeline(),), env=_WORKER_ENVIRONMENT
    )
    _pools.add(pool)
    return pool


def _in_folder(folder: str, task: Callable[[Item], Answer], item: Item) -> Answer:
    """Run a task where its caller is, so that relative paths mean the same: workers outlive a change of folder."""
    if os.getcwd() != folder:
        os.chdir(folder)
    return task(item)


def stop_workers() -> None:
    """Kill the workers of this process, whatever they are at; what they leave is cleared up by their job."""
    for pool in list(_pools):
        pool.shutdown(wait=True, kill_workers=True)
    _pools.clear()
