"""Tasks on the workers of a Dask cluster, each on a worker of the host that holds what it works on.

The scheduler is asked for one future per batch of items. A batch that is bound to a host goes to the workers there; if
all of them are lost, to those of its backup, and if there is none, the stage ends with an error that says what cannot
be worked on. What a lost worker was at is done again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any

from skydb.errors import UsageError

from .dask_client import connect, restart_holders, workers_at
from .interface import Answer, Item, Progress
from .places import Worker

PATIENCE_SECONDS = 30.0
"""How long a stage waits for a worker that it needs to come, or to come back: one that a nanny starts again does."""


class DaskExecutor:
    """Runs tasks on a Dask cluster; a worker process does one of them at a time, however many threads it has.

    Parameters
    ----------
    connected
        Returns a `distributed.Client`; asked again before every stage, as that may have lost its scheduler since.
    places
        Which worker (name or address) reads a host's files as local, by the name of the host.
    patience : s
        How long to wait for a worker that is needed and not there.

    Attributes
    ----------
    client, address
        The client of the last stage, and the address of its scheduler.
    declared
        The hosts that a worker has declared so far, whether it is still there or not.
    """

    def __init__(
        self, connected: Callable[[], Any], *, places: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:  # fmt: skip
        self._connected, self.places, self.patience = connected, dict(places or {}), patience
        self.client = connected()
        if self.client.scheduler is None:
            raise UsageError("the Dask client is closed", "cluster", "give one that is connected, or an address")
        self.address = str(self.client.scheduler.address)
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
        return cls(_connection(cluster), places=places)

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        self.client = self._connected()
        return max(1, len(self.seats()))

    def seats(self) -> list[Worker]:
        """Return the workers that are there now, by address.

        Raises
        ------
        SkydbError
            The scheduler is gone, or does not answer.
        """
        about = workers_at(self.client, self.address)
        workers = [Worker.described(address, about[address]) for address in sorted(about)]
        self.declared |= {host for worker in workers for host in worker.hosts}
        return workers

    def restart_silent(self, workers: Sequence[str], keys: Set[str]) -> None:
        """Have those of some workers restarted, or let go, that hold a task of these keys or its answer."""
        restart_holders(self.client, workers, keys)

    def map(
        self, task: Callable[[Item], Answer], items: Iterable[Item], *, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """Yield `task(item)` for every item, in order.

        Raises
        ------
        SkydbError
            No worker is on the host that holds an item, nor on its backup; workers died again and again; the scheduler
            is gone, or does not answer.
        UsageError
            The scheduler was lost before, and none answers at its address.
        """
        from .dask_stage import Stage

        todo = list(items)
        if not todo:
            return
        self.client = self._connected()
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
                todo = f"start some: dask worker {self.address} --nthreads 1 --nworkers {os.cpu_count() or 1}"
                raise UsageError("the Dask scheduler has no workers", self.address, todo)
            time.sleep(0.1)


def _connection(cluster: Any) -> Callable[[], Any]:
    """Return what returns a client: of an address or a cluster object, such as `LocalCluster`; a client as it is."""
    if isinstance(cluster, str):
        return partial(connect, cluster)
    if hasattr(cluster, "submit") and hasattr(cluster, "scheduler_info"):
        return lambda: cluster
    if hasattr(cluster, "scheduler_address"):
        return partial(connect, cluster.scheduler_address)
    raise UsageError(f"{cluster!r} is no cluster", "cluster", "give the address of a Dask scheduler, or a Client")
