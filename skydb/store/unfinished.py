"""Jobs that can be continued: what was cut short stays in its folder in `work/`, with the files that it had stored.

Such a job describes itself in `job.json`, and adds a line to `done.jsonl` for every cell that it has done. Killed,
stopped or failed, it is kept until it is continued, another of its kind has committed, or it has rested for a week. A
full disk ends it, to make room. Who works on it holds `job.json` alone.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from skydb.errors import SkydbError

from .catalog import reading
from .commit import now
from .crashpoints import reached
from .files import write_durably
from .layout import WORK
from .locks import is_held

JOB = "job.json"
DONE = "done.jsonl"
FORMAT = 1
KEPT = timedelta(days=7)
"""How long a job that rests can be continued."""


@dataclass(frozen=True)
class Unfinished:
    """A job that was cut short.

    Attributes
    ----------
    folder
        Where it was at work.
    kind, command
        Of the commit that it was to make.
    begun, until
        When it began, and until when it is kept; UTC, ISO 8601.
    n_cells, n_done
        How many cells it had to do, and has done.
    about
        What it has written down of itself, besides.
    is_at_work
        Somebody works on it.
    """

    folder: Path
    kind: str
    command: str
    begun: str
    until: str
    n_cells: int
    n_done: int
    about: dict[str, Any]
    is_at_work: bool

    def __str__(self) -> str:
        done = f"{self.n_done} of {self.n_cells} cells done"
        return f"{self.kind} of {self.begun[:16]}Z, {done}, kept until {self.until[:16]}Z"


class Journal:
    """Lines that a job adds one by one; one that a crash has cut off or spoiled is not there."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a job's folder."""
        self._path = folder / DONE

    def add(self, key: str, words: Any) -> None:
        """Add a line about a cell. It begins a new line itself: the one before may be cut off."""
        text = f"{key} {json.dumps(words, separators=(',', ':'))}"
        with self._path.open("a") as file:
            file.write(f"\n{_checked(text)}")
        reached("job.cell-done")

    def __iter__(self) -> Iterator[Any]:
        """Yield what was added."""
        for text in self._texts():
            yield json.loads(text.split(" ", 1)[1])

    def keys(self) -> set[str]:
        """Return the cells that it tells of."""
        return {text.split(" ", 1)[0] for text in self._texts()}

    def _texts(self) -> Iterator[str]:
        with suppress(FileNotFoundError), self._path.open(errors="replace") as file:
            for line in file:
                text = line[9:].rstrip("\n")
                if text and line.startswith(_checked(text)):
                    yield text


def _checked(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x} {text}"


def describe_job(
    folder: Path, *, kind: str, command: str, head: int, n_cells: int, about: dict[str, Any]
) -> None:  # fmt: skip
    """Write down what a job is, last of what it takes to continue it: from now on it is kept.

    `head` is the newest snapshot.
    """
    words = {
        "format": FORMAT, "kind": kind, "command": command, "begun": now(), "head": head, "n_cells": n_cells,
        "about": about,
    }  # fmt: skip
    write_durably(folder / JOB, lambda path: path.write_text(json.dumps(words, indent=1) + "\n"))
    reached("job.described")


def kept_kind(root: Path, folder: Path) -> str | None:
    """Return of what kind the job of a folder is, if it could be continued.

    It is described, has not rested for too long, and none of its kind was committed since it began, itself or another.

    Raises
    ------
    SkydbError
        The catalog cannot be asked.
    """
    job = _described(folder)
    return job["kind"] if job and _is_kept(root, job) else None


def unfinished_jobs(root: Path, kind: str | None = None) -> list[Unfinished]:
    """Return the jobs of a kind, or of all, that were cut short and that nobody continues yet; the newest last."""
    return [job for job in described_jobs(root, kind) if not job.is_at_work]


def described_jobs(root: Path, kind: str | None = None) -> list[Unfinished]:
    """Return the jobs of a kind, or of all, that can be continued or are at work; the newest last."""
    found = []
    for folder in (root / WORK).glob("*/"):
        with suppress(OSError, SkydbError):
            job = _described(folder)
            if job and kind in (None, job["kind"]) and _is_kept(root, job):
                until = datetime.fromtimestamp(job["rests_since"], UTC) + KEPT
                found.append(Unfinished(
                    folder, job["kind"], job["command"], job["begun"], until.isoformat(timespec="seconds"),
                    job["n_cells"], len(Journal(folder).keys()), job["about"], is_held(folder / JOB),
                ))  # fmt: skip
    return sorted(found, key=lambda job: job.begun)


def _is_kept(root: Path, job: dict[str, Any]) -> bool:
    if not abs(time.time() - job["rests_since"]) < KEPT.total_seconds():
        return False
    with reading(root) as connection:
        query = "SELECT 1 FROM snapshots WHERE snapshot > ? AND kind = ? LIMIT 1"
        return connection.execute(query, (job["head"], job["kind"])).fetchone() is None


def _described(folder: Path) -> dict[str, Any] | None:
    """Return what `describe_job` wrote, and since when the job rests.

    None where it wrote nothing, or another version of skydb something else.
    """
    try:
        job = json.loads((folder / JOB).read_text())
        known = job["format"] == FORMAT and isinstance(job["head"], int)
        if not known:
            return None
        return {**job, "kind": str(job["kind"]), "begun": str(job["begun"]), "rests_since": _rests_since(folder)}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _rests_since(folder: Path) -> float:
    """Return when a job was described, or did its last cell."""
    times = [0.0]
    for name in (JOB, DONE):
        with suppress(FileNotFoundError):
            times.append((folder / name).stat().st_mtime)
    return max(times)
