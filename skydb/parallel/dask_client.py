"""The connection with a Dask scheduler: one client for each address, questions that end, losses that are said once."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from skydb.errors import SkydbError, UsageError

CONNECT_SECONDS = 10

ANSWER_SECONDS = 30.0
"""How long the scheduler may take to answer: one that is stopped, or whose network is cut, never does."""

KILL_SECONDS = 10.0
"""How long the nanny of a worker may take to kill it, before the scheduler goes on without."""

CLOSE_SECONDS = 2.0

INSTALL = "pip install 'skydb[cluster]'"

_clients: dict[str, Any] = {}


def connect(address: str) -> Any:
    """Return a client of the scheduler at an address, the same for every call while it is connected.

    Raises
    ------
    UsageError
        Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
    except ImportError as error:
        raise UsageError("Dask is not installed", "--cluster", INSTALL) from error
    known = _clients.get(address)
    if known is not None and known.status == "running":
        return known
    _keep_quiet_about_losses()
    if known is not None:
        _close(_clients.pop(address))
    try:
        scheme, place = parse_address(address)
        if scheme in ("tcp", "tls"):
            parse_host_port(place)  # a client of no port does not end well
        opened = called_aside(partial(Client, address, timeout=CONNECT_SECONDS, set_as_default=False))
        client = opened.result(2 * CONNECT_SECONDS)  # a stopped scheduler holds it for longer than that timeout
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        todo = "start one with `dask scheduler`, and give the address that it prints, such as tcp://10.0.0.1:8786"
        raise UsageError("no Dask scheduler answers", address, todo) from error
    _clients[address] = client
    return client


@atexit.register
def disconnect() -> None:
    """Let go of all schedulers; at the end of a process, while there are still threads to do so."""
    while _clients:
        _close(_clients.popitem()[1])


def workers_at(client: Any, address: str) -> dict[str, dict[str, Any]]:
    """Return what the scheduler of a client says of its workers, by their addresses.

    Raises
    ------
    SkydbError
        It is gone, or does not answer.
    """
    if client.status != "running":
        raise scheduler_gone(address)
    try:
        about: dict[str, dict[str, Any]] = _asked(client, client.scheduler.identity)["workers"]
    except TimeoutError as error:
        todo = "is it stopped, or its network cut? see to it, and run the command again: nothing is left half done"
        raise SkydbError(f"the Dask scheduler has not answered for {ANSWER_SECONDS:g} s", address, todo) from error
    except (OSError, AttributeError) as error:  # the client was closed since
        raise scheduler_gone(address) from error
    return about


def restart_holders(client: Any, workers: Sequence[str], keys: Set[str]) -> None:
    """Have those workers that hold a task of some keys, or its answer, restarted; one without a nanny is let go.

    It is what the scheduler does by itself with a worker that it has not heard of for `worker-ttl`.
    """
    for worker in workers:
        with suppress(OSError, KeyError, AttributeError):  # it left; or the scheduler did, which the next look tells
            at_work = _asked(client, client.scheduler.processing, workers=[worker])[worker]
            done = _asked(client, client.scheduler.has_what, workers=[worker])[worker]
            if keys.isdisjoint([*at_work, *done]):
                continue
            _asked(
                client, client.scheduler.restart_workers, workers=[worker], timeout=KILL_SECONDS,
                wait_for_workers=False, on_error="return", stimulus_id="skydb-silent-worker",
            )  # fmt: skip


def called_aside(call: Callable[[], Any]) -> Future[Any]:
    """Call something in a thread that the end of the process does not wait for: it may never return."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # a CancelledError of asyncio is no Exception
            answer.set_exception(error)

    threading.Thread(target=run, name="skydb-fetch", daemon=True).start()
    return answer


def scheduler_gone(address: str) -> SkydbError:
    """Return the error of a scheduler that went away with what it was to do."""
    todo = "see to it, and run the command again: nothing is left half done"
    return SkydbError("the Dask scheduler is gone, or has dropped what it was to do", address, todo)


def _asked(client: Any, call: Callable[..., Any], **words: Any) -> Any:
    """Ask the scheduler directly, for a while: a client's own calls wait for ever, or answer from what they know."""
    return client.sync(call, callback_timeout=ANSWER_SECONDS, **words)


def _close(client: Any) -> None:
    with suppress(OSError):  # TimeoutError is one: the scheduler does not answer
        client.close(timeout=CLOSE_SECONDS)


def _keep_quiet_about_losses() -> None:
    """Have Dask not log that a connection is lost, with tracebacks: it is an error that is said."""
    for name in ("distributed.client", "distributed.batched"):
        logger = logging.getLogger(name)
        if _says_more_than_a_loss not in logger.filters:
            logger.addFilter(_says_more_than_a_loss)


def _says_more_than_a_loss(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if record.exc_info else None
    about_losses = isinstance(raised, OSError | asyncio.CancelledError)
    return not (about_losses or str(record.msg).startswith("Failed to reconnect to scheduler"))
