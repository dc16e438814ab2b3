"""skydb addstar: files in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from skydb.errors import UsageError

from ..arguments import arcsec, bits
from ..output import cluster_option, emit, json_option, steps, workers_option

if TYPE_CHECKING:
    from skydb.ingest.report import AddstarReport
    from skydb.ingest.watch import Watched


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
@click.option("--only-match", is_flag=True, help="Found no objects: reject detections that match none.")
@click.option("--existing-cells", is_flag=True, help="Reject detections outside the cells that hold objects already.")
@click.option("--replace", "replace_images", is_flag=True,
              help="Delete images that come again from other files; else the new files are refused.")  # fmt: skip
@click.option("--keep-order", is_flag=True, help="Associate files as listed, not by start time.")
@click.option("--defer", is_flag=True, help="Leave the refresh of means to `skydb refresh`.")
@click.option("--dry-run", is_flag=True, help="Say what would become of the files, and store nothing.")
@click.option("--quarantine", type=click.Path(), metavar="FOLDER",
              help="Move files that are damaged there, each with the reason beside it.")  # fmt: skip
@click.option("--watch", "watching", is_flag=True,
              help="FILES is a folder: ingest what is there and what appears in it, until interrupted.")  # fmt: skip
@click.option("--pattern", default="*", show_default=True, metavar="GLOB",
              help="With --watch: which files, such as '*.smf' or '**/*.smf'.")  # fmt: skip
@click.option("--every", type=float, default=10.0, show_default=True, metavar="SECONDS",
              help="With --watch: from one look to the next.")  # fmt: skip
@workers_option
@cluster_option
@json_option
def command(
    db: str, files: tuple[str, ...], photcode: str | None, mapping: str | None, survey: str | None,
    radius: str | None, association: str, max_mag_err: float | None, exclude_photflags: int, only_match: bool,
    existing_cells: bool, replace_images: bool, keep_order: bool, defer: bool, dry_run: bool,
    quarantine: str | None, watching: bool, pattern: str, every: float, workers: int | None, cluster: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Ingest FILES into DB: associate detections with objects, store measurements and images, refresh means.

    A file that was ingested before is recognised by its content and changes nothing. A file that cannot be read is
    reported and the others go on; the exit code is then 3, 2 if no more is wrong than that files are not there, or 4
    if one may be complete later. With --json, `complete` says whether the database holds every file now. @LIST stands
    for the files that a text file names, one in each line. With --watch there is a report, or a JSON object, for every
    round that found files.
    """
    from skydb.ingest.addstar import addstar
    from skydb.ingest.readers.interface import DetectionFilter
    from skydb.ingest.watch import watch

    if mapping and survey:
        raise click.UsageError("give --mapping or --survey, not both")
    if watching and (len(files) != 1 or dry_run):
        raise click.UsageError("--watch takes one folder, and no --dry-run")
    radius_arcsec = None if radius is None else arcsec(radius)

    def ingest(paths: Sequence[str]) -> AddstarReport:
        with steps() as show:
            return addstar(
                db, paths, photcode=photcode, mapping=mapping or survey, radius_arcsec=radius_arcsec,
                keep=DetectionFilter(max_mag_err=max_mag_err, exclude_photflags=exclude_photflags),
                association=association, only_match=only_match, existing_cells=existing_cells,
                replace_images=replace_images, keep_order=keep_order,
                defer=defer, dry_run=dry_run, quarantine=quarantine, workers=workers, cluster=cluster, progress=show,
            )  # fmt: skip

    def show(report: AddstarReport) -> None:
        emit(report.as_dict() if as_json else report.text(), as_json=as_json)

    if watching:
        apart = [Path(db), *([Path(quarantine)] if quarantine else [])]
        rounds = watch(Path(files[0]), ingest, pattern=pattern, apart=apart, every_seconds=every)
        click.echo(f"watching {files[0]} for {pattern}; Ctrl-C ends it", err=True)
        _show_rounds(rounds, show, every)
    report = ingest(_listed(files))
    show(report)
    return report.exit_code


def _listed(files: Sequence[str]) -> list[str]:
    """Return the files that are named, and those that lists (@FILE) name."""
    return [file for name in files for file in (_in_list(Path(name[1:])) if name.startswith("@") else [name])]


def _in_list(path: Path) -> list[str]:
    """Return the files that a list names, a path in each line that is not empty and no comment (#)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list cannot be read: {error}", str(path), "give a text file of paths") from error
    lines = [line.strip() for line in text.split("\n")]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError("the list names no files", str(path), "write a path in each line")
    return found


def _show_rounds(rounds: Iterator[Watched], show: Callable[[AddstarReport], None], every: float) -> NoReturn:
    """Show what every round of a watch did, until interrupted."""
    for done in rounds:
        for problem in done.refused:
            click.echo(f"left where it is: {problem}", err=True)
        if done.busy:
            click.echo(f"tried again in {every:g} s: {done.busy}", err=True)
        if done.report is not None:
            show(done.report)
    raise AssertionError("a watch has no end")
