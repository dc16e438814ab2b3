"""skydb table: tables that a database has besides skydb's own."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb table survey.sky --declare starpar")
@click.argument("db", type=click.Path())
@click.option(
    "--declare", metavar="FILE|NAME",
    help="Declare the table of a TOML file, or one that comes with skydb: starpar, lensing, lens_objects, galphot.",
)  # fmt: skip
@click.option("--drop", metavar="NAME", help="Take a table away, with all its rows.")
@json_option
def command(db: str, declare: str | None, drop: str | None, as_json: bool) -> None:
    """List the tables that DB has besides skydb's own; declare one, or take one away.

    `skydb addrows` brings their rows.
    """
    from skydb import database
    from skydb.declared import declare_table, drop_table

    if declare is not None and drop is not None:
        raise click.UsageError("give --declare or --drop, not both")
    opened = database.open(db)
    before = opened.snapshot().id
    number = before
    if declare is not None:
        number = declare_table(opened, declare)
    if drop is not None:
        number = drop_table(opened, drop)
    if not as_json and (declare, drop) != (None, None):
        word = "dropped" if drop is not None else "declared" if number > before else "declared already:"
        click.echo(f"{word} {declare or drop}; snapshot {number}")
    now = opened.snapshot()
    rows = [
        {
            "table": name, "version": table.version, "keyed_by": table.keyed_by, "keys": ", ".join(table.sort),
            "columns": len(table.columns), "rows": sum(f.rows for f in now.files(name)), "meaning": table.meaning,
        }
        for name, table in now.declared.items()
    ]  # fmt: skip
    emit(rows, as_json=as_json)
