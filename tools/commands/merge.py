"""skydb merge: bring other databases into one."""

from __future__ import annotations

import click

from ..arguments import arcsec
from ..output import cluster_option, emit, json_option, steps, workers_option

_EXAMPLES = """
Examples: skydb merge survey.sky night41.sky night42.sky; skydb merge m31.sky allsky.sky --region "cone 10.68 41.27
2" --photcode g --photcode r; skydb merge survey.sky deep.sky --only-matches. All about it: docs/how-to/merge.md.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("db", type=click.Path())
@click.argument("sources", nargs=-1, required=True, type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="Of the other database; by default its newest.")
@click.option("--radius", metavar="ARCSEC", help="Objects nearer than this may be one; by default 1 arcsec.")
@click.option("--region", metavar="REGION",
              help="Bring objects that lie in it: cone RA DEC RADIUS, box RA1 RA2 DEC1 DEC2, polygon RA1 DEC1 … or moc"
              " FILE; images come with the measurements of these.")  # fmt: skip
@click.option("--photcode", "photcodes", metavar="NAME", multiple=True,
              help="Bring images of this photcode, or of all of this band; may be given again.")  # fmt: skip
@click.option("--only-matches", is_flag=True, help="Bring only what is of objects that match one of DB.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, sources: tuple[str, ...], at: str | None, radius: str | None, region: str | None,
    photcodes: tuple[str, ...], only_matches: bool, workers: int | None, cluster: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Bring the databases SOURCES into DB, one after another, each in one commit.

    Objects are matched one to one, nearest first. An image that DB has already stays as it is there; so a database
    that is merged again brings only what came to it since, or was left out by --region, --photcode or --only-matches.
    Ids of objects that joined one of DB stand for its id.
    """
    from skydb.database import open as opened
    from skydb.ingest.merge import merge
    from skydb.sky.region_text import parse_region

    area = None if region is None else parse_region(region)
    radius_arcsec = None if radius is None else arcsec(radius)
    for each in (db, *sources):
        opened(each)  # before anything is brought
    reports = []
    for source in sources:
        with steps() as show:
            report = merge(
                db, source, at=at, radius_arcsec=radius_arcsec, region=area, photcodes=photcodes,
                only_matches=only_matches, workers=workers, cluster=cluster, progress=show,
            )  # fmt: skip
        reports.append(report.as_dict())
        if not as_json:
            emit(report.text())
    if as_json:
        emit({"merges": reports}, as_json=True)
