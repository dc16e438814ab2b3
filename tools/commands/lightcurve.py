"""skydb lightcurve: the measurements of one object, as a list and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..answers import answer_options, asking, columns_option, show
from ..arguments import arcsec

if TYPE_CHECKING:
    from skydb.query.connection import Connection


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: skydb lightcurve survey.sky 2489816271069148649 --plot star.png — "
    "or: skydb lightcurve survey.sky 00:26:30.04 -42:46:51.7",
)
@click.argument("db", type=click.Path())
@click.argument("place", nargs=-1, required=True, metavar="OBJECT_ID | RA DEC")
@click.option("--radius", default="1", show_default=True, metavar="ARCSEC",
              help="How far from the position RA DEC the object may lie.")  # fmt: skip
@columns_option
@click.option("--plot", type=click.Path(), metavar="FILE",
              help="Draw it too: a .png, .pdf or .svg of magnitude against time for each band.")  # fmt: skip
@click.option("--raw", is_flag=True, help="In the plot, show magnitudes under nominal zero points as well.")
@click.option("--derive-flags", is_flag=True,
              help="Give db_flags the bits that depend on the object's other measurements too: "
                   "used in its means (PHOTOM_PSF …), outlier (MASKED_PSF …).")  # fmt: skip
@answer_options
def command(
    db: str, place: tuple[str, ...], radius: str, columns: list[str] | None, plot: str | None, raw: bool,
    derive_flags: bool, **how: Any,
) -> None:  # fmt: skip
    """List the measurements of an object in DB by time: of OBJECT_ID, or of the nearest to the position RA DEC.

    In the plot, hollow points take no part in the mean, which is the line: flags speak against them, or they are
    outliers. Seasons with long gaps between them stand side by side.
    """
    if raw and plot is None:
        raise click.UsageError("--raw is of the plot: give --plot FILE too")
    with asking(db, how.pop("at"), how.pop("cluster")) as connection:
        object_id = _object_of(connection, place, arcsec(radius))
        if plot is not None:
            from skydb.query.lightcurve_plot import plot_lightcurve, write_plot

            write_plot(plot_lightcurve(connection, object_id, raw=raw), plot)
        show(connection.lightcurve(object_id, columns=columns, derive_flags=derive_flags), **how)


def _object_of(connection: Connection, place: tuple[str, ...], radius_arcsec: float) -> int:
    """Return the object that is asked for, by id or by position.

    Raises
    ------
    click.UsageError
        Neither of them.
    """
    if len(place) == 1 and place[0].isdecimal():
        return int(place[0])
    if len(place) != 2 or place[1].startswith("--"):
        raise click.UsageError(f"{' '.join(place)!r} is no OBJECT_ID (a whole number), and no position RA DEC")
    from skydb.query.nearest import nearest_object
    from skydb.sky.angles import parse_position

    return nearest_object(connection, *parse_position(*place), radius_arcsec=radius_arcsec)
