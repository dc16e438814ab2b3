"""Pieces of stored files, each with its checksum, from the first copy that has them as they were written."""

from __future__ import annotations

import warnings
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from skydb.errors import BusyError, DataError, SkydbError, SkydbWarning

from .fetching import Span, damaged, fetch, is_away
from .files import StoredFile
from .roots import Place


class BackupWarning(SkydbWarning):
    """A host's files could not be read there, and were read elsewhere."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a stored file that belong together, their CRC32, and what they are."""

    file: StoredFile
    start: int
    stop: int
    crc: int
    what: str


def read_pieces(pieces: Sequence[Piece]) -> list[bytes | memoryview]:
    """Return the bytes of pieces, each from the first place of its file where they are whole.

    When all places fail, it is asked once more where the file lies: it may have been moved.

    Raises
    ------
    DataError, BusyError
        No copy of a piece is whole: names every place, and what is wrong there.
    """
    searches = [_Search(piece) for piece in pieces]
    while waiting := [search for search in searches if search.found is None]:
        bodies = fetch([search.span for search in waiting])
        for search, body in zip(waiting, bodies, strict=True):
            search.take(body)
    return [search.found for search in searches if search.found is not None]


@dataclass
class _Search:
    """One piece that is looked for, place after place."""

    piece: Piece
    found: bytes | memoryview | None = None
    errors: dict[Place, SkydbError] = field(default_factory=dict)
    places: deque[Place] = field(init=False)

    def __post_init__(self) -> None:
        self.places = deque(sorted(self.piece.file.places, key=is_away))

    @property
    def span(self) -> Span:
        return Span(self.places[0], self.piece.start, self.piece.stop)

    def take(self, body: bytes | memoryview | SkydbError) -> None:
        """Keep what came from the first place if it is whole, else go on with the next."""
        place = self.places.popleft()
        if not isinstance(body, SkydbError) and zlib.crc32(body) == self.piece.crc:
            self.found = body
            if place in self.piece.file.places:  # else the file was moved, and nothing is wrong with the first host
                for lost, error in self.errors.items():
                    tell_of_backup(lost, error)
            return
        self.errors[place] = body if isinstance(body, SkydbError) else damaged(place, f"{self.piece.what}, checksum")
        if not self.places:
            self.places.extend(p for p in self.piece.file.places_now() if p not in self.errors)
        if not self.places:
            raise lost_everywhere(self.piece.file, self.errors)


def lost_everywhere(file: StoredFile, errors: dict[Place, SkydbError]) -> SkydbError:
    """Return the error of a file that cannot be read at any of its places; of one place, what is wrong there."""
    every = list(errors.values())
    if len(every) == 1:
        return every[0]
    kind = BusyError if any(isinstance(error, BusyError) for error in every) else DataError
    said = "; ".join(f"{error.where}: {error.what}" for error in every)
    return kind(f"no copy of a stored file can be read: {said}", file.about, every[0].todo)


_told: set[tuple[str, str]] = set()


def tell_of_backup(place: Place, error: SkydbError) -> None:
    """Warn, once in a process for each host, that copies there cannot be read."""
    if (place.host, place.root) not in _told:
        _told.add((place.host, place.root))
        warnings.warn(f"other copies are read instead of those on host {place.host}: {error}", BackupWarning, 2)
