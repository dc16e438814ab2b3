"""The verbs on snapshots: `diff`, `rollback`, `gc`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import PathLike

from skydb import database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.store.collect import GcReport, collect
from skydb.store.difference import Difference, difference
from skydb.store.retries import until_committed
from skydb.store.rollback import rollback_changes

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class RollbackReport:
    """What a rollback did.

    `snapshot` is the newest one now, and has what `to` has; `is_new` says whether it was made, or the database was so
    already. `n_returned`, `n_ended` count files.
    """

    snapshot: int
    to: int
    calibration_id: int
    is_new: bool
    n_returned: int
    n_ended: int


def diff(db: Database | str | PathLike[str], before: int | str, after: int | str | None = None) -> Difference:
    """Say what differs between two snapshots of a database, from its catalog alone.

    Parameters
    ----------
    db
        The database, or its path.
    before, after
        Numbers or tags; `after` None: the newest.

    Raises
    ------
    UsageError
        There is no such snapshot or tag, or it was given up.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    first, second = opened.snapshot(before), opened.snapshot(after)
    return difference(first, second)


def rollback(db: Database | str | PathLike[str], to: int | str) -> RollbackReport:
    """Make a new snapshot that has what an earlier one has: rows, cells, ingest log, current calibration.

    Nothing is lost: the snapshots between stay, and can be gone back to in the same way, until `gc` gives them up. Tags
    and hosts stay as they are. A file that was ingested since can be ingested again.

    Parameters
    ----------
    db
        The database, or its path.
    to
        Number or tag of the snapshot to go back to.

    Raises
    ------
    UsageError
        There is no such snapshot or tag, or it was given up.
    CommitConflict
        Other writers came first again and again.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    target = opened.snapshot(to)

    def attempt() -> RollbackReport:
        newest = opened.snapshot()
        changes = rollback_changes(newest, target)
        if changes is None:
            return RollbackReport(newest.id, target.id, newest.calibration_id, False, 0, 0)
        number, counts = opened.commit(changes), (len(changes.adds), len(changes.replaces))
        return RollbackReport(number, target.id, target.calibration_id, True, *counts)

    return until_committed(opened.root, attempt)


def gc(
    db: Database | str | PathLike[str], *, grace: str | timedelta = "7d", dry_run: bool = False,
    now: datetime | None = None,
) -> GcReport:  # fmt: skip
    """Give up old snapshots, and remove the files that only they saw and those that nothing names.

    Kept are the newest snapshot, those with a tag, those that a process reads, and those that were the newest within
    the grace time. Crashed half-way, the next call finishes the work.

    Parameters
    ----------
    db
        The database, or its path.
    grace
        How long a snapshot is kept after another has followed it, such as "12h", "7d", "2w"; "0": not at all.
    dry_run
        Say what would go, and change nothing.
    now
        The present time; by default the clock's.

    Raises
    ------
    UsageError
        The grace time is none; the database may not be written.
    BusyError
        Others use the database all the time.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    return collect(opened.root, grace=time_span(grace), now=now or datetime.now(UTC), dry_run=dry_run)


def time_span(text: str | timedelta) -> timedelta:
    """Return a span of time that is written as a number and a unit.

    >>> time_span("36h"), time_span("0"), time_span("1.5d")
    (datetime.timedelta(days=1, seconds=43200), datetime.timedelta(0), datetime.timedelta(days=1, seconds=43200))

    Raises
    ------
    UsageError
        It is none, or is below 0.
    """
    if isinstance(text, timedelta) and text >= timedelta(0):
        return text
    match = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]+)?)\s*(s|min|h|d|w)\s*|\s*0\s*", str(text))
    if match is None:
        raise UsageError(f"{text!r} is no span of time", "grace", "write a number and s, min, h, d or w, such as 7d")
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match[2] else timedelta(0)
