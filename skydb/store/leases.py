"""Leases: who reads a snapshot holds it, so that `gc` gives up none that somebody reads.

A lease is a shared lock on `leases/<snapshot>`; the kernel ends it with the process that has it, however that ends. The
folder itself is the gate: who pins a snapshot holds it, together with others, from looking up the number until the
lease is taken, and `gc` holds it alone from looking for leases until its commit. So neither can miss the other.

Where no file can be opened or locked there is no lease, and the reader is safe for the grace time, or by a tag.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from skydb.errors import BusyError

from .catalog import BUSY_SECONDS
from .layout import LEASES, lease_path
from .locks import hold_file, holders, is_at, is_held, waiting

_OUR_LIMIT = frozenset({errno.EMFILE, errno.ENFILE})
"""What says that this process has too many files open; whatever else is refused, there can be no lease."""


class Lease:
    """A snapshot is being read; the lease ends with this object, and in any case with its process."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        weakref.finalize(self, os.close, handle).atexit = False


_held: weakref.WeakValueDictionary[Path, Lease] = weakref.WeakValueDictionary()
_guard = threading.Lock()


@contextmanager
def pinning(root: Path) -> Iterator[None]:
    """Keep `gc` from giving up anything while a snapshot is looked up and leased, where that can be.

    Raises
    ------
    BusyError
        `gc` has not come to an end for a minute.
    """
    with ExitStack() as held:
        try:
            in_time = held.enter_context(waiting(_folder(root), BUSY_SECONDS))
        except OSError as error:
            if error.errno in _OUR_LIMIT:
                raise
            in_time = True
        if not in_time:
            raise BusyError("a `skydb gc` is giving up snapshots", str(root), "wait and try again")
        yield


def take_lease(root: Path, snapshot: int) -> Lease | None:
    """Hold a snapshot, inside `pinning`; None where that cannot be. A process has one lease of each."""
    path = lease_path(root, snapshot)
    with _guard:
        lease = _held.get(path)
        if lease is None or not is_at(lease.handle, path):
            try:
                lease = Lease(hold_file(path))
            except OSError as error:
                if error.errno in _OUR_LIMIT:
                    raise
                return None
            _held[path] = lease
    return lease


def offer_lease(root: Path, snapshot: int) -> None:
    """Make the file of a new snapshot's leases, for those who may read here and not write."""
    with suppress(OSError):
        os.close(os.open(lease_path(root, snapshot), os.O_RDONLY | os.O_CREAT, 0o666))


@contextmanager
def nobody_pins(root: Path) -> Iterator[None]:
    """Keep everybody from pinning a snapshot as long as the block lasts.

    Raises
    ------
    BusyError
        For a minute there was always somebody.
    """
    with waiting(_folder(root), BUSY_SECONDS, alone=True) as in_time:
        if not in_time:
            raise BusyError("other processes open the database all the time", str(root), "wait and try again")
        yield


def leased(root: Path, snapshots: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """Return those of some snapshots that somebody holds, with the numbers of the processes as far as they are known.

    A lease that is taken at the same time may be missed, unless `nobody_pins`.
    """
    held = [number for number in snapshots if is_held(lease_path(root, number))]
    return {number: holders(lease_path(root, number)) for number in held}


def forget_leases(root: Path, snapshots: Iterable[int]) -> None:
    """Remove the files of snapshots that were given up."""
    for number in snapshots:
        lease_path(root, number).unlink(missing_ok=True)


def _folder(root: Path) -> Path:
    """Return the folder of leases, made where it is not there and can be."""
    folder = root / LEASES
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
    return folder
