"""The catalog made anew from the manifests alone, where it is missing, damaged or doubted."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from skydb import database
from skydb.errors import BusyError, DataError, SkydbError, UsageError, clear_disk_errors
from skydb.store.catalog import clear_errors
from skydb.store.crashpoints import reached
from skydb.store.files import fsync_directory
from skydb.store.layout import CATALOG, COMMITS, given_path, manifest_path
from skydb.store.manifest import manifest_numbers
from skydb.store.roots import is_url, root_named

from .manifests import make_catalog

_BESIDE = ("", "-wal", "-shm")
"""The catalog and what SQLite keeps beside it, which belongs to that very file."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild made: a catalog up to `snapshot`, with so many live files, of which `missing` are not there.

    `kept` is where the old catalog lies now, if there was one.
    """

    snapshot: int
    files: int
    missing: tuple[str, ...]
    kept: str | None

    def text(self) -> str:
        """Return what was done, for people."""
        lines = [f"rebuilt the catalog from {self.snapshot + 1} manifests: {self.files} live files"]
        if self.kept:
            lines.append(f"the old catalog is kept as {self.kept}")
        lines += [f"not there: {path}" for path in self.missing]
        return "\n".join(lines)


def rebuild_catalog(path: str | PathLike[str]) -> Rebuilt:
    """Make the catalog of a database anew from its manifests and put it in the place of the old one, which is kept.

    A commit without a manifest was not acknowledged, and is not in it. No other command may write meanwhile.

    Raises
    ------
    UsageError
        There is no database, or its folder may not be written.
    DataError
        A manifest is missing or damaged; nothing was changed.
    BusyError
        Another command is writing.
    """
    root = given_path(path)
    if not (root / COMMITS).is_dir():
        raise UsageError("there is no skydb database here", str(root), "make one with `skydb create`")
    with suppress(SkydbError):
        database.open(root)  # writes what a crash left undone, where the old catalog can tell
    numbers = manifest_numbers(root)
    if not numbers or numbers != list(range(len(numbers))):
        lost = next((n for n, there in enumerate(numbers) if n != there), 0)
        raise DataError(
            f"there is no manifest of snapshot {lost}", str(manifest_path(root, lost)),
            "put it back from a copy of the database; or take catalog.sqlite from there, or from tags/",
        )  # fmt: skip
    with clear_disk_errors(root):
        _refuse_writers(root)
        new = root / f".{CATALOG}.new"
        new.unlink(missing_ok=True)
        try:
            with clear_errors(new):
                make_catalog(new, [manifest_path(root, number) for number in numbers])
                missing, files = _finish(root, new)
            reached("rebuild.built")
            kept = _swap(root, new)
        finally:
            for ending in ("", "-wal", "-shm", "-journal"):
                new.with_name(new.name + ending).unlink(missing_ok=True)
    database.open(root)  # publishes tags whose copies are gone
    return Rebuilt(numbers[-1], files, missing, kept)


def _refuse_writers(root: Path) -> None:
    """Refuse to go on while another command writes to a catalog that works."""
    if not (root / CATALOG).exists():
        return
    try:
        with closing(sqlite3.connect(root / CATALOG, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise BusyError("another command is writing", str(root), "wait and try again") from error


def _finish(root: Path, new: Path) -> tuple[tuple[str, ...], int]:
    """Drop removals that were done, make it durable; return the live files that are missing, and how many live."""
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        query = "SELECT name, root FROM hosts WHERE end_snapshot IS NULL"
        hosts = connection.execute(query).fetchall()
        roots = {name: Path(root_named(place, str(root))) for name, place in hosts if not is_url(place)}
        done = [
            (name, host) for name, host, path in connection.execute("SELECT name, host, path FROM removals").fetchall()
            if host in roots and not (roots[host] / path).exists()
        ]  # fmt: skip
        connection.executemany("DELETE FROM removals WHERE name = ? AND host = ?", done)
        live = connection.execute("SELECT host, path FROM files WHERE end_snapshot IS NULL ORDER BY path").fetchall()
        connection.execute("PRAGMA journal_mode=WAL")
    with new.open("rb+") as handle:
        os.fsync(handle.fileno())
    return tuple(path for host, path in live if host in roots and not (roots[host] / path).exists()), len(live)


def _swap(root: Path, new: Path) -> str | None:
    """Put the new catalog in place, in one step, and keep the old one; returns its name.

    SQLite's log of the old catalog goes first: beside the new one it would be taken for the new one's.
    """
    old = root / CATALOG
    kept = None
    if any((root / f"{CATALOG}{ending}").exists() for ending in _BESIDE):
        kept = f"catalog-replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.sqlite"
    if kept and old.exists():
        os.link(old, root / kept)
    for ending in _BESIDE[1:]:
        beside = root / f"{CATALOG}{ending}"
        if kept and beside.exists():
            beside.rename(root / f"{kept}{ending}")
    reached("rebuild.kept")
    new.replace(old)
    reached("rebuild.swapped")
    fsync_directory(root)
    return kept
