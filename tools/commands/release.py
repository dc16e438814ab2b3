"""skydb release: a data release for others."""

from __future__ import annotations

import click

from ..arguments import arcsec
from ..output import cluster_option, emit, json_option, steps, workers_option


@click.command(epilog="Example: skydb release survey.sky dr1 --as hats --at PV1 --margin 10")
@click.argument("db", type=click.Path())
@click.argument("out", type=click.Path())
@click.option("--as", "kind", type=click.Choice(["hats"]), default="hats", show_default=True,
              help="What to write: a HATS collection, as LSDB opens it.")  # fmt: skip
@click.option("--at", metavar="SNAPSHOT|TAG", help="The state to release; by default the newest.")
@click.option("--name", metavar="NAME", help="Name of the catalog; by default that of OUT.")
@click.option("--margin", default="10", show_default=True, metavar="ARCSEC",
              help="Width of the margin catalog, the largest radius of a cross-match; 0: none.")  # fmt: skip
@click.option("--partition-rows", type=click.IntRange(min=1), metavar="N", help="Objects in a partition, at most.")
@click.option("--light-curve", metavar="COLUMN,…", help="Columns of measurements in the light curves.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, out: str, kind: str, at: str | None, name: str | None, margin: str, partition_rows: int | None,
    light_curve: str | None, workers: int | None, cluster: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a snapshot of DB as a data release into the new directory OUT.

    The release holds every object with its means by band and its light curve, partitioned by current position. OUT
    appears whole or not at all.
    """
    from skydb.query.release import release
    from skydb.query.release.collection import DEFAULT_ROWS

    columns = None if light_curve is None else [column.strip() for column in light_curve.split(",")]
    with steps() as show:
        report = release(
            db, out, as_=kind, at=at, name=name, margin_arcsec=arcsec(margin),
            rows_per_partition=partition_rows or DEFAULT_ROWS, light_curve_columns=columns, workers=workers,
            cluster=cluster, progress=show,
        )  # fmt: skip
    emit(report, as_json=as_json)
