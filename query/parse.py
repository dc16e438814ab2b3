"""Read one SQL query: which tables and columns it needs, where on the sky, and its text for DuckDB."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from skydb.errors import UsageError
from skydb.schema.model import Column
from skydb.sky.regions import Region

from .guard import PIVOT_FORM, UNPIVOT_FORM, require_one_select
from .levels import Edit, Reference
from .predicates import IdRanges, Limits, limits
from .resolve import Resolution
from .unset_flags import require_set_flags
from .views import OWN, Views


@dataclass(frozen=True)
class TableReference:
    """One use of a skydb table in a query.

    `alias` is its name in the query as written, `relation` the one in `ParsedQuery.sql`: a second use of a table has a
    relation of its own, so that each may bring other rows. `columns` are those used, in the order of the table's
    visible columns. Only rows inside `region` and with an id in the half-open ranges `object_ids` can matter (None:
    all); of those only rows for which all `conditions` hold, SQL over its columns; and of those only rows whose
    object_id occurs among the rows of *every* reference that `follows` lists by number, so that a join on object_id is
    pruned on both sides by what limits one.
    """

    table: str
    alias: str
    relation: str
    columns: tuple[str, ...]
    region: Region | None = None
    object_ids: IdRanges | None = None
    follows: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParsedQuery:
    """A query, ready to be planned.

    `sql` is the text for DuckDB: DVO names translated, tables by their relations, everything else as written.
    `declared` gives the declaration of each result column that is a declared column as it is, in their order; where the
    result repeats a name, each of its columns has an entry, None if it is not declared. `outside` names the files,
    table functions and foreign tables that the query reads besides skydb's.
    """

    sql: str
    references: tuple[TableReference, ...]
    declared: tuple[tuple[str, Column | None], ...] = ()
    outside: tuple[str, ...] = ()


def parse(sql: str, extra: Collection[str] = (), views: Views = OWN) -> ParsedQuery:
    """Read one SELECT in DuckDB's dialect.

    Parameters
    ----------
    sql : query
        Names of tables and columns may be skydb's or DVO's, in any case.
    extra : names
        Further tables that the connection knows, such as a data frame of the user's; they hide skydb's.
    views
        The tables of the database.

    Raises
    ------
    UsageError
        Not exactly one SELECT; a syntax error; an unknown table, or a column that certainly does not exist; a
        sky function with arguments that make no region; a flag that no row of its column has.

    Examples
    --------
    >>> query = parse("SELECT OBJ_ID FROM Average WHERE in_cone(ra, dec, 10.5, -20, 5/60)")
    >>> query.sql
    'SELECT object_id AS OBJ_ID FROM objects AS Average WHERE in_cone(ra, dec, 10.5, -20, 5/60)'
    >>> query.references[0].columns, query.references[0].region
    (('object_id', 'ra', 'dec'), Cone(ra=10.5, dec=-20.0, radius_deg=0.08333333333333333))
    """
    require_one_select(sql)
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
        _require_readable(tree)
        resolution = Resolution(sql, tree, frozenset(name.lower() for name in extra), views)
    except RecursionError as error:
        raise UsageError("the query nests too deep", "SQL", "simplify it") from error
    except SqlglotError as error:
        raise UsageError(f"cannot read the query: {_plain(error)}", "SQL", "simplify it") from error
    found = zip(resolution.references, limits(resolution), strict=True)
    require_set_flags(tree, {(reference.table, name) for reference in resolution.references for name in reference.used})
    declared = [(g.name, g.column) for g in resolution.outputs(tree).given()]
    some = {name for name, column in declared if column is not None}
    return ParsedQuery(
        _edited(sql, resolution.edits),
        tuple(_reference(reference, limit, views) for reference, limit in found),
        tuple(pair for pair in declared if pair[0] in some),
        tuple(dict.fromkeys(resolution.outside)),
    )


def _require_readable(tree: exp.Expression) -> None:
    """Refuse what DuckDB counts as a SELECT and what cannot be planned, with what to write instead.

    A PIVOT statement can be planned where it stands in a FROM, over a table and without an alias; the standard form,
    behind a table, can be planned everywhere.
    """
    for pivot in tree.find_all(exp.Pivot):
        about = pivot.parent
        plain = isinstance(about, exp.Subquery) and not about.alias and isinstance(pivot.this, exp.Table)
        if pivot.arg_key != "pivots" and not plain:
            kind, todo = ("UNPIVOT", UNPIVOT_FORM) if pivot.args.get("unpivot") else ("PIVOT", PIVOT_FORM)
            raise UsageError(f"{kind} is supported behind a table only", "SQL", todo)
    if isinstance(tree, exp.Values):
        raise UsageError("VALUES is supported in a FROM only", "SQL", "write SELECT * FROM (VALUES (1)) AS t(x)")
    if not isinstance(tree, exp.Query):
        raise UsageError("not a SELECT statement", "SQL", "give one SELECT")


def _reference(reference: Reference, limit: Limits, views: Views) -> TableReference:
    columns = tuple(c.name for c in views.columns(reference.table) if c.name in reference.used)
    return TableReference(
        reference.table, reference.alias, reference.relation, columns, limit.region, limit.ids,
        tuple(sorted(limit.follows)), tuple(limit.conditions),
    )  # fmt: skip


def _edited(sql: str, edits: list[Edit]) -> str:
    """Return the text with all changes made."""
    for edit in sorted(set(edits), key=lambda e: e.start, reverse=True):
        sql = sql[: edit.start] + edit.text + sql[edit.stop:]
    return sql


def _plain(error: SqlglotError) -> str:
    """Return a parser's message without terminal colours."""
    return str(error).replace("\x1b[4m", "").replace("\x1b[0m", "").splitlines()[0]
