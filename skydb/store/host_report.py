"""What lies on which host, whether it can be reached, and what cannot be read without it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .catalog import reading
from .hosts import Storage, storage_of
from .roots import is_url

_DERIVED = frozenset({"objects", "object_bands"})
SHOWN = 6


@dataclass(frozen=True)
class HostRow:
    """One host: what is placed there, in files of the newest snapshot and of earlier ones.

    Attributes
    ----------
    cells
        Live cells whose new files go there.
    files, bytes
        First copies.
    backup_bytes
        Second copies.
    only_copies
        First copies of which there is no second one.
    waiting
        Copies that are needed no more, until `skydb gc` removes them.
    free_bytes
        What the disk of a folder has left; None for a URL, or where it is not there.
    reachable
        "yes", or why not; or why it can be read only.
    """

    name: str
    root: str
    worker: str | None
    state: str
    cells: int
    files: int
    bytes: int
    backup_bytes: int
    only_copies: int
    waiting: int
    free_bytes: int | None
    reachable: str


@dataclass(frozen=True)
class Unreadable:
    """Rows of the newest snapshot that lie on hosts none of which can be reached.

    `cell` is empty for a global table. Rows that are `derived` follow from others (`skydb refresh`).
    """

    host: str
    cell: str
    table: str
    files: int
    rows: int

    @property
    def derived(self) -> bool:
        """Whether `skydb refresh` makes them anew."""
        return self.table in _DERIVED


def host_rows(root: Path) -> list[HostRow]:
    """Return one row for each host, by name."""
    storage = storage_of(root)
    with reading(root) as connection:
        held = {host: counts for host, *counts in connection.execute(
            "SELECT host, COUNT(*), SUM(bytes), COUNT(*) FILTER (WHERE backup IS NULL) FROM"
            " (SELECT name, host, backup, bytes FROM files GROUP BY name) GROUP BY host"
        )}  # fmt: skip
        backups = dict(connection.execute(
            "SELECT backup, SUM(bytes) FROM (SELECT name, backup, bytes FROM files GROUP BY name) GROUP BY backup"
        ))  # fmt: skip
        cells = dict(connection.execute("SELECT host, COUNT(*) FROM cells WHERE end_snapshot IS NULL GROUP BY host"))
        waiting = dict(connection.execute("SELECT host, COUNT(*) FROM removals GROUP BY host"))
    rows = []
    for name, host in storage.hosts.items():
        files, size, only_copies = held.get(name, (0, 0, 0))
        rows.append(HostRow(
            name, storage.root_of(name), host.worker, host.state, cells.get(name, 0), files, size,
            backups.get(name, 0), only_copies, waiting.get(name, 0), _free(storage, name),
            storage.why_not_there(name) or storage.why_not_kept(name) or "yes",
        ))  # fmt: skip
    return rows


def _free(storage: Storage, name: str) -> int | None:
    root = storage.root_of(name)
    try:
        return None if is_url(root) else shutil.disk_usage(root).free
    except OSError:
        return None


def unreadable(root: Path, away: Collection[str]) -> list[Unreadable]:
    """Return which rows of the newest snapshot cannot be read while some hosts are away, by cell and table."""
    marks = ", ".join("?" * len(away))
    with reading(root) as connection:
        rows = connection.execute(
            "SELECT host, COALESCE(norder || '/' || npix, ''), table_name, COUNT(*), SUM(rows) FROM files"
            f" WHERE end_snapshot IS NULL AND host IN ({marks}) AND (backup IS NULL OR backup IN ({marks}))"
            " GROUP BY norder, npix, table_name, host ORDER BY norder, npix, table_name",
            (*away, *away),
        ).fetchall()
    return [Unreadable(*row) for row in rows]


def in_words(lost: Iterable[Unreadable]) -> str:
    """Say which rows those are, in one line.

    >>> in_words([Unreadable("b", "3/12", "measurements", 2, 10), Unreadable("b", "3/13", "measurements", 1, 5)])
    'measurements: 15 rows in cells 3/12, 3/13'
    """
    tables: dict[str, list[Unreadable]] = {}
    for part in lost:
        tables.setdefault(part.table, []).append(part)
    return "; ".join(f"{table}: {sum(p.rows for p in parts)} rows{_where(parts)}" for table, parts in tables.items())


def _where(parts: list[Unreadable]) -> str:
    cells = list(dict.fromkeys(p.cell for p in parts if p.cell))
    more = f" and {len(cells) - SHOWN} more" if len(cells) > SHOWN else ""
    return f" in cell{'s' * (len(cells) > 1)} {', '.join(cells[:SHOWN])}{more}" if cells else ""


def away_hosts(storage: Storage) -> Mapping[str, str]:
    """Return why each host that cannot be reached cannot."""
    return {name: why for name in storage.hosts if (why := storage.why_not_there(name)) is not None}
