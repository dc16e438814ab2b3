"""Copies that no cell's check looks at: second copies, and files that only older snapshots name; host by host.

Each copy is looked at by a worker of its host. Files go there batch by batch, looked up when a batch is sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from skydb.store.catalog import alive
from skydb.store.files import DataFile
from skydb.store.snapshot import FILE_COLUMNS, Snapshot

from .findings import Finding
from .quarantine import is_quarantined
from .stored import Fault, copy_finding, fault_of

BATCH = 500
"""Rows of the catalog's table of files that one task looks at."""


@dataclass(frozen=True)
class CopyBatch:
    """The copies on one host of some files, which lie in a range of rows of the catalog's table, from `first` on.

    `older`: of those that a snapshot does not see; else the second copies of those that it sees. `catalog` is a copy of
    the catalog.
    """

    host: str
    older: bool
    first: int
    catalog: Path
    at: int

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The files, each as in the first of its lives."""
        lives = "SELECT {} FROM files AS life WHERE life.name = file.name"
        unseen = (
            f"? IN (host, backup) AND begin_snapshot = ({lives.format('MIN(begin_snapshot)')})"
            f" AND NOT EXISTS ({lives.format('1')} AND {alive(self.at)})"
        )
        which = unseen if self.older else f"backup = ? AND {alive(self.at)}"
        query = f"SELECT {FILE_COLUMNS} FROM files AS file WHERE rowid >= ? AND rowid < ? AND {which}"
        with closing(sqlite3.connect(f"{self.catalog.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query, (self.first, self.first + BATCH, self.host))
            return tuple(DataFile(*row) for row in rows)

    def __reduce__(self) -> tuple[type[SentBatch], tuple[str, tuple[DataFile, ...]]]:
        """Travel as the list of files: a worker has no catalog."""
        return SentBatch, (self.host, self.files)


@dataclass(frozen=True)
class SentBatch:
    """A batch that has been sent away."""

    host: str
    files: tuple[DataFile, ...]


def copy_batches(connection: sqlite3.Connection, catalog: Path, at: int, away: frozenset[str]) -> list[CopyBatch]:
    """Return what there is to look at beside what a snapshot reads, but for hosts that are away."""
    query = (
        f"SELECT DISTINCT rowid / {BATCH}, 0, backup FROM files WHERE backup IS NOT NULL AND {alive(at)}"
        f" UNION SELECT rowid / {BATCH}, 1, host FROM files WHERE NOT ({alive(at)})"
        f" UNION SELECT rowid / {BATCH}, 1, backup FROM files WHERE backup IS NOT NULL AND NOT ({alive(at)})"
    )
    rows = connection.execute(f"{query} ORDER BY 1, 2, 3")
    return [CopyBatch(host, bool(old), part * BATCH, catalog, at) for part, old, host in rows if host not in away]


def check_copies(batch: CopyBatch | SentBatch, *, snapshot: Snapshot) -> list[tuple[DataFile, Fault]]:
    """Return the files of a batch whose copy on its host is missing or damaged, and what is wrong with each."""
    copies = [
        (file, copy) for file in batch.files for copy in snapshot.stored(file).each_copy()
        if copy.place.host == batch.host
    ]  # fmt: skip
    faults = [(file, fault_of(copy, file.digest)) for file, copy in copies]
    return [(file, fault) for file, fault in faults if fault is not None]


def copy_findings(root: Path, batch: CopyBatch, faults: Iterable[tuple[DataFile, Fault]]) -> Iterator[Finding]:
    """Say what was found of a batch's files."""
    for file, fault in faults:
        kind = "backup-damaged"
        if batch.older:
            unread = "file-unread" if fault.is_unread else "old-file-damaged"
            kind = "quarantined" if is_quarantined(root, file) else unread
        yield copy_finding(kind, file, batch.host, fault)
