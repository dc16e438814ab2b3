"""The catalog: one SQLite file that says which immutable files make each snapshot.

Rows live from `begin_snapshot` until `end_snapshot` (NULL: still). Only `commit.py` writes here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skydb.errors import BusyError, DataError, UsageError

from .layout import CATALOG

FORMAT_VERSION = 1
BUSY_SECONDS = 60

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE snapshots (
    snapshot INTEGER PRIMARY KEY, parent INTEGER, time TEXT NOT NULL, kind TEXT NOT NULL, command TEXT NOT NULL,
    version TEXT NOT NULL, calibration_id INTEGER NOT NULL, writes BLOB NOT NULL);
CREATE TABLE tags (tag TEXT PRIMARY KEY, snapshot INTEGER NOT NULL, time TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE hosts (name TEXT PRIMARY KEY, root TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cells (
    norder INTEGER NOT NULL, npix INTEGER NOT NULL, host TEXT NOT NULL, drift_arcsec REAL NOT NULL,
    stale INTEGER NOT NULL, begin_snapshot INTEGER NOT NULL, end_snapshot INTEGER);
CREATE UNIQUE INDEX live_cells ON cells (norder, npix) WHERE end_snapshot IS NULL;
CREATE INDEX cell_history ON cells (begin_snapshot, end_snapshot);
CREATE TABLE files (
    name TEXT PRIMARY KEY, table_name TEXT NOT NULL, norder INTEGER, npix INTEGER, host TEXT NOT NULL,
    path TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, digest TEXT NOT NULL, base TEXT,
    min_key INTEGER, max_key INTEGER, begin_snapshot INTEGER NOT NULL, end_snapshot INTEGER) WITHOUT ROWID;
CREATE INDEX files_of_cell ON files (norder, npix, table_name, begin_snapshot, end_snapshot);
CREATE INDEX files_of_table ON files (table_name, end_snapshot, begin_snapshot);
CREATE TABLE ingest_log (
    file TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL, format TEXT NOT NULL, n_images INTEGER NOT NULL,
    n_in INTEGER NOT NULL, n_matched INTEGER NOT NULL, n_new INTEGER NOT NULL, n_rejected INTEGER NOT NULL,
    n_measurements INTEGER NOT NULL, n_nulled INTEGER NOT NULL, reasons TEXT NOT NULL,
    begin_snapshot INTEGER NOT NULL, end_snapshot INTEGER);
CREATE UNIQUE INDEX live_digests ON ingest_log (digest) WHERE end_snapshot IS NULL;
CREATE TABLE image_index (
    image_id INTEGER NOT NULL, image_key TEXT NOT NULL, digest TEXT NOT NULL, begin_snapshot INTEGER NOT NULL,
    end_snapshot INTEGER);
CREATE UNIQUE INDEX live_images ON image_index (image_id) WHERE end_snapshot IS NULL;
CREATE TABLE calibrations (
    calibration_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, bands TEXT NOT NULL, n_images INTEGER NOT NULL,
    n_measurements INTEGER NOT NULL, chi2 REAL, report TEXT NOT NULL, begin_snapshot INTEGER NOT NULL);
"""

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "afs", "ceph", "fuse.sshfs", "9p", "beegfs"}
)


def refuse_network_file_system(root: Path) -> None:
    """Refuse a directory on a network file system, where SQLite's locks do not hold.

    Raises
    ------
    UsageError
        The directory lies on a network file system.
    """
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return
    best, kind = "", ""
    target = str(root.resolve())
    for line in mounts.read_text().splitlines():
        _, point, file_system = line.split()[:3]
        if (target == point or target.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, file_system
    if kind in NETWORK_FILE_SYSTEMS:
        raise UsageError(
            f"the catalog may not lie on a network file system ({kind})", target,
            "create the database on a local disk of the coordinator; its data may lie on other hosts",
        )  # fmt: skip


def create_catalog(root: Path, meta: dict[str, str]) -> None:
    """Create an empty catalog in an existing directory."""
    refuse_network_file_system(root)
    with _connect(root / CATALOG, create=True) as connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
        connection.execute("INSERT INTO hosts VALUES ('local', '')")
        connection.commit()


@contextmanager
def _connect(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    if not create and not path.exists():
        raise UsageError("there is no skydb database here", str(path.parent), "make one with `skydb create`")
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            yield connection
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise BusyError("the catalog is locked by another process", str(path), "wait and try again") from error
        raise DataError(f"the catalog cannot be used: {error}", str(path), "check its disk and permissions") from error
    except sqlite3.DatabaseError as error:
        raise DataError(f"the catalog is damaged: {error}", str(path), "restore it or run `skydb fsck`") from error


@contextmanager
def reading(root: Path) -> Iterator[sqlite3.Connection]:
    """Open the catalog for reading: one consistent view for as long as the block lasts."""
    with _connect(root / CATALOG) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


@contextmanager
def writing(root: Path) -> Iterator[sqlite3.Connection]:
    """Open the catalog as its one writer; commits at the end of the block, rolls back when it raises."""
    with _connect(root / CATALOG) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def alive(snapshot: int) -> str:
    """Return the SQL condition that selects the rows which a snapshot sees."""
    return f"begin_snapshot <= {int(snapshot)} AND (end_snapshot IS NULL OR end_snapshot > {int(snapshot)})"
