"""SQL by which DuckDB reads stored files, of whatever version of their table, as the table is declared now."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial

from skydb.schema.evolve import stored_names
from skydb.schema.model import Column, Table
from skydb.store.checksums import require_whole_columns
from skydb.store.files import DataFile
from skydb.store.snapshot import Snapshot

from .sources import in_threads

_TYPES = {
    "bool": "BOOLEAN", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "uint16": "USMALLINT",
    "uint32": "UINTEGER", "float32": "FLOAT", "float64": "DOUBLE", "string": "VARCHAR", "list<float64>": "DOUBLE[]",
}  # fmt: skip
"""DuckDB's names of the declared types."""


def read_parquet(snapshot: Snapshot, files: Sequence[DataFile], columns: Sequence[str]) -> str:
    """Return SQL by which DuckDB reads some columns of a table's files, after these were found whole.

    Files of each version are read apart: their columns are as those of the present version, widened, or a constant.

    Raises
    ------
    DataError
        A file is missing or damaged.
    UsageError
        One is of a later version than this skydb knows.
    """
    table = snapshot.table(files[0].table)
    by_version: dict[int, list[DataFile]] = {}
    for file in files:
        by_version.setdefault(file.schema_version, []).append(file)
    pieces = [_of_version(snapshot, table, version, same, columns) for version, same in by_version.items()]
    return " UNION ALL ".join(pieces)


def _of_version(
    snapshot: Snapshot, table: Table, version: int, files: Sequence[DataFile], columns: Sequence[str]
) -> str:
    own = stored_names(table, version, columns)
    stored = [snapshot.stored(f) for f in files]
    deque(in_threads(partial(require_whole_columns, columns=own), stored), maxlen=0)
    listed = ", ".join("'" + str(f.path).replace("'", "''") + "'" for f in stored)
    shown = ", ".join(_shown(table[name], version) for name in columns)
    return f"SELECT {shown} FROM read_parquet([{listed}], hive_partitioning = false)"


def _shown(column: Column, version: int) -> str:
    """Return the SQL of one column of files of a version."""
    kind = _TYPES[column.type]
    if column.since > version:
        return f'CAST({_literal(column.default)} AS {kind}) AS "{column.name}"'
    if column.type_in(version) != column.type:
        return f'CAST("{column.name}" AS {kind}) AS "{column.name}"'
    return f'"{column.name}"'


def _literal(value: bool | float | str | None) -> str:
    if value is None:
        return "NULL"
    return "'" + str(value).replace("'", "''") + "'"
