"""skydb snapshots: the committed states."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb snapshots survey.sky")
@click.argument("db", type=click.Path())
@json_option
def command(db: str, as_json: bool) -> None:
    """List the snapshots of DB: when, by what, under which calibration."""
    from skydb import database
    from skydb.store.history import catalog_table

    emit(catalog_table(database.open(db).snapshot(), "snapshots"), as_json=as_json)
