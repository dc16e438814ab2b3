"""A folder that is watched: files that appear there are ingested, each once, whatever stops and starts in between.

What has come is known by its content, from the database's log; so a watch that is killed is started again, and two that
watch one folder do no harm. What a round has looked at is kept in memory only to spare looking again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skydb.errors import BusyError, UsageError

from .report import AddstarReport

UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")
"""Endings of files that somebody is still writing."""


class _Look(NamedTuple):
    """What a file looked like: its bytes, and when it was changed (ns)."""

    bytes: int
    changed: int


@dataclass(frozen=True)
class Watched:
    """What one round did: its report (None: others were busy, and it is tried again), and how many files wait."""

    report: AddstarReport | None
    waiting: int
    busy: str | None = None


def watch(
    folder: Path, ingest: Callable[[Sequence[str]], AddstarReport], *, pattern: str = "*", every_seconds: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Watched]:  # fmt: skip
    """Ingest what appears in a folder, for ever; yields after every round that had files to ingest.

    A file is taken when it has not changed from one look to the next. Hidden files and those whose names end like that
    of an unfinished copy are left. A file that fails is tried again when it has changed.

    Parameters
    ----------
    folder
        Where files appear.
    ingest
        Ingests files, given their paths.
    pattern
        Of their names, below the folder, such as "*.smf" or "**/*.smf".
    every_seconds
        From one look to the next.
    sleep
        Waits for so long.

    Raises
    ------
    UsageError
        There is no such folder, or the wait is none.
    """
    if not folder.is_dir():
        raise UsageError("no such folder to watch", str(folder), "correct its path")
    if not every_seconds > 0:
        raise UsageError(f"every {every_seconds} s", "--every", "give seconds above 0")
    before: dict[Path, _Look] = {}
    done: dict[Path, _Look] = {}
    while True:
        there = _looks(folder, pattern)
        done = {path: look for path, look in done.items() if there.get(path) == look}
        ready = sorted(path for path, look in there.items() if before.get(path) == look and path not in done)
        before = there
        if ready:
            try:
                report = ingest([str(path) for path in ready])
            except BusyError as error:
                yield Watched(None, len(there) - len(done), str(error))
            else:
                done |= {path: there[path] for path in ready}
                yield Watched(report, len(there) - len(done))
        sleep(every_seconds)


def _looks(folder: Path, pattern: str) -> dict[Path, _Look]:
    """Return what the files of a folder look like; one that goes away meanwhile is not there."""
    found = {}
    for path in folder.glob(pattern):
        if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found[path] = _Look(status.st_size, status.st_mtime_ns)
    return found
