"""skydb create: an empty database."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb create survey.sky")
@click.argument("db", type=click.Path())
@click.option("--cell-rows", type=click.IntRange(min=1), metavar="N",
              help="Measurements above which a cell splits; by default 500,000.")  # fmt: skip
@json_option
def command(db: str, cell_rows: int | None, as_json: bool) -> None:
    """Create an empty database in the new directory DB."""
    from skydb import database

    made = database.create(db, cell_rows=cell_rows or database.DEFAULT_CELL_ROWS)
    emit({"database": str(made.root), "id": made.id, "cell_rows": made.cell_rows}, as_json=as_json)
