"""skydb simulate: the files of a survey, and its truth."""

from __future__ import annotations

import click

from skydb.errors import UsageError

from ..output import emit, json_option, progress, workers_option


class _ListsSwitches(click.Command):
    """Ends its help with what can be switched off; the simulator is loaded only for that."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of switches, then the example."""
        from ..simulate import SWITCHES

        with formatter.section("What --without switches off"):
            formatter.write_dl(list(SWITCHES.items()))
        super().format_epilog(ctx, formatter)


@click.command(
    cls=_ListsSwitches,
    epilog="Example: skydb simulate sim --preset small --detections 20000 --without flats,clouds",
)
@click.argument("out", type=click.Path())
@click.option("--preset", metavar="NAME", default="small", show_default=True,
              help="small (1e5 detections, 2 bands), medium (1.25e7, 5 bands) or large (5e7, 5 bands).")  # fmt: skip
@click.option("--detections", type=int, metavar="N", help="How many, to some per cent: the sky grows or shrinks.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all random numbers.")
@click.option("--without", default="", metavar="A,B,…", help="What to leave out; the names are listed below.")
@click.option("--mislabelled-nights", type=click.FloatRange(0, 1), default=0.0, metavar="FRACTION",
              help="Nights that are cloudy and yet reported as photometric.")  # fmt: skip
@workers_option
@json_option
def command(
    out: str, preset: str, detections: int | None, seed: int, without: str, mislabelled_nights: float,
    workers: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Simulate a survey in the new folder OUT.

    OUT/exposures holds SMF files as psphot writes them, OUT/photcodes.dat their photcodes. OUT/truth holds the true
    stars, zero points and associations: for `skydb score`, never for the database. The same arguments write the same
    bytes, whatever the number of workers.
    """
    from skydb.parallel.executor import executor_for

    from ..simulate import simulate

    with progress("exposures") as show:
        summary = simulate(
            out, preset=preset, detections=detections, seed=seed, without=switch_names(without),
            mislabelled_nights=mislabelled_nights, workers=executor_for(workers).workers,
            progress=show,
        )  # fmt: skip
    emit(summary, as_json=as_json)


def switch_names(text: str) -> list[str]:
    """Return the names of a list with commas.

    >>> switch_names("flats, clouds"), switch_names("")
    (['flats', 'clouds'], [])

    Raises
    ------
    UsageError
        A name is empty.
    """
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    if "" in names:
        raise UsageError("a name is empty", "--without", "write names with commas between: flats,clouds")
    return names
