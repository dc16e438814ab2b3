"""Work on cells that takes along what its tasks would ask the catalog: a worker on another machine has none.

A task holds its snapshot. The lists of a cell's files travel with the cell, and the task's snapshot learns them where
it runs; hosts and declared tables travel with the snapshot itself. In the process of the caller nothing is looked up
before a task asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from skydb.parallel.interface import Answer, Executor, Item, Progress

from .cells import Cell
from .files import DataFile
from .snapshot import FileLists, Snapshot


def map_cells(
    executor: Executor, task: Callable[[Item], Answer], snapshot: Snapshot, items: Iterable[Item], *,
    cells_of: Callable[[Any], Sequence[Cell]] | None = None, progress: Progress | None = None,
) -> Iterator[Answer]:  # fmt: skip
    """Yield `task(item)` for every item, in order, each done on the host of its cell.

    Parameters
    ----------
    task
        Reads and writes through `snapshot`, the very object.
    items
        Cells, or what has one as its attribute `cell`.
    cells_of
        Gives the cells of an item of another kind; it runs on their host if they share one.
    """
    todo = list(items)
    cells: list[tuple[Cell, ...]] = [tuple((cells_of or _own_cell)(item)) for item in todo]
    load = _Load(snapshot, cells)
    carried = (Carried(item, own, load) for item, own in zip(todo, cells, strict=True))
    return executor.map(_Unpacking(task, snapshot), carried, progress=progress)


def backup_of(files: Iterable[DataFile], host: str) -> str | None:
    """Return another host than this that has copies of all files, if one has."""
    copies = [{file.host, file.backup} for file in files]
    others = set.intersection(*copies) - {host, None} if copies else set()
    return min(filter(None, others), default=None)


def _own_cell(item: Any) -> tuple[Cell, ...]:
    return (getattr(item, "cell", item),)


@dataclass(frozen=True)
class _Load:
    """What the items of one call take along, looked up for all of them when the first is sent away."""

    snapshot: Snapshot
    cells: Sequence[tuple[Cell, ...]]

    def of(self, cells: Sequence[Cell]) -> FileLists:
        """Return the lists of files of some cells."""
        tables = self.snapshot.sky_tables
        if any((tables[0], cell) not in self.snapshot.known_files for cell in cells):
            every = [cell for of_item in self.cells for cell in of_item]
            for name in tables:
                self.snapshot.files_of_cells(name, every)
        return {(name, cell): self.snapshot.files(name, cell) for name in tables for cell in cells}


@dataclass(frozen=True)
class Carried(Generic[Item]):
    """An item, its cells, and the load that it takes its share of when it is sent away."""

    item: Item
    cells: tuple[Cell, ...]
    load: _Load

    @property
    def cell(self) -> str:
        """The cells' names, for people."""
        return ", ".join(map(str, self.cells))

    @property
    def host(self) -> str | None:
        """The host of its cells, if they share one."""
        hosts = {cell.host for cell in self.cells}
        return hosts.pop() if len(hosts) == 1 else None

    @property
    def backup(self) -> str | None:
        """Another host that has copies of all its files, if one has."""
        if self.host is None:
            return None
        return backup_of([file for files in self.load.of(self.cells).values() for file in files], self.host)

    def at_backup(self) -> Packed:
        """Return the item as its backup works on it: what is written goes there too."""
        assert self.backup is not None
        moved = {cell: replace(cell, host=self.backup) for cell in self.cells}
        known = self.load.of(self.cells)
        files: FileLists = {(name, moved[cell]): known[name, cell] for name, cell in known if cell in moved}
        item: Any = self.item
        if isinstance(item, Cell):
            return Packed(moved[item], files)
        if hasattr(item, "cell"):
            return Packed(replace(item, cell=moved[item.cell]), files)
        return Packed(item, known)

    def __reduce__(self) -> tuple[type[Packed], tuple[Item, FileLists]]:
        """Travel as the item and the lists of its files."""
        return Packed, (self.item, self.load.of(self.cells))


@dataclass(frozen=True)
class Packed:
    """An item that has been sent away, and the lists of its cells' files."""

    item: Any
    files: FileLists


@dataclass(frozen=True)
class _Unpacking(Generic[Item, Answer]):
    """A task, and the snapshot that it holds: both come out of one pickle, and are still the same."""

    task: Callable[[Item], Answer]
    snapshot: Snapshot

    def __call__(self, item: Carried[Item] | Packed) -> Answer:
        if isinstance(item, Packed):
            self.snapshot.learn(item.files)
        return self.task(item.item)

    def __getstate__(self) -> dict[str, Any]:
        self.snapshot.look_up_for_tasks()
        return vars(self)
