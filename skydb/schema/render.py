"""The declared tables written out for others: reference pages, FITS headers, astropy and VOTable metadata.

A query engine drops the metadata of Arrow fields, so a field without it is described by the declared columns of
the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from skydb.errors import UsageError
from skydb.flags import FLAGS_OF_COLUMN, flag_rows, origin_of

from .model import Column, Table
from .tables import TABLES

if TYPE_CHECKING:
    import astropy.table

KINDS = {
    "sky": "Sky tables: Parquet, one set of files per cell",
    "global": "Global tables: Parquet, one set of files for the database",
    "catalog": "Tables of SQL that the catalog answers; what it stores is in [Tables of the catalog](catalog.md)",
}

FITS_FORMS: dict[pa.DataType, tuple[str, int, int | None]] = {
    pa.bool_(): ("L", 0, None),
    pa.int8(): ("B", -(2**7), -(2**7)),
    pa.uint8(): ("B", 0, 2**8 - 1),
    pa.int16(): ("I", 0, -(2**15)),
    pa.uint16(): ("I", 2**15, 2**16 - 1),
    pa.int32(): ("J", 0, -(2**31)),
    pa.uint32(): ("J", 2**31, 2**32 - 1),
    pa.int64(): ("K", 0, -(2**63)),
    pa.uint64(): ("K", 2**63, 2**64 - 1),
    pa.float32(): ("E", 0, None),
    pa.float64(): ("D", 0, None),
}
"""TFORM letter, TZERO and the value that stands for NULL, of every type with a fixed width."""


@dataclass(frozen=True)
class Notes:
    """What is known of one column of a result: unit as the VO writes it (None: none), UCD, meaning ("": unknown)."""

    unit: str | None = None
    ucd: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class FitsColumn:
    """One column of a FITS binary table.

    `null` is the value to write for NULL, before TZERO is subtracted; None where NaN, an empty string or an empty
    list says it, or where nothing is NULL.
    """

    name: str
    form: str
    zero: int
    null: int | None
    notes: Notes

    def cards(self, number: int) -> Iterator[tuple[str, str | int, str]]:
        """Yield the header cards (keyword, value, comment) of the column, which is the `number`-th from 1."""
        yield f"TTYPE{number}", self.name, ""
        yield f"TFORM{number}", self.form, ""
        if self.notes.unit:
            yield f"TUNIT{number}", _unit(self.notes.unit, "fits"), ""
        if self.zero:
            yield f"TSCAL{number}", 1, ""
            yield f"TZERO{number}", self.zero, ""
        if self.null is not None:
            yield f"TNULL{number}", self.null - self.zero, "stands for NULL"
        if self.notes.ucd:
            yield f"TUCD{number}", self.notes.ucd, ""
        if self.notes.meaning:
            yield f"TCOMM{number}", self.notes.meaning, ""


def notes_of(schema: pa.Schema, tables: Sequence[str] | None = None) -> list[Notes]:
    """Unit, UCD and meaning of every field.

    Parameters
    ----------
    schema
        Of any Arrow table. The metadata of a field count first, the declared column of its name second.
    tables
        Names of the declared tables that the rows come from: the first that has the column describes it.
        None: all tables, and only what they agree on is said.
    """
    return [_from_metadata(field) or _from_declarations(field.name, tables) for field in schema]


def fits_columns(rows: pa.Table, tables: Sequence[str] | None = None) -> list[FitsColumn]:
    """FITS definition of every column of an Arrow table.

    A string is as wide as its longest value, a list is a variable-length array.

    Raises
    ------
    UsageError
        A column of a type that FITS has no form for.
    """
    notes = notes_of(rows.schema, tables)
    return [_fits_column(name, rows.column(name), note) for name, note in zip(rows.column_names, notes, strict=True)]


def annotate(table: astropy.table.Table, tables: Sequence[str] | None = None) -> None:
    """Give the columns of an astropy Table their units, descriptions and UCDs (where VOTable and ECSV take them from).

    `tables` is as in `notes_of`. What a column already has stays.
    """
    from astropy.units import Unit

    for name in table.colnames:
        column, notes = table[name], _from_declarations(name, tables)
        if notes.unit and column.unit is None:
            column.unit = Unit(notes.unit)
        if notes.meaning and not column.info.description:
            column.info.description = notes.meaning
        if notes.ucd:
            column.info.meta = {"ucd": notes.ucd, **(column.info.meta or {})}


def tables_page(tables: Mapping[str, Table] = TABLES) -> str:
    """Markdown reference page of declared tables."""
    lines = ["# Tables", ""]
    for kind, heading in KINDS.items():
        chosen = [t for t in tables.values() if t.kind == kind]
        if chosen:
            lines += [f"## {heading}", ""]
        for table in chosen:
            lines += _table_section(table)
    return "\n".join(lines)


def flags_page() -> str:
    """Markdown reference page of the flag bits, column by column."""
    lines = ["# Flags", "", *_ORIGINS_NOTE]
    for column, flags in FLAGS_OF_COLUMN.items():
        rows = (
            (f"`0x{bit:08x}`", f"`{name}`", origin_of(flags, bit), meaning) for name, bit, meaning in flag_rows(flags)
        )
        lines += [f"## {column}", "", *_markdown_table(["value", "name", "set", "meaning"], rows), ""]
    return "\n".join(lines)


_ORIGINS_NOTE = [
    "The values are DVO's, so that its masks keep working; not all of them are set. `stored`: rows have the bit.",
    "`by user`: kept and obeyed where a user sets it, which no command does yet. `derived`: it depends on the object's",
    "other measurements and is stored in no row; `skydb lightcurve --derive-flags` and",
    "`con.lightcurve(ids, derive_flags=True)` find it, released light curves have it. `never yet`: nothing sets it.",
    "In SQL, to ask one of these columns for the name of a bit that is `derived` or `never yet` is an error.",
    "",
]


def _table_section(table: Table) -> list[str]:
    """Heading, facts and one row per column."""
    facts = [table.meaning[0].upper() + table.meaning[1:] + "."]
    if table.dvo:
        facts.append(f"DVO: `{table.dvo}`.")
    if table.sort:
        facts.append(f"Rows are sorted by {', '.join(f'`{name}`' for name in table.sort)}.")
    if table.keyed_by:
        facts.append(f"In databases that declare it: `skydb table DB --declare {table.name}`.")
    with_psphot = any(c.psphot for c in table)
    heads = ["column", "type", "unit", "UCD", "meaning", "DVO", *(["psphot"] if with_psphot else [])]
    rows = [_cells(c, with_psphot=with_psphot) for c in table]
    return [f"### {table.name}", "", " ".join(facts), "", *_markdown_table(heads, rows), ""]


def _cells(column: Column, *, with_psphot: bool) -> list[str]:
    meaning = column.meaning if not column.required else f"{column.meaning} (never NULL)"
    texts = [column.type, column.unit, column.ucd]
    names = [column.dvo, *([column.psphot] if with_psphot else [])]
    return [f"`{column.name}`", *map(_code, texts), meaning.replace("|", "\\|"), *map(_code, names)]


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]


def _from_metadata(field: pa.Field) -> Notes | None:
    """Notes that the Arrow field itself carries."""
    own = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    if not own.keys() & {"unit", "ucd", "description"}:
        return None
    return Notes(own.get("unit") or None, own.get("ucd", ""), own.get("description", ""))


def _from_declarations(name: str, tables: Sequence[str] | None) -> Notes:
    """Notes of the declared columns of that name: of the first table given, or what all tables agree on."""
    among = TABLES if tables is None else {t: TABLES[t] for t in tables if t in TABLES}
    found = [table[name] for table in among.values() if name in table]
    if tables is not None:
        found = found[:1]
    units, ucds, meanings = {c.unit for c in found}, {c.ucd for c in found}, {c.meaning for c in found}
    return Notes(
        units.pop() if len(units) == 1 else None,
        ucds.pop() if len(ucds) == 1 else "",
        meanings.pop() if len(meanings) == 1 else "",
    )


def _fits_column(name: str, values: pa.ChunkedArray, notes: Notes) -> FitsColumn:
    kind = values.type
    if kind in FITS_FORMS:
        letter, zero, null = FITS_FORMS[kind]
        return FitsColumn(name, letter, zero, null if values.null_count else None, notes)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        width = pc.max(pc.binary_length(values)).as_py() or 1
        return FitsColumn(name, f"{width}A", 0, None, notes)
    if pa.types.is_list(kind) and kind.value_type in FITS_FORMS:
        letter, zero, _ = FITS_FORMS[kind.value_type]
        longest = pc.max(pc.list_value_length(values)).as_py() or 0
        return FitsColumn(name, f"QK({longest})".replace("K", letter), zero, None, notes)
    raise UsageError(f"FITS has no form for type {kind}", f"column {name}", "cast it to a number or a string")


def _unit(unit: str, dialect: str) -> str:
    """Spell a unit as a standard does."""
    from astropy.units import Unit

    return str(Unit(unit).to_string(dialect))
