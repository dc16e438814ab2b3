"""skydb log: every ingested file."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb log survey.sky")
@click.argument("db", type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="As of this snapshot; by default the newest.")
@json_option
def command(db: str, at: str | None, as_json: bool) -> None:
    """List the files that were ingested into DB, and what became of their rows.

    For every file, rows in = matched + new + rejected. n_nulled counts the values that became NULL, n_deleted the rows
    whose measurements were deleted since.
    """
    from skydb import database
    from skydb.store.history import catalog_table

    table = catalog_table(database.open(db).snapshot(at), "ingest_log")
    shown = (
        "file",
        "snapshot",
        "format",
        "n_images",
        "n_in",
        "n_matched",
        "n_new",
        "n_rejected",
        "n_measurements",
        "n_nulled",
        "reasons",
        "n_deleted_images",
        "n_deleted",
    )
    emit(table if as_json else table.select(list(shown)), as_json=as_json)
