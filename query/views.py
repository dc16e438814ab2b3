"""What users see: the columns of every SQL table, and the stored tables that each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skydb.errors import UsageError, did_you_mean
from skydb.schema.model import Column, Table
from skydb.schema.tables import PHOTCODES, TABLES
from skydb.store.snapshot import Snapshot

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


class Views:
    """The SQL tables of a database: skydb's own, in declared order, then those that the database declares.

    Columns of a table: keys come first, then the names of photcode and band; calibrated values of a measurement before
    raw ones.

    Examples
    --------
    >>> OWN.table_named("Average"), OWN.table_named("Objects"), OWN.table_named("stars")
    ('objects', 'objects', None)
    >>> OWN.column_named("measurements", "M_APER"), OWN.column_named("objects", "seeing")
    ('ap_mag', None)
    >>> OWN.stored_columns("measurements", ["band", "mag", "photcode"])
    ['mag', 'code']
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.declared = {name: table for name, table in tables.items() if name not in _HIDDEN}
        self._tables = tables
        aliases = {table.dvo.lower(): name for name, table in self.declared.items() if table.dvo}
        self._by_name = aliases | {name: name for name in self.declared}
        self._columns: dict[str, tuple[ViewColumn, ...]] = {}
        self._by_alias: dict[str, dict[str, str]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tables that SQL knows."""
        return tuple(self.declared)

    def columns(self, table: str) -> tuple[ViewColumn, ...]:
        """Return the columns of a SQL table, in the order that SELECT * gives.

        Raises
        ------
        UsageError
            No such table.
        """
        if table not in self.declared:
            raise UsageError(f"no table named {table!r}", "SQL", did_you_mean(table, self.names))
        if table not in self._columns:
            self._columns[table] = tuple(self._view(table))
        return self._columns[table]

    def _view(self, table: str) -> list[ViewColumn]:
        stored = [self._tables[name] for name in STORED.get(table, (table,))]
        columns = {c.name: c for declared in stored for c in reversed(declared.columns)}
        order = dict.fromkeys(c.name for declared in stored for c in declared)
        seen = [ViewColumn(columns[name], tuple(s.name for s in stored if name in s)) for name in order]
        return _with_names(seen) if self._has_codes(table) else seen

    def _has_codes(self, table: str) -> bool:
        """Say whether a table has photcode numbers; what a user's own table calls `code` is the user's affair."""
        declared = self.declared[table]
        return "code" in declared and table != PHOTCODES.name and declared.keyed_by is None

    def table_named(self, name: str) -> str | None:
        """Return the SQL table of a name, in any case, or of a DVO alias; None if there is none."""
        return self._by_name.get(name.lower())

    def column_named(self, table: str, name: str) -> str | None:
        """Return the column of a SQL table by its DVO name, in any case; None if there is none.

        Where a raw and a calibrated column share a DVO name, the calibrated one is meant.
        """
        if table not in self._by_alias:
            named = [(dvo.lower(), c.name) for c in self.columns(table) if (dvo := c.column.dvo)]
            self._by_alias[table] = dict(reversed(named))
        return self._by_alias[table].get(name.lower())

    def looked_up(self, table: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Return which columns of a SQL table are looked up by its code."""
        return tuple(c for c in columns if c in (PHOTCODE.name, BAND.name)) if self._has_codes(table) else ()

    def stored_columns(self, table: str, columns: Sequence[str]) -> list[str]:
        """Return the stored columns that give some columns of a SQL table, each once."""
        names = self.looked_up(table, columns)
        return list(dict.fromkeys([*(c for c in columns if c not in names), *(["code"] if names else [])]))


def _with_names(columns: list[ViewColumn]) -> list[ViewColumn]:
    """Put the names of photcode and band after the keys."""
    names = [ViewColumn(c, ("photcodes",)) for c in (PHOTCODE, BAND)]
    keys = [c for c in columns if c.column.required or c.name in ("code", "mjd")]
    return [*keys, *names, *(c for c in columns if c not in keys)]


OWN = Views(TABLES)
"""The tables that every database has."""


def views_of(snapshot: Snapshot) -> Views:
    """Return the SQL tables of a snapshot."""
    return Views(snapshot.tables) if snapshot.declared else OWN


def visible_tables() -> tuple[str, ...]:
    """Return the names of the SQL tables that every database has."""
    return OWN.names


def visible_columns(table: str) -> tuple[ViewColumn, ...]:
    """Return the columns of a SQL table that every database has; see `Views.columns`."""
    return OWN.columns(table)
