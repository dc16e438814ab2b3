"""What lies in the folders of a database and is named nowhere: orphans, and what killed jobs left."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from skydb.store.layout import WORK
from skydb.store.leftovers import host_folders, left_over
from skydb.store.locks import alone
from skydb.store.notes import names_noted_in
from skydb.store.unfinished import unfinished_jobs

from .findings import Finding

TOLD = 100
"""Orphans listed one by one; more are counted together."""


def folder_findings(root: Path, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield orphans, folders that killed jobs left, and copies that wait to be removed.

    Orphans are what `skydb gc` takes for one, of any age, and files that it leaves alone: that are not called as skydb
    calls its own, or do not lie where they should.
    """
    yield from _left_behind(root)
    (waiting,) = connection.execute("SELECT COUNT(*) FROM removals").fetchone()
    if waiting:
        yield Finding("removal-waiting", f"{waiting} copies", rows=waiting)
    yield from _orphans(root)


def _left_behind(root: Path) -> Iterator[Finding]:
    """Yield the folders in work/ that nobody holds."""
    unfinished = {job.folder: job for job in unfinished_jobs(root)}
    for job in unfinished.values():
        yield Finding("unfinished", str(job), file=str(job.folder.relative_to(root)))
    for folder in sorted((root / WORK).glob("*/")):
        try:
            with alone(folder) as left:
                count = len(names_noted_in(folder))
        except OSError:
            continue
        if left and folder not in unfinished:
            yield Finding("left-behind", f"{count} files are noted in it", file=str(folder.relative_to(root)))


def _orphans(root: Path) -> Iterator[Finding]:
    """Yield the files under data/ that nothing names."""
    hosts = {folder: name for name, folder in host_folders(root).items()}
    more = size = 0
    for told, left in enumerate(left_over(root)):
        if told < TOLD:
            on = "" if left.folder == root else f" on host {hosts[left.folder]}"
            by_hand = "" if left.is_ours else ", and `skydb gc` leaves it alone"
            what = f"{left.bytes} bytes, {_age(time.time() - left.changed.timestamp())} old{on}{by_hand}"
            yield Finding("orphan", what, file=left.path)
        else:
            more, size = more + 1, size + left.bytes
    if more:
        yield Finding("orphan", f"{more} more, of {size} bytes")


def _age(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 3600:.0f} hours" if seconds >= 2 * 3600 else f"{max(seconds, 0) / 60:.0f} minutes"
