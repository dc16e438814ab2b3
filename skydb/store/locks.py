"""Locks on folders and files: whoever works with one holds it, and the kernel lets go however that process ends.

They are advisory `flock`s of a local file system, and know nothing of process numbers, which are used again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_SECONDS = 0.002
LOCKS = Path("/proc/locks")
_HOLDER = re.compile(r"FLOCK\s+ADVISORY\s+\S+\s+(\d+)\s+([0-9a-f]+):([0-9a-f]+):(\d+)")


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
        if not (_taken(handle, fcntl.LOCK_SH) and is_at(handle, folder)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        yield handle
    finally:
        os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a folder, or a file, that nobody else holds; yields whether that is so, without waiting."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _taken(handle, fcntl.LOCK_EX) and is_at(handle, path)
    finally:
        os.close(handle)


def hold_file(path: Path) -> int:
    """Hold a file, together with others, and return the open handle; the file is made if it is not there.

    Raises
    ------
    OSError
        It is not there, and cannot be made; or it cannot be locked.
    """
    while True:
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)  # whoever has it alone only looks: `is_held`
            if is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was removed in between: a new one takes its place


@contextmanager
def waiting(path: Path, seconds: float, *, alone: bool = False) -> Iterator[bool]:
    """Hold a folder, or a file, together with others or alone, as soon as it is free; yields whether it was in time.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    handle = os.open(path, os.O_RDONLY)
    kind, until = fcntl.LOCK_EX if alone else fcntl.LOCK_SH, time.monotonic() + seconds
    try:
        while not (taken := _taken(handle, kind)) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        yield taken
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Say whether somebody holds a file, this process included."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _taken(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def holders(path: Path) -> tuple[int, ...]:
    """Return the numbers of the processes that hold a file, where the system tells them (Linux)."""
    with suppress(OSError):
        its = path.stat().st_dev, path.stat().st_ino
        found = _HOLDER.findall(LOCKS.read_text())
        places = [((os.makedev(int(a, 16), int(b, 16)), int(inode)), int(process)) for process, a, b, inode in found]
        return tuple(sorted({process for place, process in places if place == its and process}))
    return ()


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


def is_at(handle: int, folder: Path) -> bool:
    """Say whether an open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
