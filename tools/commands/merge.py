"""skydb merge: bring other databases into one."""

from __future__ import annotations

import click

from ..arguments import arcsec
from ..output import cluster_option, emit, json_option, steps, workers_option


@click.command(epilog="Example: skydb merge survey.sky night41.sky night42.sky. All about it: docs/how-to/merge.md.")
@click.argument("db", type=click.Path())
@click.argument("sources", nargs=-1, required=True, type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="Of the other database; by default its newest.")
@click.option("--radius", metavar="ARCSEC", help="Objects nearer than this may be one; by default 1 arcsec.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, sources: tuple[str, ...], at: str | None, radius: str | None, workers: int | None, cluster: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Bring the databases SOURCES into DB, one after another, each in one commit.

    Objects are matched one to one, nearest first. An image that DB has already stays as it is there; so a database
    that is merged again brings only what came to it since. Ids of objects that joined one of DB stand for its id.
    """
    from skydb.database import open as opened
    from skydb.ingest.merge import merge

    radius_arcsec = None if radius is None else arcsec(radius)
    for source in sources:
        opened(source)  # before anything is brought
    reports = []
    for source in sources:
        with steps() as show:
            report = merge(
                db, source, at=at, radius_arcsec=radius_arcsec, workers=workers, cluster=cluster, progress=show
            )
        reports.append(report.as_dict())
        if not as_json:
            emit(report.text())
    if as_json:
        emit({"merges": reports}, as_json=True)
