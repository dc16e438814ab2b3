"""skydb report: what came in a night, and how good it is."""

from __future__ import annotations

from pathlib import Path

import click

from skydb.errors import UsageError

from ..answers import asking
from ..output import cluster_option, emit, json_option


@click.command(epilog="Example: skydb report survey.sky --night 60310 --html night.html")
@click.argument("db", type=click.Path())
@click.option("--night", type=int, metavar="MJD", help="As in column `night` of `exposures`; by default the latest.")
@click.option("--at", metavar="SNAPSHOT|TAG", help="As of this snapshot; by default the newest.")
@click.option("--html", type=click.Path(), metavar="FILE", help="Write a page with plots there.")
@cluster_option
@json_option
def command(
    db: str, night: int | None, at: str | None, html: str | None, cluster: str | None, as_json: bool
) -> None:  # fmt: skip
    """Report on a night of DB: for each exposure what came of its rows, and its offsets from the means.

    The part that matched says how much of it was known. Offsets are medians over objects that were measured more than
    once, of places and magnitudes against the objects' means, in which each measurement has a part.
    """
    from skydb.query.night_report import night_report

    from ..night_page import page_of, text_of

    with asking(db, at, cluster) as connection:
        report = night_report(connection, night)
    if html is not None:
        try:
            Path(html).write_text(page_of(report), encoding="utf-8")
        except OSError as error:
            what = f"cannot write {html}: {error.strerror or error}"
            raise UsageError(what, "--html", "name another file") from error
    emit(report.as_dict() if as_json else text_of(report), as_json=as_json)
