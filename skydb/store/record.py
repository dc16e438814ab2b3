"""What one commit does to the catalog, as rows: carried out by the commit, told by its manifest, replayed by a rebuild.

`apply_record` is the only place that changes the catalog's tables, but for `removals`, whose rows go when the copies
that they name are gone. So the catalog is what its manifests, one after another, make of an empty one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .catalog_tables import CATALOG_TABLES, LIVING
from .crashpoints import reached

Row = tuple[Any, ...]

_TABLES = {table.name: table for table in CATALOG_TABLES}
MOVED = ("name", "host", "backup")
"""What a record says of a file that was moved."""

_UNSEEN = (
    "end_snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM snapshots AS kept WHERE kept.expired_by IS NULL"
    " AND kept.snapshot >= {0}.begin_snapshot AND kept.snapshot < {0}.end_snapshot)"
)
"""Condition of rows that no snapshot sees but those that were given up."""


@dataclass(frozen=True)
class Record:
    """What one commit does to the catalog.

    Attributes
    ----------
    snapshot
        Its row of `snapshots`, but for what follows from later commits.
    calibrations
        The rows of `calibrations` that it brings.
    ended, added
        By table, the keys of the live rows that end, and then the rows that begin; columns as `CatalogTable.key` and
        `CatalogTable.brought` list them. A cell that ends need not be there.
    moved
        Where files lie from now on; see `MOVED`.
    expired
        The snapshots that it gives up.
    """

    snapshot: Row
    calibrations: tuple[Row, ...] = ()
    ended: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    added: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    moved: tuple[Row, ...] = ()
    expired: tuple[int, ...] = ()

    @property
    def number(self) -> int:
        """The number of its snapshot."""
        return int(self.snapshot[0])


def apply_record(connection: sqlite3.Connection, record: Record) -> dict[str, int]:
    """Change the catalog as a record says, inside the caller's transaction.

    Returns how many of the rows that it ends were there, by table.

    Raises
    ------
    sqlite3.IntegrityError
        A row that begins is there already.
    """
    number = record.number
    _insert(connection, "snapshots", [record.snapshot])
    reached("commit.numbered")
    _insert(connection, "calibrations", [(*row, number) for row in record.calibrations], "begin_snapshot")
    found = {table: _end(connection, table, keys, number) for table, keys in record.ended.items() if keys}
    reached("commit.ended")
    for table, rows in record.added.items():
        _insert(connection, table, [(*row, number) for row in rows], "begin_snapshot")
    reached("commit.added")
    _move(connection, record.moved, number)
    _expire(connection, record.expired, number)
    return found


def _insert(connection: sqlite3.Connection, table: str, rows: list[Row], *more: str) -> None:
    columns = (*_TABLES[table].brought, *more)
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _end(connection: sqlite3.Connection, table: str, keys: tuple[Row, ...], number: int) -> int:
    where = " AND ".join(f"{column} = ?" for column in _TABLES[table].key)
    query = f"UPDATE {table} SET end_snapshot = ? WHERE {where} AND end_snapshot IS NULL"
    return connection.executemany(query, [(number, *key) for key in keys]).rowcount


def _move(connection: sqlite3.Connection, moved: tuple[Row, ...], number: int) -> None:
    """Change where files lie, in all their lives; copies that are left behind wait to be removed."""
    for name, host, backup in moved:
        (old_host, old_backup, path) = connection.execute(
            "SELECT host, backup, path FROM files WHERE name = ? ORDER BY begin_snapshot LIMIT 1", (name,)
        ).fetchone()
        connection.execute(
            "UPDATE files SET host = ?, backup = ?, moved_snapshot = ? WHERE name = ?", (host, backup, number, name)
        )
        kept = {host, backup}
        connection.executemany("DELETE FROM removals WHERE name = ? AND host = ?", [(name, h) for h in kept])
        left = sorted({old_host, old_backup} - kept - {None})
        connection.executemany(_INSERT_REMOVAL, [(name, h, path, number) for h in left])


_INSERT_REMOVAL = "INSERT OR REPLACE INTO removals (name, host, path, since_snapshot) VALUES (?, ?, ?, ?)"


def _expire(connection: sqlite3.Connection, expired: tuple[int, ...], number: int) -> None:
    """Give snapshots up: what only they see leaves the catalog, and its files wait to be removed."""
    if not expired:
        return
    connection.execute(
        "UPDATE snapshots SET expired_by = ? WHERE snapshot IN (SELECT value FROM json_each(?))",
        (number, json.dumps(expired)),
    )
    for place in ("host", "backup"):
        connection.execute(
            f"INSERT OR REPLACE INTO removals (name, host, path, since_snapshot) SELECT name, {place}, path, ?"
            f" FROM files WHERE {place} IS NOT NULL AND {_UNSEEN.format('files')} AND NOT EXISTS"
            f" (SELECT 1 FROM files AS life WHERE life.name = files.name AND NOT ({_UNSEEN.format('life')}))",
            (number,),
        )
    connection.execute(f"DELETE FROM files WHERE {_UNSEEN.format('files')}")
    connection.execute(f"DELETE FROM cells WHERE {_UNSEEN.format('cells')}")


def recorded_in(connection: sqlite3.Connection, number: int) -> Record:
    """Return the record of the newest commit, from the catalog as it left it."""

    def rows(columns: tuple[str, ...], table: str, column: str, more: str = "") -> tuple[Row, ...]:
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE {column} = ?{more} ORDER BY {', '.join(columns[:2])}"
        return tuple(connection.execute(query, (number,)).fetchall())

    (head,) = rows(_TABLES["snapshots"].brought, "snapshots", "snapshot")
    return Record(
        head,
        rows(_TABLES["calibrations"].brought, "calibrations", "begin_snapshot"),
        {t.name: rows(t.key, t.name, "end_snapshot") for t in LIVING},
        {t.name: rows(t.brought, t.name, "begin_snapshot") for t in LIVING},
        tuple(dict.fromkeys(rows(MOVED, "files", "moved_snapshot"))),
        tuple(n for (n,) in rows(("snapshot",), "snapshots", "expired_by")),
    )
