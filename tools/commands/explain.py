"""skydb explain: what a query would read."""

from __future__ import annotations

from typing import Any

import click

from ..answers import answer_options, asking, show


@click.command(epilog='Example: skydb explain survey.sky "SELECT * FROM objects WHERE in_cone(ra, dec, 10, 20, 0.1)"')
@click.argument("db", type=click.Path())
@click.argument("query")
@answer_options
def command(db: str, query: str, at: str | None, cluster: str | None, **how: Any) -> None:
    """Say, without running it, which cells, files, bytes and rows of DB a query would read."""
    with asking(db, at, cluster) as connection:
        show(connection.explain(query), **how)
