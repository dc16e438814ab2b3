"""Every path inside a database directory, spelled once.

survey.sky/
catalog.sqlite                                            snapshots, files, cells, hosts, tags, ingest log
data/<table>/Norder=k/Dir=d/Npix=n/<name>.parquet         sky tables
data/<table>/<name>.parquet                               global tables
commits/<snapshot>.json                                   one manifest per commit
tags/<tag>.sqlite                                         read-only copies of the catalog
work/                                                     temporary files of running jobs
leases/<snapshot>                                         held by whoever reads the snapshot
"""

from __future__ import annotations

import uuid
from os import PathLike, fspath
from pathlib import Path

from skydb.arguments import as_text
from skydb.errors import UsageError

from .roots import is_url, root_named

CATALOG = "catalog.sqlite"
DATA = "data"
COMMITS = "commits"
TAGS = "tags"
WORK = "work"
LEASES = "leases"
HOST_FILE = "host.json"
BEING_MADE = ".skydb-new"
"""Where a database is built, inside its folder."""
PIXELS_PER_DIR = 10_000


def given_path(path: str | PathLike[str]) -> Path:
    """Return a caller's path to a directory, absolute.

    Raises
    ------
    UsageError
        It is empty, as of a shell variable that is not set: `Path` would take it for the current directory; or a URL;
        or no text.
    """
    if is_url(path):
        todo = "ask one of its tags: skydb.connect(URL, at=TAG), skydb sql URL … --at TAG"
        raise UsageError("a database at a URL can be asked, and nothing else", fspath(path), todo)
    if not fspath(path).strip():
        raise UsageError("the path is empty", None, "name a directory")
    root = Path(root_named(fspath(path), "")).absolute()
    if as_text(str(root)) != str(root):  # which Arrow does not open
        raise UsageError("the path is no text in UTF-8", as_text(str(root)), "rename the folder")
    return root


def new_name() -> str:
    """Return a fresh name for a data file."""
    return uuid.uuid4().hex


def sky_path(table: str, norder: int, npix: int, name: str) -> str:
    """Return the path of a cell's file, relative to a storage root.

    >>> sky_path("objects", 3, 12345, "ab")
    'data/objects/Norder=3/Dir=10000/Npix=12345/ab.parquet'
    """
    folder = npix // PIXELS_PER_DIR * PIXELS_PER_DIR
    return f"{DATA}/{table}/Norder={norder}/Dir={folder}/Npix={npix}/{name}.parquet"


def global_path(table: str, name: str) -> str:
    """Return the path of a global table's file, relative to the database.

    >>> global_path("images", "ab")
    'data/images/ab.parquet'
    """
    return f"{DATA}/{table}/{name}.parquet"


def data_path(table: str, cell: tuple[int, int] | None, name: str) -> str:
    """Return the path of a data file, of a cell (norder, npix) or global, relative to a storage root.

    >>> data_path("images", None, "ab")
    'data/images/ab.parquet'
    """
    return sky_path(table, *cell, name) if cell else global_path(table, name)


def manifest_path(root: Path, snapshot: int) -> Path:
    """Return the path of a commit's manifest."""
    return root / COMMITS / f"{snapshot:012d}.json"


def tag_path(root: Path, tag: str) -> Path:
    """Return the path of a published tag."""
    return root / TAGS / f"{tag}.sqlite"


def lease_path(root: Path, snapshot: int) -> Path:
    """Return the path of the file that readers of a snapshot hold."""
    return root / LEASES / str(snapshot)
