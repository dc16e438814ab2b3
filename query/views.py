"""What users see: the columns of every SQL table, and the stored tables that each of them comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from skydb.errors import UsageError, did_you_mean
from skydb.schema.model import Column
from skydb.schema.tables import PHOTCODES, TABLES

STORED = {"measurements": ("measurements_cal", "measurements"), "images": ("images", "images_cal")}
"""Stored tables that users see as one, by preference; every other SQL table is one stored table."""

_HIDDEN = {part for name, parts in STORED.items() for part in parts if part != name}

PHOTCODE = Column("photcode", "string", None, "meta.id;instr.bandpass", "name of the photcode", dvo="PHOTCODE")
BAND = Column("band", "string", None, "instr.bandpass", "name of the mean band that the photcode belongs to")


@dataclass(frozen=True)
class ViewColumn:
    """One visible column and the stored tables that hold it.

    `sources` names them by preference: calibrated measurements come first, so that a query that they can answer alone
    reads nothing else. Names of photcodes and bands are looked up in `photcodes` by the stored `code`.
    """

    column: Column
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name


def visible_tables() -> tuple[str, ...]:
    """Return the names of the tables that SQL knows, in declared order."""
    return tuple(name for name in TABLES if name not in _HIDDEN)


@cache
def visible_columns(table: str) -> tuple[ViewColumn, ...]:
    """Return the columns of a SQL table, in the order that SELECT * gives.

    Keys come first, then the names of photcode and band; calibrated values of a measurement before raw ones.

    Parameters
    ----------
    table : name
        As `visible_tables` gives it.

    Raises
    ------
    UsageError
        No such table.

    Examples
    --------
    >>> [c.name for c in visible_columns("measurements")][:7]
    ['object_id', 'image_id', 'det_id', 'code', 'mjd', 'photcode', 'band']
    """
    if table not in visible_tables():
        raise UsageError(f"no table named {table!r}", "SQL", did_you_mean(table, visible_tables()))
    stored = STORED.get(table, (table,))
    columns = {c.name: c for name in stored for c in reversed(TABLES[name].columns)}
    order = [*dict.fromkeys(c.name for name in stored for c in TABLES[name])]
    seen = [ViewColumn(columns[name], tuple(s for s in stored if name in TABLES[s])) for name in order]
    return tuple(_with_names(seen)) if table != PHOTCODES.name and "code" in columns else tuple(seen)


def _with_names(columns: list[ViewColumn]) -> list[ViewColumn]:
    """Put the names of photcode and band after the keys."""
    names = [ViewColumn(c, ("photcodes",)) for c in (PHOTCODE, BAND)]
    keys = [c for c in columns if c.column.required or c.name in ("code", "mjd")]
    return [*keys, *names, *(c for c in columns if c not in keys)]


def table_named(name: str) -> str | None:
    """Return the SQL table of a name, in any case, or of a DVO alias; None if there is none.

    >>> table_named("Average"), table_named("Objects"), table_named("stars")
    ('objects', 'objects', None)
    """
    return _tables_by_name().get(name.lower())


def column_named(table: str, name: str) -> str | None:
    """Return the column of a SQL table by its DVO name, in any case; None if there is none.

    Where a raw and a calibrated column share a DVO name, the calibrated one is meant.

    >>> column_named("measurements", "M_APER"), column_named("objects", "OBJ_ID"), column_named("objects", "seeing")
    ('ap_mag', 'object_id', None)
    """
    return _columns_by_alias(table).get(name.lower())


@cache
def _tables_by_name() -> dict[str, str]:
    aliases = {dvo.lower(): name for name in visible_tables() if (dvo := TABLES[name].dvo)}
    return aliases | {name: name for name in visible_tables()}


@cache
def _columns_by_alias(table: str) -> dict[str, str]:
    named = [(dvo.lower(), c.name) for c in visible_columns(table) if (dvo := c.column.dvo)]
    return dict(reversed(named))
