"""skydb addrows: rows of a declared table."""

from __future__ import annotations

import click

from ..arguments import arcsec
from ..output import cluster_option, emit, json_option, workers_option


@click.command(epilog="Example: skydb addrows survey.sky starpar fits.parquet --radius 0.5")
@click.argument("db", type=click.Path())
@click.argument("table")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--radius", metavar="ARCSEC", help="Match by position within this radius, not by object_id.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, table: str, files: tuple[str, ...], radius: str | None, workers: int | None, cluster: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Bring rows of FILES (Parquet, FITS) into TABLE, which `skydb table` has declared.

    Rows find their objects by object_id, or by ra and dec; those of a table keyed by measurement by image_id, or image
    (its name), and det_id.
    """
    from skydb.ingest.addrows import addrows

    radius_arcsec = None if radius is None else arcsec(radius)
    report = addrows(db, table, files, radius_arcsec=radius_arcsec, workers=workers, cluster=cluster)
    emit(report.as_dict() if as_json else report.text(), as_json=as_json)
    return report.exit_code
