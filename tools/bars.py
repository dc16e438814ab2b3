"""Bars of progress on a terminal: done, all, rate, time taken, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """How many items a second are done."""

    def render(self, task: Task) -> Text:
        """Write the rate of the last half minute, at the end that of all."""
        return Text(rate_text(task.finished_speed or task.speed), style="progress.data.speed")


def rate_text(speed: float | None) -> str:
    """Return a rate for people, of items a second, a minute where they are few.

    >>> rate_text(1234.5), rate_text(2.25), rate_text(0.05), rate_text(None)
    ('1,234/s', '2.2/s', '3.0/min', '')
    """
    if not speed:
        return ""
    if speed < 1:
        return f"{60 * speed:.1f}/min"
    return f"{speed:.1f}/s" if speed < 100 else f"{speed:,.0f}/s"


class Bars:
    """One bar for every step, which begins anew when the step does: a long job does its steps once per batch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def show(self, step: str, done: int, total: int) -> None:
        """Draw how much of a step is done."""
        if step not in self._bars:
            self._bars[step] = self._progress.add_task(step, total=total)
        elif done < self._progress.tasks[self._bars[step]].completed:
            self._progress.reset(self._bars[step], total=total)
        self._progress.update(self._bars[step], completed=done, total=total)


@contextmanager
def drawn(console: Console) -> Iterator[Bars]:
    """Draw bars on a console as long as the block lasts."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)
