"""How the sources of a FROM are joined: which a WHERE may prune, and which share their object ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from .resolve import Resolution
from .select_lists import Level, name_of


@dataclass(frozen=True)
class Joined:
    """The sources of a FROM, in order, and those whose rows a WHERE sees unchanged."""

    names: tuple[str, ...]
    filtered: tuple[str, ...]


def joined_sources(level: Level) -> Joined | None:
    """Return the sources of a level; None where pruning could change the answer or is not understood."""
    start = level.select.args.get("from_") or level.select.args.get("from")
    if start is None or level.select.args.get("sample"):
        return None
    joins = level.select.args.get("joins") or []
    nodes = [start.this, *(join.this for join in joins)]
    names = tuple(name_of(node) for node in nodes)
    if set(names) != set(level.sources) or any(node.args.get("sample") or node.args.get("pivots") for node in nodes):
        return None
    if any(join.side.upper() in ("RIGHT", "FULL") or join.method.upper() == "POSITIONAL" for join in joins):
        return None
    optional = {name_of(j.this) for j in joins if j.side.upper() == "LEFT" or j.method.upper() == "ASOF"}
    return Joined(names, tuple(n for n in names if n not in optional))


def conjuncts(node: exp.Expression | None) -> Iterator[exp.Expression]:
    """Yield the conditions that AND joins."""
    todo = [node.this if isinstance(node, exp.Where) else node]
    while todo:
        node = todo.pop()
        if isinstance(node, exp.Paren):
            todo.append(node.this)
        elif isinstance(node, exp.And):
            todo += [node.right, node.left]
        elif node is not None:
            yield node


Key = tuple[str, str]
"""A source and its column."""


def links(level: Level, resolution: Resolution, joined: Joined) -> Iterator[tuple[int, int]]:
    """Yield pairs (follower, followed) of references that a level joins on object_id."""
    filtered = {level.sources[name].reference for name in joined.filtered}
    for condition in conjuncts(level.select.args.get("where")):
        yield from _both_ways(level, _equated(condition, level, resolution))
        yield from ((i, j) for i, j in _members(condition, resolution) if i in filtered)
    joins = level.select.args.get("joins") or []
    for number, join in enumerate(joins, 1):
        name = name_of(join.this)
        one_way = join.side.upper() == "LEFT" or join.kind.upper() == "ANTI"
        for pair in _join_pairs(join, level, resolution, joined.names[:number]):
            if not one_way:
                yield from _both_ways(level, pair)
            elif name in (pair[0][0], pair[1][0]):
                yield from _way(level, *(pair if pair[0][0] == name else (pair[1], pair[0])))


def _members(condition: exp.Expression, resolution: Resolution) -> Iterator[tuple[int, int]]:
    """Yield the references on both sides of `object_id IN (SELECT object_id …)`."""
    query = condition.args.get("query") if isinstance(condition, exp.In) else None
    if query is not None:
        origins = resolution.outputs(query).origins.values()
        meant = resolution.meaning.get(id(condition.this), (-1, ""))
        if len(origins) == 1 and meant[1] == "object_id":
            yield from ((meant[0], j) for j, column in origins if column == "object_id")


def _join_pairs(
    join: exp.Join, level: Level, resolution: Resolution, before: tuple[str, ...]
) -> Iterator[tuple[Key, Key]]:
    """Yield the pairs of columns that a join equates."""
    if any(identifier.name == "object_id" for identifier in join.args.get("using") or ()):
        first = next((n for n in before if "object_id" in level.sources[n].columns), None)
        if first is not None:
            yield (first, "object_id"), (name_of(join.this), "object_id")
    for condition in conjuncts(join.args.get("on")):
        pair = _equated(condition, level, resolution)
        if pair:
            yield pair


def _equated(condition: exp.Expression, level: Level, resolution: Resolution) -> tuple[Key, Key] | None:
    """Return the two columns of `a.object_id = b.object_id`, whatever their sources call them."""
    if not isinstance(condition, exp.EQ):
        return None
    sides = (condition.this, condition.expression)
    if not all(isinstance(side, exp.Column) and side.table in level.sources for side in sides):
        return None
    one, other = ((str(s.table), resolution.meaning.get(id(s), (0, str(s.name)))[1]) for s in sides)
    return (one, other) if one[0] != other[0] else None


def _both_ways(level: Level, pair: tuple[Key, Key] | None) -> Iterator[tuple[int, int]]:
    if pair is not None:
        yield from _way(level, *pair)
        yield from _way(level, pair[1], pair[0])


def _way(level: Level, follower: Key, followed: Key) -> Iterator[tuple[int, int]]:
    """Yield the references behind two columns if both are object ids; only a table of this very level can follow."""
    reference = level.sources[follower[0]].reference
    own, origin = (level.sources[name].origins.get(column, (-1, "")) for name, column in (follower, followed))
    if reference is not None and own[1] == origin[1] == "object_id":
        yield reference, origin[0]
