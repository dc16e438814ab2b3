"""Moving stored files between hosts: copy, verify, then one commit that says where they lie, batch by batch.

What is copied and in no commit yet is noted in the job's folder, as every data file that is being written. Copies
that are left behind wait in `removals` until `skydb gc` takes them: who pinned a snapshot before may still look there.
A move that is killed leaves whole files and a whole catalog, and goes on when it is started again, since each round
asks the catalog what is still to do.

Only one process at a time copies and commits (`only_mover`), so that none takes the other's copy for left over.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from skydb.errors import CommitConflict
from skydb.parallel.executor import Executor, Progress

from .catalog import reading, writing
from .cells import LOCAL
from .changes import Changes, Move
from .commit import commit
from .crashpoints import reached
from .hosts import LOST, Storage, storage_of
from .placement import Key, host_of_copy
from .scratch import Scratch, scratch
from .tags import publish_stale_tags
from .transfer import copy_whole, is_missing, is_whole
from .turns import only_mover

BATCH_FILES = 10_000
BATCH_BYTES = 20 * 10**9
"""Files and bytes of a commit at most: what a kill may cost."""

ATTEMPTS = 5
ROUNDS = 5
"""How often it is looked for files that other commands have written meanwhile where they were not to be."""


@dataclass(frozen=True)
class Group:
    """Files of one cell, or of one global table (`about`), that lie alike: on `host`, with second copies on `backup`.

    `key` is None for a global table's.
    """

    key: Key | None
    about: str
    host: str
    backup: str | None
    names: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Relocation:
    """A file that is to lie elsewhere: where it lies, and where it is wanted."""

    name: str
    path: str
    bytes: int
    digest: str
    host: str
    backup: str | None
    to_host: str
    to_backup: str | None
    is_live: bool

    @property
    def there(self) -> tuple[str, ...]:
        """The hosts that have a copy."""
        return (self.host,) if self.backup is None else (self.host, self.backup)

    @property
    def is_left(self) -> bool:
        """Whether a copy is given up, so that those that stay had better be whole."""
        return not {self.to_host, self.to_backup}.issuperset(self.there)

    @property
    def missing(self) -> tuple[str, ...]:
        """The hosts that are to have a copy and have none."""
        return tuple(h for h in dict.fromkeys((self.to_host, self.to_backup)) if h is not None and h not in self.there)


@dataclass(frozen=True)
class Moved:
    """What was moved: files of which a copy changed its host, copies that were written, and the commits that say so."""

    files: int = 0
    copies: int = 0
    bytes: int = 0
    snapshots: tuple[int, ...] = ()

    def and_also(self, other: Moved) -> Moved:
        """Return both together."""
        return Moved(self.files + other.files, self.copies + other.copies, self.bytes + other.bytes,
                     self.snapshots + other.snapshots)  # fmt: skip


@dataclass(frozen=True)
class MoveTask:
    """What copying a file takes beside it: the job's folder, and the hosts."""

    place: Scratch
    storage: Storage


Target = Callable[[Storage, Group], tuple[str, str | None]]
"""Where the files of a group are wanted: host, and host of the second copies or None."""


def wanted_place(storage: Storage, group: Group, hosts: Mapping[Key, str]) -> tuple[str, str | None]:
    """Return where the files of a group belong: on the host planned for their cell, with the copies that are set.

    A second copy stays where it is, as long as it may.
    """
    host = LOCAL if group.key is None else hosts.get(group.key, group.host)
    if storage.copies < 2:
        return host, None
    if group.backup not in (None, host) and group.backup in storage.active:
        return host, group.backup
    return host, host_of_copy(storage, host, group.about)


def groups_of(root: Path, *, live_only: bool = False) -> list[Group]:
    """Return all stored files, of whatever snapshot, grouped by what belongs together and where it lies."""
    query = (
        "SELECT name, table_name, norder, npix, host, backup, bytes FROM files"
        f"{' WHERE end_snapshot IS NULL' if live_only else ''} GROUP BY name"
    )
    found: dict[tuple[Key | None, str, str, str | None], list[tuple[str, int]]] = {}
    with reading(root) as connection:
        for name, table, norder, npix, host, backup, size in connection.execute(query):
            key = None if npix is None else (norder, npix)
            about = table if key is None else f"{norder}/{npix}"
            found.setdefault((key, about, host, backup), []).append((name, size))
    groups = [Group(*what, tuple(n for n, _ in files), sum(b for _, b in files)) for what, files in found.items()]
    return sorted(groups, key=lambda g: (g.key is None, g.key or (0, 0), g.about, g.host, g.backup or ""))


def move_all(
    root: Path, command: str, target: Target, *, placed: Mapping[Key, str] | None = None, executor: Executor,
    progress: Progress | None = None,
) -> Moved:  # fmt: skip
    """Move all files to where they are wanted, and place cells there.

    Parameters
    ----------
    placed
        Hosts to which new files of live cells go from now on.

    Raises
    ------
    DataError, UsageError
        A host is full or not there, or another catalog keeps it; a file is damaged: what was committed before stays.
    BusyError
        Another process moves files.
    """
    moved, placed = Moved(), placed or {}
    storage_of(root).require_kept()
    publish_stale_tags(root)
    with scratch(root) as place:
        for _ in range(ROUNDS):
            storage = storage_of(root)
            todo = [g for g in groups_of(root) if target(storage, g) != (g.host, g.backup)]
            waiting = _cells_to_place(root, placed)
            if not todo and not waiting:
                break
            job = _Job(root, command, target, waiting, MoveTask(place, storage), executor)
            for part in job.run(todo, progress):
                moved = moved.and_also(part)
    if moved.snapshots:
        publish_stale_tags(root)
        reached("move.published")
    return moved


