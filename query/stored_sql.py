"""SQL by which DuckDB reads stored files, of whatever version of their table, as the table is declared now."""

from __future__ import annotations

from collections.abc import Sequence

from skydb.schema.evolve import stored_names
from skydb.schema.model import Column, Table
from skydb.store.checksums import is_whole_here
from skydb.store.files import DataFile
from skydb.store.snapshot import Snapshot

from .sources import in_threads

_TYPES = {
    "bool": "BOOLEAN", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "uint16": "USMALLINT",
    "uint32": "UINTEGER", "float32": "FLOAT", "float64": "DOUBLE", "string": "VARCHAR", "list<float64>": "DOUBLE[]",
}  # fmt: skip
"""DuckDB's names of the declared types."""


def are_readable(snapshot: Snapshot, files: Sequence[DataFile], columns: Sequence[str]) -> list[bool]:
    """Say which files of a table DuckDB can read: those that lie in folders of this machine, with some columns whole.

    It checks no checksums itself, and user SQL must not reach servers: the others are to be streamed.

    Raises
    ------
    DataError
        A file is missing or damaged, and lies nowhere else.
    UsageError
        One is of a later version than this skydb knows.
    """
    def is_readable(file: DataFile) -> bool:
        own = stored_names(snapshot.table(file.table), file.schema_version, columns)
        return is_whole_here(snapshot.stored(file), own)

    return list(in_threads(is_readable, files))


def read_parquet(snapshot: Snapshot, files: Sequence[DataFile], columns: Sequence[str]) -> str:
    """Return SQL by which DuckDB reads some columns of a table's files, which it can: see `are_readable`.

    Files of each version are read apart: their columns are as those of the present version, widened, or a constant.
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
    listed = ", ".join("'" + str(snapshot.path_of(f)).replace("'", "''") + "'" for f in files)
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
