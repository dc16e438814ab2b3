"""Hosts: the storage roots where files lie, as a database knows them, and whether what is mounted there is theirs.

A root other than the database's own folder has a small file `host.json` (`keeper`). Nothing is written where it is
missing or names another host, as a disk that is not mounted leaves an empty folder behind, and another one may be
mounted in its place; nor where it names another catalog of the same database, of which this one is a copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skydb.arguments import as_text
from skydb.errors import SkydbError, UsageError, did_you_mean

from .catalog import reading
from .cells import LOCAL
from .changes import Host
from .keeper import Identity, Keeper, keep, require_identity, why_kept
from .layout import HOST_FILE
from .roots import Place, filesystem_of, is_url, root_named

ACTIVE, DRAINING, LOST = "active", "draining", "lost"
"""States of a host. Nothing new is placed on one that is draining or lost; nothing is read from a lost one."""


@dataclass(frozen=True)
class Storage:
    """The hosts of a database as they are now, by name, and what is set for all of them.

    `copies` is how many copies a new file gets; `placement` says which host a new cell goes to (`placement`); `keeper`
    is the database as the hosts that it writes to name it.
    """

    home: Path
    database_id: str
    hosts: Mapping[str, Host]
    copies: int
    placement: Mapping[str, Any]
    keeper: Keeper

    @property
    def active(self) -> tuple[str, ...]:
        """The names of the hosts that take new files, sorted."""
        return tuple(sorted(name for name, host in self.hosts.items() if host.state == ACTIVE))

    def host(self, name: str) -> Host:
        """Return a host, which must be there.

        Raises
        ------
        UsageError
            It is not.
        """
        if name not in self.hosts:
            raise UsageError(f"no host named {name!r}", str(self.home), did_you_mean(name, self.hosts))
        return self.hosts[name]

    def root_of(self, name: str) -> str:
        """Return the storage root of a host, as an absolute folder or a URL."""
        return root_named(self.host(name).root, str(self.home))

    def place(self, name: str, path: str) -> Place:
        """Return where the copy of a file on a host lies."""
        return Place(name, self.root_of(name), path)

    def require_there(self, name: str) -> None:
        """Refuse a host whose root is not there, or is that of another host.

        Raises
        ------
        DataError, BusyError
            It cannot be reached, or something else is there.
        """
        if name != LOCAL:
            require_identity(self.place(name, HOST_FILE), self.database_id)

    def require_writable(self, name: str) -> None:
        """Refuse to store files on a host that is not there, or that another catalog of the database keeps.

        Raises
        ------
        UsageError, DataError, BusyError
            It is so.
        """
        self.require_there(name)
        if name != LOCAL:
            keep(self.place(name, HOST_FILE), self.identity(name), again=False)

    def require_kept(self, *names: str) -> None:
        """Refuse to write or remove on hosts that another catalog of the database keeps; those not there are passed.

        Raises
        ------
        UsageError
            Another catalog keeps one.
        DataError, BusyError
            That a catalog keeps it, if none did, cannot be written there.
        """
        for name in names or self.hosts:
            if name != LOCAL and self.why_not_there(name) is None:
                keep(self.place(name, HOST_FILE), self.identity(name))

    def why_not_kept(self, name: str) -> str | None:
        """Return why a host is there to be read only; None where it is not, or is not there."""
        if name == LOCAL or self.why_not_there(name) is not None:
            return None
        return why_kept(self.place(name, HOST_FILE), self.identity(name))

    def identity(self, name: str) -> Identity:
        """Return what the `host.json` of a host says that is this database's to write to."""
        return Identity(self.database_id, name, self.keeper)

    def why_not_there(self, name: str) -> str | None:
        """Return why the files of a host cannot be reached; None where they can."""
        if self.hosts[name].state == LOST:
            return "lost"
        try:
            self.require_there(name)
        except SkydbError as error:
            return error.what
        return None


def storage_of(root: Path) -> Storage:
    """Return the hosts of a database, and what is set for them, as of now."""
    with reading(root) as connection:
        rows = connection.execute("SELECT name, root, worker, state FROM hosts WHERE end_snapshot IS NULL").fetchall()
        settings = dict(connection.execute("SELECT key, value FROM settings WHERE end_snapshot IS NULL"))
        (identity,) = connection.execute("SELECT value FROM meta WHERE key = 'database_id'").fetchone()
    hosts = {name: Host(name, *rest) for name, *rest in sorted(rows)}
    copies, placement = int(settings.get("copies", 1)), json.loads(settings.get("placement", "{}"))
    return Storage(root, identity, hosts, copies, placement, Keeper.at(root))


def worker_of_hosts(root: Path) -> dict[str, str]:
    """Return the Dask worker (name or address) that reads a host's files as local, for the hosts that name one."""
    return {name: host.worker for name, host in storage_of(root).hosts.items() if host.worker is not None}


def checked_root(storage: Storage, name: str, text: str) -> str:
    """Return the storage root that somebody names for a host, as the catalog writes it.

    Raises
    ------
    UsageError
        It is empty, is none of an absolute folder or URL, or lies in the root of another host, or around it.
    """
    if not text.strip():
        raise UsageError("the root is empty", None, "name a folder or a URL")
    if is_url(text):
        filesystem_of(text)
        root = text.rstrip("/")
    else:
        root = str(Path(root_named(text, "")).resolve())
    if as_text(root) != root:
        raise UsageError("the root's name is no text in UTF-8", as_text(root), "rename the folder")
    for other in storage.hosts:
        theirs = storage.root_of(other)
        if other != name and is_url(theirs) == is_url(root) and _overlap(root, theirs):
            raise UsageError(f"lies in the storage root of host {other!r}, or around it", root, "choose another place")
    return root


def _overlap(one: str, other: str) -> bool:
    """Say whether one of two roots lies in the other."""
    first, second = (f"{(r if is_url(r) else str(Path(r).resolve())).rstrip('/')}/" for r in (one, other))
    return first.startswith(second) or second.startswith(first)


def checked_name(storage: Storage, name: str) -> str:
    """Return the name for a new host.

    Raises
    ------
    UsageError
        It is taken, or is no name.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"{name!r} is no name of a host", None, "use letters, digits, '.', '_', '-'; a letter first")
    if name in storage.hosts:
        what = f"there is a host named {name!r} already, at {storage.root_of(name)}"
        raise UsageError(what, str(storage.home), "choose another name")
    return name
