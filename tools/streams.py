"""Standard streams that are closed, or do not take what is written."""

from __future__ import annotations

import io
import os
import sys
from traceback import walk_tb

import click

_STDERR = 2


def prepare_streams() -> None:
    """Let a command whose stdout or stderr was closed write to nowhere, and print what is no text in escapes.

    No file that the command opens takes the number of a closed stream.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (number := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
            pass
        os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def is_of_stdout(error: BaseException) -> bool:
    """Say whether an error came from printing: raised by click's `echo`, or stdout still takes nothing."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    if frame.f_code is click.echo.__code__:  # without a buffer nothing is left to be written
        return True
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def silence_stdout() -> None:
    """Let stdout lead nowhere, or Python complains when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
