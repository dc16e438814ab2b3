"""skydb photcodes: show or import them."""

from __future__ import annotations

import click

from ..output import emit, json_option


@click.command(epilog="Example: skydb photcodes survey.sky --import dvo.photcodes")
@click.argument("db", type=click.Path())
@click.option("--import", "source", type=click.Path(), metavar="FILE", help="Add the photcodes of a DVO text file.")
@json_option
def command(db: str, source: str | None, as_json: bool) -> None:
    """Show the photcodes of DB, or import a photcode table in DVO's text format."""
    from skydb import database
    from skydb.photcodes import import_photcodes

    opened = database.open(db)
    if source is not None:
        added = import_photcodes(opened, source)
        emit({"added": added, "snapshot": opened.snapshot().id}, as_json=as_json)
        return
    table = opened.snapshot().read_global("photcodes")
    shown = ("code", "name", "kind", "band", "zero_point_mmag", "airmass_slope", "color_1", "color_2", "color_terms")
    emit(table if as_json else table.select(list(shown)), as_json=as_json)
