"""Conditions of a query, decided beside the files on the rows of one cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from .flag_functions import register_flags
from .functions import register
from .names import with_names

if TYPE_CHECKING:
    import duckdb

PUSHED_FUNCTIONS = {"in_cone": 5, "in_box": 6}
"""Functions of the sky that are decided there, and their arguments; planning an `in_polygon` takes 30 ms a cell."""


@dataclass(frozen=True)
class RowFilter:
    """Conditions that rows of a table have to meet.

    Attributes
    ----------
    conditions
        SQL over the visible columns of the table, as `pushed` writes it.
    names
        Which of the columns are looked up by their code.
    codes
        Where they are looked up; None if none are.
    """

    conditions: tuple[str, ...]
    names: tuple[str, ...] = ()
    codes: pa.Table | None = None

    def kept(self, rows: pa.Table) -> pa.Table:
        """Return the rows that meet all conditions, in their order."""
        if not rows.num_rows:
            return rows
        seen = rows if self.codes is None else with_names(rows, self.codes, [*rows.column_names, *self.names])
        shown = ", ".join(f'"{name}"' for name in rows.column_names)
        with _decider().cursor() as cursor:
            cursor.register("seen", _Stream(seen))
            found = cursor.sql(f"SELECT {shown} FROM seen WHERE {' AND '.join(self.conditions)}").to_arrow_table()
        return found.cast(rows.schema)


@dataclass(frozen=True)
class _Stream:
    """Rows as DuckDB takes them without deciding in Arrow, where a NaN is not above all numbers."""

    rows: pa.Table

    def __arrow_c_schema__(self) -> object:
        return self.rows.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


@cache
def _decider() -> duckdb.DuckDBPyConnection:
    """Return an empty database that knows the functions: opening one takes 40 times as long as a cell."""
    import duckdb

    con = duckdb.connect(config={"threads": 1})
    register(con, PUSHED_FUNCTIONS, temporary=False)
    register_flags(con)
    return con
