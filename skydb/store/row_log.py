"""Rows of declared tables in the ingest log: a stored row does not say its file, so a table's files count together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .cells import Cell
from .changes import LogEntry
from .files import DataFile
from .history import every_entry
from .snapshot import Snapshot


def brings_rows_of(entry: LogEntry, table: str) -> bool:
    """Say whether a file brought rows of a declared table."""
    return entry.format.split(":")[0] == table


def rows_logged(entries: Iterable[LogEntry]) -> int:
    """Return how many rows files brought, less those that are gone since."""
    return sum(entry.n_matched - entry.n_deleted for entry in entries)


def log_with_rows(
    snapshot: Snapshot, came: Mapping[str, int], brought: Sequence[LogEntry] = ()
) -> list[LogEntry]:
    """Return the entries of the log, and of those brought now, that change when rows come (gone: negative), by table.

    What goes is taken off the files of the table one after another; what comes back is given back in that order.
    """
    changed: list[LogEntry] = []
    there = every_entry(snapshot) if any(came.values()) or brought else []
    for table, rows in came.items():
        new = [entry for entry in brought if brings_rows_of(entry, table)]
        gone = rows_logged(new) - rows
        for entry in [*(e for e in there if brings_rows_of(e, table)), *new]:
            n_deleted = min(max(entry.n_deleted + gone, 0), entry.n_matched)
            gone -= n_deleted - entry.n_deleted
            changed += [replace(entry, n_deleted=n_deleted)] if n_deleted != entry.n_deleted else []
    return changed


def rows_that_came(
    snapshot: Snapshot, written: Iterable[tuple[Cell, Sequence[DataFile], Sequence[str]]]
) -> dict[str, int]:
    """Return how many rows more each declared table has, by cells' new files and names of those that they replace."""
    came = dict.fromkeys(snapshot.declared, 0)
    for cell, adds, ends in written if came else ():
        for table in came:
            came[table] += sum(f.rows for f in adds if f.table == table)
            came[table] -= sum(f.rows for f in snapshot.files(table, cell) if f.name in ends)
    return came
