"""The named steps of a verb: their progress, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from .interface import Progress

StepProgress = Callable[[str, int, int], None]
"""Called with (step, items done, items in all)."""


def of_step(progress: StepProgress | None, step: str) -> Progress | None:
    """Return the progress of one step."""
    return partial(progress, step) if progress else None


def _unseen(done: int, total: int) -> None:
    """Show nothing."""


class Steps:
    """Adds up the seconds of every step, and passes progress on."""

    def __init__(self, progress: StepProgress | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Time a step; yields its progress."""
        start = time.perf_counter()
        yield of_step(self._progress, name) or _unseen
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
