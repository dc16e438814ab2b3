"""Hosts whose files are not there at all: a disk that is not mounted is no damage to each of its files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from skydb.parallel.executor import Executor
from skydb.store.catalog import alive
from skydb.store.cells import LOCAL
from skydb.store.hosts import LOST
from skydb.store.snapshot import Snapshot

from .findings import Finding


@dataclass(frozen=True)
class AtHost:
    """A host, as an item of work that is done there."""

    host: str


def away_hosts(snapshot: Snapshot, executor: Executor) -> dict[str, str]:
    """Return the hosts that have files and are not where they should be, and why; asked by a worker of each."""
    snapshot.look_up_for_tasks()
    items = [AtHost(name) for name in snapshot.storage.hosts if name != LOCAL]
    reasons = executor.map(partial(_why_away, snapshot=snapshot), items)
    return {item.host: why for item, why in zip(items, reasons, strict=True) if why is not None}


def _why_away(item: AtHost, *, snapshot: Snapshot) -> str | None:
    return snapshot.storage.why_not_there(item.host)


def kept_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Say which hosts another catalog of the database keeps, where they can be seen from here."""
    for name in snapshot.storage.hosts:
        why = snapshot.storage.why_not_kept(name)
        if why is not None:
            yield Finding("host-kept", f"host {name}: {why}")


def away_findings(connection: sqlite3.Connection, snapshot: Snapshot, away: dict[str, str]) -> Iterator[Finding]:
    """Say which hosts are away that have copies of files; of one that is given up, files of the snapshot."""
    query = f"SELECT {alive(snapshot.id)} AS live, host, backup, COUNT(*), SUM(rows) FROM files GROUP BY 1, 2, 3"
    counted = [(live, {host, backup} - {None}, *counts) for live, host, backup, *counts in connection.execute(query)]
    for name, why in away.items():
        here = [row for row in counted if name in row[1]]
        live = [row for row in here if row[0]]
        if live or (here and snapshot.storage.hosts[name].state != LOST):
            files, only = sum(n for *_, n, _ in live), sum(n for _, hosts, _, n in live if hosts <= set(away))
            what = f"host {name}: {why}; {files} files of the snapshot have a copy there"
            yield Finding("host-away", f"{what}, {only} rows have none elsewhere")
