"""What a FROM brings and a select list gives: columns in order, their declarations, and where they come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from sqlglot import exp

from skydb.schema.model import Column


def name_of(node: exp.Expression) -> str:
    """Return the name of a source in its FROM; one without a name gets one that no query can write."""
    return str(node.alias_or_name) or f"({id(node)})"


@dataclass(frozen=True)
class Given:
    """One column that a query gives: its name, and its declaration and origin where it is handed on as it is."""

    name: str
    column: Column | None = None
    origin: tuple[int, str] | None = None


@dataclass(frozen=True)
class Source:
    """What a FROM offers under one name: columns with their declarations, and where a plain column comes from.

    `complete` is False where there may be columns that cannot be known here; `origins` gives the reference and
    its column of those that are handed on as they are. `columns` are in order and named as an outer query names them:
    repeated names get numbers as DuckDB gives them. `written` has the names of the same columns as an answer has them.
    """

    columns: dict[str, Column | None]
    complete: bool
    reference: int | None = None
    origins: dict[str, tuple[int, str]] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    def given(self) -> list[Given]:
        """Return the columns in order, by the names that an answer has."""
        named = zip(self.written or self.columns, self.columns.items(), strict=True)
        return [Given(name, column, self.origins.get(key)) for name, (key, column) in named]


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


def has_no_plain_name(item: exp.Expression) -> bool:
    """Return True for an expression that DuckDB names by its text, so that it hides no column after it."""
    return isinstance(item, exp.Func | exp.Binary | exp.Literal | exp.Window) and not isinstance(
        item, exp.Dot | exp.UDTF | exp.Explode
    )


def starred(level: Level, item: exp.Expression) -> tuple[list[Given], bool]:
    """Return the columns of a star, and whether these are all, in order."""
    table, star = (item.table, item.this) if isinstance(item, exp.Column) else ("", item)
    if not isinstance(star, exp.Star) or star.args.get("replace") or star.args.get("rename"):
        return [], False
    left_out = {excluded.name for excluded in star.args.get("except_") or ()}
    if table:
        named = level.sources.get(table, UNKNOWN)
        return [g for g in _inner(named) if g.name not in left_out], named.complete
    names = _in_order(level)
    if set(names) != set(level.sources):
        every = [g for source in level.sources.values() for g in _inner(source)]
        counts = Counter(g.name for g in every)
        return [g for g in every if g.name not in left_out and counts[g.name] == 1], False
    given: list[Given] = _inner(level.sources[names[0]]) if names else []
    for join in level.select.args.get("joins") or ():
        given = _joined(given, join, level.sources[name_of(join.this)])
    return [g for g in given if g.name not in left_out], level.complete


def _in_order(level: Level) -> list[str]:
    """Return the names of the sources in the order of the FROM."""
    first = level.select.args.get("from_")
    joins = level.select.args.get("joins") or ()
    return [name_of(node.this) for node in ([first] if first else []) + list(joins)]


def _joined(given: list[Given], join: exp.Join, source: Source) -> list[Given]:
    """Return the columns of a star after one more join: those that it merges come once, a half join adds none."""
    if join.kind in ("SEMI", "ANTI"):
        return given
    added = _inner(source)
    shared = {g.name for g in given} & {g.name for g in added} if join.method == "NATURAL" else set()
    merged = {identifier.name for identifier in join.args.get("using") or ()} | shared
    if join.side in ("RIGHT", "FULL"):
        given = [Given(g.name, g.column) if g.name in merged else g for g in given]
    return [*given, *(g for g in added if g.name not in merged)]


def _inner(source: Source) -> list[Given]:
    """Return the columns of a source in order, by the names that the query about it knows."""
    return [Given(name, column, source.origins.get(name)) for name, column in source.columns.items()]


def renamed(source: Source, names: list[str]) -> Source:
    """Return the source with its first columns renamed, as `t(a, b)` does."""
    if not names:
        return source
    if not source.complete:
        return source_of([Given(name) for name in names], complete=False)
    given = source.given()
    new = [replace(g, name=name) for name, g in zip(names, given, strict=False)]
    extra = [Given(name) for name in names[len(given):]]
    return source_of([*new, *extra, *given[len(names):]], complete=True)


def source_of(given: list[Given], *, complete: bool) -> Source:
    """Return the source that a query is for the query about it: of repeated names all but the first get numbers."""
    counts: Counter[str] = Counter()
    unique: dict[str, Given] = {}
    for column in given:
        key = column.name
        while key in unique:
            counts[column.name] += 1
            key = f"{column.name}_{counts[column.name]}"
        unique[key] = column
    origins = {key: g.origin for key, g in unique.items() if g.origin is not None}
    columns = {key: g.column for key, g in unique.items()}
    return Source(columns, complete, origins=origins, written=tuple(g.name for g in given))
