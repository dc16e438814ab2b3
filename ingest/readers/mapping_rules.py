# ruff: noqa: RUF009  key() is dataclasses.field with notes: what it returns is a field, not a shared default
"""The sections of a mapping file, declared: what each key is called, which form it has, what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skydb.errors import UsageError

from .mapping_keys import (
    Parse,
    build,
    constant,
    integer,
    key,
    many,
    number,
    one_of,
    section,
    table_of,
    text,
    text_or_integer,
    yes_no,
)

SCALES = ("tai", "utc", "tt", "tdb")
TIME_FORMATS = ("mjd", "jd", "unix", "jyear", "iso")


@dataclass(frozen=True)
class TextRule:
    """What a column of text must hold: one of some words, or characters, such as the flags of the bands in a row."""

    among: tuple[str, ...] = key(many(text), "text or list", "the texts that are good; a missing one is not", ())
    place: int | None = key(
        integer, "whole number", "the character (from 0) that `good` and `bad` are about; without it all of them", None
    )  # fmt: skip
    good: str = key(
        text, "text",
        "characters that are good: every one, or that at `place`, must be among them; a text without one is not good",
        "",
    )  # fmt: skip
    bad: str = key(
        text, "text",
        "characters that are not good: none, or not the one at `place`, may be among them; a missing text is good",
        "",
    )  # fmt: skip


@dataclass(frozen=True)
class ColumnRule:
    """Where one declared column comes from: a column of the file, or a constant."""

    column: str = key(
        text, "text",
        "column of the file; `name[2]` is element 2 (from 0) of a column of arrays; `HDU.name` a column of a "
        "table beside it",
        "",
    )  # fmt: skip
    value: Any = key(constant, "text or number", "a constant, in place of a column", None)
    unit: str | None = key(
        text, "unit",
        "unit of the file's values, as astropy writes units, with a factor if need be (`\"0.168 arcsec\"`); without"
        " it the file's own unit holds, and where the file has none, the unit that skydb declares",
        None,
    )  # fmt: skip
    nulls: tuple[Any, ...] = key(
        many(constant), "value or list",
        "values that stand for a missing one, besides NaN and infinities; they become NULL, counted",
        (),
    )  # fmt: skip
    sexagesimal: bool = key(
        yes_no, "true or false",
        'the text is sexagesimal (`12:34:56.7`, `12 34 56.7`, `12h34m56.7s`); `unit` says of what: `"hourangle"` '
        'or `"deg"`',
        False,
    )  # fmt: skip
    per: str | None = key(
        one_of("exposure", "second"), "exposure or second",
        "for counts, instrumental magnitudes, sky and zero points: whether the values are of the whole exposure "
        "or of one second; they become what skydb declares (counts and inst_mag of the exposure, sky and zpt_obs "
        "per second)",
        None,
    )  # fmt: skip
    min: float | None = key(
        number, "number",
        "smallest value, in the file's unit; one below stands for a missing one and becomes NULL, counted",
        None,
    )  # fmt: skip
    max: float | None = key(
        number, "number",
        "largest value, in the file's unit; one above stands for a missing one and becomes NULL, counted",
        None,
    )  # fmt: skip
    only_with: str = key(
        text, "text",
        "column of the file that tells whether this one holds a measurement: where it has no value, this one has "
        "an upper limit or a guess, and becomes NULL, counted",
        "",
    )  # fmt: skip
    signal_to_noise: bool = key(
        yes_no, "true or false",
        "of `inst_mag_err`: the column is a flux over its error; the error of the magnitude is 1.0857 over it, NULL "
        "(counted) where it is not above 0",
        False,
    )  # fmt: skip
    calibrated: bool = key(
        yes_no, "true or false",
        "the magnitudes (or fluxes, in nJy) are calibrated already: they are turned back into instrumental ones "
        "with the photcode's nominal zero point and the exposure time, so that `mag` comes out as the file has it",
        False,
    )  # fmt: skip


def column_rule(value: Any, where: str) -> ColumnRule:
    """Accept a column's name, a constant number, or a table of `ColumnRule`'s keys."""
    if isinstance(value, str):
        rule = ColumnRule(column=value)
    elif isinstance(value, dict):
        rule = build(ColumnRule, value, where)
    else:
        rule = ColumnRule(value=constant(value, where))
    if bool(rule.column) == (rule.value is not None):
        raise UsageError("give either column or value", where, "a column of the file, or a constant")
    return rule


COLUMN_FORM = "column name, number, or table"
COLUMNS: Parse = table_of(column_rule)


@dataclass(frozen=True)
class BesideRule:
    """A FITS table of as many rows in another HDU of the same file: its columns are called `HDU.column`."""

    table: str = key(text, "text", "name of the HDU")
    match: dict[str, str] = key(
        table_of(text), "table",
        'columns that must agree, row by row: `column = "column of the HDU"`',
        dict,
    )  # fmt: skip


@dataclass(frozen=True)
class PacketRule:
    """How alert packets in Avro hold detections: a row is one record of a packet."""

    records: tuple[str, ...] = key(
        many(text), "text or list",
        "fields of a packet that hold detections, each a record or a list of records; the first is what the packet "
        "is about, and a packet without it is rejected and counted as `no_FIELD`",
    )  # fmt: skip
    needs: str = key(
        text, "text",
        "field that every detection has: a record without it is an upper limit, rejected and counted as "
        "`upper_limit`",
        "",
    )  # fmt: skip
    withdrawn: str = key(
        text, "text",
        "field that a record has once it was declared invalid: it is rejected and counted as `withdrawn`",
        "",
    )  # fmt: skip
    optional: tuple[str, ...] = key(
        many(text), "text or list", "fields that packets of some versions lack: NULL there", ()
    )  # fmt: skip


@dataclass(frozen=True)
class FileRule:
    """How to find the rows in the file."""

    format: str = key(
        text, "text",
        "`parquet`, `fits`, `text` (delimited, streamed), `ecsv`, `votable`, `avro` (alert packets: container files, "
        "or tar archives of them), or `ascii.NAME` with the name of an astropy ASCII format (`ascii.cds`, "
        "`ascii.ipac`, `ascii.fixed_width` …; read whole); `any`: the one of these that the file begins like, but for "
        "`avro`, where text is `text` as described here, or an IPAC table. What gzip, bzip2 or xz compressed is "
        "expanded, whatever the file's name, but no Parquet",
    )  # fmt: skip
    table: str | int | None = key(
        text_or_integer, "name or number",
        "HDU of a FITS file, ID or number (from 0) of a VOTable's table; without it the first table",
        None,
    )  # fmt: skip
    delimiter: str = key(
        text, "text",
        "between the fields of a text file: `whitespace`, `tab`, or one character",
        "whitespace",
    )  # fmt: skip
    comment: str = key(text, "text", "start of a comment line in a text file; empty: none", "#")
    quote: str = key(text, "text", "character around fields that hold the delimiter; empty: none", '"')
    header: str = key(
        one_of("first", "commented", "none"), "first, commented or none",
        "where a text file names its columns: in its first line, in its first comment line, nowhere",
        "first",
    )  # fmt: skip
    names: tuple[str, ...] = key(many(text), "list", "the columns of a text file, in order, in place of its header", ())
    skip_lines: int = key(integer, "whole number", "lines to pass over at the start of a text file", 0)
    nulls: tuple[str, ...] = key(
        many(text), "text or list",
        "texts that stand for a missing value in any column; an empty field always does",
        (),
    )  # fmt: skip
    optional: tuple[str, ...] = key(
        many(text), "text or list",
        "columns of the file that `[measurements]` names and that a file may lack: NULL there",
        (),
    )  # fmt: skip
    bad_rows: str = key(
        one_of("error", "reject"), "error or reject",
        "what a row with too many or too few fields, a value that cannot be read, or a damaged packet of an archive, "
        "does: stop the file, or be rejected and counted",
        "error",
    )  # fmt: skip
    packets: PacketRule | None = key(
        section(PacketRule), "table", "where the packets of an `avro` file hold detections", None
    )  # fmt: skip
    beside: tuple[BesideRule, ...] = key(
        many(section(BesideRule)), "list of tables",
        "further FITS tables whose rows go with those of the first",
        (),
    )  # fmt: skip


@dataclass(frozen=True)
class TimeRule:
    """When the rows were measured. They become TAI at mid-exposure, and the image's start in UTC."""

    scale: str = key(one_of(*SCALES), ", ".join(SCALES), "time scale of the values")
    format: str = key(
        one_of(*TIME_FORMATS), ", ".join(TIME_FORMATS),
        "`mjd`, `jd` (days), `unix` (since 1970-01-01 in that scale, seconds), `jyear` (Julian years), `iso` "
        "(text)",
        "mjd",
    )  # fmt: skip
    column: str = key(text, "text", "column of the file", "")
    value: Any = key(
        constant, "text or number",
        "a constant: the epoch of a reference survey (required there, even if `column` gives each row its own)",
        None,
    )  # fmt: skip
    unit: str | None = key(
        text, "unit",
        "unit of the values, where it is not the format's own (`unix` in `\"ns\"`)",
        None,
    )  # fmt: skip
    nulls: tuple[Any, ...] = key(
        many(constant), "value or list",
        "values that stand for a missing time; such rows are rejected and counted",
        (),
    )  # fmt: skip
    at: str = key(
        one_of("start", "mid", "end"), "start, mid or end",
        "which instant of the exposure the values give",
        "mid",
    )  # fmt: skip
    exptime: ColumnRule | None = key(column_rule, COLUMN_FORM, "exposure time, seconds", None)
    exptime_by_photcode: dict[str, float] = key(
        table_of(number), "table",
        "exposure time of each photcode, seconds, where `exptime` gives none",
        dict,
    )  # fmt: skip


