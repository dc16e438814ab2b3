"""skydb sql: answer a query."""

from __future__ import annotations

from typing import Any

import click

from ..answers import answer_options, asking, show


@click.command(epilog='Example: skydb sql survey.sky "SELECT band, count(*), avg(mag) FROM measurements GROUP BY band"')
@click.argument("db", type=click.Path())
@click.argument("query")
@answer_options
def command(db: str, query: str, at: str | None, cluster: str | None, **how: Any) -> None:
    """Answer one SELECT over the tables of DB, in DuckDB's dialect.

    SHOW TABLES lists the tables, DESCRIBE measurements the columns of one with units and meanings, DESCRIBE SELECT …
    those of an answer. Main tables: objects, object_bands, measurements, images; DVO's names work too.

    Functions of the sky, in degrees: in_cone(ra, dec, ra0, dec0, radius), in_box(ra, dec, ra1, ra2, dec1, dec2),
    in_polygon(ra, dec, [[ra, dec], …]), separation(ra1, dec1, ra2, dec2). Bits of flags:
    image_flag('PHOTOM_POOR'), measurement_flag, object_flag, object_band_flag, phot_flag, phot_flag2.

    A terminal shows what fits its width; a pipe or file gets all columns and rows. QUERY may read any file that you
    may read.
    """
    with asking(db, at, cluster) as connection:
        show(connection.sql(query), **how)
