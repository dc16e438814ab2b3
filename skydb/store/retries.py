"""Commits tried again, from the new state, where another writer came first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from skydb.errors import CommitConflict

from .turns import turn

ATTEMPTS = 10
RACES = 3
"""Races lost before other writers have to give way."""

Answer = TypeVar("Answer")


def until_committed(
    root: Path, attempt: Callable[[], Answer], *, after_conflict: Callable[[], object] = bool
) -> Answer:  # fmt: skip
    """Attempt again as long as other writers come first; after a few times they have to give way.

    Parameters
    ----------
    root
        The database.
    attempt
        Reads the newest state, and commits on top of it.
    after_conflict
        Clears up what an attempt has left.

    Raises
    ------
    CommitConflict
        Others came first every time.
    """
    with ExitStack() as held:
        for lost in range(1, ATTEMPTS):
            try:
                return attempt()
            except CommitConflict:
                after_conflict()
            if lost == RACES:
                held.enter_context(turn(root))
        return attempt()
