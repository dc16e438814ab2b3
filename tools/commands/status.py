"""skydb status: what a database holds."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb status survey.sky")
@click.argument("db", type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="As of this snapshot; by default the newest.")
@json_option
def command(db: str, at: str | None, as_json: bool) -> None:
    """Show what the database DB holds: rows, cells, files, bytes.

    files and bytes are those of this snapshot alone; earlier ones may keep more. bytes_per_measurement counts the raw
    and the calibrated file of a measurement. stale_cells wait for `skydb refresh`.
    """
    from skydb import database
    from skydb.store.history import summary

    emit(summary(database.open(db).snapshot(at)), as_json=as_json)