def _cells_to_place(root: Path, placed: Mapping[Key, str]) -> dict[Key, str]:
    """Return those of some cells that are live and have another host."""
    with reading(root) as connection:
        rows = connection.execute("SELECT norder, npix, host FROM cells WHERE end_snapshot IS NULL").fetchall()
    return {(n, p): placed[n, p] for n, p, host in rows if placed.get((n, p), host) != host}


@dataclass(frozen=True)
class _Job:
    """One round of moving."""

    root: Path
    command: str
    target: Target
    placed: Mapping[Key, str]
    task: MoveTask
    executor: Executor

    def run(self, groups: Sequence[Group], progress: Progress | None) -> Iterator[Moved]:
        """Move the files of groups; yields what each commit did."""
        total, done = sum(len(g.names) for g in groups), 0
        seen: set[Key] = set()
        for batch in _batches(groups):
            show = partial(_shifted, progress, done, total) if progress else None
            keys = {g.key for g in batch if g.key is not None}
            seen |= keys
            yield self._move(batch, {k: h for k, h in self.placed.items() if k in keys}, show)
            done += sum(len(g.names) for g in batch)
        if rest := {k: h for k, h in self.placed.items() if k not in seen}:
            yield self._move((), rest, None)

    def _move(self, groups: Sequence[Group], placed: Mapping[Key, str], progress: Progress | None) -> Moved:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._attempt(groups, placed, progress)
            except CommitConflict:  # copies that were made are found in their places, and kept
                continue
        return self._attempt(groups, placed, progress)

    def _attempt(self, groups: Sequence[Group], placed: Mapping[Key, str], progress: Progress | None) -> Moved:
        with only_mover(self.root):
            base, todo = _still_to_do(self.root, groups, partial(self.target, self.task.storage))
            if not todo and not placed:
                return Moved()
            copying = [r for r in todo if r.missing or r.is_left]
            for host in sorted({h for r in copying for h in r.missing}):
                self.task.storage.require_there(host)
            self.task.storage.require_kept()
            _keep_copies(self.root, copying)
            list(self.executor.map(partial(copy_file, task=self.task), copying, progress=progress))
            reached("move.copied")
            snapshot = commit(self.root, Changes(
                "hosts", self.command, base, moves=tuple(Move(r.name, r.to_host, r.to_backup) for r in todo),
                placed=tuple((*key, host) for key, host in sorted(placed.items())),
            ))  # fmt: skip
            reached("move.committed")
        written = [(r.bytes, len(r.missing)) for r in todo]
        return Moved(len(todo), sum(n for _, n in written), sum(b * n for b, n in written), (snapshot,))


def _shifted(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    """Tell of progress in one part of a whole."""
    progress(before + done, total)


def _batches(groups: Sequence[Group]) -> Iterator[tuple[Group, ...]]:
    """Cut groups into batches; those of one cell stay together."""
    batch: list[Group] = []
    files = size = 0
    for number, group in enumerate(groups):
        follows = number > 0 and group.key is not None and groups[number - 1].key == group.key
        if batch and not follows and (files + len(group.names) > BATCH_FILES or size + group.bytes > BATCH_BYTES):
            yield tuple(batch)
            batch, files, size = [], 0, 0
        batch.append(group)
        files, size = files + len(group.names), size + group.bytes
    if batch:
        yield tuple(batch)


def _still_to_do(
    root: Path, groups: Sequence[Group], target: Callable[[Group], tuple[str, str | None]]
) -> tuple[int, list[Relocation]]:
    """Return the newest snapshot, and which files of the groups lie where they are not wanted, as of it."""
    wanted = {name: target(group) for group in groups for name in group.names}
    query = (
        "SELECT name, path, bytes, digest, host, backup, MAX(end_snapshot IS NULL) FROM files"
        " WHERE name IN (SELECT value FROM json_each(?)) GROUP BY name"
    )
    with reading(root) as connection:
        (head,) = connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone()
        rows = connection.execute(query, (json.dumps(list(wanted)),)).fetchall()
    found = []
    for name, path, size, digest, host, backup, is_live in rows:
        if (host, backup) != wanted[name]:
            found.append(Relocation(name, path, size, digest, host, backup, *wanted[name], bool(is_live)))
    return int(head), found


def _keep_copies(root: Path, copying: Sequence[Relocation]) -> None:
    """Take copies that are about to be needed again off the list of those to be removed."""
    kept = [(r.name, host) for r in copying for host in r.missing]
    with reading(root) as connection:
        listed = set(connection.execute("SELECT name, host FROM removals"))
    if again := [copy for copy in kept if copy in listed]:
        with writing(root) as connection:
            forget_removals(connection, again)


def forget_removals(connection: sqlite3.Connection, copies: Sequence[tuple[str, str]]) -> None:
    """Take copies (name, host) off the list of those to be removed."""
    connection.executemany("DELETE FROM removals WHERE name = ? AND host = ?", copies)


def copy_file(file: Relocation, *, task: MoveTask) -> None:
    """Copy one file to where it is wanted and is not, and verify it there.

    One that only earlier snapshots name, and that is gone, as after a repair that gave it up, keeps nothing back.
    """
    storage = task.storage
    sources = [storage.place(name, file.path) for name in file.there if storage.hosts[name].state != LOST]
    if not file.is_live and all(storage.why_not_there(p.host) is None and is_missing(p) for p in sources):
        return
    targets = [storage.place(name, file.path) for name in file.missing]
    if targets:
        task.place.copy(file.name, file.digest, sources, targets, storage.home)
    for kept in (place for place in sources if file.is_left and place.host in (file.to_host, file.to_backup)):
        if not is_whole(kept, file.digest):
            copy_whole(sources, kept, file.digest, spare=task.place.path / f"{file.name}.spare")
