"""Every error that skydb raises on purpose, grouped by who has to act.

    SkydbError
    ├── UsageError     fix the call            exit code 2
    ├── DataError      fix the data            exit code 3   (or the disk that they lie on)
    │   └── DiskFullError    make room on it
    └── BusyError      wait and try again      exit code 4
        └── CommitConflict   another writer came first; the caller starts again from the new state

An error keeps its raw parts (`what`, `where`, `todo`) and builds its text in `__str__`, so that it
survives the way back from a worker process.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath


class SkydbError(Exception):
    """The root of all errors that skydb raises on purpose."""

    exit_code = 1

    def __init__(self, what: str, where: str | None = None, todo: str | None = None) -> None:
        super().__init__(what, where, todo)
        self.what, self.where, self.todo = what, where, todo

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.todo}" if self.todo else text


class UsageError(SkydbError):
    """The call is wrong: an option, a name, a value."""

    exit_code = 2


class DataError(SkydbError):
    """The data are wrong: a file, a row, a stored table."""

    exit_code = 3


class DiskFullError(DataError):
    """No space is left on a disk, or of a quota."""


class BusyError(SkydbError):
    """Somebody else holds what is needed: wait and try again."""

    exit_code = 4


class CommitConflict(BusyError):
    """Another writer committed first to what this commit has read."""


class SkydbWarning(UserWarning):
    """The root of all warnings of skydb."""


_FREE_SPACE = "free some space and run the command again: nothing is left half done"
_ALLOW = "ask its owner for the right, or work on a copy"
_OF_DISK: dict[int, tuple[type[SkydbError], str, str]] = {
    errno.ENOSPC: (DiskFullError, "no space left on device", _FREE_SPACE),
    errno.EDQUOT: (DiskFullError, "disk quota exceeded", _FREE_SPACE),
    errno.EFBIG: (DataError, "file too large", "raise the limit (ulimit -f) and run the command again"),
    errno.EIO: (DataError, "input/output error", "check the disk, then run the command again"),
    errno.EROFS: (UsageError, "the file system is read-only", "mount it writable, or work on a copy"),
    errno.EACCES: (UsageError, "permission denied", _ALLOW),
    errno.EPERM: (UsageError, "operation not permitted", _ALLOW),
}
"""What a disk refuses, by number: who has to act, what, and what to do."""


def disk_error(error: OSError, where: str | PathLike[str]) -> SkydbError | None:
    """Return an error of skydb for what a full, failing or closed disk raised; None where the disk is not to blame.

    `where` is named if the error itself names no file.
    """
    if error.errno not in _OF_DISK:
        return None
    kind, what, todo = _OF_DISK[error.errno]
    return kind(what, str(error.filename or fspath(where)), todo)


def is_of_full_disk(error: BaseException | None) -> bool:
    """Say whether a full disk, or quota, is behind an error."""
    while error is not None:
        if isinstance(error, DiskFullError) or (
            isinstance(error, OSError) and _OF_DISK.get(error.errno or 0, (None,))[0] is DiskFullError
        ):
            return True
        error = error.__cause__
    return False


@contextmanager
def clear_disk_errors(where: str | PathLike[str]) -> Iterator[None]:
    """Raise what the disk refuses in the block as an error of skydb; every other error passes as it is."""
    try:
        yield
    except OSError as error:
        clear = disk_error(error, where)
        if clear is None:
            raise
        raise clear from error


@contextmanager
def done_so_far(what: str, where: str | PathLike[str]) -> Iterator[None]:
    """Say of what the disk refuses in the block that `what` stands all the same, and how the rest is completed."""
    try:
        yield
    except (OSError, DataError, UsageError) as error:
        clear = disk_error(error, where) if isinstance(error, OSError) else error
        if clear is None:
            raise
        todo = "see to it, then run `skydb status`, which completes it"
        raise type(clear)(f"{what}, but not yet all that goes with it: {clear.what}", clear.where, todo) from error


def in_ranges(numbers: Sequence[int]) -> str:
    """Return sorted whole numbers as text; runs of them, and the last ones only of very many.

    >>> in_ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[-20:])
    return f"…, {shown}" if len(runs) > 20 else shown


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return advice that names the closest known name; where none is close, the first of them all.

    >>> did_you_mean("GPC1.g.XY99", ["GPC1.g.XY01", "GPC1.r.XY01"])
    "did you mean 'GPC1.g.XY01'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}" if shown else "none is known yet"
