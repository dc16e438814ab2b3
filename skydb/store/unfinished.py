"""Jobs that can be continued: what was cut short stays in its folder in `work/`, with the files that it had stored.

Such a job describes itself in `job.json`, and adds a line to `done.jsonl` for every item that it has done. Killed,
stopped or failed, it is kept until it is continued, another of its kind takes its place, or a week has passed. A full
disk ends it, to make room.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from skydb.errors import SkydbError

from .crashpoints import reached
from .files import write_durably
from .layout import WORK
from .locks import waiting
from .notes import known_hosts, names_noted_in

JOB = "job.json"
DONE = "done.jsonl"
KEPT = timedelta(days=7)
"""How long after its last start a job can be continued."""
LOOKED_AT_SECONDS = 0.05
"""How long a folder is waited for that somebody holds: others who look at it hold it for a moment."""


@dataclass(frozen=True)
class Unfinished:
    """A job that was cut short: its folder, what it is, and how many of its items it has done.

    `about` is what it has written down of itself, besides.
    """

    folder: Path
    kind: str
    command: str
    begun: str
    n_items: int
    n_done: int
    about: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} of {self.begun[:16]}Z, {self.n_done} of {self.n_items} cells done"


class Journal:
    """Lines that a job adds one by one; one that a crash has cut off or spoiled is not there."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a job's folder."""
        self._path = folder / DONE

    def add(self, words: Any) -> None:
        """Add a line of JSON. It begins a new line itself: the one before may be cut off."""
        text = json.dumps(words, separators=(",", ":"))
        with self._path.open("a") as file:
            file.write(f"\n{_checked(text)}")
        reached("job.item-done")

    def __iter__(self) -> Iterator[Any]:
        """Yield what was added."""
        with suppress(FileNotFoundError), self._path.open(errors="replace") as file:
            for line in file:
                text = line[9:].rstrip("\n")
                if text and line.startswith(_checked(text)):
                    yield json.loads(text)


def _checked(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x} {text}"


def describe_job(folder: Path, kind: str, command: str, n_items: int, begun: str, about: dict[str, Any]) -> None:
    """Write down what a job is, last of what it takes to continue it: from now on it is kept."""
    text = json.dumps(
        {"kind": kind, "command": command, "begun": begun, "n_items": n_items, "about": about}, indent=1
    )
    write_durably(folder / JOB, lambda path: path.write_text(text + "\n"))
    reached("job.described")


def is_kept(root: Path, folder: Path) -> bool:
    """Say whether a job that nobody works on can be continued: it is described, not too old, and not committed.

    A job commits all its files at once: when one of them is named, it is done.

    Raises
    ------
    SkydbError
        The catalog cannot be asked.
    """
    try:
        age = time.time() - (folder / JOB).stat().st_mtime
    except FileNotFoundError:
        return False
    return age < KEPT.total_seconds() and not known_hosts(root, names_noted_in(folder))


def kind_of(folder: Path) -> str | None:
    """Return of what kind the job of a folder is, if it is described."""
    job = _described(folder)
    return str(job["kind"]) if job else None


def about_job(folder: Path) -> dict[str, Any]:
    """Return what the job of a folder has written down of itself, besides what every job does."""
    job = _described(folder)
    return dict(job["about"]) if job else {}


def unfinished_jobs(root: Path, kind: str | None = None) -> list[Unfinished]:
    """Return the jobs of a kind, or of all, that were cut short and that nobody continues yet; the newest last."""
    found = []
    for folder in (root / WORK).glob("*/"):
        with suppress(OSError, SkydbError), waiting(folder, LOOKED_AT_SECONDS, alone=True) as left:
            job = _described(folder) if left and is_kept(root, folder) else None
            if job and kind in (None, job["kind"]):
                found.append(Unfinished(folder, n_done=sum(1 for _ in Journal(folder)), **job))
    return sorted(found, key=lambda job: job.begun)


def _described(folder: Path) -> dict[str, Any] | None:
    try:
        job: dict[str, Any] = json.loads((folder / JOB).read_text())
    except FileNotFoundError:
        return None
    return job


def renew(folder: Path) -> None:
    """Keep a job for a week from now."""
    os.utime(folder / JOB)
