"""Immutable files: written whole or not at all, digested, described by a value object."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from skydb.schema.model import Table

from .crashpoints import reached
from .roots import Place

Written = TypeVar("Written")


@dataclass(frozen=True)
class Tail:
    """What lies behind the column chunks of a stored file: where it begins, and its CRC32."""

    start: int
    crc: int


@dataclass(frozen=True)
class StoredFile:
    """A data file where it lies, with what tells whether it is as it was written.

    `places` are those of its copies, in the order in which they are tried; `find_again` asks once more for them.
    `about` says which rows it holds. `table` is its table as it is declared now, `version` that by which it was
    written; without them its rows are read as they lie.
    """

    places: tuple[Place, ...]
    bytes: int
    tail: Tail
    about: str = field(default="a stored file", compare=False)
    find_again: Callable[[], tuple[Place, ...]] | None = field(default=None, compare=False, repr=False)
    table: Table | None = field(default=None, repr=False)
    version: int = 1

    @property
    def place(self) -> Place:
        """The place that is tried first."""
        return self.places[0]

    @property
    def path(self) -> Path:
        """Where it lies first, in a local folder."""
        return self.place.local

    @property
    def may_lie_elsewhere(self) -> bool:
        """Whether there is another place to try when the first one fails."""
        return len(self.places) > 1 or self.find_again is not None

    def each_copy(self) -> list[StoredFile]:
        """Return the file at each of its places alone, to look at one copy."""
        return [replace(self, places=(place,), find_again=None) for place in self.places]

    def places_now(self) -> tuple[Place, ...]:
        """Return where it lies by now, as far as somebody knows."""
        return self.find_again() if self.find_again else ()

    def elsewhere(self) -> tuple[Place, ...]:
        """Return the places where it lies besides the first one."""
        return tuple(place for place in (*self.places[1:], *self.places_now()) if place != self.place)


@dataclass(frozen=True)
class DataFile:
    """One immutable Parquet file, as the catalog knows it.

    `norder`, `npix` are None for global tables. `tail_start`, `tail_crc` are those of its `Tail`. `base` is the name
    of the raw file that this one lies beside row by row (measurements_cal). `min_key`, `max_key` bound the first sort
    column: object_id, or whole mjd. `schema_version` is that of the declared tables by which it was written. It lies on
    `host`, and a second copy at the same path on `backup`, if that is not None.
    """

    name: str
    table: str
    norder: int | None
    npix: int | None
    host: str
    path: str
    rows: int
    bytes: int
    digest: str
    tail_start: int
    tail_crc: int
    base: str | None = None
    min_key: int | None = None
    max_key: int | None = None
    schema_version: int = 1
    backup: str | None = None

    def at(
        self, *places: Place, find_again: Callable[[], tuple[Place, ...]] | None = None, table: Table | None = None
    ) -> StoredFile:
        """Return the file where it lies; with the declaration of its table, to be read as that says."""
        tail = Tail(self.tail_start, self.tail_crc)
        return StoredFile(places, self.bytes, tail, self.about, find_again, table, self.schema_version)

    @property
    def about(self) -> str:
        """Which rows it holds, for people."""
        return f"table {self.table}" if self.npix is None else f"table {self.table}, cell {self.norder}/{self.npix}"


def fsync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path) -> None:
    """Create a directory and make its entry durable, with all its parents."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def require_writable(folder: Path) -> None:
    """Refuse a folder in which no file may be made, before anything is done that needs one there.

    Raises
    ------
    OSError
        As making the file would.
    """
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def temporary_of(path: Path) -> Path:
    """Return the name under which `write_durably` fills a file."""
    return path.with_name(f".{path.name}.tmp")


def write_durably(path: Path, write: Callable[[Path], Written], *, temporary: Path | None = None) -> Written:
    """Create a file whole or not at all: temporary name, fsync, rename, fsync of the directory.

    `write` fills the file at the temporary path that it is given, and what it returns is returned; on any failure
    nothing is left behind.
    """
    temporary = temporary or temporary_of(path)
    _begin(temporary)
    reached("file.begun")
    try:
        written = write(temporary)
        reached("file.filled")
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        reached("file.synced")
        temporary.rename(path)
        reached("file.renamed")
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # writers do not always say where
            error.filename = str(path)
        raise
    fsync_directory(path.parent)
    reached("file.durable")
    return written


def _begin(path: Path) -> None:
    """Make an empty file, which keeps its folder from being taken for an empty one and removed."""
    while True:
        make_directory(path.parent)
        try:
            path.touch()
            return
        except FileNotFoundError:
            if path.parent.is_dir():
                raise


def digest_of(path: Path) -> str:
    """Return the BLAKE2b digest (128 bits, hexadecimal) of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
