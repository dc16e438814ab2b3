"""What there is to ask: the tables and columns of a connection, and the statements SHOW TABLES and DESCRIBE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from skydb.errors import UsageError, did_you_mean
from skydb.schema.model import Column

from .views import Views

TABLE_FACTS = pa.schema([
    ("name", pa.string()), ("columns", pa.int64()), ("dvo", pa.string()), ("meaning", pa.string()),
])  # fmt: skip
COLUMN_FACTS = pa.schema([
    (name, pa.string()) for name in ("name", "type", "unit", "meaning", "dvo", "ucd")
])  # fmt: skip

_MEANINGS = {
    "measurements": "every measurement, raw and calibrated",
    "images": "images: their headers, and their solutions under the calibration",
}
"""Of the tables that users see as one where two are stored."""

_COMMENTS = re.compile(r"\A(\s|--[^\n]*(\n|\Z)|/\*.*?\*/)+", re.S)
_SHOW = re.compile(r"\s*show\s+(all\s+)?tables\s*;?\s*", re.I)
_DESCRIBE = re.compile(
    r"\s*(?:desc|describe|show|show\s+columns\s+(?:from|in))\s+(?:table\s+)?(?:main\.)?(\"?)([a-z_]\w*)\1\s*;?\s*", re.I
)
_DESCRIBE_QUERY = re.compile(r"\s*(?:desc|describe)\s+((?:select|with|from|values|\().*)", re.I | re.S)


@dataclass(frozen=True)
class Description:
    """A statement that asks what there is: of one table, of the result of a query, or of all tables."""

    table: str | None = None
    query: str | None = None


def description(sql: str) -> Description | None:
    """Return what a SHOW TABLES or DESCRIBE asks for; None for every other text.

    >>> description("DESCRIBE Average;"), description("SHOW TABLES"), description("SELECT 1")
    (Description(table='Average', query=None), Description(table=None, query=None), None)
    """
    sql = _COMMENTS.sub("", sql)
    if _SHOW.fullmatch(sql):
        return Description()
    if match := _DESCRIBE_QUERY.fullmatch(sql):
        return Description(query=match[1])
    match = _DESCRIBE.fullmatch(sql)
    return Description(table=match[2]) if match else None


def table_facts(views: Views, registered: Mapping[str, pa.Table]) -> pa.Table:
    """Return one row per table that SQL knows: skydb's, in declared order, then the user's."""
    rows = [_of_table(views, name) for name in views.names]
    rows += [{"name": name, "columns": table.num_columns, "meaning": "registered by you"}
             for name, table in registered.items()]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TABLE_FACTS)


def _of_table(views: Views, name: str) -> dict[str, Any]:
    declared = views.declared[name]
    meaning = _MEANINGS.get(name, declared.meaning)
    return {"name": name, "columns": len(views.columns(name)), "dvo": declared.dvo, "meaning": meaning}


def column_facts(table: str, views: Views, registered: Mapping[str, pa.Table]) -> pa.Table:
    """Return one row per column of a table, in the order of SELECT *: type, unit, meaning, DVO name, UCD.

    Parameters
    ----------
    table
        Its name or DVO's, in any case.
    views
        The tables of the database.
    registered
        The user's tables, by name in lower case.

    Raises
    ------
    UsageError
        No such table.
    """
    if table.lower() in registered:
        return facts_of_schema(registered[table.lower()].schema, {})
    name = views.table_named(table)
    if name is None:
        raise UsageError(f"no table named {table!r}", "SQL", did_you_mean(table, {*views.names, *registered}))
    rows = [_of_column(c.name, c.column.type, c.column) for c in views.columns(name)]
    return pa.Table.from_pylist(rows, schema=COLUMN_FACTS)


def facts_of_schema(schema: pa.Schema, declared: Mapping[str, Column]) -> pa.Table:
    """Return one row per field; those that are declared columns have their facts."""
    rows = [_of_column(f.name, _type_name(f.type), declared.get(f.name)) for f in schema]
    return pa.Table.from_pylist(rows, schema=COLUMN_FACTS)


def _of_column(name: str, kind: str, column: Column | None) -> dict[str, Any]:
    facts = {"name": name, "type": kind}
    if column is None:
        return facts
    return facts | {"unit": column.unit, "meaning": column.meaning, "dvo": column.dvo, "ucd": column.ucd}


def _type_name(kind: pa.DataType) -> str:
    """Spell an Arrow type as the declared tables do."""
    named = re.sub(r"list<\w+: ", "list<", str(kind))
    return re.sub(r"\bdouble\b", "float64", re.sub(r"\bfloat\b", "float32", named))
