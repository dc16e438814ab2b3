"""The executor of a verb: what its caller asks for; on a cluster, one that knows where the database's hosts are."""

from __future__ import annotations

from skydb.database import Database
from skydb.parallel.executor import Executor, Workers, executor_for
from skydb.store.history import catalog_table


def executor_of(db: Database, workers: Workers = None, cluster: object = None) -> Executor:
    """Return the executor for work on a database.

    Parameters
    ----------
    workers, cluster
        As `executor_for` takes them.

    Raises
    ------
    UsageError
        As `executor_for` raises it.
    """
    if cluster is None:
        return executor_for(workers)
    hosts = catalog_table(db.snapshot(), "hosts").to_pylist()
    return executor_for(workers, cluster=cluster, places={h["name"]: h["worker"] for h in hosts if h["worker"]})
