"""Tasks on the workers of a Dask cluster, each on a worker of the host that holds what it works on.

The scheduler is asked for one future per batch of items. A batch that is bound to a host goes to the workers there; if
all of them are lost, to those of its backup, and if there is none, the stage ends with an error that says what cannot
be worked on. What a lost worker was at is done again.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from skydb.errors import UsageError

from .interface import Answer, Item, Progress
from .places import Worker

CONNECT_SECONDS = 10
PATIENCE_SECONDS = 30.0
"""How long a stage waits for a worker that it needs to come, or to come back: one that a nanny starts again does."""

INSTALL = "pip install 'skydb[cluster]'"

_clients: dict[str, Any] = {}


class DaskExecutor:
    """Runs tasks on a Dask cluster; a worker process does one of them at a time, however many threads it has.

    Parameters
    ----------
    client
        A `distributed.Client`.
    places
        Which worker (name or address) reads a host's files as local, by the name of the host.
    patience : s
        How long to wait for a worker that is needed and not there.

    Attributes
    ----------
    declared
        The hosts that a worker has declared so far, whether it is still there or not.
    """

    def __init__(
        self, client: Any, *, places: Mapping[str, str] | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.client, self.places, self.patience = client, dict(places or {}), patience
        self.declared: set[str] = set()
        self._wait_for_workers()

    @classmethod
    def at(cls, cluster: object, *, places: Mapping[str, str] | None = None) -> DaskExecutor:
        """Return an executor on the cluster whose scheduler has an address, or that a client is connected to.

        Raises
        ------
        UsageError
            Dask is not installed, no scheduler answers, or it has no workers.
        """
        return cls(connect(cluster) if isinstance(cluster, str) else _client(cluster), places=places)

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        return max(1, len(self.seats()))

    def seats(self) -> list[Worker]:
        """Return the workers that are there now, by address."""
        about = self.client.scheduler_info()["workers"]
        workers = [Worker.described(address, about[address]) for address in sorted(about)]
        self.declared |= {host for worker in workers for host in worker.hosts}
        return workers

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order.

        Raises
        ------
        SkydbError
            No worker is on the host that holds an item, nor on its backup; workers died again and again; the scheduler
            is gone.
        """
        from .dask_stage import Stage

        todo = list(items)
        if not todo:
            return
        stage = Stage(self, task, todo)
        try:
            for done, answer in enumerate(stage.answers(), 1):
                yield answer
                if progress:
                    progress(done, len(todo))
        finally:
            stage.cancel()

    def _wait_for_workers(self) -> None:
        end = time.monotonic() + self.patience
        while not self.seats():
            if time.monotonic() > end:
                address = self.client.scheduler_info()["address"]
                todo = f"start some: dask worker {address} --nthreads 1 --nworkers {os.cpu_count() or 1}"
                raise UsageError("the Dask scheduler has no workers", address, todo)
            time.sleep(0.1)


def connect(address: str) -> Any:
    """Return a client of the scheduler at an address, the same for every call.

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
    try:
        scheme, place = parse_address(address)
        if scheme in ("tcp", "tls"):
            parse_host_port(place)  # a client of no port does not end well
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        todo = "start one with `dask scheduler`, and give the address that it prints, such as tcp://10.0.0.1:8786"
        raise UsageError("no Dask scheduler answers", address, todo) from error
    _clients[address] = client
    return client


@atexit.register
def disconnect() -> None:
    """Let go of all schedulers; at the end of a process, while there are still threads to do so."""
    while _clients:
        _clients.popitem()[1].close()


def _client(cluster: Any) -> Any:
    """Return a client as it is; the client of a cluster object, such as `LocalCluster`."""
    if hasattr(cluster, "submit") and hasattr(cluster, "scheduler_info"):
        return cluster
    if hasattr(cluster, "scheduler_address"):
        return connect(cluster.scheduler_address)
    raise UsageError(f"{cluster!r} is no cluster", "cluster", "give the address of a Dask scheduler, or a Client")
