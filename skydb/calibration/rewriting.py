"""Work on the cells of a snapshot, after a lost race only on those that have changed since."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from skydb.parallel.executor import Executor, Progress
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.placement import host_of_copy
from skydb.store.snapshot import Snapshot

Made = TypeVar("Made")


@dataclass(frozen=True)
class RewrittenCell:
    """The files that one cell gained and lost, and the cell as it is now."""

    cell: Cell
    adds: tuple[DataFile, ...]
    replaces: tuple[str, ...]


@dataclass(frozen=True)
class Done(Generic[Made]):
    """What was made of a cell, from which inputs and under which terms."""

    key: tuple[int, int]
    inputs: tuple[str, ...]
    terms: str
    made: Made


class Rewriting(Generic[Made]):
    """Does a task for cells of a snapshot; again only for those whose files, hosts or terms have changed since."""

    def __init__(
        self, executor: Executor, progress: Progress | None = None, *,
        keep: Callable[[Done[Made]], object] | None = None,
    ) -> None:  # fmt: skip
        """Work with an executor; `keep` is told of every cell that is done."""
        self._executor, self._progress, self._keep = executor, progress, keep
        self._done: dict[tuple[int, int], Done[Made]] = {}
        self._terms = ""

    def take_up(self, done: Iterable[Done[Made]]) -> None:
        """Go on from what was done before; of a cell that is there twice, the last counts."""
        self._done = {each.key: each for each in done}

    def begin(self, terms: str, agreeing: Collection[str]) -> None:
        """Work under some terms from now on; what was done under others that do not agree with them is of no use."""
        self._done = {key: done for key, done in self._done.items() if done.terms in agreeing}
        self._terms = terms

    def run(
        self, snapshot: Snapshot, cells: Sequence[Cell], task: Callable[[Cell], Made], *,
        executor: Executor | None = None,
    ) -> list[Made]:  # fmt: skip
        """Do the task for the cells as they are in the snapshot and return what all gave, in the order given.

        A cell without measurements gives nothing. `executor` is another one than usual.
        """
        for name in snapshot.sky_tables:  # in one question each
            snapshot.files_of_cells(name, cells)
        inputs = {c.key: _inputs_of(snapshot, c) for c in cells}
        self._done = {key: done for key, done in self._done.items() if inputs.get(key) == done.inputs}
        todo = [c for c in cells if c.key not in self._done and snapshot.files("measurements", c)]
        answers = map_cells(executor or self._executor, task, snapshot, todo, progress=self._progress)
        for cell, made in zip(todo, answers, strict=True):
            done = self._done[cell.key] = Done(cell.key, inputs[cell.key], self._terms, made)
            if self._keep:
                self._keep(done)
        return [self._done[c.key].made for c in cells if c.key in self._done]


def _inputs_of(snapshot: Snapshot, cell: Cell) -> tuple[str, ...]:
    """Return where a cell's files go, and the names of all that it has, which the new ones are made from or replace."""
    names = (f.name for name in snapshot.sky_tables for f in snapshot.files(name, cell))
    return cell.host, host_of_copy(snapshot.storage, cell.host, str(cell)) or "", *names


def sky_of(cells: Sequence[Cell]) -> np.ndarray:
    """Return the sorted ranges (K, 2) of order-29 pixels of some cells."""
    return np.array(sorted((c.lo, c.hi) for c in cells), dtype=np.int64).reshape(-1, 2)
