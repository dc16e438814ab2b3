"""Commits tried again, from the new state, where another writer came first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from skydb.errors import CommitConflict

ATTEMPTS = 10
Answer = TypeVar("Answer")


def until_committed(attempt: Callable[[], Answer], *, after_conflict: Callable[[], object] = bool) -> Answer:
    """Attempt again as long as other writers come first, a few times.

    Parameters
    ----------
    attempt
        Reads the newest state, and commits on top of it.
    after_conflict
        Clears up what an attempt has left.

    Raises
    ------
    CommitConflict
        Others came first every time.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except CommitConflict:
            after_conflict()
    return attempt()
