"""What lies in the folders of a database and is named nowhere: orphans, and what killed jobs left."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skydb.store.catalog import reading
from skydb.store.cells import LOCAL
from skydb.store.layout import DATA, WORK
from skydb.store.locks import alone
from skydb.store.roots import is_url, root_named
from skydb.store.scratch import names_noted_in, noted_names

from .findings import Finding

TOLD = 100
"""Orphans listed one by one; more are counted together."""


def folder_findings(root: Path, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield orphans, folders that killed jobs left, and copies that wait to be removed.

    A file is an orphan if neither the notes nor the catalog of now name it, nor the notes again: a job may note, store
    and commit it meanwhile.
    """
    noted = noted_names(root)
    yield from _left_behind(root)
    (waiting,) = connection.execute("SELECT COUNT(*) FROM removals").fetchone()
    if waiting:
        yield Finding("removal-waiting", f"{waiting} copies", rows=waiting)
    seen = list(_orphans(root, connection, noted))
    noted = noted_names(root)
    with reading(root) as now_there:
        orphans = [found for found in seen if not _spoken_for(now_there, noted, found.path, found.host)]
    now = time.time()
    for found in orphans[:TOLD]:
        on = "" if found.host == LOCAL else f" on host {found.host}"
        yield Finding("orphan", f"{found.bytes} bytes, {_age(now - found.changed)} old{on}", file=found.path)
    if len(orphans) > TOLD:
        total = sum(found.bytes for found in orphans[TOLD:])
        yield Finding("orphan", f"{len(orphans) - TOLD} more, of {total} bytes")


@dataclass(frozen=True)
class _Orphan:
    """A file under data/: its path relative to the root of its host, its size, and when it was changed last."""

    path: str
    host: str
    bytes: int
    changed: float


def _left_behind(root: Path) -> Iterator[Finding]:
    """Yield the folders in work/ that nobody holds."""
    for folder in sorted((root / WORK).glob("*/")):
        try:
            with alone(folder) as left:
                count = len(names_noted_in(folder))
        except OSError:
            continue
        if left:
            yield Finding("left-behind", f"{count} files are noted in it", file=str(folder.relative_to(root)))


def _orphans(root: Path, connection: sqlite3.Connection, noted: set[str]) -> Iterator[_Orphan]:
    """Yield the files under data/ that nothing names."""
    for host, place in connection.execute("SELECT name, root FROM hosts WHERE end_snapshot IS NULL ORDER BY name"):
        if is_url(place):
            continue
        base = Path(root_named(place, str(root)))
        for folder, _, names in os.walk(base / DATA):
            for name in sorted(names):
                path = Path(folder, name)
                relative = str(path.relative_to(base))
                if not _spoken_for(connection, noted, relative, host):
                    with suppress(FileNotFoundError):
                        there = path.stat()
                        yield _Orphan(relative, host, there.st_size, there.st_mtime)


def _spoken_for(connection: sqlite3.Connection, noted: set[str], path: str, host: str) -> bool:
    """Say whether a note or the catalog names a copy of a file."""
    name = Path(path).name.removeprefix(".").split(".")[0]
    if name in noted:
        return True
    named = connection.execute(
        "SELECT 1 FROM files WHERE name = ?1 AND ?2 IN (host, backup) AND path = ?3"
        " UNION ALL SELECT 1 FROM removals WHERE name = ?1 AND host = ?2 LIMIT 1",
        (name, host, path),
    )
    return named.fetchone() is not None


def _age(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 3600:.0f} hours" if seconds >= 2 * 3600 else f"{max(seconds, 0) / 60:.0f} minutes"
