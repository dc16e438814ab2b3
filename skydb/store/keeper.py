"""`host.json`, in every storage root but a database's own folder: whose files lie there, and who keeps them.

It names the database and the host, and the one catalog that writes and removes files there. A copied database has the
id and the hosts of its original, and knows nothing of what that has committed since: only where a catalog lies tells
the two apart. Every other catalog may read. Roots that name no catalog yet get that of the first who writes there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from skydb.errors import DataError, SkydbError, UsageError, disk_error

from .fetching import fetch_whole
from .files import make_directory, write_durably
from .mending import how_to_mount, how_to_take_over
from .roots import Place, filesystem_of
from .transfer import not_written


@dataclass(frozen=True)
class Keeper:
    """Where a catalog lies: the real path of the database's folder, and the folder's inode number.

    Two copies on one machine differ in the path; on two machines, or in two containers, in the inode.
    """

    folder: str
    inode: int

    @classmethod
    def at(cls, home: Path) -> Keeper:
        """Return that of the database in a folder."""
        real = home.resolve()
        return cls(str(real), real.stat().st_ino)

    def __str__(self) -> str:
        return f"{self.folder} (inode {self.inode})"


@dataclass(frozen=True)
class Identity:
    """What a `host.json` says. `keeper` is None in one that was written before keepers were."""

    database: str
    host: str
    keeper: Keeper | None = None


def identity_at(place: Place) -> Identity | None:
    """Return what the `host.json` at a place says; None where there is no such file.

    Raises
    ------
    DataError, BusyError
        It cannot be read, or says nothing of the kind.
    """
    try:
        if not (place.local.exists() if place.is_local else filesystem_of(place.root).exists(place.url)):
            return None
        content = json.loads(fetch_whole(place))
        keeper = Keeper(str(content["catalog"]), int(content["inode"])) if "catalog" in content else None
        return Identity(str(content["database"]), str(content["host"]), keeper)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("host.json names no host", place.where, "restore it, or use another root") from error
    except SkydbError:
        raise
    except Exception as error:
        raise not_written(place, error) from error


def require_identity(place: Place, database_id: str) -> None:
    """Refuse a root whose `host.json`, which lies at the place, is missing or names another host or database.

    Raises
    ------
    DataError, BusyError
        It does, or cannot be read.
    """
    todo = how_to_mount(place.host)
    if (place, database_id) in _found_there:
        return
    found = identity_at(place)
    if found is None:
        raise DataError("no host's files are here (there is no host.json)", place.root, todo)
    if (found.database, found.host) != (database_id, place.host):
        raise DataError(f"this is host {found.host!r} of the database {found.database}", place.root, todo)
    if not place.is_local:
        _found_there.add((place, database_id))


_found_there: set[tuple[Place, str]] = set()
"""What this process has found behind URLs, and does not ask for again; a disk may be unmounted at any time."""


def other_keeper(place: Place, ours: Identity) -> Keeper | None:
    """Return the catalog that keeps a root, if it is another one of the database.

    Raises
    ------
    DataError, BusyError
        Its `host.json` cannot be read.
    """
    found = identity_at(place)
    if found is None or found.database != ours.database or found.keeper == ours.keeper:
        return None
    return found.keeper


def keep(place: Place, ours: Identity, *, again: bool = True) -> None:
    """Refuse to write and remove where another catalog of the database does; be its keeper where none is named.

    `again` False: what this process has found behind a URL is not asked for anew, which is enough to add a file.

    Raises
    ------
    UsageError
        Another one does.
    DataError, BusyError
        The `host.json` cannot be read, or not be written.
    """
    if not again and (place, ours) in _kept_there:
        return
    found = identity_at(place)
    if found is None or found.database != ours.database:
        return
    if found.keeper is None:
        write_identity(place, replace(ours, host=found.host))
    elif found.keeper != ours.keeper:
        raise UsageError(_kept_by(found.keeper), place.root, how_to_take_over(place.host, place.root))
    if not place.is_local:
        _kept_there.add((place, ours))


_kept_there: set[tuple[Place, Identity]] = set()


def _kept_by(keeper: Keeper) -> str:
    """Say who keeps a root."""
    return f"only the database at {keeper} may write and remove files here, and this is not it"


def why_kept(place: Place, ours: Identity) -> str | None:
    """Return why a catalog may only read here; None where it may do more, or where that is not known."""
    try:
        other = other_keeper(place, ours)
    except SkydbError:
        return None
    return None if other is None else _kept_by(other)


def write_identity(place: Place, identity: Identity) -> None:
    """Write the `host.json` of a root; the folder is made if its parent is there.

    Raises
    ------
    UsageError, DataError, BusyError
        It cannot be written.
    """
    said: dict[str, str | int] = {"database": identity.database, "host": identity.host}
    if identity.keeper is not None:
        said |= {"catalog": identity.keeper.folder, "inode": identity.keeper.inode}
    _kept_there.clear()
    text = (json.dumps(said) + "\n").encode()
    try:
        if place.is_local:
            if not Path(place.root).parent.is_dir():
                raise UsageError("there is no such folder", str(Path(place.root).parent), "mount the disk, or make it")
            make_directory(Path(place.root))
            write_durably(place.local, lambda path: _write_bytes(path, text))
        else:
            filesystem_of(place.root).pipe_file(place.url, text)
    except SkydbError:
        raise
    except OSError as error:
        raise disk_error(error, place.root) or not_written(place, error) from error
    except Exception as error:
        raise not_written(place, error) from error


def _write_bytes(path: Path, text: bytes) -> None:
    path.write_bytes(text)
