"""Which executor a call asks for: this process, local worker processes, a Dask cluster, or the caller's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeGuard

from skydb.arguments import at_least_one
from skydb.errors import UsageError

from .interface import Executor as Executor
from .interface import Progress as Progress
from .interface import SerialExecutor as SerialExecutor

Workers = int | Executor | None
"""What verbs take for `workers`: how many processes, or an executor; None: one process per core."""

WORKERS_WORTH_SECONDS = 4.0
"""Work that takes less than this in one process is done sooner there: a worker takes 2 to 4 s to start."""


def executor_for(
    workers: Workers = None, *, cluster: object = None, places: Mapping[str, str] | None = None
) -> Executor:
    """Return the executor that a call asks for.

    Parameters
    ----------
    workers
        Number of worker processes; None: one per core. An executor is returned as it is.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: tasks run on its workers; None: on this machine.
    places
        Which worker of a cluster (name or address) reads a host's files as local, by the name of the host.

    Raises
    ------
    UsageError
        Fewer than one worker, or no whole number; workers and a cluster; no Dask here, or no scheduler there.
    """
    if cluster is not None:
        if workers is not None:
            raise UsageError("workers and a cluster are given", None, "give one: a cluster has workers of its own")
        from .dask import DaskExecutor

        return DaskExecutor.at(cluster, places=places)
    if _is_executor(workers):
        return workers
    count = at_least_one(workers, "workers") if workers is not None else os.cpu_count() or 1
    if count == 1:
        return SerialExecutor()
    from .processes import ProcessExecutor

    return ProcessExecutor(count)


def _is_executor(value: Any) -> TypeGuard[Executor]:
    return callable(getattr(value, "map", None))
