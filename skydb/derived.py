"""The verb `refresh`: derive the tables of cells that wait for it, after ingests with `defer`.

The module has a name of its own, or importing it would hide the verb `skydb.refresh`.
"""

from __future__ import annotations

from os import PathLike

from skydb import database
from skydb.calibration import recalibrate
from skydb.database import Database
from skydb.executors import executor_of
from skydb.parallel.executor import Progress, Workers


def refresh(
    db: Database | str | PathLike[str], *, every: bool = False, workers: Workers = None,
    cluster: object = None, progress: Progress | None = None,
) -> int | None:  # fmt: skip
    """Derive `objects` and `object_bands` of the cells that wait for it, in one commit for every 2,000 cells.

    Parameters
    ----------
    db
        The database, or its path.
    every
        Derive those of all cells, waiting or not.
    workers
        Worker processes; None: one per core. Or an executor, whose workers are taken.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: its workers are taken.
    progress
        Called with (cells done, all cells).

    Returns
    -------
    int or None
        The new snapshot; None when nothing was to do.

    Raises
    ------
    CommitConflict
        Other writers came first again and again.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    return recalibrate.refresh(
        opened.snapshot, opened.commit, executor=executor_of(opened, workers, cluster), every=every, progress=progress
    )
