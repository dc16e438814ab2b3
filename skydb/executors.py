"""The executor of a verb: what its caller asks for; on a cluster, one that knows where the database's hosts are."""

from __future__ import annotations

from skydb.database import Database
from skydb.parallel.executor import Executor, Workers, executor_for
from skydb.store.hosts import worker_of_hosts
from skydb.store.snapshot import Snapshot


def executor_of(db: Database | Snapshot, workers: Workers = None, cluster: object = None) -> Executor:
    """Return the executor for work on a database, or on a snapshot of one.

    Parameters
    ----------
    workers, cluster
        As `executor_for` takes them.

    Raises
    ------
    UsageError
        As `executor_for` raises it.
    """
    places = None if cluster is None else worker_of_hosts(db.root)
    return executor_for(workers, cluster=cluster, places=places)
