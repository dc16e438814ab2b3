"""Files that only older snapshots name: their bytes, batch by batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from skydb.store.catalog import alive
from skydb.store.files import DataFile
from skydb.store.snapshot import FILE_COLUMNS, Snapshot

from .findings import Finding
from .quarantine import is_quarantined
from .stored import check_bytes

BATCH = 500
"""Rows of the catalog's table of files that one task looks at."""


def older_batches(connection: sqlite3.Connection, at: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows of the table of files, the last not included, of which a snapshot does not see all."""
    (last,) = connection.execute("SELECT COALESCE(MAX(rowid), 0) FROM files").fetchone()
    for first in range(1, last + 1, BATCH):
        between = (first, first + BATCH)
        unseen = f"SELECT 1 FROM files WHERE rowid >= ? AND rowid < ? AND NOT ({alive(at)}) LIMIT 1"
        if connection.execute(unseen, between).fetchone():
            yield between


def check_older(batch: tuple[int, int], *, snapshot: Snapshot, catalog: Path) -> list[Finding]:
    """Check the bytes of those files of a batch that the snapshot does not see; `catalog` is a copy of the catalog."""
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as connection:
        files = _unseen(connection, batch, snapshot.id)
    return [
        replace(found, kind="quarantined" if is_quarantined(snapshot.root, file) else "old-file-damaged")
        for file in files for found in check_bytes(file, snapshot)[0]
    ]  # fmt: skip


def _unseen(connection: sqlite3.Connection, batch: tuple[int, int], at: int) -> list[DataFile]:
    """Return files that a snapshot does not see, each with the first of its lives."""
    rows = connection.execute(
        f"SELECT {FILE_COLUMNS} FROM files AS file WHERE rowid >= ? AND rowid < ? AND begin_snapshot ="
        " (SELECT MIN(begin_snapshot) FROM files AS life WHERE life.name = file.name)"
        f" AND NOT EXISTS (SELECT 1 FROM files AS life WHERE life.name = file.name AND {alive(at)})",
        batch,
    )
    return [DataFile(*row) for row in rows]
