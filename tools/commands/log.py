"""skydb log: every ingested file."""

from __future__ import annotations

import json

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb log survey.sky")
@click.argument("db", type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="As of this snapshot; by default the newest.")
@json_option
def command(db: str, at: str | None, as_json: bool) -> None:
    """List the files that were ingested into DB, and what became of their rows.

    For every file, rows in = matched + new + rejected, and reasons counts the rejected. n_nulled counts the values
    that became NULL (NaN, a sentinel, an error below 0), n_deleted the rows whose measurements were deleted since. Of
    files of a declared table, n_matched are the rows stored.
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
    if as_json:
        emit(table, as_json=True)
        return
    rows = table.select(list(shown)).to_pylist()
    emit([{**row, "reasons": _in_words(row["reasons"])} for row in rows])


def _in_words(reasons: str) -> str:
    """Return how many rows were rejected for which reason, from the JSON of the catalog."""
    return ", ".join(f"{reason} {count}" for reason, count in json.loads(reasons or "{}").items())
