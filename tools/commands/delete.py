"""skydb delete: take images out, with their measurements."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..output import cluster_option, emit, json_option, steps, workers_option

if TYPE_CHECKING:
    from skydb.deletion import DeletionReport

SHOWN_FILES = 3
"""How many of the files that lost images the text names; JSON has all."""


@click.command(
    epilog="Example: skydb delete survey.sky --exposure o5871g0302o --dry-run. All about it:"
    " docs/how-to/delete-images.md."
)
@click.argument("db", type=click.Path())
@click.option("--image", "images", multiple=True, metavar="ID|NAME", help="An image.")
@click.option("--file", "files", multiple=True, metavar="PATH|DIGEST", help="All images of an ingested file.")
@click.option("--exposure", "exposures", multiple=True, metavar="ID|NAME", help="All images of an exposure.")
@click.option("--night", "nights", multiple=True, type=int, metavar="MJD", help="All images of a night.")
@click.option("--ingest", "ingests", multiple=True, type=int, metavar="SNAPSHOT",
              help="All images that came with an ingest: the snapshot that it made, as `skydb log` says.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and change nothing.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, images: tuple[str, ...], files: tuple[str, ...], exposures: tuple[str, ...], nights: tuple[int, ...],
    ingests: tuple[int, ...], dry_run: bool, workers: int | None, cluster: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Delete images from DB, with all their measurements.

    Every option may be given several times. Objects left without measurements retire: no answer has them, and their
    ids stay theirs. Ingesting a file again brings its deleted images back. Earlier snapshots keep what was deleted,
    until `skydb gc` gives them up.
    """
    from skydb.deletion import delete

    with steps() as show:
        report = delete(
            db, images=images, files=files, exposures=exposures, nights=nights, ingests=ingests, dry_run=dry_run,
            workers=workers, cluster=cluster, progress=show,
        )  # fmt: skip
    emit(report if as_json else _for_people(report), as_json=as_json)


def _for_people(report: DeletionReport) -> dict[str, Any]:
    """Return the report with as many files as fit a line or two, and the number of the others."""
    n_more = len(report.files) - SHOWN_FILES
    shown = report.files if n_more <= 0 else (*report.files[:SHOWN_FILES], f"and {n_more} more")
    return asdict(report) | {"files": ", ".join(shown)}
