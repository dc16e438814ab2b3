"""What lies about and is needed no more: copies that the catalog lists for removal, and files that it does not name.

A file that no row of the catalog names is an orphan, unless a running job has noted it. That takes no lock: folders are
listed first, then the notes of jobs are read, and the catalog is asked last. A job notes a file before it stores it,
and forgets its note after the commit, so that no file is missed by both.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from skydb.errors import BusyError, SkydbError

from .catalog import reading, writing
from .cells import LOCAL
from .clock import made_by
from .hosts import Storage, storage_of
from .keeper import identity_at, other_keeper
from .layout import CATALOG, COMMITS, DATA, HOST_FILE, TAGS
from .leases import leased
from .notes import noted_names
from .roots import Place, is_url
from .tags import live_tags
from .transfer import bytes_at, remove_copy
from .turns import only_mover

AT_ONCE = 1_000
"""Copies removed in one transaction, while which nobody can commit."""
LOOKED_AT_ONCE = 100_000
"""Files looked for in the catalog, and among the notes of all jobs, at once."""
SETTLING = timedelta(hours=1)
"""Age below which nothing is taken for left over that somebody may be writing without a note."""

_DATA_FILE = re.compile(r"(?P<part>\.)?(?P<name>[0-9a-f]{32})\.parquet(\.tmp)?")


@dataclass(frozen=True)
class Freed:
    """Files that went, or would go, of one table."""

    table: str
    files: int
    bytes: int


def summed(found: Iterable[tuple[str, int]]) -> tuple[Freed, ...]:
    """Return how many files and bytes there are of each table, from (table, bytes) of each file."""
    sizes: dict[str, list[int]] = {}
    for table, size in found:
        sizes.setdefault(table, []).append(size)
    return tuple(Freed(table, len(each), sum(each)) for table, each in sorted(sizes.items()))


def remove_listed(root: Path, before: datetime, now: datetime) -> tuple[tuple[Freed, ...], int]:
    """Remove the copies that the catalog lists for it, and take them off the list; also returns how many must wait.

    A copy of a file that was moved waits for the time and the readers that may look for it there, and for whoever moves
    files: it may be wanted back.
    """
    with ExitStack() as held:
        try:
            held.enter_context(only_mover(root, 0))
            waiting = copies_that_wait(root, before, now)
        except BusyError:
            waiting = copies_that_wait(root, None, now)
        with reading(root) as connection:
            listed = connection.execute("SELECT name, host FROM removals").fetchall()
        todo = [copy for copy in listed if copy not in waiting]
        gone = summed((*_removed_from_folders(root, todo), *_removed_from_servers(root, todo)))
    with reading(root) as connection:
        (left,) = connection.execute("SELECT COUNT(*) FROM removals").fetchone()
    return gone, int(left)


def _removed_from_folders(root: Path, copies: Sequence[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Remove those of some listed copies that lie in folders; yields table and bytes."""
    storage, present = storage_of(root), host_folders(root)
    todo = iter([copy for copy in copies if copy[1] in present])
    while batch := list(islice(todo, AT_ONCE)):
        folders = {name: folder for name, folder in present.items() if not _is_kept(name, str(folder), storage)}
        batch = [copy for copy in batch if copy[1] in folders]
        with writing(root) as connection:
            for name, host, path in _still_listed(connection, batch):
                yield from _removed(folders[host] / path, path)
                connection.execute("DELETE FROM removals WHERE name = ? AND host = ?", (name, host))


