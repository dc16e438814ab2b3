"""Which table and column every name of a query means.

A name is looked up from its own level outwards: a column, then an alias of the select list, then a DVO name.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlglot import exp

from skydb.errors import UsageError, did_you_mean

from .levels import Edit, Levels
from .select_lists import Level, Source
from .views import Views


class Resolution(Levels):
    """The meaning of all names of one query.

    Attributes
    ----------
    meaning : reference and column that a column node means, by id of the node; of several tables that a join merges
        by USING, the first
    """

    def __init__(self, sql: str, tree: exp.Expression, extra: frozenset[str], views: Views) -> None:
        super().__init__(sql, tree, extra, views)
        self.meaning: dict[int, tuple[int, str]] = {}
        self._use_names(tree)

    def _use_names(self, tree: exp.Expression) -> None:
        for column in tree.find_all(exp.Column):
            if not isinstance(column.this, exp.Star) and not _is_label(column):
                self._use_column(column)
        for star in tree.find_all(exp.Star):
            if not isinstance(star.parent, exp.Count) and not _only_exists(star):
                self._use_all(star)
        for columns in tree.find_all(exp.Columns):
            self._use_all(columns)
        for join in tree.find_all(exp.Join):
            for identifier in join.args.get("using") or ():
                self._use_unqualified(identifier, list(self.chain(join)))
            if join.method.upper() == "NATURAL":
                self._use_all(join)

    def _use_all(self, node: exp.Expression) -> None:
        """Note all columns of the sources that a star stands for."""
        level = next(self.chain(node), None)
        table = node.parent.table if isinstance(node.parent, exp.Column) else ""
        for name, source in level.sources.items() if level else ():
            if table in ("", name):
                for index, column in source.origins.values():
                    self.references[index].used.add(column)

    def _use_column(self, column: exp.Column) -> None:
        chain = list(self.chain(column))
        parts = [p for p in column.parts if isinstance(p, exp.Identifier)]
        if parts[0].this == "main" and len(parts) > 2 and any(parts[1].this in lv.sources for lv in chain):
            self.edits.append(Edit(parts[0].meta["start"], parts[1].meta["start"], ""))
            parts = parts[1:]
        if len(parts) == 1 or not any(parts[0].this in level.sources for level in chain):
            in_set = isinstance(column.find_ancestor(exp.Query), exp.SetOperation)
            if len(parts) > 1 and chain and not in_set and column.find_ancestor(exp.Lambda, exp.Comprehension) is None:
                self._require_source(parts[0], chain)
            self._use_unqualified(parts[0], [] if in_set else chain)
            return
        level = next(lv for lv in chain if parts[0].this in lv.sources)
        source = level.sources[parts[0].this]
        found = list(self.matches({parts[0].this: source}, parts[1].this))
        if not found and source.complete:
            where = f"table {self.text(parts[0])}"
            todo = _advice(self.views, parts[1].this, source.columns)
            raise UsageError(f"no column named {self.text(parts[1])!r}", where, todo)
        self._note(column, parts[1], found)

    def _use_unqualified(self, name: exp.Identifier, chain: list[Level]) -> None:
        """Look a name up from its level outwards; past a level that may know it, only note what it could mean."""
        certain = True
        for level in chain:
            found = list(self.matches(level.sources, name.this, aliases=level.aliases if certain else {name.this}))
            if found:
                self._note(name.parent if certain else None, name, found)
                return
            if name.this in level.sources:
                self._use_row(level.sources[name.this])
                return
            certain &= level.complete and name.this not in level.aliases
        known = {column for level in chain for source in level.sources.values() for column in source.columns}
        if known and certain:
            tables = ", ".join(dict.fromkeys(name for level in chain for name in level.sources if name[0] != "("))
            where = f"tables {tables}" if tables else "SQL"
            raise UsageError(f"no column named {self.text(name)!r}", where, _advice(self.views, name.this, known))

    def _require_source(self, name: exp.Identifier, chain: list[Level]) -> None:
        """Refuse the first part of a dotted name that is neither a table of the query nor, surely, a column."""
        sources = {alias for level in chain for alias in level.sources if alias[0] != "("}
        known = {column for level in chain for source in level.sources.values() for column in source.columns}
        aliases = {alias for level in chain for alias in level.aliases}
        if name.this not in known | aliases and all(level.complete for level in chain):
            what = f"no table or alias named {self.text(name)!r} in the query"
            raise UsageError(what, "SQL", f"its tables are {', '.join(sorted(sources))}" if sources else None)

    def _use_row(self, source: Source) -> None:
        for index, column in source.origins.values():
            self.references[index].used.add(column)

    def _note(self, node: exp.Expression | None, name: exp.Identifier, found: list[tuple[Source, str]]) -> None:
        """Note the columns used, what a node means if that is one column, and the change of a DVO name."""
        for source, column in found:
            if column in source.origins:
                index, used = source.origins[column]
                self.references[index].used.add(used)
                if source.reference is not None and isinstance(node, exp.Column):
                    self.meaning.setdefault(id(node), (index, used))
        meant = {column for _, column in found}
        if len(meant) == 1:
            self._translate(node, name, meant.pop())

    def _translate(self, node: exp.Expression | None, name: exp.Identifier, column: str) -> None:
        """Change a DVO name into the column's; a column that stands by itself is shown as written, capitals too."""
        written = self.text(name)
        by_itself = _is_result(node) and node is not None and node.this is name
        capitals = by_itself and written.strip('"') != name.this
        if name.this != column or capitals:
            text = (written if name.this == column else column) + (f" AS {written}" if by_itself else "")
            self.edits.append(Edit(name.meta["start"], name.meta["end"] + 1, text))


def _advice(views: Views, name: str, known: Collection[str]) -> str:
    """Return what to do about an unknown column: name the tables that have it, else the closest known name."""
    having = [table for table in views.names if any(c.name == name for c in views.columns(table))]
    if not having:
        return did_you_mean(name, known)
    return f"it is a column of {', '.join(having)}: ask or join one of them"


def _is_result(node: exp.Expression | None) -> bool:
    """Return True for a column that stands by itself in a select list: its result keeps the name as written."""
    return isinstance(node, exp.Column) and isinstance(node.parent, exp.Select) and node.arg_key == "expressions"


def _is_label(column: exp.Column) -> bool:
    """True for a name that is no column: an argument's name, or the variable of a list comprehension."""
    if isinstance(column.parent, (exp.PropertyEQ, exp.Kwarg)) and column.arg_key == "this":
        return True
    loop = column.find_ancestor(exp.Comprehension)
    first = column.parts[0].name
    return loop is not None and any(
        variable.name == first for variable in loop.args["expression"].find_all(exp.Identifier, exp.Column)
    )


def _only_exists(star: exp.Star) -> bool:
    """True for the star of EXISTS (SELECT * …), which reads no column."""
    select = star.parent
    return isinstance(select, exp.Select) and isinstance(select.parent, (exp.Exists, exp.Subquery)) and (
        isinstance(select.parent, exp.Exists) or isinstance(select.parent.parent, exp.Exists)
    )
