"""An executor that does to tasks what a cluster may do to them, as one seed decides.

Tasks run in this process, but as if on workers elsewhere: task, item and answer are pickled on their way, and no task
can open the catalog. They run in
any order within a window. A task may run twice, of which one answer counts; its worker may be lost with the answer; it
may crash before or after it stores its n-th file, and leave behind what a killed process leaves; and a worker that was
given up may go on: its task runs once more at any later time, even when its job has long ended. The same seed does the
same again.
"""

from __future__ import annotations

import pickle
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytest

from skydb.parallel.interface import Progress
from skydb.store.scratch import Scratch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Killed(BaseException):
    """A simulated worker is gone; no task can catch it by mistake."""


class SimulatedExecutor:
    """Runs tasks as a cluster of unreliable workers might.

    Parameters
    ----------
    seed
        Decides everything.
    workers
        How many there seem to be; tasks run up to four times as many ahead of their turn.
    trouble
        The chance that something befalls a run of a task, from 0 to below 1.

    Attributes
    ----------
    befell
        How often what happened: "answered", "repeated", "lost", "crashed", "late".
    """

    def __init__(self, seed: int, *, workers: int = 3, trouble: float = 0.4) -> None:
        self.workers, self.trouble = workers, trouble
        self.befell: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._late: list[bytes] = []

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order."""
        todo = [pickle.dumps((task, item)) for item in items]
        answers: dict[int, tuple[Any, Exception | None]] = {}
        for number in range(len(todo)):
            while number not in answers:
                ahead = range(number, min(number + 4 * self.workers, len(todo)))
                chosen = self._random.choice([n for n in ahead if n not in answers])
                self._attempt(chosen, todo[chosen], answers)
            answer, error = answers.pop(number)
            if error is not None:
                raise error
            yield answer
            if progress:
                progress(number + 1, len(todo))

    def let_late_tasks_run(self) -> None:
        """Run what is still to run of workers that were given up."""
        while self._late:
            self._run_late()

    def _attempt(self, number: int, call: bytes, answers: dict[int, tuple[Any, Exception | None]]) -> None:
        """Run a task, and see what befalls it; it has an answer, or has to run again."""
        if self._late and self._random.random() < 0.3:
            self._run_late()
        fate = "answered"
        if self._random.random() < self.trouble:
            fate = self._random.choice(["repeated", "lost", "crashed", "given up"])
        self.befell[fate] += 1
        if fate == "crashed":
            with suppress(Killed), crashing(self._random.randint(1, 4), after=self._random.random() < 0.5):
                _run(call)
            return
        if fate == "given up":
            self._late.append(call)
            return
        found = [_run(call) for _ in range(2 if fate == "repeated" else 1)]
        if fate != "lost":
            answers[number] = self._random.choice(found)

    def _run_late(self) -> None:
        """Run a task of a worker that was given up: what it does or raises matters to nobody."""
        call = self._late.pop(self._random.randrange(len(self._late)))
        self.befell["late"] += 1
        _run(call)


def _run(call: bytes) -> tuple[Any, Exception | None]:
    """Run a task as another process would, and return its answer, or its error, as it comes back."""
    task, item = pickle.loads(call)
    try:
        with without_catalog():
            answer = task(item)
    except Exception as error:
        return None, pickle.loads(pickle.dumps(error))
    return pickle.loads(pickle.dumps(answer)), None


@contextmanager
def without_catalog() -> Iterator[None]:
    """Let whoever opens the catalog in the block fail: a worker on another machine has none."""

    def connect(path: str, *_: Any, **more: Any) -> None:
        raise RuntimeError(f"a task opens {path}, which its worker does not have")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        yield


@contextmanager
def crashing(number: int, *, after: bool) -> Iterator[None]:
    """Let the block die at its n-th stored file: before it, or after it, with its note and file left behind."""
    store, calls = Scratch.store, 0

    def dying(self: Scratch, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise Killed
        stored = store(self, *args, **more)
        if calls == number:
            raise Killed
        return stored

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scratch, "store", dying)
        yield
