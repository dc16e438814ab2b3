"""What an executor is, and the plainest: `executor.map(task, items)` in this process.

Tasks are module-level functions (or partials of them), idempotent, and return small things: Arrow tables, arrays,
lists of files. Results come in the order of the items, so that no answer depends on which worker was first. A task
may be run more than once, when a worker is lost: whatever all but one of the runs left behind is of no account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""


class Executor(Protocol):
    """Whatever runs tasks.

    An item that has an attribute `host` is worked on there (docs/how-to/run-on-a-cluster.md); one that has none,
    anywhere.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        ...

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
