"""skydb tag: name a snapshot."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb tag survey.sky PV1")
@click.argument("db", type=click.Path())
@click.argument("name")
@click.option("--at", metavar="SNAPSHOT", help="The snapshot to name; by default the newest.")
@json_option
def command(db: str, name: str, at: str | None, as_json: bool) -> None:
    """Give a snapshot of DB the name NAME, and publish a read-only copy of the catalog under it."""
    from skydb import database
    from skydb.store.tags import set_tag

    emit({"tag": name, "snapshot": set_tag(database.open(db).root, name, at)}, as_json=as_json)
