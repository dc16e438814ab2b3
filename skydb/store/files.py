"""Immutable files: written whole or not at all, digested, described by a value object."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFile:
    """One immutable Parquet file, as the catalog knows it.

    `norder`, `npix` are None for global tables. `base` is the name of the raw file that this one lies beside row
    by row (measurements_cal). `min_key`, `max_key` bound the first sort column: object_id, or whole mjd.
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
    base: str | None = None
    min_key: int | None = None
    max_key: int | None = None


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


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Create a file whole or not at all: temporary name, fsync, rename, fsync of the directory.

    `write` fills the file at the temporary path that it is given; on any failure nothing is left behind.
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def digest_of(path: Path) -> str:
    """Return the BLAKE2b digest (128 bits, hexadecimal) of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
