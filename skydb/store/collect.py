"""Garbage collection: give up old snapshots, and remove the files that only they saw.

What is given up leaves the catalog by an ordinary commit, which lists the copies to be removed. They are removed after
it: a crash leaves a list and no gap, and whoever collects next goes on with it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from skydb.errors import BusyError, CommitConflict, clear_disk_errors

from .catalog import reading
from .changes import Changes
from .clock import made_by
from .commit import commit
from .hosts import storage_of
from .leases import forget_leases, leased, nobody_pins
from .leftovers import (
    SETTLING,
    Freed,
    copies_that_wait,
    orphans,
    remove_empty_folders,
    remove_listed,
    remove_parts,
    summed,
)
from .manifest import require_own_catalog
from .scratch import sweep
from .tags import live_tags, publish_stale_tags

ATTEMPTS = 5


@dataclass(frozen=True)
class Kept:
    """A snapshot that was not given up, and why.

    `reason` is "newest", "tag", "read" (somebody holds it), "grace" (another followed it not long ago), or "shared":
    giving it up frees nothing. `detail` names tags, or processes that hold it.
    """

    snapshot: int
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class GcReport:
    """What a collection did, or would do.

    Attributes
    ----------
    dry_run
        Nothing was done.
    snapshot
        The commit that gave snapshots up; None where there was nothing to gain by it.
    given_up, kept
        The snapshots that went and that stayed.
    freed, orphans
        By table, the files of given-up snapshots, and those that no commit names.
    waiting
        Copies that are needed no more but may still be read, or whose host is away.
    """

    dry_run: bool
    snapshot: int | None
    given_up: tuple[int, ...]
    kept: tuple[Kept, ...]
    freed: tuple[Freed, ...]
    orphans: tuple[Freed, ...]
    waiting: int

    @property
    def files(self) -> int:
        """All files that went."""
        return sum(f.files for f in (*self.freed, *self.orphans))

    @property
    def bytes(self) -> int:
        """All bytes that went."""
        return sum(f.bytes for f in (*self.freed, *self.orphans))


@dataclass(frozen=True)
class Choice:
    """The newest snapshot, those that nobody needs, and those that somebody does."""

    newest: int
    given_up: tuple[int, ...]
    kept: tuple[Kept, ...]


def collect(root: Path, *, grace: timedelta, now: datetime, dry_run: bool = False) -> GcReport:
    """Give up the snapshots that nobody needs, remove what only they saw, and what was left over.

    Parameters
    ----------
    grace
        How long a snapshot is kept after another has followed it; and a file, before it counts as left over.
    now
        The present time, UTC.

    Raises
    ------
    BusyError
        Others use the database all the time.
    DataError, UsageError
        The disk fails, or may not be written; the catalog is not that of the manifests; another one keeps a host.
    """
    require_own_catalog(root)
    before, settled = now - grace, now - max(grace, SETTLING)
    if dry_run:
        choice = choose(root, before, now)
        freed = unseen(root, choice.given_up)
        lost = orphans(root, before, settled, remove=False)
        return GcReport(True, None, *_of(choice, freed), freed, lost, len(copies_that_wait(root, before, now)))
    with clear_disk_errors(root):
        storage_of(root).require_kept()
        sweep(root)
        publish_stale_tags(root)
        choice, number = _give_up(root, before, now)
        freed, waiting = remove_listed(root, before, now)
        lost = orphans(root, before, settled, remove=True)
        remove_empty_folders(root)
        remove_parts(root, settled)
    return GcReport(False, number, choice.given_up, choice.kept, freed, lost, waiting)


def choose(root: Path, before: datetime, now: datetime) -> Choice:
    """Return which snapshots are needed, and which are not: those that another followed before some time."""
    with reading(root) as connection:
        rows = connection.execute("SELECT snapshot, expired_by FROM snapshots ORDER BY snapshot").fetchall()
        made = made_by(connection, now)
    tags: dict[int, list[str]] = {}
    for tag, number in live_tags(root).items():
        tags.setdefault(number, []).append(tag)
    kept, candidates = [Kept(rows[-1][0], "newest")], []
    for (number, expired_by), (follower, _) in pairwise(rows):
        if expired_by is not None:
            continue
        if number in tags:
            kept.append(Kept(number, "tag", ", ".join(tags[number])))
        elif made[follower] > before:
            followed = made[follower].isoformat(timespec="milliseconds")
            kept.append(Kept(number, "grace", f"followed {followed}"))
        else:
            candidates.append(number)
    held = leased(root, candidates)
    kept += [Kept(number, "read", _processes(holders)) for number, holders in held.items()]
    return Choice(
        rows[-1][0], tuple(n for n in candidates if n not in held), tuple(sorted(kept, key=lambda k: k.snapshot))
    )


def _processes(holders: tuple[int, ...]) -> str:
    return "" if not holders else f"process {holders[0]}" if len(holders) == 1 else f"processes {_list(holders)}"


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _of(choice: Choice, freed: tuple[Freed, ...]) -> tuple[tuple[int, ...], tuple[Kept, ...]]:
    """Return what is given up and kept, once it is known whether giving up frees anything."""
    if freed:
        return choice.given_up, choice.kept
    shared = [Kept(number, "shared") for number in choice.given_up]
    return (), tuple(sorted((*choice.kept, *shared), key=lambda k: k.snapshot))


def unseen(root: Path, given_up: tuple[int, ...]) -> tuple[Freed, ...]:
    """Return the files that no snapshot sees but some that are about to be given up, or were."""
    if not given_up:
        return ()
    going = set(given_up)
    with reading(root) as connection:
        numbers = connection.execute("SELECT snapshot FROM snapshots WHERE expired_by IS NULL ORDER BY snapshot")
        kept = [n for (n,) in numbers if n not in going]
        rows = connection.execute(
            "SELECT name, table_name, bytes, begin_snapshot, end_snapshot FROM files WHERE end_snapshot IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM files AS life WHERE life.name = files.name AND life.end_snapshot IS NULL)"
        ).fetchall()
    needed, lost = set(), {}
    for name, table, size, begin, end in rows:
        place = bisect_left(kept, begin)
        if place < len(kept) and kept[place] < end:
            needed.add(name)
        else:
            lost[name] = table, size
    return summed(entry for name, entry in lost.items() if name not in needed)


def _give_up(root: Path, before: datetime, now: datetime) -> tuple[Choice, int | None]:
    """Commit that snapshots are given up, while nobody can pin one of them; None where that frees nothing."""
    for _ in range(ATTEMPTS):
        choice = choose(root, before, now)
        given_up, kept = _of(choice, unseen(root, choice.given_up))
        if not given_up:
            return replace(choice, given_up=(), kept=kept), None
        with nobody_pins(root):
            if leased(root, given_up):
                continue
            try:
                number = commit(root, Changes("gc", f"gc {root}", choice.newest, expires=given_up))
            except CommitConflict:  # one of them has got a tag
                continue
        forget_leases(root, given_up)
        return choice, number
    raise BusyError("others read and tag the snapshots that nobody needed", str(root), "wait and try again")
