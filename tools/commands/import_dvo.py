"""skydb import-dvo: a DVO database in."""

from __future__ import annotations

import click

from ..arguments import arcsec
from ..output import cluster_option, emit, json_option, steps, workers_option


@click.command(name="import-dvo", epilog="Example: skydb import-dvo survey.sky /data/dvo/catdir --compare")
@click.argument("db", type=click.Path())
@click.argument("catdir", type=click.Path())
@click.option("--radius", metavar="ARCSEC", help="Association radius; by default that of each photcode, else 1 arcsec.")
@click.option("--association", type=click.Choice(["one-to-one", "dvo"]), default="one-to-one", show_default=True,
              help="Per image, one detection per object; or, as DVO does, several.")  # fmt: skip
@click.option("--compare", is_flag=True, help="Count the objects that hold the same measurements here as in DVO.")
@click.option("--defer", is_flag=True, help="Leave the refresh of means to `skydb refresh`.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, catdir: str, radius: str | None, association: str, compare: bool, defer: bool, workers: int | None,
    cluster: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Import the DVO database in the folder CATDIR into DB: photcodes, images, measurements.

    Measurements are associated anew, as `skydb addstar` does; DVO's own objects and means are not read. What comes, and
    what does not: docs/how-to/import-dvo.md.
    """
    from skydb.ingest.import_dvo import import_dvo

    radius_arcsec = None if radius is None else arcsec(radius)
    with steps() as show:
        report = import_dvo(
            db, catdir, radius_arcsec=radius_arcsec, association=association, defer=defer, compare=compare,
            workers=workers, cluster=cluster, progress=show,
        )  # fmt: skip
    emit(report.as_dict() if as_json else report.text(), as_json=as_json)
    return report.exit_code
