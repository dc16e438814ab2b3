"""skydb relcal: solve the photometric zero points."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from ..arguments import bits
from ..output import cluster_option, emit, json_option, steps, workers_option

if TYPE_CHECKING:
    from skydb.calib.passes import PassLine
    from skydb.store.unfinished import Unfinished

HEAD = "band   pass  weighting  scale      stars  measurements  outliers  rms mag  moved mag  seconds"


@click.command(epilog="Example: skydb relcal survey.sky --bands g,r")
@click.argument("db", type=click.Path())
@click.option("--mode", type=click.Choice(["images"]), default="images", show_default=True,
              help="What has a zero point of its own.")  # fmt: skip
@click.option("--bands", metavar="BAND,…", help="Bands to solve; by default all that have images.")
@click.option("--max-mag-err", type=float, default=0.05, show_default=True, metavar="MAG",
              help="Largest photon error of a measurement that enters.")  # fmt: skip
@click.option("--brightest", type=click.IntRange(min=1), metavar="N",
              help="Use about the N brightest measurements of an image; by default all.")  # fmt: skip
@click.option("--exclude-photflags", type=bits, metavar="BITS",
              help="Leave out measurements with any of these photflags, such as 0x1080; by default those that their "
              "photcode calls bad, or, where it says nothing, psphot's saturated ones.")  # fmt: skip
@click.option("--allow-poor", is_flag=True, help="Use measurements with flags that their photcode calls poor.")
@click.option("--dry-run", is_flag=True, help="Solve and report, commit nothing.")
@click.option("--resume", is_flag=True, help="Go on with the relcal that was cut short after it had solved.")
@click.option("--discard", is_flag=True, help="Give up the relcal that was cut short, and do nothing else.")
@workers_option
@cluster_option
@json_option
def command(
    db: str, mode: str, bands: str | None, max_mag_err: float, brightest: int | None,
    exclude_photflags: int | None, allow_poor: bool, dry_run: bool, resume: bool, discard: bool,
    workers: int | None, cluster: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Solve the zero points of DB's images from the stars that they share, and apply them to all measurements.

    Stars in several images tie these together; each group of images so tied keeps the mean zero point that its
    headers gave. The passes of the solution are listed on stderr. If no image can be solved, nothing is committed and
    the exit code is 3. Stopped or killed while it applies what it has solved, it can be continued with --resume, within
    a week and until another relcal has solved.
    """
    from skydb.calib.relcal import discard_unfinished, relcal

    if discard:
        job = discard_unfinished(db)
        emit({"discarded": str(job) if job else None}, as_json=as_json)
        return 0
    with _telling_what_is_kept(db, resume or dry_run), steps() as show:
        report = relcal(
            db, mode=mode, bands=bands, max_mag_err=max_mag_err, brightest=brightest,
            exclude_photflags=exclude_photflags, allow_poor=allow_poor, dry_run=dry_run, resume=resume,
            workers=workers, cluster=cluster, progress=show, on_pass=_print_pass,
        )  # fmt: skip
    emit(report.as_dict() if as_json else report.text(), as_json=as_json)
    return 0 if report.n_solved else 3


@contextmanager
def _telling_what_is_kept(db: str, spares: bool) -> Iterator[None]:
    """Say what can be continued: before, unless the block `spares` it, and if the block fails, what that has left."""
    before = _unfinished(db)
    if before and not spares:
        click.echo(f"skydb: {before}; this one takes its place when it has solved", err=True)
    try:
        yield
    except BaseException:
        with suppress(Exception):
            job = _unfinished(db)
            if job and job != before:
                click.echo(f"skydb: {job}; to go on: skydb relcal {shlex.quote(db)} --resume", err=True)
        raise


def _unfinished(db: str) -> Unfinished | None:
    from skydb import database
    from skydb.calib.relcal import unfinished_relcal

    return unfinished_relcal(database.open(db).root)


def _print_pass(line: PassLine) -> None:
    """Print one row of the table of passes on stderr, as it comes; a band begins with a head, if it has anything."""
    if not line.n_used and not line.n_outliers:
        return
    if line.number == 1:
        print(HEAD, file=sys.stderr)
    print(
        f"{line.band:<6} {line.number:>4}  {line.weighting:<9} {line.scale:>6.3f} {line.n_stars:>10} {line.n_used:>13}"
        f" {line.n_outliers:>9} {line.rms:>8.5f} {line.max_shift:>10.6f} {line.seconds:>8.2f}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
