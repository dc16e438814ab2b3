"""The catalog: one SQLite file that says which immutable files make each snapshot.

Rows live from `begin_snapshot` until `end_snapshot` (NULL: still). What changes it is in `record.py`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from skydb.errors import BusyError, DataError, SkydbError, UsageError, clear_disk_errors, disk_error

from .catalog_tables import catalog_sql
from .layout import BEING_MADE, CATALOG, COMMITS
from .mending import how_to_mend

FORMAT_VERSION = 4
BUSY_SECONDS = 60

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "afs", "ceph", "fuse.sshfs", "9p", "beegfs"}
)


MOUNTS = Path("/proc/mounts")

_UNCHANGING = "mode=ro&immutable=1"
"""How SQLite opens a file without locks."""


def refuse_network_file_system(root: Path) -> None:
    """Refuse a directory on a network file system, where SQLite's locks do not hold.

    Raises
    ------
    UsageError
        The directory lies on a network file system.
    """
    kind = network_file_system(root)
    if kind is not None:
        raise UsageError(
            f"the catalog may not lie on a network file system ({kind})", str(root.resolve()),
            "create the database on a local disk of the coordinator; its data may lie on other hosts",
        )  # fmt: skip


def network_file_system(root: Path) -> str | None:
    """Return the kind of network file system on which a directory lies; None: it lies on none that is known."""
    if not MOUNTS.exists():
        return None
    best, kind = "", ""
    target = str(root.resolve())
    for line in MOUNTS.read_text().splitlines():
        _, point, file_system = line.split()[:3]
        if (target == point or target.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, file_system
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def create_catalog(root: Path, meta: dict[str, str]) -> None:
    """Create an empty catalog in an existing directory."""
    path = root / CATALOG
    with clear_errors(path), _opened(path, "mode=rwc") as connection:
        _make_durable(connection)
        connection.executescript(catalog_sql())
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
        connection.commit()


@contextmanager
def reading(root: Path) -> Iterator[sqlite3.Connection]:
    """Open the catalog for reading: one consistent view for as long as the block lasts.

    `root` is the database's folder, or the file of a published copy. Nothing is written but SQLite's own shared memory
    beside the catalog; where that cannot be, on a read-only or a full disk, the file is read as it stands.

    Raises
    ------
    BusyError
        The catalog is locked, or changed while it was read as it stands.
    """
    path = root if root.is_file() else _existing(root)
    with clear_errors(path), ExitStack() as opened:
        try:
            connection = opened.enter_context(_opened(path, _UNCHANGING if path == root else "mode=rw"))
            _begin_reading(connection)
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise
            connection = opened.enter_context(_as_it_stands(path))
            _begin_reading(connection)
        yield connection
        connection.execute("ROLLBACK")


@contextmanager
def writing(root: Path) -> Iterator[sqlite3.Connection]:
    """Open the catalog as its one writer; commits at the end of the block, rolls back when it raises."""
    path = _existing(root)
    with clear_errors(path), _opened(path, "mode=rw") as connection:
        _make_durable(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back on a full disk
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def require_folder(root: Path) -> None:
    """Refuse a path at which there is no folder with a catalog.

    Raises
    ------
    UsageError
        There is no database.
    DataError
        There is one, and its catalog is lost.
    """
    with clear_disk_errors(root):
        if root.is_file() or not (root / CATALOG).exists():
            if (root / COMMITS).is_dir() and not (root / BEING_MADE).exists():
                raise DataError("the catalog is not there", str(root / CATALOG), how_to_mend(root / CATALOG))
            raise UsageError("there is no skydb database here", str(root), "make one with `skydb create`")


def _existing(root: Path) -> Path:
    require_folder(root)
    return root / CATALOG


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_reading(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only=ON")
    connection.execute("BEGIN")
    connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # the view begins with the first query


@contextmanager
def _as_it_stands(path: Path) -> Iterator[sqlite3.Connection]:
    """Read the file without locks; what a writer changed meanwhile shows in its date, and is refused."""
    before = path.stat()
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        todo = "free some space, or let `skydb status` read it once where it may be written"
        raise DataError("the newest commits wait in the catalog's log, which cannot be used", str(log), todo)
    try:
        with _opened(path, _UNCHANGING) as connection:
            yield connection
    finally:
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise BusyError("the catalog changed while it was read", str(path), "try again")


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises in the block about a catalog, or a copy of one, into errors of skydb."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if _is_busy(error):
            raise BusyError("the catalog is locked by another process", str(path), "wait and try again") from error
        raise _clear(error, path) from error
    except sqlite3.DatabaseError as error:
        raise DataError(f"the catalog is damaged: {error}", str(path), how_to_mend(path)) from error


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


_NUMBERS = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR_SHMSIZE": errno.ENOSPC,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_READONLY": errno.EACCES,
    "SQLITE_PERM": errno.EACCES,
    "SQLITE_CANTOPEN": errno.EACCES,
}
"""How the disk's refusals are called by SQLite, the longer names first."""


def _clear(error: sqlite3.OperationalError, path: Path) -> SkydbError:
    number = next((n for name, n in _NUMBERS.items() if error.sqlite_errorname.startswith(name)), 0)
    if number == errno.EACCES and os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        number = errno.EROFS
    refused = disk_error(OSError(number, str(error)), path)
    return refused or DataError(f"the catalog cannot be used: {error}", str(path), how_to_mend(path))


def alive(snapshot: int) -> str:
    """Return the SQL condition that selects the rows which a snapshot sees.

    The `+` keeps SQLite from an index on begin_snapshot: nearly every row begins before.
    """
    return f"+begin_snapshot <= {int(snapshot)} AND (end_snapshot IS NULL OR end_snapshot > {int(snapshot)})"