def _removed_from_servers(root: Path, copies: Sequence[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Remove those of some listed copies that lie at URLs; yields table and bytes. Others can commit meanwhile."""
    with reading(root) as connection:
        hosts = dict(connection.execute("SELECT name, root FROM hosts ORDER BY begin_snapshot"))
        far = [copy for copy in copies if is_url(hosts.get(copy[1], ""))]
        todo = [(name, Place(host, hosts[host], path)) for name, host, path in _still_listed(connection, far)]
    storage = storage_of(root)
    kept = {host for host in {place.host for _, place in todo} if _is_kept(host, hosts[host], storage)}
    for name, place in (each for each in todo if each[1].host not in kept):
        size = bytes_at(place)
        remove_copy(place)
        with writing(root) as connection:
            connection.execute("DELETE FROM removals WHERE name = ? AND host = ?", (name, place.host))
        if size is not None:
            yield Path(place.path).parts[1], size


def _is_kept(host: str, root: str, storage: Storage) -> bool:
    """Say whether another catalog keeps a root that is or was a host's, so that all there is for that one to remove."""
    try:
        return host != LOCAL and other_keeper(Place(host, root, HOST_FILE), storage.identity(host)) is not None
    except SkydbError:
        return True  # who knows


def _still_listed(connection: sqlite3.Connection, copies: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return those copies that are still to be removed, with their paths, inside the transaction that removes them."""
    query = (
        "SELECT removals.name, removals.host, removals.path FROM json_each(?) AS wanted CROSS JOIN removals"
        " ON name = json_extract(wanted.value, '$[0]') AND host = json_extract(wanted.value, '$[1]')"
        " WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.name = removals.name"
        " AND removals.host IN (files.host, files.backup))"
    )
    return connection.execute(query, (json.dumps(copies),)).fetchall()


def _removed(file: Path, path: str) -> list[tuple[str, int]]:
    """Remove a copy, if it is there; return its table and bytes."""
    try:
        size = file.stat().st_size
        file.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [(Path(path).parts[1], size)]


def copies_that_wait(root: Path, before: datetime | None, now: datetime) -> set[tuple[str, str]]:
    """Return the copies (name, host) of moved files that were left behind since, or that a reader may look for.

    Who pinned a snapshot before the move may look where the file was. `before` None: all of moved files.
    """
    with reading(root) as connection:
        moved = connection.execute(
            "SELECT name, host, since_snapshot FROM removals"
            " WHERE EXISTS (SELECT 1 FROM files WHERE files.name = removals.name)"
        ).fetchall()
        made = made_by(connection, now)
        kept = [n for (n,) in connection.execute("SELECT snapshot FROM snapshots WHERE expired_by IS NULL")]
    oldest = min(leased(root, kept), default=None) if moved else None
    return {
        (name, host) for name, host, since in moved
        if before is None or made[since] > before or (oldest is not None and oldest < since)
    }  # fmt: skip


def host_folders(root: Path) -> dict[str, Path]:
    """Return the folder of every host that has or had one here that is there, whether or not it is still in use."""
    with reading(root) as connection:
        rows = connection.execute("SELECT name, root FROM hosts ORDER BY begin_snapshot").fetchall()
    places = {name: root if not text else Path(text.removeprefix("file://")) for name, text in rows
              if "://" not in text.removeprefix("file://")}  # fmt: skip
    return {name: folder for name, folder in places.items() if folder.is_dir()}


def own_folders(root: Path) -> list[Path]:
    """Return those of the hosts' folders in which what is not named may be this database's.

    Another database's disk may be mounted where a host was, or its files lie where a host was removed; and this one may
    be a copy, to which the host's files are new.
    """
    storage = storage_of(root)
    folders = sorted(set(host_folders(root).values()))
    return [folder for folder in folders if folder == root or not _is_of_another(folder, storage)]


def _is_of_another(folder: Path, storage: Storage) -> bool:
    try:
        found = identity_at(Place("", str(folder), HOST_FILE))
    except SkydbError:
        return True  # who knows
    if found is None:
        return (folder / CATALOG).exists()
    is_ours = found.database == storage.database_id and found.keeper in (None, storage.keeper)
    return (folder / CATALOG).exists() or not is_ours


@dataclass(frozen=True)
class LeftOver:
    """A file that neither a note nor the catalog names as lying where it does.

    Attributes
    ----------
    folder, path
        The storage root, and where it lies below it.
    bytes, changed
        Its size, and when it was changed last.
    is_known, is_part
        The catalog knows its name elsewhere; it is half-written.
    is_ours
        It is called as skydb calls its files, and is no file of this root that lies in a wrong place there.
    """

    folder: Path
    path: str
    bytes: int
    changed: datetime
    is_known: bool
    is_part: bool
    is_ours: bool


def orphans(root: Path, before: datetime, settled: datetime, *, remove: bool) -> tuple[Freed, ...]:
    """Remove, or only count, data files that no row names, no job has noted, and that are older than some time.

    Those of a name that the catalog knows elsewhere, and half-written ones, must be older than `settled` too.
    """
    found: list[tuple[str, int]] = []
    for left in left_over(root, before):
        if left.is_ours and (left.changed < settled or not (left.is_known or left.is_part)):
            with suppress(FileNotFoundError):
                if remove:
                    (left.folder / left.path).unlink()
                found.append((Path(left.path).parts[1], left.bytes))
    return summed(found)


def left_over(root: Path, before: datetime | None = None) -> Iterator[LeftOver]:
    """Yield the files below data/, of all hosts, that nothing names; of those older than some time, if one is given."""
    for folder in own_folders(root):
        listed = _listed(folder, before)
        while batch := list(islice(listed, LOOKED_AT_ONCE)):
            yield from _unnamed(root, folder, batch)


def _listed(folder: Path, before: datetime | None) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below data/ of a storage root."""
    for path, _, names in os.walk(folder / DATA):
        for name in sorted(names):
            with suppress(FileNotFoundError):
                there = Path(path, name).lstat()
                if before is None or there.st_mtime < before.timestamp():
                    yield Path(path, name), there


def _unnamed(root: Path, folder: Path, listed: Sequence[tuple[Path, os.stat_result]]) -> Iterator[LeftOver]:
    """Yield those files that neither a note nor the catalog names as lying where they do."""
    matches = [_DATA_FILE.fullmatch(file.name) for file, _ in listed]
    notes = noted_names(root)
    known, here = _named(root, folder, {match["name"] for match in matches if match})
    for (file, there), match in zip(listed, matches, strict=True):
        name, is_part = (match["name"], match["part"] is not None) if match else ("", False)
        path = str(file.relative_to(folder))
        if name in notes or (path in here.get(name, ()) and not is_part):
            continue
        is_ours = match is not None and (is_part or name not in here)
        changed = datetime.fromtimestamp(there.st_mtime, UTC)
        yield LeftOver(folder, path, there.st_size, changed, name in known, is_part, is_ours)


def _named(root: Path, folder: Path, names: Collection[str]) -> tuple[set[str], dict[str, set[str]]]:
    """Return those names that the catalog knows, and where those lie that lie, or wait to be removed, under a root."""
    copies = ("name, host, path FROM files", "name, backup, path FROM files", "name, host, path FROM removals")
    listed = (json.dumps(list(names)),)
    with reading(root) as connection:
        asked = (f"SELECT {copy} WHERE name IN (SELECT value FROM json_each(?))" for copy in copies)
        rows = [row for query in asked for row in connection.execute(query, listed)]
    folders = host_folders(root)
    here: dict[str, set[str]] = {}
    for name, _, path in (row for row in rows if folders.get(row[1]) == folder):
        here.setdefault(name, set()).add(path)
    return {name for name, _, _ in rows}, here


def remove_empty_folders(root: Path) -> None:
    """Remove the empty folders below the tables' folders; whoever is about to write in one makes it anew."""
    for folder in own_folders(root):
        for table in (folder / DATA).glob("*/"):
            for path, _, _ in os.walk(table, topdown=False):
                if Path(path) != table:
                    with suppress(OSError):  # it is not empty
                        os.rmdir(path)


def remove_parts(root: Path, settled: datetime) -> None:
    """Remove what crashes left of manifests and tags: half-written files, and copies for tags that are gone."""
    tags = live_tags(root)
    half_written = [path for folder in (COMMITS, TAGS) for path in (root / folder).glob(".*.tmp*")]
    forgotten = [path for path in (root / TAGS).glob("*.sqlite") if path.stem not in tags]
    for path in (*half_written, *forgotten):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < settled.timestamp():
                path.unlink()
