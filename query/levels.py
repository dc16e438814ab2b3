"""The levels of a query, one per SELECT, and the sources that the FROM of each brings.

Tables are changed in the text itself, where the parser says they stand, so that everything else reaches DuckDB as
the user wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from skydb.errors import UsageError, did_you_mean
from skydb.schema.declaration import is_shipped
from skydb.schema.model import Column

from .select_lists import UNKNOWN, Given, Level, Source, has_no_plain_name, name_of, renamed, source_of, starred
from .views import Views


@dataclass(frozen=True)
class Edit:
    """A change of the text: [start, stop) becomes `text`."""

    start: int
    stop: int
    text: str


@dataclass
class Reference:
    """One use of a skydb table: its name in the query, its name in the text for DuckDB, the columns used."""

    table: str
    alias: str
    relation: str
    node: exp.Table
    used: set[str] = field(default_factory=set)


class Levels:
    """The SELECTs of one query and what their names may mean.

    Attributes
    ----------
    views : the tables of the database
    references : uses of skydb tables
    levels : the SELECTs, inner ones first
    edits : changes of the text
    outside : table functions, files and foreign tables that the query reads
    """

    def __init__(self, sql: str, tree: exp.Expression, extra: frozenset[str], views: Views) -> None:
        self.references: list[Reference] = []
        self.levels: list[Level] = []
        self.edits: list[Edit] = []
        self.outside: list[str] = []
        self.views = views
        self._sql, self._extra = sql, extra
        self._by_select: dict[int, Level] = {}
        self._outputs: dict[int, Source] = {}
        for identifier in tree.find_all(exp.Identifier):
            identifier.set("this", identifier.this.lower())
        self._ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
        self._taken = self._ctes | extra | {i.this for i in tree.find_all(exp.Identifier)}
        self._build(tree)

    def outputs(self, tree: exp.Expression) -> Source:
        """Return the columns that a query gives."""
        return self._outputs.get(id(tree.unnest()), UNKNOWN)

    def chain(self, node: exp.Expression) -> Iterator[Level]:
        """Yield the levels about a node, innermost first."""
        above = node.parent
        while above is not None:
            if id(above) in self._by_select:
                yield self._by_select[id(above)]
            above = above.parent

    def found_in(self, level: Level, column: exp.Column) -> Iterator[tuple[Source, str]]:
        """Yield the sources of a level and their columns that a column may mean."""
        named = {k: s for k, s in level.sources.items() if column.table in ("", k)}
        return self.matches(named, column.name)

    def matches(
        self, sources: dict[str, Source], name: str, aliases: set[str] | frozenset[str] = frozenset()
    ) -> Iterator[tuple[Source, str]]:
        """Yield the sources and their columns that a name may mean: exact names first, else DVO names."""
        exact = [(s, name) for s in sources.values() if name in s.columns]
        if exact or name in aliases or not all(s.complete for s in sources.values()):
            yield from exact
            return
        for source in sources.values():
            table = self.references[source.reference].table if source.reference is not None else None
            column = self.views.column_named(table, name) if table else None
            if column is not None and column in source.columns:
                yield source, column

    def text(self, identifier: exp.Expression) -> str:
        """Return a name as the user spelled it, quotes included."""
        return self._sql[identifier.meta["start"]: identifier.meta["end"] + 1]

    def _build(self, tree: exp.Expression) -> None:
        seen: set[int] = set()
        for scope in traverse_scope(tree):
            nodes = (*scope.tables, *scope.derived_tables, *scope.udtfs)
            seen |= {id(n) for n in scope.tables}
            if isinstance(scope.expression, exp.Select):
                aliases = {e.alias for e in scope.expression.expressions if e.alias}
                level = Level(scope.expression, self._sources(scope, nodes), aliases)
                self.levels.append(level)
                self._by_select[id(scope.expression)] = level
            self._outputs[id(scope.expression)] = renamed(self._given(scope), scope.outer_columns)
        missed = [t.sql() for t in tree.find_all(exp.Table) if id(t) not in seen]
        if missed:
            raise UsageError(f"cannot tell what the table in {missed[0]!r} is for", "SQL", "rewrite the query")

    def _sources(self, scope: Scope, nodes: tuple[exp.Expression, ...]) -> dict[str, Source]:
        """Return what the FROM of a SELECT brings, by name."""
        sources: dict[str, Source] = {}
        for node in nodes:
            if name_of(node) in sources:
                raise UsageError(f"two tables named {name_of(node)!r} in one FROM", "SQL", "give one of them an alias")
            sources[name_of(node)] = self._source(node, scope.sources.get(node.alias_or_name))
        return sources

    def _source(self, node: exp.Expression, source: Scope | exp.Expression | None) -> Source:
        if node.args.get("pivots") and (isinstance(node, exp.Subquery) or isinstance(source, Scope)):
            return UNKNOWN
        if isinstance(node, exp.Subquery):
            return self._outputs.get(id(node.unnest()), UNKNOWN)
        if isinstance(source, Scope):
            return self._outputs.get(id(source.expression), UNKNOWN)
        if not isinstance(node, exp.Table):
            return UNKNOWN
        table = self._table(node)
        if table is None:
            return UNKNOWN
        index = self._refer(node, table)
        columns: dict[str, Column | None] = {c.name: c.column for c in self.views.columns(table)}
        here = Source(columns, complete=True, reference=index, origins={name: (index, name) for name in columns})
        names = [c.name for c in node.args["alias"].columns] if node.args.get("alias") else []
        pivoted = node.args.get("pivots") or isinstance(node.parent, exp.Pivot)
        if names or pivoted:
            self.references[index].used.update(columns)
        if pivoted:
            return UNKNOWN
        return renamed(here, names)

    def _table(self, node: exp.Table) -> str | None:
        """Return the skydb table that a node names, or None for what lies outside."""
        name = node.name.lower()
        known = self.views.table_named(name)
        if not isinstance(node.this, exp.Identifier) or node.db not in ("", "main") or node.catalog:
            self.outside.append(node.this.sql("duckdb") if not node.db else f"{node.db}.{node.name}")
            return None
        if name in self._extra:
            return None
        if known is None:
            if "." in name or "/" in name:
                self.outside.append(self.text(node.this).strip("'\""))
                return None
            names = {*self.views.names, *self._extra}
            todo = f"declare it: skydb table DB --declare {name}" if is_shipped(name) else did_you_mean(name, names)
            raise UsageError(f"no table named {self.text(node.this)!r}", "SQL", todo)
        return known

    def _refer(self, node: exp.Table, table: str) -> int:
        """Note one use of a table and put its relation into the text."""
        alias = node.alias_or_name
        relation, number = table, 1
        while relation in self._ctes or relation in self._extra or relation in {r.relation for r in self.references}:
            number += 1
            relation = f"{table}_{number}"
            number += relation in self._taken
        self.references.append(Reference(table, alias, relation, node))
        spelled = self.text(node.this)
        if spelled.lower() != relation or node.db:
            start = (node.args["db"] if node.db else node.this).meta["start"]
            suffix = "" if node.alias else f" AS {spelled}"
            self.edits.append(Edit(start, node.this.meta["end"] + 1, relation + suffix))
        return len(self.references) - 1

    def _given(self, scope: Scope) -> Source:
        """Return the columns that a query's select list gives."""
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            left, right = (self._outputs.get(id(side.unnest())) for side in (query.left, query.right))
            if left is None or right is None or not (left.complete and right.complete):
                return UNKNOWN
            pairs = zip(left.given(), right.columns.values(), strict=False)
            return source_of([Given(g.name, g.column if g.column == c else None) for g, c in pairs], complete=True)
        level = self._by_select.get(id(query))
        if level is None:
            return UNKNOWN
        given: list[Given] = []
        complete = certain = True
        for item in query.expressions:
            if item.is_star:
                columns, known = starred(level, item)
                given += columns if certain else [Given(c.name) for c in columns]
                complete, certain = complete and known, certain and known
            elif item.alias or isinstance(item.unnest(), exp.Column):
                one = self._one(level, item)
                given.append(one if certain else Given(one.name))
            else:
                complete, certain = False, certain and has_no_plain_name(item)
        return source_of(given, complete=complete)

    def _one(self, level: Level, item: exp.Expression) -> Given:
        name = item.alias or item.unnest().name
        inner = item.unalias().unnest()
        found = list(self.found_in(level, inner)) if isinstance(inner, exp.Column) else []
        if not found or any(s.columns[c] != found[0][0].columns[found[0][1]] for s, c in found):
            return Given(name)
        source, column = found[0]
        return Given(name, source.columns[column], source.origins.get(column) if len(found) == 1 else None)
