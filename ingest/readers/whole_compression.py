"""Files that are compressed as a whole: how they begin, and what expands them.

Each format's own page gives its first bytes: RFC 1952 (gzip), RFC 8878 (zstd), the manuals of bzip2, xz, lz4 and
compress, and PKWARE's APPNOTE (zip). What FITS compresses inside its tables is in `fits_compression`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import IO, Any

from skydb.errors import DataError, clear_disk_errors

_EXPANDED: dict[str, tuple[bytes, Callable[..., Any]]] = {
    "gzip": (b"\x1f\x8b", gzip.open), "bzip2": (b"BZh", bz2.open), "xz": (b"\xfd7zXZ", lzma.open),
}  # fmt: skip
_OTHERS = {"compress": b"\x1f\x9d", "zip": b"PK\x03\x04", "zstd": b"\x28\xb5\x2f\xfd", "lz4": b"\x04\x22\x4d\x18"}
_MAGIC = {name: magic for name, (magic, _) in _EXPANDED.items()} | _OTHERS
_LONGEST = max(map(len, _MAGIC.values()))
_BUFFER = 1 << 20
"""Bytes that are expanded at a time. Lines of gzip come from it 2.7 times as fast as from `GzipFile` itself."""


def compression_of(head: bytes) -> str:
    """Return what compressed a file with these first bytes; empty where nothing did.

    >>> compression_of(gzip.compress(b"ra,dec"))
    'gzip'
    """
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "")


@contextmanager
def expanded(path: Path) -> Iterator[BufferedReader]:
    """Open a file for its content; of one that gzip, bzip2 or xz compressed, what it expands to.

    Raises
    ------
    DataError
        It is compressed by something else, or turns out to be damaged or to end early while the block reads.
    """
    with ExitStack() as opened:
        file = opened.enter_context(path.open("rb"))
        name = compression_of(file.peek(_LONGEST))
        if name in _OTHERS:
            raise DataError(f"it is compressed by {name}", str(path), "expand it, or compress it by gzip, bzip2 or xz")
        if not name:
            yield file
            return
        try:
            yield opened.enter_context(BufferedReader(_EXPANDED[name][1](file), _BUFFER))
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # it is the disk's; bz2 and gzip give no number
                raise
            raise DataError(f"the file is damaged or ends early ({error})", str(path), "fetch it again") from error


@contextmanager
def plain_copy(path: Path) -> Iterator[Path]:
    """Give a file's content as a file: itself, or of a compressed one a temporary copy, kept while the block runs.

    Raises
    ------
    DataError
        As `expanded`; what the block says of the copy is said of the file.
    """
    with path.open("rb") as file:
        is_plain = not compression_of(file.read(_LONGEST))
    if is_plain:
        yield path
        return
    with NamedTemporaryFile() as copy:
        with expanded(path) as content:
            spool(content, copy)
        try:
            yield Path(copy.name)
        except DataError as error:
            where = (error.where or "").replace(copy.name, str(path))
            raise type(error)(error.what, where, error.todo) from error


def spool(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a stream into a temporary file; if there is no room for it, the disk of temporary files is to be named."""
    while part := source.read(_BUFFER):
        with clear_disk_errors(gettempdir()):
            target.write(part)
    with clear_disk_errors(gettempdir()):
        target.flush()
