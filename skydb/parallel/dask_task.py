"""What a Dask worker does with a batch: one thread, the caller's folder, one item after another."""

from __future__ import annotations

import os
import pickle
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

_one_at_a_time = threading.Lock()
"""A worker's threads share its folder, and Python's lock: a second task beside the first would gain nothing."""

_callers: set[int] = set()
"""This process, if it calls tasks: a cluster inside it (`processes=False`) leaves its threads alone."""


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: the answers up to the first error, and that."""

    answers: tuple[Any, ...]
    error: Exception | None = None


def shipped(client: Any, task: Callable[[Any], Any], *, above: int) -> Any:
    """Return a task as it travels: as bytes; as a future of them where there are many, which workers fetch once."""
    _callers.add(os.getpid())
    text = packed(task)
    return client.submit(bytes, text, pure=False) if len(text) > above else text


def packed(thing: object) -> bytes:
    """Return something as bytes: Dask would look for tasks of its own in it."""
    from distributed.protocol.pickle import dumps

    text: bytes = dumps(thing)
    return text


def run_batch(task: bytes, items: bytes, folder: str) -> Outcome:
    """Work on the items of a batch, in a folder where there is one of that name."""
    with _one_at_a_time:
        if os.getpid() not in _callers:
            _take_one_thread()
            _enter(folder)
        answers = []
        for item in pickle.loads(items):
            try:
                answers.append(_loaded(task)(item))
            except Exception as error:
                return Outcome(tuple(answers), _portable(error))
        return Outcome(tuple(answers))


@lru_cache(maxsize=4)
def _loaded(task: bytes) -> Callable[[Any], Any]:
    call: Callable[[Any], Any] = pickle.loads(task)
    return call


@cache
def _take_one_thread() -> None:
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def _enter(folder: str) -> None:
    """Go where the caller is, so that relative paths mean the same; where they mean nothing, let none resolve."""
    there = folder if os.path.isdir(folder) else os.sep
    if os.getcwd() != there:
        os.chdir(there)


def _portable(error: Exception) -> Exception:
    """Return an error that can travel, with where it was raised written below it."""
    error.add_note(f"in a worker:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
