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
@json_option
def command(db: str, declare: str | None, as_json: bool) -> None:
    """List the tables that DB has besides skydb's own, or declare one; `skydb addrows` brings their rows."""
    from skydb import database
    from skydb.declared import declare_table

    opened = database.open(db)
    if declare is not None:
        declare_table(opened, declare)
    now = opened.snapshot()
    rows = [
        {
            "table": name, "version": table.version, "keyed_by": table.keyed_by, "keys": ", ".join(table.sort),
            "columns": len(table.columns), "rows": sum(f.rows for f in now.files(name)), "meaning": table.meaning,
        }
        for name, table in now.declared.items()
    ]  # fmt: skip
    emit(rows, as_json=as_json)
