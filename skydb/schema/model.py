"""What a declared table is: columns with type, unit, UCD and meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from skydb.errors import UsageError, did_you_mean

SCHEMA_VERSION = 2
VARIABLE_BYTES = 32
"""What a text or a list is taken to need."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "list<float64>": pa.list_(pa.float64()),
}


@dataclass(frozen=True)
class Column:
    """One column of a declared table.

    `type` is a key of `ARROW_TYPES`; `unit` is written as the VO writes it (None: no unit); `dvo` is the
    DVO column or field that queries accept as an alias; `psphot` the TTYPE that psphot's tables use.

    `since` is the version of the table that brought it, `default` what rows of earlier versions have in it; `widened`
    lists the versions that widened it, ascending, each with the type before.
    """

    name: str
    type: str
    unit: str | None
    ucd: str
    meaning: str
    dvo: str | None = None
    psphot: str | None = None
    required: bool = False
    since: int = 1
    default: bool | float | str | None = None
    widened: tuple[tuple[int, str], ...] = ()

    def type_in(self, version: int) -> str:
        """Return the type that it has in files of a version of the table."""
        return next((before for since, before in self.widened if version < since), self.type)

    @property
    def arrow(self) -> pa.Field:
        """The Arrow field, with unit, UCD and meaning as metadata."""
        notes = {"unit": self.unit or "", "ucd": self.ucd, "description": self.meaning}
        return pa.field(self.name, ARROW_TYPES[self.type], nullable=not self.required, metadata=notes)

    @property
    def is_error(self) -> bool:
        """Whether the values are errors (one sigma), which are never below 0."""
        return self.ucd.startswith("stat.error")


@dataclass(frozen=True)
class Table:
    """One declared table.

    `kind` says where its rows live: "sky" (Parquet per cell), "global" (Parquet, one set for the database),
    "catalog" (what SQL shows of the catalog). `sort` is the order of rows inside a file. `version` counts its changes;
    skydb's own tables share one count. `keyed_by` says of a table that a database declares for itself what a row is
    about: "object" or "measurement"; rows that share the columns of `sort` are one then. `psphot` is the kind of table
    (XSRC, XFIT …) beside its detections in which psphot's files have the rows; None: where columns have TTYPEs, that of
    the detections.
    """

    name: str
    kind: str
    meaning: str
    columns: tuple[Column, ...]
    sort: tuple[str, ...] = ()
    dvo: str | None = None
    version: int = SCHEMA_VERSION
    keyed_by: str | None = None
    psphot: str | None = None
    _by_name: dict[str, Column] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name.update({c.name: c for c in self.columns})
        if len(self._by_name) != len(self.columns):
            raise ValueError(f"table {self.name} declares a column twice")
        unknown = [name for name in self.sort if name not in self._by_name]
        if unknown:
            raise ValueError(f"table {self.name} is sorted by undeclared columns {unknown}")

    def __hash__(self) -> int:
        """Hash it by its name and version: stored files, which are looked up by the thousand, carry it."""
        return hash((self.name, self.version))

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Column:
        if name not in self._by_name:
            raise UsageError(f"no column named {name!r}", f"table {self.name}", did_you_mean(name, self._by_name))
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in file order."""
        return tuple(self._by_name)

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of the whole table."""
        return pa.schema([c.arrow for c in self.columns])

    @cached_property
    def row_bytes(self) -> int:
        """What a row takes in memory; about, where there are texts or lists."""
        types = [c.arrow.type for c in self.columns]
        return sum(-(-t.bit_width // 8) if pa.types.is_primitive(t) else VARIABLE_BYTES for t in types)

    def select(self, names: Iterable[str]) -> pa.Schema:
        """Return the Arrow schema of some columns, in the order given."""
        return pa.schema([self[name].arrow for name in names])

    def conform(self, rows: pa.Table) -> pa.Table:
        """Return the rows with the declared columns, types and order; absent optional columns become NULL.

        Raises
        ------
        UsageError
            A column that is not declared, or a required column that is absent.
        """
        extra = [name for name in rows.column_names if name not in self]
        if extra:
            raise UsageError(f"columns {extra} are not declared", f"table {self.name}", "declare or leave them out")
        missing = [c.name for c in self.columns if c.required and c.name not in rows.column_names]
        if missing:
            raise UsageError(f"required columns {missing} are absent", f"table {self.name}", "give them")
        arrays = [
            rows.column(c.name).cast(ARROW_TYPES[c.type]) if c.name in rows.column_names
            else pa.nulls(rows.num_rows, ARROW_TYPES[c.type])
            for c in self.columns
        ]
        return pa.Table.from_arrays(arrays, schema=self.arrow)

    def empty(self) -> pa.Table:
        """Return a table of no rows with the declared schema."""
        return self.arrow.empty_table()
