"""An action in a process of its own, which is killed at a named point of the write path."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from skydb.store import crashpoints

LIMIT_SECONDS = 60.0


def killed_at(point: str, action: Callable[[], object]) -> bool:
    """Run an action in a forked process that dies as by `kill -9` at `NAME:COUNT`; say whether it got there.

    The action must start no threads or processes of its own.
    """
    child = os.fork()
    if child == 0:
        _run(point, action)
    return _wait(child) == -signal.SIGKILL


def _run(point: str, action: Callable[[], object]) -> None:
    """Never returns: what is open in the parent is not closed here."""
    code = 1
    try:
        os.environ[crashpoints.VARIABLE] = point
        crashpoints.passed.update(dict.fromkeys(crashpoints.passed, 0))
        action()
        code = 0
    finally:
        os._exit(code)


def _wait(child: int) -> int:
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            assert code in (0, -signal.SIGKILL), f"the process failed with {code}"
            return code
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the process hangs")
