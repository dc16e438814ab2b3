"""The turn to commit: who has lost several races takes it, and other writers give way until it has committed.

Otherwise a long job, such as `apply` to the whole sky, could lose to nightly ingests for ever. The turn is a courtesy:
no commit is right because of it, and who has waited for a minute goes on without. It is a lock on the folder
`commits/`, which the kernel ends with the process that has it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .catalog import BUSY_SECONDS
from .layout import COMMITS
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
