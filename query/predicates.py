"""What a query says about where its rows lie: regions and object ids.

Only what holds for every row of the answer counts: conditions joined by AND at the top of a WHERE, on a table
that no outer join can fill with NULLs. Everything else is left to DuckDB, which evaluates every condition again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from skydb.errors import UsageError
from skydb.sky.regions import Box, Cone, Intersection, Polygon, Region

from .functions import SKY_FUNCTIONS
from .joins import conjuncts, joined_sources, links
from .pushed import pushed_condition
from .resolve import Resolution
from .select_lists import Level

IdRanges = tuple[tuple[int, int], ...]
"""Half-open ranges of object ids, sorted and disjoint."""

_POSITIONS = {("ra", "dec"), ("ra_raw", "dec_raw")}
_LAST_ID = 2**63 - 1
_ARITHMETIC: dict[type[exp.Expression], Callable[[float, float], float]] = {
    exp.Add: operator.add, exp.Sub: operator.sub, exp.Mul: operator.mul, exp.Div: operator.truediv,
}  # fmt: skip
_WIDE = (exp.DType.BIGINT, exp.DType.INT128, exp.DType.UBIGINT)
_MIRRORED = {exp.LT: exp.GT, exp.LTE: exp.GTE, exp.GT: exp.LT, exp.GTE: exp.LTE, exp.EQ: exp.EQ}


@dataclass
class Limits:
    """What is known of the rows that one reference can bring into the answer.

    `conditions` are SQL about its own columns that holds for every row that can matter. `follows` names references:
    only rows with an object_id that one of *each* of those has can matter.
    """

    regions: list[Region] = field(default_factory=list)
    ids: IdRanges | None = None
    conditions: list[str] = field(default_factory=list)
    follows: set[int] = field(default_factory=set)

    @property
    def region(self) -> Region | None:
        """All regions as one."""
        return Intersection(tuple(self.regions)) if len(self.regions) > 1 else next(iter(self.regions), None)


def limits(resolution: Resolution) -> list[Limits]:
    """Return the limits of every reference, in their order.

    Raises
    ------
    UsageError
        A sky function with arguments that make no region.
    """
    found = [Limits() for _ in resolution.references]
    for level in resolution.levels:
        joined = joined_sources(level)
        if joined is None:
            continue
        own = {level.sources[name].reference for name in joined.filtered}
        for condition in conjuncts(level.select.args.get("where")):
            _limit(condition, resolution, own, found)
            pushed = pushed_condition(condition, resolution)
            if pushed is not None and pushed[0] in own:
                found[pushed[0]].conditions.append(pushed[1])
        _limit_by_bounds(level, resolution, own, found)
        for follower, followed in links(level, resolution, joined):
            found[follower].follows.add(followed)
    return found


def _limit(condition: exp.Expression, resolution: Resolution, own: set[int | None], found: list[Limits]) -> None:
    """Add what one condition says to the limits of the reference that it speaks of."""
    if isinstance(condition, exp.Anonymous) and condition.name.lower() in SKY_FUNCTIONS:
        index = _position_of(condition.expressions[:2], resolution)
        region = _region(condition)
        if index in own and index is not None and region is not None:
            found[index].regions.append(region)
        return
    for column, ranges in _id_ranges(condition):
        index, name = resolution.meaning.get(id(column), (None, ""))
        if name == "object_id" and index is not None and index in own:
            known = found[index].ids
            found[index].ids = ranges if known is None else _both(known, ranges)


def _position_of(columns: Sequence[exp.Expression], resolution: Resolution) -> int | None:
    """Return the reference whose right ascension and declination two arguments are."""
    meant = [resolution.meaning.get(id(column)) for column in columns]
    if len(meant) != 2 or meant[0] is None or meant[1] is None or meant[0][0] != meant[1][0]:
        return None
    return meant[0][0] if (meant[0][1], meant[1][1]) in _POSITIONS else None


def _region(call: exp.Anonymous) -> Region | None:
    """Return the region of a call with constant arguments; None for others."""
    name, given = call.name.lower(), call.expressions[2:]
    if name == "in_polygon":
        vertices = _vertices(given[0]) if given else None
        return None if vertices is None else Polygon(vertices)
    values = [constant(argument) for argument in given]
    wanted = {"in_cone": 3, "in_box": 4}.get(name)
    if wanted is None:
        return None
    if len(values) != wanted:
        raise UsageError(f"{name} with {len(values) + 2} arguments", "SQL", f"write {SKY_FUNCTIONS[name]}")
    known = [value for value in values if value is not None]
    if len(known) != wanted:
        return None
    return Cone(*known) if name == "in_cone" else Box(*known)


def _vertices(node: exp.Expression) -> tuple[tuple[float, float], ...] | None:
    """Return the vertices of a literal list, flat or of pairs."""
    if not isinstance(node, exp.Array):
        return None
    items = [i.expressions if isinstance(i, exp.Array) else [i] for i in node.expressions]
    numbers = [constant(number) for item in items for number in item]
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers) or len(known) % 2 or {len(item) for item in items} not in ({1}, {2}):
        return None
    return tuple(zip(known[::2], known[1::2], strict=True))


def constant(node: exp.Expression) -> float | None:
    """Return the value of a number, or of arithmetic with numbers; None for anything else."""
    if isinstance(node, exp.Paren):
        return constant(node.this)
    if isinstance(node, exp.Neg):
        value = constant(node.this)
        return None if value is None else -value
    if type(node) in _ARITHMETIC:
        left, right = constant(node.left), constant(node.right)
        if left is None or right is None or (isinstance(node, exp.Div) and right == 0):
            return None
        return _ARITHMETIC[type(node)](left, right)
    return float(node.this) if isinstance(node, exp.Literal) and not node.is_string else None


def _integer(node: exp.Expression) -> int | None:
    """Return the value of a whole number, quoted or not, cast to a wide enough integer or not."""
    if isinstance(node, exp.Cast) and node.to.this in _WIDE:
        return _integer(node.this)
    if isinstance(node, exp.Neg):
        value = _integer(node.this)
        return None if value is None else -value
    return int(node.this) if isinstance(node, exp.Literal) and node.this.isdecimal() else None


def _id_ranges(condition: exp.Expression) -> Iterator[tuple[exp.Expression, IdRanges]]:
    """Yield a column and the ranges of whole numbers that a condition allows it."""
    if isinstance(condition, exp.In) and condition.expressions:
        values = [_integer(value) for value in condition.expressions]
        known = sorted({value for value in values if value is not None})
        if None not in values:
            yield condition.this, tuple((value, value + 1) for value in known)
    for column, kind, bound in _comparisons(condition):
        value = _integer(bound)
        if value is not None:
            low = value if kind in (exp.EQ, exp.GTE) else value + 1 if kind is exp.GT else -_LAST_ID
            high = value + 1 if kind in (exp.EQ, exp.LTE) else value if kind is exp.LT else _LAST_ID
            yield column, ((low, high),) if low < high else ()


def _comparisons(condition: exp.Expression) -> Iterator[tuple[exp.Expression, type[exp.Expression], exp.Expression]]:
    """Yield column, comparison and bound of a comparison or a BETWEEN, the column on the left."""
    if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        yield condition.this, exp.GTE, condition.args["low"]
        yield condition.this, exp.LTE, condition.args["high"]
    elif type(condition) in _MIRRORED:
        left, right = condition.this, condition.expression
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            yield right, _MIRRORED[type(condition)], left
        else:
            yield left, type(condition), right


def _both(one: IdRanges, other: IdRanges) -> IdRanges:
    """Return what two sets of ranges share."""
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return tuple(sorted((low, high) for low, high in pairs if low < high))


def _limit_by_bounds(level: Level, resolution: Resolution, own: set[int | None], found: list[Limits]) -> None:
    """Add the box that comparisons of ra and dec with numbers make; right ascensions are stored from 0 to 360."""
    bounds: dict[int, dict[str, tuple[float, float]]] = {}
    for condition in conjuncts(level.select.args.get("where")):
        for column, kind, bound in _comparisons(condition):
            index, name = resolution.meaning.get(id(column), (None, ""))
            value = constant(bound)
            if index is None or index not in own or name not in ("ra", "dec") or value is None:
                continue
            low, high = bounds.setdefault(index, {}).get(name, (-90.0, 90.0) if name == "dec" else (0.0, 360.0))
            low = max(low, value) if kind in (exp.GT, exp.GTE, exp.EQ) else low
            high = min(high, value) if kind in (exp.LT, exp.LTE, exp.EQ) else high
            bounds[index][name] = low, high
    for index, limit in bounds.items():
        (ra1, ra2), (dec1, dec2) = limit.get("ra", (0.0, 360.0)), limit.get("dec", (-90.0, 90.0))
        if ra1 <= ra2 and dec1 <= dec2 and (ra1, ra2, dec1, dec2) != (0.0, 360.0, -90.0, 90.0):
            found[index].regions.append(Box(ra1, ra2, dec1, dec2))
