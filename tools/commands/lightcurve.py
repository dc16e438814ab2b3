"""skydb lightcurve: the measurements of one object."""

from __future__ import annotations

from typing import Any

import click

from ..answers import answer_options, asking, columns_option, show


@click.command(epilog="Example: skydb lightcurve survey.sky 2489816271069148649")
@click.argument("db", type=click.Path())
@click.argument("object_id", type=int)
@columns_option
@answer_options
def command(db: str, object_id: int, columns: list[str] | None, **how: Any) -> None:
    """List the measurements of the object OBJECT_ID in DB, by time."""
    with asking(db, how.pop("at")) as connection:
        show(connection.lightcurve(object_id, columns=columns), **how)