@dataclass(frozen=True)
class PhotcodeRule:
    """Which photcode a row has."""

    name: str = key(text, "text", "one photcode for all rows", "")
    column: str = key(text, "text", "column of the file that tells the photcodes apart", "")
    values: dict[str, str] = key(
        table_of(text), "table",
        'photcode of each value of the column: `g = "DECam.g"`',
        dict,
    )  # fmt: skip
    others: str = key(
        one_of("error", "reject"), "error or reject",
        "what a value that is not listed does: stop the file, or have its row rejected and counted",
        "error",
    )  # fmt: skip


@dataclass(frozen=True)
class MagnitudeRule:
    """The columns of one photcode, where a row holds several: it makes one detection per photcode with a value."""

    photcode: str = key(text, "text", "name of the photcode")
    columns: dict[str, ColumnRule] = key(
        COLUMNS, "table",
        "columns of `measurements` that belong to this photcode: `inst_mag`, `inst_mag_err`, `inst_flux` …",
    )  # fmt: skip
    time: str = key(text, "text", "column of this photcode's own time, read as `[time]` says", "")
    only_where: dict[str, TextRule] = key(
        table_of(section(TextRule)), "table",
        "columns of text (flags) and what they must hold, as below; elsewhere the values of this photcode become NULL, "
        'counted: `only_where = { ph_qual = { place = 0, good = "ABC" } }`',
        dict,
    )  # fmt: skip


@dataclass(frozen=True)
class DifferenceRule:
    """Magnitudes of difference images, which hold the sign of the flux in a column of its own.

    Fluxes are made of them, with their sign; where it is negative, or absent, the magnitudes become NULL.
    """

    column: str = key(text, "text", "column of the file that holds the sign")
    positive: tuple[str, ...] = key(
        many(text), "text or list", "what it holds where the image is brighter than the reference"
    )  # fmt: skip
    negative: tuple[str, ...] = key(many(text), "text or list", "what it holds where the image is fainter")


@dataclass(frozen=True)
class CutRule:
    """A quality cut; a row that fails it is rejected and counted. A missing value fails `min` and `max`."""

    column: str = key(text, "text", "column of the file, in the file's unit")
    min: float | None = key(number, "number", "smallest value that is kept", None)
    max: float | None = key(number, "number", "largest value that is kept", None)
    bits: int = key(integer, "whole number", "rows with any of these bits are rejected", 0)
    holds: TextRule | None = key(
        section(TextRule), "table", "what a column of text must hold, as below: other rows are rejected", None
    )  # fmt: skip
    reason: str = key(text, "text", "name of the count; without it `cut_` and the column", "")
