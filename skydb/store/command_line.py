"""The command that a snapshot records: the words as typed, or those that would do what a Python call does."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

MOST_NAMES = 6
"""Words in a row without an option, such as file names, of which all are recorded; of more, the first four."""
SHOWN_NAMES = 4
LONGEST = 2_000
"""Characters of a recorded command at most."""

_TYPED: ContextVar[str | None] = ContextVar("typed", default=None)


@contextmanager
def typed(words: Sequence[str]) -> Iterator[None]:
    """Let every commit of the block record these words, whichever verb makes it."""
    token = _TYPED.set(one_line(words))
    try:
        yield
    finally:
        _TYPED.reset(token)


def recorded(command: str) -> str:
    """Return what a commit records: what was typed, or, in a Python call, `command`."""
    return _TYPED.get() or command


def one_line(words: Sequence[str]) -> str:
    """Return words as a shell would take them, of long lists of names the first and how many more there were.

    >>> one_line(["addstar", "a b.sky", *(f"{n}.smf" for n in range(99)), "--photcode", "C.R"])
    "addstar 'a b.sky' 0.smf 1.smf … (+97 more) --photcode C.R"
    """
    runs: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-") or (runs[-1] and runs[-1][0].startswith("-") and len(runs[-1]) == 2):
            runs.append([])
        runs[-1].append(word)
    line = " ".join(_shortened(run) for run in runs if run)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _shortened(run: Sequence[str]) -> str:
    """A run of words without options between; its first may be an option."""
    if len(run) <= MOST_NAMES:
        return shlex.join(run)
    return f"{shlex.join(run[:SHOWN_NAMES])} … (+{len(run) - SHOWN_NAMES} more)"
