"""skydb photcodes: show them, import a table, add one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import emit, json_option

if TYPE_CHECKING:
    from skydb.schema.photcodes import Photcode

SHOWN = ("code", "name", "kind", "band", "zero_point_mmag", "airmass_slope", "color_1", "color_2", "color_terms")


@click.command(
    epilog="Example: skydb photcodes survey.sky --import camera.photcodes — or, for one band of one camera: "
    "skydb photcodes survey.sky --add R, then skydb photcodes survey.sky --add CAM.R --band R --zero-point 25.1. "
    "All about photcodes: docs/how-to/photcodes.md."
)
@click.argument("db", type=click.Path())
@click.option("--import", "source", type=click.Path(), metavar="FILE",
              help="Add the photcodes of a DVO table: its text form, or FITS (Photcodes.dat).")  # fmt: skip
@click.option("--add", "name", metavar="NAME", help="Add one photcode: a mean band, or with --band one that measures.")
@click.option("--band", metavar="BAND", help="The mean band that the added photcode measures (kind DEP).")
@click.option("--reference", is_flag=True, help="The added photcode is of a calibrated catalog (kind REF).")
@click.option("--zero-point", type=float, metavar="MAG",
              help="Its nominal zero point at airmass 1: what 1 count per second is.")  # fmt: skip
@click.option("--airmass-slope", type=float, metavar="MAG", help="Its zero point's change per airmass, mostly below 0.")
@json_option
def command(
    db: str, source: str | None, name: str | None, band: str | None, reference: bool, zero_point: float | None,
    airmass_slope: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Show the photcodes of DB, import a table of them, or add one.

    A photcode says where a magnitude comes from: a mean band (SEC), one detector and filter that measures it (DEP), or
    a catalog that is calibrated already (REF). A table is a text file with a line for each, and # before comments:

    \b
        number name  kind zero airmass offset c1 c2 slope color band
        1      R     sec  0    0       0      -  -  0     0     -
        101    CAM.R dep  25.1 -0.1    0      -  -  0     0     R

    zero and airmass are the zero point at airmass 1 and its slope, in mag; c1 c2 slope color are a colour term, - and 0
    where there is none; offset is not used. Three to eight more columns hold systematic errors and masks.
    """  # noqa: D301  the control character tells click to leave the lines as they are
    from skydb import database
    from skydb.ingest.photcode_tables import import_photcode_table
    from skydb.photcodes import add_photcode

    calibration = {"zero_point": zero_point, "airmass_slope": airmass_slope}
    given = {key: value for key, value in calibration.items() if value is not None}
    _check_options(source, name, band, reference=reference, calibrated=bool(given))
    opened = database.open(db)
    if source is not None:
        added = import_photcode_table(opened, source)
    elif name is not None:
        added = add_photcode(opened, _photcode(name, band, given, reference=reference))
    else:
        table = opened.snapshot().read_global("photcodes")
        emit(table if as_json else table.select(list(SHOWN)), as_json=as_json)
        return
    emit({"added": added, "snapshot": opened.snapshot().id}, as_json=as_json)


def _check_options(
    source: str | None, name: str | None, band: str | None, *, reference: bool, calibrated: bool
) -> None:
    """Refuse options that contradict each other; `calibrated`: a zero point or an airmass slope is given."""
    if source is not None and name is not None:
        raise click.UsageError("give --import or --add, not both")
    if name is None and (band is not None or reference or calibrated):
        raise click.UsageError("--band, --reference, --zero-point and --airmass-slope go with --add")
    if calibrated and (reference or band is None):
        raise click.UsageError("--zero-point and --airmass-slope are of a photcode that measures a --band")


def _photcode(name: str, band: str | None, given: dict[str, float], *, reference: bool) -> Photcode:
    """The photcode that the options describe."""
    from skydb.errors import DataError, UsageError
    from skydb.schema.photcode import Photcode, code_of_name

    kind = "REF" if reference else "SEC" if band is None else "DEP"
    try:
        return Photcode(
            code_of_name(name), name, kind, band, zero_point_mmag=round(1000 * given.get("zero_point", 0.0)),
            airmass_slope=given.get("airmass_slope", 0.0),
        )  # fmt: skip
    except DataError as error:
        raise UsageError(error.what, error.where, error.todo) from error
    except (ValueError, OverflowError):
        raise UsageError(f"the zero point is {given['zero_point']}", "--zero-point", "give magnitudes") from None
