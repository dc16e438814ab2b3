"""Only questions pass: one SELECT that changes nothing, by DuckDB's own parser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from skydb.errors import UsageError

_QUESTIONS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""DuckDB's query nodes that read only; an INSERT or COPY inside a WITH is a node of another kind."""

_STATEMENTS = "give one SELECT; SHOW TABLES, DESCRIBE objects and DESCRIBE SELECT … stand alone"
_SUMMARY = "DESCRIBE lists the columns, and one SELECT with min, max, avg and count sums them up"
PIVOT_FORM = "write one SELECT … FROM object_bands PIVOT (first(mag) FOR band IN ('g', 'r') GROUP BY object_id)"
UNPIVOT_FORM = "write one SELECT … FROM objects UNPIVOT (angle FOR name IN (ra, dec))"
"""What to write instead of statements that DuckDB has besides SELECT."""

_ADVICE = "give one SELECT; tables are changed by the commands of skydb alone"

_OPEN_PIVOT = re.compile(r"[\s(]*(?:(?:select|with|from)\b[^;]*\b)?pivot\b", re.I)
"""DuckDB does not count a SELECT as one where a PIVOT would have to look up its columns first."""


def require_one_select(sql: str) -> None:
    """Refuse everything but one SELECT statement.

    DuckDB calls `WITH c AS (COPY … TO 'f') SELECT …` a SELECT and would write the file, so its syntax tree is
    searched for nodes that do not read. Functions that read files are no statement and pass.

    Raises
    ------
    UsageError
        A syntax error, several statements, or one that is no SELECT or holds another kind of statement.

    Examples
    --------
    >>> require_one_select("SELECT count(*) FROM objects")
    """
    with _parser().cursor() as con:
        tree: dict[str, Any] = json.loads(con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if tree["error"]:
        what = str(tree.get("error_message", "no statement")).strip()
        if "Only SELECT" not in what:
            raise UsageError(what, "SQL", _ADVICE)
        if _OPEN_PIVOT.match(sql):
            raise UsageError("PIVOT needs the values that become columns", "SQL", PIVOT_FORM)
        raise UsageError("not a SELECT statement", "SQL", _ADVICE)
    if len(tree["statements"]) != 1:
        raise UsageError(f"{len(tree['statements'])} statements", "SQL", _ADVICE)
    for node in _nodes(tree):
        kind = node.get("type")
        if "cte_map" in node and kind not in _QUESTIONS:
            raise UsageError(f"{str(kind).split('_')[0]} inside the query", "SQL", _ADVICE)
        if kind == "SHOW_REF" and node.get("show_type") == "SUMMARY":
            raise UsageError("SUMMARIZE is not supported", "SQL", _SUMMARY)
        if kind == "SHOW_REF":
            raise UsageError("DESCRIBE, SHOW or SUMMARIZE inside the query", "SQL", _STATEMENTS)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """Return an empty database that parses: opening one takes 40 times as long as a query."""
    return duckdb.connect(config={"threads": 1})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON tree, without recursion: queries nest as deep as they like."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
