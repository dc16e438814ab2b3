"""Snapshots read from a published tag: where nothing can be written, from another machine, over the network."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from skydb.errors import UsageError

from .catalog import FORMAT_VERSION, network_file_system, reading
from .catalog_copies import FetchedCopy, fetched, known_tags, place_of, require_whole
from .layout import CATALOG, tag_path
from .leases import Lease, pinning, take_lease
from .roots import is_url
from .snapshot import Snapshot, names_tag, snapshot_number


def is_read_as_published(root: Path, at: int | str | None) -> bool:
    """Say whether a database in a folder is read from a tag's published copy.

    It is where its catalog may not be written, or lies on a network file system, where SQLite's locks do not hold.
    """
    if not names_tag(at) or not tag_path(root, at).is_file():
        return False
    return not os.access(root / CATALOG, os.W_OK) or network_file_system(root) is not None


def published_snapshot(home: str, at: int | str | None) -> Snapshot:
    """Return the snapshot that a published tag names.

    Parameters
    ----------
    home
        The database's folder or URL.
    at
        The tag.

    Raises
    ------
    UsageError
        No tag is given, there is no such tag, or it is of another format; the URL has a password in it.
    DataError, BusyError
        The tag's copy of the catalog is damaged, or cannot be had.
    """
    if is_url(home) and urlsplit(home).password is not None:
        todo = "put it into ~/.netrc, and leave it out of the URL"
        raise UsageError("a password in a URL would show in errors", urlsplit(home).hostname, todo)
    if not names_tag(at):
        what = "a database at a URL is asked by one of its tags" if at is None else f"{at} is no tag"
        raise UsageError(what, home, f'say which, as in at="PV3" or --at PV3; {known_tags(home)}')
    if is_url(home):
        copy = fetched(home, at)
        return _opened(copy.path, home, at, copy)
    path = tag_path(Path(home), at)
    require_whole(path, place_of(home, at))
    with pinning(Path(home)):
        snapshot = _opened(path, home, at, None)
        return _opened(path, home, at, take_lease(Path(home), snapshot.id))


def _opened(catalog: Path, home: str, tag: str, kept: Lease | FetchedCopy | None) -> Snapshot:
    with reading(catalog) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    if meta.get("format") != str(FORMAT_VERSION):
        what = f"its format {meta.get('format')} is not the one that this skydb reads ({FORMAT_VERSION})"
        raise UsageError(what, str(place_of(home, tag)), "install the version of skydb that wrote it")
    return Snapshot(catalog, meta["database_id"], *snapshot_number(catalog, tag), kept, home)
