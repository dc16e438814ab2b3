"""Turns: who is to commit next, and who alone moves files between hosts.

The turn to commit is taken by who has lost several races, and other writers give way until it has committed; otherwise
a long job, such as `apply` to the whole sky, could lose to nightly ingests for ever. It is a courtesy: no commit is
right because of it, and who has waited for a minute goes on without. Turns are locks on folders, which the kernel ends
with the process that has them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from skydb.errors import BusyError

from .catalog import BUSY_SECONDS
from .layout import COMMITS, DATA
from .locks import waiting

_ours = threading.local()
"""Of each thread: the database that it has the turn of."""


@contextmanager
def turn(root: Path) -> Iterator[None]:
    """Let other writers of a database give way as long as the block lasts; where there are no locks, none does."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(waiting(root / COMMITS, BUSY_SECONDS, alone=True))
        _ours.root = root
        try:
            yield
        finally:
            _ours.root = None


def give_way(root: Path) -> None:
    """Wait, at most a minute, until nobody else has the turn."""
    if getattr(_ours, "root", None) != root:
        with suppress(OSError), waiting(root / COMMITS, BUSY_SECONDS):
            pass


@contextmanager
def only_mover(root: Path, seconds: float = BUSY_SECONDS) -> Iterator[None]:
    """Be the only one that copies files which the catalog names to other hosts, or clears up after such a one.

    Raises
    ------
    BusyError
        Another process is, for as long.
    """
    with waiting(root / DATA, seconds, alone=True) as in_time:
        if not in_time:
            raise BusyError("another process is moving files between hosts", str(root), "wait and try again")
        yield
