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
from skydb.schema.model import Column

from .views import column_named, table_named, visible_columns, visible_tables


def name_of(node: exp.Expression) -> str:
    """Return the name of a source in its FROM; one without a name gets one that no query can write."""
    return str(node.alias_or_name) or f"({id(node)})"


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


@dataclass(frozen=True)
class Source:
    """What a FROM offers under one name: columns with their declarations, and where a plain column comes from.

    `complete` is False where there may be columns that cannot be known here; `origins` gives the reference and
    its column of those that are handed on as they are.
    """

    columns: dict[str, Column | None]
    complete: bool
    reference: int | None = None
    origins: dict[str, tuple[int, str]] = field(default_factory=dict)

    def named(self, name: str, *, dvo: bool, table: str | None) -> str | None:
        """Return the column that a name or, if asked for, a DVO name means."""
        if not dvo:
            return name if name in self.columns else None
        meant = column_named(table, name) if table else None
        return meant if meant in self.columns else None


UNKNOWN = Source({}, complete=False)
"""A source of which nothing can be known here."""


@dataclass
class Level:
    """One SELECT and the sources of its FROM."""

    select: exp.Select
    sources: dict[str, Source]
    aliases: set[str]

    @property
    def complete(self) -> bool:
        """True if all columns of all sources are known."""
        return all(s.complete for s in self.sources.values())


class Levels:
    """The SELECTs of one query and what their names may mean.

    Attributes
    ----------
    references : uses of skydb tables
    levels : the SELECTs, inner ones first
    edits : changes of the text
    outside : table functions, files and foreign tables that the query reads
    """

    def __init__(self, sql: str, tree: exp.Expression, extra: frozenset[str]) -> None:
        self.references: list[Reference] = []
        self.levels: list[Level] = []
        self.edits: list[Edit] = []
        self.outside: list[str] = []
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
            column = source.named(name, dvo=True, table=table)
            if column is not None:
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
            self._outputs[id(scope.expression)] = _renamed(self._given(scope), scope.outer_columns)
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
        columns: dict[str, Column | None] = {c.name: c.column for c in visible_columns(table)}
        here = Source(columns, complete=True, reference=index, origins={name: (index, name) for name in columns})
        names = [c.name for c in node.args["alias"].columns] if node.args.get("alias") else []
        if names or node.args.get("pivots"):
            self.references[index].used.update(columns)
        if node.args.get("pivots"):
            return UNKNOWN
        return _renamed(here, names)

    def _table(self, node: exp.Table) -> str | None:
        """Return the skydb table that a node names, or None for what lies outside."""
        name = node.name.lower()
        known = table_named(name)
        if not isinstance(node.this, exp.Identifier) or node.db not in ("", "main") or node.catalog:
            self.outside.append(node.this.sql("duckdb") if not node.db else f"{node.db}.{node.name}")
            return None
        if name in self._extra:
            return None
        if known is None:
            if "." in name or "/" in name:
                self.outside.append(self.text(node.this).strip("'\""))
                return None
            names = {*visible_tables(), *self._extra}
            raise UsageError(f"no table named {self.text(node.this)!r}", "SQL", did_you_mean(name, names))
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
            one, other = (self._outputs.get(id(side.unnest())) for side in (query.left, query.right))
            if one is None or other is None or not (one.complete and other.complete):
                return UNKNOWN
            pairs = zip(one.columns.items(), other.columns.values(), strict=False)
            return Source({name: c if c == d else None for (name, c), d in pairs}, complete=True)
        level = self._by_select.get(id(query))
        if level is None:
            return UNKNOWN
        columns: dict[str, Column | None] = {}
        origins: dict[str, tuple[int, str]] = {}
        complete = True
        for item in query.expressions:
            if item.is_star:
                complete &= _give_star(level, item, columns, origins)
            elif item.alias or isinstance(item, exp.Column):
                self._give_one(level, item, columns, origins)
            else:
                complete = False
        return Source(columns, complete, origins=origins)

    def _give_one(
        self, level: Level, item: exp.Expression, columns: dict[str, Column | None], origins: dict[str, tuple[int, str]]
    ) -> None:
        name = item.alias or item.name
        columns[name] = None
        inner = item.unalias()
        found = list(self.found_in(level, inner)) if isinstance(inner, exp.Column) else []
        if found and all(s.columns[c] == found[0][0].columns[found[0][1]] for s, c in found):
            source, column = found[0]
            columns[name] = source.columns[column]
            if column in source.origins and len(found) == 1:
                origins[name] = source.origins[column]


def _give_star(
    level: Level, item: exp.Expression, columns: dict[str, Column | None], origins: dict[str, tuple[int, str]]
) -> bool:
    """Add the columns of a star; return True if all of them are known."""
    table, star = (item.table, item.this) if isinstance(item, exp.Column) else ("", item)
    if not isinstance(star, exp.Star) or star.args.get("replace") or star.args.get("rename"):
        return False
    left_out = {excluded.name for excluded in star.args.get("except_") or ()}
    for name, source in level.sources.items():
        if table in ("", name):
            columns.update({k: v for k, v in source.columns.items() if k not in columns and k not in left_out})
            origins.update({k: v for k, v in source.origins.items() if k not in origins and k not in left_out})
    return level.complete


def _renamed(source: Source, names: list[str]) -> Source:
    """Return the source with its first columns renamed, as `t(a, b)` does."""
    if not names:
        return source
    old = list(source.columns)
    new = [*names, *old[len(names):]] if source.complete else names
    pairs = list(zip(new, old, strict=False)) if source.complete else []
    columns = dict.fromkeys(names) | {n: source.columns[o] for n, o in pairs}
    origins = {n: source.origins[o] for n, o in pairs if o in source.origins}
    return Source(columns, source.complete, origins=origins)
