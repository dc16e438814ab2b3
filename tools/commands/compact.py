"""skydb compact: fold small files, split full cells."""

from __future__ import annotations

import click

from ..output import cluster_option, emit, json_option, progress, workers_option


@click.command(epilog="Example: skydb compact survey.sky")
@click.argument("db", type=click.Path())
@click.option("--all", "every", is_flag=True, help="Compact every cell, not only those that need it.")
@workers_option
@cluster_option
@json_option
def command(db: str, every: bool, workers: int | None, cluster: str | None, as_json: bool) -> None:
    """Fold the small files of DB's cells and global tables, and split cells over their limit.

    No answer changes: the rows are the same.
    """
    from skydb import database
    from skydb.executors import executor_of
    from skydb.store.compact import compact

    opened = database.open(db)
    with progress("compact") as show:
        snapshot = compact(
            opened.snapshot, opened.commit, opened.snapshot().cells() if every else None,
            cell_rows=opened.cell_rows, executor=executor_of(opened, workers, cluster), progress=show,
        )  # fmt: skip
    now = opened.snapshot()
    emit({"compacted": snapshot is not None, "snapshot": now.id, "cells": len(now.cells())}, as_json=as_json)
