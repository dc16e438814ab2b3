"""The reference page of mapping files, from the declared keys: `python -m skydb.ingest.readers.mapping_page`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

from .mapping import Mapping, load_mapping, shipped_mappings
from .mapping_keys import is_required
from .mapping_rules import (
    BesideRule,
    ColumnRule,
    CutRule,
    DifferenceRule,
    FileRule,
    MagnitudeRule,
    PacketRule,
    PhotcodeRule,
    TextRule,
    TimeRule,
)

SECTIONS: tuple[tuple[str, type[Any]], ...] = (
    ("The file as a whole", Mapping),
    ("`[file]`", FileRule),
    ("`[[file.beside]]`", BesideRule),
    ("`[file.packets]`", PacketRule),
    ("`[time]`", TimeRule),
    ("`[photcode]`", PhotcodeRule),
    ("`[[magnitudes]]`", MagnitudeRule),
    ("`[difference]`", DifferenceRule),
    ("A column, in `[measurements]`, `[images]`, `[exposures]`, `magnitudes.columns` and `time.exptime`", ColumnRule),
    ("`[[cuts]]`", CutRule),
    ("A text, in `only_where` of `[[magnitudes]]` and `holds` of a cut", TextRule),
)
LISTED = 6
"""Photcodes of a mapping that are all named in its row."""
INTRODUCTION = """\
# Mapping files

A mapping file says what the columns of a table mean; `skydb addstar --mapping FILE.toml` reads tables by it. It is
TOML. The how-to [](../how-to/map-a-table.md) builds one.

A column is given by its name (`inst_mag = "mag"`), as a constant number (`nx = 2048`), or as a table with the keys
below (`ra_raw = { column = "ra", unit = "deg" }`). The columns that can be filled are those of `measurements`, `images`
and `exposures`, except ids, times and codes, which follow from `det_id`, `[time]` and `[photcode]`.
"""
RULES = """\
## What becomes of a row

| case | what happens | counted as |
|---|---|---|
| too many or too few fields (text) | stops the file, or rejected | `wrong_field_count` |
| a value that cannot be read, or too large an integer | stops the file, or rejected | `unreadable_COLUMN` |
| a damaged or foreign packet of an archive | stops the file, or rejected | `unreadable_packet` |
| a packet without the record that it is about | rejected | `no_FIELD` |
| a record of a packet that is an upper limit, or was withdrawn | rejected | `upper_limit`, `withdrawn` |
| NaN, infinity, a sentinel, a value beyond float32 | becomes NULL | nulled values |
| an error below 0 (0 is kept, and gives no weight) | becomes NULL | nulled values |
| an airmass below 1 or above 40, an exposure time below 0 | becomes NULL | nulled values |
| an exposure time of 0 in a column, where counts or magnitudes are neither per second nor calibrated | becomes NULL, \
and `mag` too | nulled values |
| no position | rejected | `no_position` |
| declination beyond ±90°, right ascension beyond -360° to 720° | rejected | `bad_position` |
| no number, where `det_id` names a column | rejected | `no_det_id` |
| a number stored as a float that is too large for it to hold every whole number (2**53) | stops the file | |
| beyond `min` or `max` of its column, without a value in its `only_with`, or with a text that is not good | becomes \
NULL | nulled values |
| numbers in a column that a condition on texts is about | stops the file | |
| number of an earlier row of the same image | rejected | `duplicate` |
| no time, or an exposure not within the years 1 to 9999 | rejected | `no_time` |
| no photcode, or one that is not listed | rejected, or stops the file | `no_photcode`, `other_photcode` |
| fails a cut | rejected | its `reason`, or `cut_COLUMN` |
| fails a filter of `addstar` | rejected | `magnitude_error`, `photflags`, `window` |

Rows of CMF, SMF, LDAC and DAOPHOT files that lie further beyond their chip than half its size are rejected too, as
`off_chip`: psphot fits stars just off the edge, but astrometry says nothing far from it.

The first that applies is counted. With `[[magnitudes]]` a row makes one detection per photcode that has a magnitude or
a flux; a row where none has any makes one of the first photcode with NULL magnitudes, because its position is a
measurement too. They share `det_id` and position. A row is rejected only if it makes no detection at all.

A file that gives fluxes and no magnitudes gets magnitudes made of them, where they are positive. With `[difference]`
fluxes are made of the magnitudes, with their sign. The magnitudes of negative ones become NULL, uncounted, since the
flux holds the value; a magnitude without a sign is lost, and counted.

## What makes an image

Its kind, the UTC start rounded to the millisecond, the photcode, `images.chip` and `exposures.name`: rows that agree in
these are of one image, and one file must hold all of it. A reference survey has one image per file and photcode, made
of the epoch, the survey's name and the digest of the file's content; the survey is their exposure.

