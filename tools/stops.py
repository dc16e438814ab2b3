"""Signals that stop a command, which then clears up as after an error; none is lost.

A signal raises `Stopped` wherever the main thread is. Code that drops every error, as C code does that asks whether
something can be imported, drops this one too, and would go on. So a `Stopped` that is gone while the command still
runs is raised again.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
"""Signals that stop a command, which clears up and says so; its exit code is then 128 and the signal's number."""

AGAIN_S = 0.01
"""How long after it was dropped a `Stopped` is raised again: not where it was dropped, which drops all of them."""


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end; it unwinds as after Ctrl-C."""


class Stop:
    """What signals asked of one run of the command line.

    Attributes
    ----------
    number
        The first of them; None as long as none came.
    over
        The run has come to its end: what comes now comes too late, and raises nothing.
    """

    def __init__(self) -> None:
        self.number: signal.Signals | None = None
        self.over = False
        self._raised: weakref.ref[Stopped] | None = None
        self._sending = threading.Lock()
        self._dropping = False

    def hear(self, number: int, _: object) -> None:
        """Handle a signal: raise `Stopped`, once. A batch system sends it again and again: let the clearing up end."""
        self.number = self.number or signal.Signals(number)
        if self._dropping:  # what is raised in there is dropped too
            self._raise_again()
            return
        on_its_way = self._raised is not None and self._raised() is not None
        if self.over or (on_its_way and number != signal.SIGINT):  # who types it again, means it
            return
        raise self._stopped()  # no local variable: the traceback would keep it, and with it itself

    def _stopped(self) -> Stopped:
        error = Stopped()
        self._raised = weakref.ref(error, self._gone)
        return error

    def _gone(self, _: object) -> None:
        self._dropping = True
        self._raise_again()
        self._dropping = False

    def _raise_again(self) -> None:
        """Have the signal sent again soon; without waiting for the thread to begin, as `threading` does."""
        _thread.start_new_thread(self._send, ())

    def _send(self) -> None:
        time.sleep(AGAIN_S)
        with self._sending:
            if not self.over and self.number is not None:
                signal.pthread_kill(threading.main_thread().ident or 0, self.number)

    def end(self) -> None:
        """Take the run to its end."""
        self.over = True
        with self._sending:  # what is being sent comes before other handlers do
            pass


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let SIGTERM and SIGHUP stop the block as Ctrl-C does; a signal that the caller ignores stays ignored."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, stop.hear)
    try:
        yield stop
    finally:
        stop.end()
        for number in heard:
            signal.signal(number, before[number])
