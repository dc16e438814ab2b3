"""What a worker process does first: it takes one thread, leaves signals to its parent, and dies with it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Lifeline:
    """A pipe that a process holds open at both ends for as long as it lives, by the number of its reading end."""

    process: int
    reader: int


def lifeline() -> Lifeline:
    """Return the lifeline of this process."""
    return _lifeline_of(os.getpid())


@cache
def _lifeline_of(process: int) -> Lifeline:
    reader, _ = os.pipe()
    return Lifeline(process, reader)


def start_worker(parent: Lifeline) -> None:
    """Prepare a new worker process of a parent."""
    import pyarrow as pa

    die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all of a terminal or a batch job at once
        signal.signal(number, signal.SIG_IGN)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def die_with(parent: Lifeline) -> None:
    """Have the kernel end this process when its parent is gone, even in the middle of a compiled kernel.

    The kernel sends SIGIO when the pipe has lost its last writer. A parent-death signal would care for the thread that
    started the worker, not for its process. Linux only: elsewhere a worker ends when it has idled for too long.
    """
    if sys.platform != "linux":
        return
    try:
        pipe = os.open(Path(f"/proc/{parent.process}/fd/{parent.reader}"), os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        os._exit(1)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    try:
        os.read(pipe, 1)
    except BlockingIOError:
        return
    os._exit(1)  # the end of the file: the parent went before the kernel was asked
