"""What a task costs that does nothing: the overhead of each executor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from skydb.parallel.executor import Executor, SerialExecutor, executor_for
from skydb.parallel.processes import ProcessExecutor

from .case import OURS, Case
from .scene import Scene

GROUP = "tasks"
NAMES = ("task, serial", "task, processes", "task, Dask")
WORKERS, TASKS = 2, 2_000


def cases(scene: Scene) -> Iterator[Case]:
    """Yield the cases; that of Dask starts a cluster on this machine, for as long as it is measured."""
    yield _case(NAMES[0], SerialExecutor(), "in the process of the caller")
    yield _case(NAMES[1], ProcessExecutor(WORKERS), f"in {WORKERS} worker processes")
    if find_spec("distributed") is None:
        return
    from distributed import LocalCluster

    from skydb.parallel.dask_client import disconnect

    scene.say("starting a Dask cluster")
    with ExitStack() as until_measured:
        cluster = until_measured.enter_context(
            LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", silence_logs=40)
        )
        until_measured.callback(disconnect)
        yield _case(NAMES[2], executor_for(cluster=cluster), f"on {WORKERS} Dask workers")


def _case(name: str, executor: Executor, where: str) -> Case:
    return Case(name, GROUP, f"a task that does nothing, {where}", {OURS: partial(_run, executor)}, calls=TASKS)


def _run(executor: Executor) -> int:
    return sum(executor.map(_nothing, range(TASKS)))


def _nothing(_: int) -> int:
    return 1