## How columns are found

By their very names; where a file has no column of a name, by the only one that differs from it in case alone
(`SOURCE_ID` is `source_id`). Columns that a mapping does not name are passed over, whatever they hold.

## Motions and parallaxes

A reference survey (`kind = "reference"`) may give `pm_ra`, which includes cos(dec), and `pm_dec`, both or neither,
`parallax`, and their errors, at the epoch of the row. Units convert as others do (`arcsec/yr`, `deg/yr`,
`"0.01 mas/yr"` for mas per century). A row that founds an object gives it its motion, by which later detections find it
([association](../explanation/association.md)): give no motions that are not to be trusted for that.

## HATS catalogs

With a mapping, the folder of a HATS catalog (or of a collection: its primary catalog) can stand for its files. Of a
reference survey each leaf file is ingested by itself and known again by its content. Of detections the folder is one
table, read leaf by leaf, because an image lies in several leaves; leaf files given one by one are refused when an image
comes again. Margins and indexes are refused: they hold rows of another catalog. So is a catalog that lacks leaves which
its `partition_info.csv` lists: give the leaf files that there are. Columns of nested rows cannot be mapped.

## Mappings that come with skydb

`skydb addstar DB FILES --survey NAME`; the how-to is [](../how-to/add-a-survey.md). The comments of each file
(`ingest/mappings/NAME.toml`) say where its columns are published, what stands for a missing value, and what is not
certain.
"""
DETAILS = """\

What becomes of their rows: `det_id` is the column with the survey's own number. Rows have the time of the column named
first; the year or date is that of the survey as a whole.
"""


def mapping_page() -> str:
    """Return the reference page, in Markdown."""
    lines = [INTRODUCTION]
    for title, section in SECTIONS:
        lines += [f"## {title}", ""]
        lines += ["| key | form | default | meaning |", "|---|---|---|---|"]
        lines += [*(_row(f) for f in fields(section)), ""]
    lines += [RULES, "| name | kind | table |", "|---|---|---|", *_shipped_rows()]
    lines += [DETAILS, "| name | `det_id` | photcodes (system) | time | radius | rejected as |"]
    lines += ["|---|---|---|---|---|---|", *_detail_rows(), ""]
    return "\n".join(lines)


def _row(declared: Field[Any]) -> str:
    notes = declared.metadata
    return f"| `{declared.name}` | {notes['form']} | {_default(declared)} | {notes['meaning']} |"


def _default(declared: Field[Any]) -> str:
    if is_required(declared):
        return "required"
    value = None if declared.default is MISSING else declared.default
    if value in (None, "", (), 0) and value is not False:
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _shipped_rows() -> Iterator[str]:
    for name in shipped_mappings():
        mapping = load_mapping(name)
        yield f"| `{name}` | {mapping.kind} | {mapping.description} |"


def _detail_rows() -> Iterator[str]:
    for name in shipped_mappings():
        mapping = load_mapping(name)
        radii = {code.radius_arcsec for code in mapping.photcodes if code.kind != "SEC"} - {None}
        cells = (
            f"`{mapping.det_id}`" if mapping.det_id else "row number" if mapping.kind != "images" else "",
            _photcodes(mapping), _time(mapping), ", ".join(f"{radius:g} arcsec" for radius in radii),
            ", ".join(f"`{cut.reason or f'cut_{cut.column}'}`" for cut in mapping.cuts),
        )  # fmt: skip
        yield f"| `{name}` | {' | '.join(cells)} |"


def _photcodes(mapping: Mapping) -> str:
    """Name the photcodes of the measurements, of many the first and the last, and their magnitude system."""
    codes = [code for code in mapping.photcodes if code.kind != "SEC"]
    names = [f"`{code.name}`" for code in codes]
    shown = ", ".join(names) if len(names) <= LISTED else f"{names[0]} … {names[-1]} ({len(names)})"
    return f"{shown} ({', '.join(sorted({code.system for code in codes}))})"


def _time(mapping: Mapping) -> str:
    """Name the columns that hold the rows' times, the constant one, and in which form and scale they are."""
    rule = mapping.time
    columns = [rule.column, *(band.time for band in mapping.magnitudes)]
    named = [f"`{column}`" for column in dict.fromkeys(columns) if column]
    given = [*named, *([] if rule.value is None else [str(rule.value)])]
    form = f"{rule.format} in {rule.unit}" if rule.unit else rule.format
    return f"{', '.join(given)} ({form}, {rule.scale.upper()})"


if __name__ == "__main__":
    sys.stdout.write(mapping_page())
