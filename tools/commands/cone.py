"""skydb cone: what lies within a radius of a position."""

from __future__ import annotations

from typing import Any

import click

from ..answers import answer_options, asking, columns_option, show


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: skydb cone survey.sky 10.68 41.27 5arcmin — or: skydb cone survey.sky 00:42:44 +41:16:09 5arcmin",
)
@click.argument("db", type=click.Path())
@click.argument("ra")
@click.argument("dec")
@click.argument("radius")
@click.option("--table", type=click.Choice(["objects", "measurements"]), default="objects", show_default=True)
@columns_option
@answer_options
def command(
    db: str, ra: str, dec: str, radius: str, table: str, columns: list[str] | None, **how: Any
) -> None:
    """List the objects of DB within RADIUS of the position RA DEC.

    RADIUS is in degrees or has a unit (5arcmin, 30arcsec); RA and DEC, ICRS, are in degrees or sexagesimal.
    """
    with asking(db, how.pop("at"), how.pop("cluster")) as connection:
        show(connection.cone(ra, dec, radius, table=table, columns=columns), **how)
