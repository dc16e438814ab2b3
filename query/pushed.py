"""Conditions of a query that can be decided beside the files: on rows of one table alone, and without failing.

Such a condition is handed on as SQL: DuckDB decides it there as it would here, where it is decided once more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from .flag_functions import FLAG_FUNCTIONS
from .resolve import Resolution
from .row_filters import PUSHED_FUNCTIONS

_COMPARISONS: dict[type[exp.Expression], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC: dict[type[exp.Expression], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}


def pushed_condition(condition: exp.Expression, resolution: Resolution) -> tuple[int, str] | None:
    """Return the reference whose rows alone a condition is about, and its SQL over the columns of that table.

    None for what has to wait: conditions on several tables, on anything but comparisons of columns and constants (and
    AND, OR, NOT of such), and all that could fail or differ from call to call; and for object ids, which choose the
    rows that are read.

    Examples
    --------
    >>> from skydb.query.parse import parse
    >>> parse("SELECT ra FROM objects o WHERE o.dec > -5 AND NMEASURE IN (1, 2) AND pi() < 4").references[0].conditions
    ('("dec" > -5)', '("n_measurements" IN (1, 2))')
    """
    text = _Text(resolution)
    try:
        sql = text.condition(condition)
    except _HasToWaitError:
        return None
    return (text.references.pop(), sql) if len(text.references) == 1 and text.columns != {"object_id"} else None


class _HasToWaitError(Exception):
    """Something is not to be decided beside the files."""


@dataclass(frozen=True)
class _Value:
    """SQL of a value, and whether it is a text or a number; `constant`: without columns."""

    sql: str
    is_text: bool = False
    constant: bool = True


@dataclass
class _Text:
    """Writes conditions anew, and notes of which references and columns they speak."""

    resolution: Resolution
    references: set[int] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)

    def condition(self, node: exp.Expression) -> str:
        """Return the SQL of a condition."""
        if isinstance(node, exp.Paren):
            return self.condition(node.this)
        if isinstance(node, exp.Not):
            return f"(NOT {self.condition(node.this)})"
        if isinstance(node, exp.And | exp.Or):
            word = "AND" if isinstance(node, exp.And) else "OR"
            return f"({self.condition(node.left)} {word} {self.condition(node.right)})"
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return f"({self.value(node.this).sql} IS NULL)"
        if type(node) in _COMPARISONS:
            left, right = self.alike(node.left, node.right)
            return f"({left} {_COMPARISONS[type(node)]} {right})"
        if isinstance(node, exp.Between) and not node.args.get("symmetric"):
            value, low, high = self.alike(node.this, node.args["low"], node.args["high"])
            return f"({value} BETWEEN {low} AND {high})"
        if isinstance(node, exp.In) and node.expressions and not node.args.get("query"):
            value, *listed = self.alike(node.this, *node.expressions)
            return f"({value} IN ({', '.join(listed)}))"
        if isinstance(node, exp.Anonymous) and PUSHED_FUNCTIONS.get(node.name.lower()) == len(node.expressions):
            return f"{node.name.lower()}({', '.join(self.alike(*node.expressions))})"
        raise _HasToWaitError

    def alike(self, *nodes: exp.Expression) -> list[str]:
        """Return the SQL of values that can be compared: all of them texts, or all numbers."""
        values = [self.value(node) for node in nodes]
        if len({value.is_text for value in values}) > 1:
            raise _HasToWaitError
        return [value.sql for value in values]

    def value(self, node: exp.Expression) -> _Value:
        """Return the SQL of a column, of a constant, or of bits of a column."""
        if isinstance(node, exp.Column):
            return self.column(node)
        if isinstance(node, exp.Literal):
            return _Value(_quoted(node.this) if node.is_string else node.this, node.is_string)
        if isinstance(node, exp.Paren):
            return self.value(node.this)
        if isinstance(node, exp.Neg):
            return _Value(f"-{self.number(node.this)}")
        if type(node) in _ARITHMETIC:
            return _Value(f"({self.number(node.left)} {_ARITHMETIC[type(node)]} {self.number(node.right)})")
        if isinstance(node, exp.BitwiseAnd) and isinstance(node.this, exp.Column):
            return _Value(f"({self.column(node.this).sql} & {_bits(node.expression)})", constant=False)
        raise _HasToWaitError

    def number(self, node: exp.Expression) -> str:
        """Return the SQL of a constant number."""
        value = self.value(node)
        if value.is_text or not value.constant:
            raise _HasToWaitError
        return f"({value.sql})" if value.sql.startswith("-") else value.sql

    def column(self, node: exp.Column) -> _Value:
        """Return the name of a column of a table of the database."""
        reference, name = self.resolution.meaning.get(id(node), (-1, ""))
        if reference < 0:
            raise _HasToWaitError
        table = self.resolution.references[reference].table
        kind = next(c.column.type for c in self.resolution.views.columns(table) if c.name == name)
        if not kind.startswith(("string", "int", "uint", "float")):
            raise _HasToWaitError
        self.references.add(reference)
        self.columns.add(name)
        return _Value(f'"{name}"', kind == "string", constant=False)


def _bits(node: exp.Expression) -> str:
    """Return the SQL of bits: a whole number, or the name of a flag."""
    if isinstance(node, exp.Paren):
        return _bits(node.this)
    if isinstance(node, exp.Literal) and not node.is_string and node.this.isdecimal():
        return str(node.this)
    if isinstance(node, exp.Anonymous) and node.name.lower() in FLAG_FUNCTIONS and len(node.expressions) == 1:
        name = node.expressions[0]
        if isinstance(name, exp.Literal) and name.is_string:
            return f"{node.name.lower()}({_quoted(name.this)})"
    raise _HasToWaitError


def _quoted(text: str) -> str:
    """Return the SQL of a text: sqlglot takes a millisecond for it."""
    return "'" + text.replace("'", "''") + "'"
