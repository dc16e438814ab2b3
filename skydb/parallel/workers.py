"""What a worker process does first: it takes one thread, leaves signals to its parent, and dies with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def start_worker(parent: int) -> None:
    """Prepare a new worker process of a parent."""
    import pyarrow as pa

    die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all of a terminal or a batch job at once
        signal.signal(number, signal.SIG_IGN)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone, even in the middle of a compiled kernel.

    Linux only; elsewhere a worker ends when it has waited for its next task for too long. The kernel watches the thread
    that started the worker, and loky keeps one pool for each thread: neither outlives the other.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the kernel was asked
        os._exit(1)
