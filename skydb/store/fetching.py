"""Bytes of files wherever they lie: few requests, many at a time, and errors that say which server and why."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skydb.errors import BusyError, DataError, SkydbError

from .cells import LOCAL
from .layout import HOST_FILE
from .mending import AT_THE_SERVER, how_to_mend, how_to_mount
from .roots import Place, filesystem_of

MOST_BETWEEN = 65_536
"""Bytes that are fetched with their neighbours though nobody asked: a request takes as long as about so many."""

MOST_AT_ONCE = 16 * 2**20
"""Bytes of one request at most: several come side by side."""

AWAY_SECONDS = 60
"""How long a server that did not answer is asked last."""

_MISSING = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 403})
_LATER = frozenset({408, 429})


@dataclass(frozen=True)
class Span:
    """Some bytes of a file: from `start` up to, not including, `stop`."""

    place: Place
    start: int
    stop: int


def fetch(spans: Sequence[Span]) -> list[bytes | memoryview | SkydbError]:
    """Return the bytes of each span, or why they could not be had.

    Spans of a file that lie close together are fetched at once, and all requests to a server are made side by side.
    """
    got: dict[Span, bytes | memoryview | SkydbError] = {}
    near = [span for span in spans if span.place.is_local]
    far = _joined({span for span in spans if not span.place.is_local})
    for span in near:
        got[span] = _read(span)
    for root in {whole.place.root for whole in far}:
        there = [whole for whole in far if whole.place.root == root]
        for whole, body in zip(there, _bodies(root, there), strict=True):
            got.update((part, _part(body, whole, part)) for part in far[whole])
    return [got[span] for span in spans]


def fetch_whole(place: Place) -> bytes:
    """Return all of a file.

    Raises
    ------
    DataError, BusyError
        It cannot be had.
    """
    try:
        body = place.local.read_bytes() if place.is_local else filesystem_of(place.root).cat_file(place.url)
    except Exception as error:
        raise refusal(place, error) from error
    return bytes(body)


def fetch_to(place: Place, path: Path) -> None:
    """Write all of a file on a server to one of this machine, a piece at a time.

    Raises
    ------
    DataError, BusyError
        It cannot be had.
    """
    try:
        filesystem_of(place.root).get_file(place.url, str(path))
    except Exception as error:
        raise refusal(place, error) from error


def missing(place: Place) -> DataError:
    """Return the error of a stored file that is not where it should be, perhaps because its disk is not mounted."""
    if place.host != LOCAL and place.is_local and not os.path.exists(f"{place.root}/{HOST_FILE}"):
        return DataError("a stored file is missing, as is all of its host", place.where, how_to_mount(place.host))
    return DataError("a stored file is missing", place.where, _how_to_mend(place))


def damaged(place: Place, error: object) -> DataError:
    """Return the error of a stored file that is not as it was written."""
    return DataError(f"a stored file is damaged: {error}", place.where, _how_to_mend(place))


def _how_to_mend(place: Place) -> str:
    """Advise what mends a file; who reads it from a server may be neither allowed nor to blame."""
    return how_to_mend(Path(place.path)) if place.is_local else AT_THE_SERVER


def refusal(place: Place, error: Exception) -> SkydbError:
    """Return what it means that a file could not be read, whatever library says so."""
    status = getattr(error, "status", None)
    if isinstance(error, SkydbError):
        return error
    if isinstance(error, FileNotFoundError) or status in _MISSING:
        return missing(place)
    if isinstance(error, PermissionError) or status in _FORBIDDEN or type(error).__name__ == "NoCredentialsError":
        return DataError(f"no right to read a stored file ({_said(error)})", place.where, "ask its owner for the right")
    is_odd = status is not None and status < 500 and status not in _LATER
    if place.is_local or is_odd or getattr(error, "errno", None) == errno.EINVAL:
        return damaged(place, _said(error))
    _away[place.root] = time.monotonic()
    server = urlsplit(place.root).netloc or place.root
    todo = "try again when it is back"
    return BusyError(f"{server} cannot be reached, or broke off ({_said(error)})", place.where, todo)


def is_away(place: Place) -> bool:
    """Say whether the server of a place did not answer a moment ago."""
    return time.monotonic() - _away.get(place.root, -AWAY_SECONDS) < AWAY_SECONDS


_away: dict[str, float] = {}


def _said(error: Exception) -> str:
    """Return what an error says, on one line; its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _read(span: Span) -> bytes | SkydbError:
    """Read a span of a local file; read, not mapped, so that a bad sector is an error and not a signal."""
    try:
        with span.place.local.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), span.stop - span.start, span.start)
    except OSError as error:
        return refusal(span.place, error)


def _joined(spans: Iterable[Span]) -> dict[Span, list[Span]]:
    """Return the spans to ask for, each with those that lie in it."""
    found: dict[Span, list[Span]] = {}
    last: Span | None = None
    for span in sorted(spans, key=lambda s: (s.place.root, s.place.path, s.start, s.stop)):
        if last is not None and _is_close(last, span):
            parts = found.pop(last)
            last = Span(span.place, last.start, max(last.stop, span.stop))
        else:
            parts, last = [], span
        found[last] = [*parts, span]
    return found


def _is_close(before: Span, after: Span) -> bool:
    if before.place != after.place:
        return False
    return after.start - before.stop <= MOST_BETWEEN and after.stop - before.start <= MOST_AT_ONCE


def _bodies(root: str, spans: list[Span]) -> Iterator[bytes | SkydbError]:
    """Yield what a server sends for each span."""
    urls, starts, stops = [s.place.url for s in spans], [s.start for s in spans], [s.stop for s in spans]
    bodies: list[Any]
    try:
        bodies = filesystem_of(root).cat_ranges(urls, starts, stops, on_error="return")
    except Exception as error:  # what reads it may be missing; another copy may be read all the same
        bodies = [error] * len(spans)
    for span, body in zip(spans, bodies, strict=True):
        yield refusal(span.place, body) if isinstance(body, Exception) else _checked(span, body)


def _checked(span: Span, body: bytes) -> bytes | SkydbError:
    """Return what was asked for, or why something else came."""
    wanted = span.stop - span.start
    if len(body) > wanted:
        server = urlsplit(span.place.root).netloc
        todo = "use a server that does (nginx, Apache, Caddy), or copy the database"
        return DataError(f"{server} does not serve parts of files (HTTP ranges)", span.place.where, todo)
    if len(body) < wanted:
        return damaged(span.place, f"{len(body)} bytes of {wanted} from byte {span.start}")
    _away.pop(span.place.root, None)
    return body


def _part(body: bytes | SkydbError, whole: Span, part: Span) -> bytes | memoryview | SkydbError:
    if isinstance(body, SkydbError) or part == whole:
        return body
    return memoryview(body)[part.start - whole.start: part.stop - whole.start]
