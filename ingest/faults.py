"""Whose fault it is that a file failed: what decides whether it is moved away, and whether to try it again.

A file is at fault only if reading it failed for what it holds. One that a disk could not give, that is being written or
whose images are there already is a good file.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Literal

from skydb.errors import BusyError, DiskFullError, UsageError, disk_error

from .readers.interface import MissingError

Fault = Literal["content", "database", "call", "disk", "busy"]
"""What has to change: what the file holds; the database, which has its images or is not for them; the call, which names
what is not there, may not be read or needs more than there is; a full or failing disk; or nothing but the time."""

PASSING: tuple[Fault, ...] = ("disk", "busy")
"""What may be over when the file is tried again as it is."""

_OF_CONTENT = (errno.EINVAL, errno.EOVERFLOW)
"""What the system says to one who follows a damaged file: a place before its start, or beyond all files."""
_OF_CALL = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


def fault_of(error: BaseException) -> Fault:
    """Return whose fault an error is that reading a file raised, by what is behind it.

    What is no error of skydb or the system is taken for what the file holds: damaged files find many ways to fail.
    """
    for cause in _causes(error):
        found = _of_system(cause)
        if found is not None:
            return found
    if isinstance(error, BusyError):
        return "busy"
    return "call" if isinstance(error, MissingError | UsageError) else "content"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _of_system(error: BaseException) -> Fault | None:
    """Return whose fault it is if the system raised an error, or memory or a disk is full; None for other errors."""
    if isinstance(error, DiskFullError):
        return "disk"
    if isinstance(error, MemoryError):
        return "call"
    if not isinstance(error, OSError) or error.errno is None or error.errno in _OF_CONTENT:
        return None
    return "call" if error.errno in _OF_CALL or isinstance(disk_error(error, ""), UsageError) else "disk"
