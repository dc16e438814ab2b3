"""Locks on folders: whoever works in a folder holds one, and the kernel lets go of it however that process ends.

They are advisory `flock`s of a local file system, and know nothing of process numbers, which are used again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def shared(folder: Path) -> Iterator[int]:
    """Hold a folder, together with others; yields the open handle.

    Raises
    ------
    FileNotFoundError
        The folder is not there, or somebody is about to remove it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not (_taken(handle, fcntl.LOCK_SH) and _is_at(handle, folder)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        yield handle
    finally:
        os.close(handle)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold a folder that nobody else holds; yields whether that is so, without waiting."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _taken(handle, fcntl.LOCK_EX) and _is_at(handle, folder)
    finally:
        os.close(handle)


def wait_alone(handle: int) -> None:
    """Wait until nobody else holds the folder of a handle."""
    fcntl.flock(handle, fcntl.LOCK_EX)


def _taken(handle: int, kind: int) -> bool:
    """Take a lock if it is free; say whether it was."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, folder: Path) -> bool:
    """Say whether an open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
