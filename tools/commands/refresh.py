"""skydb refresh: means of what was ingested with --defer."""

from __future__ import annotations

import click

from ..output import cluster_option, emit, json_option, progress, workers_option


@click.command(epilog="Example: skydb refresh survey.sky")
@click.argument("db", type=click.Path())
@click.option("--all", "every", is_flag=True, help="Refresh every cell, not only those that wait for it.")
@workers_option
@cluster_option
@json_option
def command(db: str, every: bool, workers: int | None, cluster: str | None, as_json: bool) -> None:
    """Derive the means, counts and flags of DB's cells that wait for it, after `skydb addstar --defer`."""
    from skydb import database
    from skydb.derived import refresh

    opened = database.open(db)
    waiting = opened.snapshot().cells() if every else [c for c in opened.snapshot().cells() if c.stale]
    with progress("refresh") as show:
        made = refresh(opened, every=every, workers=workers, cluster=cluster, progress=show)
    now = opened.snapshot()
    emit({"refreshed": len(waiting) if made is not None else 0, "snapshot": now.id}, as_json=as_json)
