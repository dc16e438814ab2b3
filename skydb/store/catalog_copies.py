"""Published copies of the catalog: one file for each tag, sealed with a checksum, read from wherever it lies.

SQLite leaves four bytes of a file to its user (`user_version`). In a published copy they are the CRC32 of the file with
zeros in their place.
"""

from __future__ import annotations

import tempfile
import threading
import time
import weakref
import zlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from skydb.errors import DataError, UsageError

from .cells import LOCAL
from .fetching import fetch_to
from .layout import TAGS
from .roots import Place, filesystem_of, is_url

_SEAL_AT, _SEAL_BYTES = 60, 4
"""Where SQLite keeps `user_version`."""

_PIECE_BYTES = 2**20
"""How much of a copy is in memory at a time: that of a large survey has gigabytes."""

_RENEWED_SECONDS = 60
"""How long a copy that was fetched once more is taken for new."""


class FetchedCopy:
    """A published copy that is fetched from a URL into a file of its own, which ends with this object."""

    def __init__(self, place: Place) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="skydb-tag-"), Path(place.path).name)
        weakref.finalize(self, _remove, self.path)
        fetch_to(place, self.path)


def seal(path: Path) -> None:
    """Write the checksum of a copy of a catalog into it."""
    with path.open("rb+") as file:
        crc = _crc_of(file)
        file.seek(_SEAL_AT)
        file.write(crc.to_bytes(_SEAL_BYTES, "big"))


def require_whole(path: Path, place: Place) -> None:
    """Refuse a copy that is not as it was published.

    Raises
    ------
    DataError
        Its checksum is that of other bytes.
    """
    with path.open("rb") as file:
        crc = _crc_of(file)
        file.seek(_SEAL_AT)
        is_whole = crc == int.from_bytes(file.read(_SEAL_BYTES), "big")
    if not is_whole:
        todo = "remove this copy where the database can be written: `skydb status` publishes the tag again"
        raise DataError("a published tag is damaged: checksum", str(place), todo)


def place_of(home: str, tag: str) -> Place:
    """Return where the copy of a tag lies, below a database's folder or URL."""
    return Place(LOCAL, home, f"{TAGS}/{tag}.sqlite")


def fetched(home: str, tag: str) -> FetchedCopy:
    """Fetch the copy of a tag of a database at a URL.

    Raises
    ------
    UsageError
        There is no such tag.
    DataError, BusyError
        It is damaged, or cannot be had.
    """
    place = place_of(home, tag)
    try:
        copy = FetchedCopy(place)
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UsageError(f"no tag {tag!r} is published here", home, known_tags(home)) from None
        raise
    require_whole(copy.path, place)
    return copy


def renewed(home: str, tag: str) -> FetchedCopy:
    """Fetch a copy once more, after what an older one said was no longer so; not more often than once in a minute."""
    with _renewing:  # of many threads that miss a file, one fetches
        return _renewed(home, tag, int(time.monotonic() // _RENEWED_SECONDS))


_renewing = threading.Lock()


@lru_cache(maxsize=2)
def _renewed(home: str, tag: str, minute: int) -> FetchedCopy:
    return fetched(home, tag)


def known_tags(home: str) -> str:
    """Return advice that names the published tags, as far as they can be listed."""
    try:
        if is_url(home):
            names = [str(n) for n in filesystem_of(home).ls(f"{home.rstrip('/')}/{TAGS}", detail=False)]
        else:
            names = [str(path) for path in (Path(home) / TAGS).iterdir()]
    except Exception:  # whatever a server says instead of a list: there is none
        return "its tags cannot be listed here: ask its owner for their names"
    tags = sorted(Path(name).stem for name in names if name.endswith(".sqlite"))
    return f"tags: {', '.join(tags)}" if tags else "it has none"


def _crc_of(file: BinaryIO) -> int:
    crc = zlib.crc32(bytes(_SEAL_BYTES), zlib.crc32(file.read(_SEAL_AT)))
    file.seek(_SEAL_AT + _SEAL_BYTES)
    while piece := file.read(_PIECE_BYTES):
        crc = zlib.crc32(piece, crc)
    return crc


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.rmdir()
