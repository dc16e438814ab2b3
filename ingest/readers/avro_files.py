"""Avro container files one by one: a file itself, compressed or not, or the members of a tar archive in their order.

The container format is that of the Avro 1.11 specification ("Object Container Files").
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from skydb.errors import DataError

from .whole_compression import expanded, spool

MAGIC = b"Obj\x01"
TAR_BLOCK = 512
_SPOOLED_BYTES = 64 << 20
"""A member of an archive up to this size is held in memory, a larger one in a temporary file."""


@dataclass(frozen=True)
class Container:
    """One container: its name in the archive, empty for a file that is a container itself, and its bytes.

    `stream` is None for a member of an archive that is no file.
    """

    place: str
    stream: Any


def containers(path: Path) -> Iterator[Container]:
    """Yield the containers of a file; each is to be read before the next is asked for.

    Raises
    ------
    DataError
        The file is neither a container nor an archive, or ends early.
    """
    with expanded(path) as stream:
        head = stream.peek(TAR_BLOCK)[:TAR_BLOCK]
        if _is_tar(head):
            yield from _members(path, stream)
        else:
            check_magic(head, str(path))
            yield Container("", stream)


def check_magic(head: bytes, where: str) -> None:
    """Check that some bytes begin a container.

    Raises
    ------
    DataError
        They do not: what they look like.
    """
    if head.startswith(MAGIC):
        return
    if not head:
        raise DataError("there is nothing in it", where, "leave it out, or fetch it again")
    if head[0] == 0 and len(head) > 5:  # https://docs.confluent.io, wire format: a zero, a schema's number, the record
        raise DataError("no Avro container: a Kafka message, without its schema", where,
                        "write messages into container files, which hold the schema")  # fmt: skip
    raise DataError("neither an Avro container nor a tar archive", where, "correct [file] of the mapping")


def _is_tar(head: bytes) -> bool:
    """Say whether a file begins with a header of an archive, or with the end of an empty one."""
    return len(head) == TAR_BLOCK and (head[257:262] == b"ustar" or not head.strip(b"\0"))


class _Watched:
    """A stream that remembers its last bytes: an archive ends in blocks of zeros, or was cut."""

    def __init__(self, stream: BufferedReader) -> None:
        self.stream, self.tail = stream, b""

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        if content:
            self.tail = (self.tail + content)[-TAR_BLOCK:]
        return content


def _members(path: Path, stream: BufferedReader) -> Iterator[Container]:
    watched = _Watched(stream)
    try:
        with tarfile.open(fileobj=watched, mode="r|") as archive:  # type: ignore[call-overload]  # it only reads
            for member in archive:
                if member.isdir():
                    continue
                with SpooledTemporaryFile(_SPOOLED_BYTES) as content:
                    source = archive.extractfile(member) if member.isreg() else None
                    if source is not None:
                        spool(source, content)
                        content.seek(0)
                    yield Container(member.name, content if source is not None else None)
    except tarfile.TarError as error:
        raise DataError(f"the archive is damaged or ends early ({error})", str(path), "fetch it again") from error
    while watched.read(1 << 20):
        pass
    if len(watched.tail) < TAR_BLOCK or watched.tail.strip(b"\0"):
        raise DataError("the archive ends early", str(path), "fetch it again")
