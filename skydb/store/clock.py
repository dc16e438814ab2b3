"""When snapshots were made, as far as the clocks of those who made them can be believed."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime


def made_by(connection: sqlite3.Connection, now: datetime) -> dict[int, datetime]:
    """Return for each snapshot a time by which it was made, even if a clock was set wrong meanwhile.

    A time is not believed if it is before that of an earlier snapshot, or after now; the next one that is believed
    stands for it, and now where there is none. So nothing looks older than it is.
    """
    rows = connection.execute("SELECT snapshot, time FROM snapshots ORDER BY snapshot").fetchall()
    believed, latest = {}, datetime.min.replace(tzinfo=UTC)
    for number, text in rows:
        time = datetime.fromisoformat(text)
        if latest <= time <= now:
            latest = believed[number] = time
    made, by = {}, now
    for number, _ in reversed(rows):
        by = made[number] = believed.get(number, by)
    return made
