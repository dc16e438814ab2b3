"""A folder that is watched: files that appear there are ingested, each once, whatever stops and starts in between.

What has come is known by its content, from the database's log; so a watch that is killed is started again, and two that
watch one folder do no harm. What a round has looked at is kept in memory only to spare looking again. Nothing that
appears in the folder ends a watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from skydb.errors import BusyError, DiskFullError, UsageError

from .addstar import file_name
from .faults import PASSING
from .report import AddstarReport

Ingest = Callable[[Sequence[str]], AddstarReport]
"""Ingests files, given their paths."""

UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")
"""Endings of files that somebody is still writing."""


class _Look(NamedTuple):
    """What a file looked like: its bytes, when they were changed (ns), and when they or its rights were."""

    bytes: int
    changed: int
    status_changed: int


_UNSEEN = _Look(-1, -1, -1)
"""What a file looks like that may not be looked at."""


@dataclass(frozen=True)
class Watched:
    """What one round did: its report, or why it is tried again (`busy`: another writer was in the way, a disk is full).

    `refused` says of files that cannot be taken under their names what is wrong.
    """

    report: AddstarReport | None
    busy: str | None = None
    refused: tuple[str, ...] = ()


def watch(
    folder: Path, ingest: Ingest, *, pattern: str = "*", apart: Sequence[Path] = (), every_seconds: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Watched]:  # fmt: skip
    """Ingest what appears in a folder, for ever; yields after every round that has something to say.

    A file is taken when it has not changed from one look to the next. Hidden files and those whose names end like that
    of an unfinished copy are left. A file that fails for a disk, or because it is written, is tried again in the next
    round; one that fails otherwise when it, or who may read it, has changed.

    Parameters
    ----------
    folder
        Where files appear.
    ingest
        Ingests files, given their paths.
    pattern
        Of their names, below the folder, such as "*.smf" or "**/*.smf".
    apart
        Folders that may lie in it whose files are left: the database, what is set aside.
    every_seconds
        From one look to the next.
    sleep
        Waits for so long.

    Raises
    ------
    UsageError
        There is no such folder, it is one of those whose files are left, the pattern is none, or the wait.
    """
    if not folder.is_dir():
        raise UsageError("no such folder to watch", str(folder), "correct its path")
    if not every_seconds > 0:
        raise UsageError(f"every {every_seconds} s", "--every", "give seconds above 0")
    _check_pattern(folder, pattern)
    watched = _Watch(folder, pattern, _within(folder, apart))
    while True:
        done = watched.round(ingest)
        if done is not None:
            yield done
        sleep(every_seconds)


def _check_pattern(folder: Path, pattern: str) -> None:
    try:
        next(folder.glob(pattern), None)
    except (IndexError, NotImplementedError, ValueError) as error:
        todo = "give one for names below the folder, such as '*.smf' or '**/*.smf'"
        raise UsageError(f"{pattern!r} is no pattern of files", "--pattern", todo) from error
    except OSError:
        return  # a folder that cannot be looked at: every round says so


def _within(folder: Path, apart: Sequence[Path]) -> tuple[Path, ...]:
    """Return those of some folders that lie in the one that is watched, as paths below it."""
    real = folder.resolve()
    inside = [each.resolve() for each in apart if each.resolve().is_relative_to(real)]
    if real in inside:
        what = "the folder to watch is the database, or the one in which bad files are set aside"
        raise UsageError(what, str(folder), "name another")
    return tuple(folder / each.relative_to(real) for each in inside)


@dataclass
class _Watch:
    """A folder that is watched: what its files looked like in the last look, and which of those are done with."""

    folder: Path
    pattern: str
    apart: tuple[Path, ...]
    before: dict[Path, _Look] = field(default_factory=dict)
    done: dict[Path, _Look] = field(default_factory=dict)

    def round(self, ingest: Ingest) -> Watched | None:
        """Look, and ingest what has come to rest; None where there was nothing to do."""
        try:
            there = self._looks()
        except OSError as error:
            return Watched(None, busy=f"{self.folder}: it cannot be looked at: {error.strerror or error}")
        self.done = {path: look for path, look in self.done.items() if there.get(path) == look}
        ready = sorted(p for p, look in there.items() if self.before.get(p) == look and p not in self.done)
        self.before = there
        return self._ingested(ready, ingest) if ready else None

    def _ingested(self, ready: Sequence[Path], ingest: Ingest) -> Watched:
        refused = {path: why for path in ready if (why := _unnamed(path))}
        self.done |= {path: self.before[path] for path in refused}
        named = [path for path in ready if path not in refused]
        try:
            report = ingest([str(path) for path in named]) if named else None
        except (BusyError, DiskFullError) as error:
            return Watched(None, busy=str(error), refused=tuple(refused.values()))
        again = {f.file for f in report.files if f.fault in PASSING} if report else set()
        self.done |= {path: self.before[path] for path in named if str(path) not in again}
        return Watched(report, refused=tuple(refused.values()))

    def _looks(self) -> dict[Path, _Look]:
        """Return what the files look like; one that goes away meanwhile, or a link to none, is not there."""
        if not self.folder.is_dir():
            raise FileNotFoundError("the folder is not there")
        found = {}
        for path in self.folder.glob(self.pattern):
            if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED) or self._is_apart(path):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            except OSError:  # a loop of links, a folder that may not be entered: ingesting it says what is wrong
                found[path] = _UNSEEN
                continue
            if S_ISREG(status.st_mode):
                found[path] = _Look(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return found

    def _is_apart(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.apart)


def _unnamed(path: Path) -> str | None:
    """Return what is wrong with the name of a file; None where nothing is."""
    try:
        file_name(path)
    except UsageError as error:
        return str(error)
    return None
