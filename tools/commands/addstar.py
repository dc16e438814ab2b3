"""skydb addstar: files in."""

from __future__ import annotations

import click

from ..arguments import arcsec, bits
from ..output import cluster_option, emit, json_option, steps, workers_option


@click.command(
    epilog="Example: skydb addstar survey.sky night1/*.smf — or, for a table, "
    "skydb addstar survey.sky candidates.dat --mapping decam_elais --radius 2"
)
@click.argument("db", type=click.Path())
@click.argument("files", type=click.Path(), nargs=-1, required=True)
@click.option("--photcode", metavar="NAME",
              help="Photcode of every image, where headers do not give it; `skydb photcodes DB` lists those there are "
              "and adds more (docs/how-to/photcodes.md).")  # fmt: skip
@click.option("--mapping", metavar="NAME|FILE",
              help="Mapping file that says which column of a table is what (docs/how-to/map-a-table.md).")  # fmt: skip
@click.option("--survey", metavar="NAME",
              help="The same as --mapping, for a shipped survey: gaia_dr3, 2mass_psc, allwise, ps1_dr2 … "
              "(docs/how-to/add-a-survey.md).")  # fmt: skip
@click.option("--radius", metavar="ARCSEC", help="Association radius; by default that of each photcode, else 1 arcsec.")
@click.option("--association", type=click.Choice(["one-to-one", "dvo"]), default="one-to-one", show_default=True,
              help="Per image, one detection per object; or, as DVO does, several.")  # fmt: skip
@click.option("--max-mag-err", type=float, metavar="MAG", help="Reject detections whose magnitude error is larger.")
@click.option("--exclude-photflags", type=bits, default="0", metavar="BITS",
              help="Reject detections with any of these photflags, such as 0x1800.")  # fmt: skip
@click.option("--keep-order", is_flag=True, help="Associate files as listed, not by start time.")
@click.option("--defer", is_flag=True, help="Leave the refresh of means to `skydb refresh`.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, files: tuple[str, ...], photcode: str | None, mapping: str | None, survey: str | None,
    radius: str | None, association: str, max_mag_err: float | None, exclude_photflags: int, keep_order: bool,
    defer: bool, workers: int | None, cluster: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Ingest FILES into DB: associate detections with objects, store measurements and images, refresh means.

    A file that was ingested before is recognised by its content and changes nothing. A file that cannot be read is
    reported and the others go on; the exit code is then 3, or 2 if no more is wrong than that files are not there. With
    --json, `complete` says whether the database holds every file now.
    """
    from skydb.ingest.addstar import addstar
    from skydb.ingest.readers.interface import DetectionFilter

    if mapping and survey:
        raise click.UsageError("give --mapping or --survey, not both")
    radius_arcsec = None if radius is None else arcsec(radius)
    with steps() as show:
        report = addstar(
            db, files, photcode=photcode, mapping=mapping or survey, radius_arcsec=radius_arcsec,
            keep=DetectionFilter(max_mag_err=max_mag_err, exclude_photflags=exclude_photflags),
            association=association, keep_order=keep_order, defer=defer, workers=workers, cluster=cluster,
            progress=show,
        )  # fmt: skip
    emit(report.as_dict() if as_json else report.text(), as_json=as_json)
    return report.exit_code
