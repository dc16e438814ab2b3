"""skydb create: an empty database."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb create survey.sky")
@click.argument("db", type=click.Path())
@click.option("--cell-rows", type=click.IntRange(min=1), metavar="N",
              help="Measurements above which a cell splits; by default 500,000.")  # fmt: skip
@click.option("--difference", is_flag=True, help="The database is one of detections on difference images.")
@json_option
def command(db: str, cell_rows: int | None, difference: bool, as_json: bool) -> None:
    """Create an empty database in the new directory DB."""
    from skydb import database

    made = database.create(db, cell_rows=cell_rows or database.DEFAULT_CELL_ROWS, difference=difference)
    told = {"database": str(made.root), "id": made.id, "cell_rows": made.cell_rows}
    emit(told | ({"difference": True} if difference else {}), as_json=as_json)
