"""How rows of a file that an earlier version of a table wrote become rows of the table as it is declared now.

A table may change in two ways: a column is added, or a type is widened. So every row that was ever stored stays
readable, and no file is written anew for it: it is read as the present version has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pyarrow as pa

from skydb.errors import UsageError

from .model import Column, Table

WIDENINGS = frozenset({
    ("int16", "int32"), ("int16", "int64"), ("int32", "int64"),
    ("uint16", "uint32"), ("uint16", "int32"), ("uint16", "int64"), ("uint32", "int64"),
    ("float32", "float64"),
})  # fmt: skip
"""Types, and the wider ones that they may become: a whole number stays one, and every value is the same in both."""


def stored_names(table: Table, version: int, names: Sequence[str]) -> list[str]:
    """Return which of some columns the files of a version have.

    Raises
    ------
    UsageError
        The version is later than the table's.
    """
    if version > table.version:
        what = f"a file has version {version} of its table, this skydb knows versions up to {table.version}"
        raise UsageError(what, f"table {table.name}", "upgrade skydb")
    return [name for name in names if table[name].since <= version]


def version_of(rows: pa.Table, table: Table) -> int:
    """Return the earliest version of a table as which rows of its present columns can be stored.

    Columns that came later and are NULL in every row need not be there: so a file pays for no column that nothing fills
    (docs/decisions/motions.md).

    Examples
    --------
    >>> pets = Table("pets", "global", "", (
    ...     Column("id", "int64", None, "meta.id", "number"),
    ...     Column("legs", "int16", None, "meta.number", "legs", since=2)), version=3)
    >>> [version_of(pa.table({"id": [7], "legs": [legs]}), pets) for legs in (4, None)]
    [2, 1]
    """
    needed = [1, *(since for column in table for since, _ in column.widened)]
    for column in (c for c in table if c.since > 1):
        if column.default is not None or rows.column(column.name).null_count < rows.num_rows:
            needed.append(column.since)
    return max(needed)


def evolved(rows: pa.Table, table: Table, names: Sequence[str]) -> pa.Table:
    """Return stored rows with some columns as the table is declared now.

    Parameters
    ----------
    rows
        Of a file of any version, with those of the columns that it has.
    table, names
        The table, and the columns.

    Examples
    --------
    >>> pets = Table("pets", "global", "", (
    ...     Column("id", "int64", None, "meta.id", "number", widened=((2, "int32"),)),
    ...     Column("legs", "int16", None, "meta.number", "legs", since=3, default=4)), version=3)
    >>> evolved(pa.table({"id": pa.array([7], pa.int32())}), pets, ["legs", "id"]).to_pylist()
    [{'legs': 4, 'id': 7}]
    """
    columns = [table[name] for name in names]
    arrays = [
        rows.column(c.name).cast(c.arrow.type) if c.name in rows.column_names else _default(c, rows.num_rows)
        for c in columns
    ]
    return pa.Table.from_arrays(arrays, schema=table.select(names))


def _default(column: Column, count: int) -> pa.Array:
    if column.default is None:
        return pa.nulls(count, column.arrow.type)
    return pa.repeat(pa.scalar(column.default, column.arrow.type), count)


def forbidden_changes(earlier: Table, present: Table) -> Iterator[str]:
    """Yield what keeps a table from reading the files of an earlier version of it, or changes what they say."""
    for column in earlier:
        if column.name not in present:
            yield f"column {column.name} is gone"
        else:
            yield from _changes_of_column(column, present[column.name], earlier.version)
    for column in present:
        yield from _faults(column)
        if column.name not in earlier and column.since <= earlier.version:
            yield f"column {column.name} is new, but says that version {column.since} has it"
    if (earlier.kind, earlier.sort, earlier.keyed_by) != (present.kind, present.sort, present.keyed_by):
        yield "its kind, its keys or the order of its rows are others"


def _changes_of_column(earlier: Column, present: Column, version: int) -> Iterator[str]:
    before = present.type_in(version)
    if before != earlier.type:
        yield f"column {present.name} was {earlier.type} in version {version}, not {before}"
    if present.unit != earlier.unit:
        yield f"column {present.name} was in {earlier.unit}, not in {present.unit}"
    if present.required and not earlier.required:
        yield f"column {present.name} may be NULL in version {version}"
    if present.since > version:
        yield f"column {present.name} came before version {present.since}"


def _faults(column: Column) -> Iterator[str]:
    """Yield what of a column's history cannot be."""
    types = [*(before for _, before in column.widened), column.type]
    for pair in pairwise(types):
        if pair not in WIDENINGS:
            yield f"column {column.name}: {pair[0]} cannot be widened to {pair[1]}"
    if column.required and column.since > 1 and column.default is None:
        yield f"column {column.name} is never NULL, but rows of earlier versions have no value in it"
