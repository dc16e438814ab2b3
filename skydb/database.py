"""A database: a directory, an identity, settings. What is done with it lives in the verbs' own modules."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from skydb.arguments import at_least_one
from skydb.errors import BusyError, DataError, SkydbError, UsageError, clear_disk_errors
from skydb.store.catalog import (
    FORMAT_VERSION,
    create_catalog,
    reading,
    refuse_network_file_system,
    require_folder,
    writing,
)
from skydb.store.cells import LOCAL
from skydb.store.changes import NOWHERE, Changes
from skydb.store.command_line import recorded
from skydb.store.commit import commit, now
from skydb.store.crashpoints import reached
from skydb.store.files import fsync_directory, make_directory
from skydb.store.layout import BEING_MADE, CATALOG, COMMITS, DATA, LEASES, TAGS, WORK, given_path
from skydb.store.leases import offer_lease, pinning, take_lease
from skydb.store.locks import alone
from skydb.store.manifest import complete_head, write_manifest
from skydb.store.mending import how_to_mend
from skydb.store.ranges import pack_ranges
from skydb.store.record import Record, apply_record
from skydb.store.snapshot import Snapshot, snapshot_number
from skydb.store.tags import publish_missing_tags, tags_in

DEFAULT_CELL_ROWS = 500_000


@dataclass(frozen=True)
class Database:
    """A skydb database: where it lies, who it is, and the settings that it was created with.

    `cell_rows` is the number of measurements above which a cell splits; `difference` says that it holds what was
    detected on difference images, and nothing else.
    """

    root: Path
    id: str
    cell_rows: int
    difference: bool = False

    def snapshot(self, at: int | str | None = None) -> Snapshot:
        """Return a snapshot by number or tag, or the newest; as long as it is there, `gc` does not give it up."""
        with pinning(self.root):
            number, calibration = snapshot_number(self.root, at)
            return Snapshot(self.root, self.id, number, calibration, take_lease(self.root, number))

    def commit(self, changes: Changes) -> int:
        """Commit the changes; see `skydb.store.commit`."""
        return commit(self.root, changes)

    @property
    def work(self) -> Path:
        """Where running jobs keep temporary files."""
        return self.root / WORK


def create(
    path: str | PathLike[str], *, cell_rows: int = DEFAULT_CELL_ROWS, difference: bool = False
) -> Database:  # fmt: skip
    """Create an empty database in a new directory, whole or not at all.

    Parameters
    ----------
    path
        Directory to make; it may exist if it is empty.
    cell_rows
        Measurements above which a cell splits into its four children.
    difference
        The database is one of detections on difference images: no means are made of those and of others together.

    Raises
    ------
    UsageError
        The directory is not empty, may not be written or lies on a network file system; `cell_rows` is no whole
        number above 0.
    DataError
        The disk is full or fails.
    """
    root = given_path(path)
    cell_rows = at_least_one(cell_rows, "cell_rows")
    refuse_network_file_system(root)
    identity = uuid.uuid4().hex
    with clear_disk_errors(root), _new_folder(root):
        meta = {"database_id": identity, "format": str(FORMAT_VERSION), "cell_rows": str(cell_rows)}
        _build(root / BEING_MADE, meta | ({"difference": "1"} if difference else {}))
        _require_closed(root / BEING_MADE)
        fsync_directory(root / BEING_MADE)  # what SQLite has removed does not come back in the database
        reached("create.built")
        for names in (_FOLDERS, (CATALOG,)):  # the catalog makes it a database: last, even if the power is cut
            for name in names:
                (root / BEING_MADE / name).rename(root / name)
                reached("create.moved")
            fsync_directory(root)
        (root / BEING_MADE).rmdir()
        fsync_directory(root)
    return Database(root, identity, cell_rows, difference)


_FOLDERS = (DATA, COMMITS, TAGS, WORK, LEASES)


@contextmanager
def _new_folder(root: Path) -> Iterator[None]:
    """Make and hold an empty folder, also from what a killed creation left; if the block fails, it is as it was."""
    was_there = root.exists()
    if was_there and not root.is_dir():
        raise UsageError("already exists and is not a directory", str(root), "choose another name")
    try:
        make_directory(root)
        with _held(root):
            _remove_parts(root)
            reached("create.begun")
            try:
                yield
            except BaseException:
                _remove_parts(root)
                raise
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError("is not a directory", str(error.filename), "choose another place") from None
    except BaseException:
        if not was_there:
            with suppress(OSError):
                root.rmdir()
        raise


@contextmanager
def _held(root: Path) -> Iterator[None]:
    """Hold a folder that is empty, or that a killed creation left."""
    with alone(root) as held:
        if not held:
            raise BusyError("another process creates a database here", str(root), "wait and try again")
        left = {p.name for p in root.iterdir()}
        if left and not (BEING_MADE in left and left <= {BEING_MADE, *_FOLDERS}):
            raise UsageError("already exists and is not an empty directory", str(root), "choose another name")
        yield


def _remove_parts(root: Path) -> None:
    """Remove what a creation has made so far."""
    (root / CATALOG).unlink(missing_ok=True)
    for name in (*_FOLDERS, BEING_MADE):
        shutil.rmtree(root / name, ignore_errors=True)


def _build(root: Path, meta: dict[str, str]) -> None:
    """Write the folders, the catalog and snapshot 0: an empty sky under the nominal calibration 0."""
    from skydb import __version__

    for folder in _FOLDERS:
        make_directory(root / folder)
    create_catalog(root, meta)
    with writing(root) as connection:
        apply_record(connection, Record(
            (0, None, now(), "create", recorded("create"), __version__, 0, pack_ranges(NOWHERE)),
            calibrations=((0, "nominal", "", 0, 0, None, "{}"),), added={"hosts": ((LOCAL, "", None, "active"),)},
        ))  # fmt: skip
    write_manifest(root, 0)
    offer_lease(root, 0)


def _require_closed(folder: Path) -> None:
    """Refuse a catalog beside which SQLite had to leave its log: the file alone is about to be moved."""
    left = sorted({p.name for p in folder.iterdir()} - {*_FOLDERS, CATALOG})
    if left:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder / left[0]))


def open(path: str | PathLike[str]) -> Database:
    """Open an existing database.

    A commit whose manifest was not written before a crash gets it now, a tag its copy of the catalog.

    Raises
    ------
    UsageError
        There is no database at the path, or it is of another format.
    DataError
        The catalog is damaged.
    """
    root = given_path(path)
    require_folder(root)
    with reading(root) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        (head,) = connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone()
        tags = tags_in(connection)
    if "format" not in meta or head is None:
        raise DataError(
            "the catalog has no format or no snapshot", str(root / CATALOG), how_to_mend(root / CATALOG)
        )
    if int(meta["format"]) > FORMAT_VERSION:
        raise UsageError(f"its format {meta['format']} is later than this skydb reads", str(root), "upgrade skydb")
    if int(meta["format"]) < FORMAT_VERSION:
        what = f"its format {meta['format']} is older than this skydb reads ({FORMAT_VERSION})"
        raise UsageError(what, str(root), "make it anew: `skydb create`, then ingest its files again")
    with suppress(OSError, SkydbError):  # a reader may not write, and needs neither
        complete_head(root, head)
        publish_missing_tags(root, tags)
    return Database(root, meta["database_id"], int(meta["cell_rows"]), "difference" in meta)
