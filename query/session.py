"""DuckDB behind a connection: one database in memory, and a connection of its own for every query.

A query keeps its views, streams and rows to itself, so that an answer that was not fetched yet stays what it is
whatever is asked next, and several can be streamed side by side.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skydb.errors import UsageError
from skydb.store.held_folders import held_folder
from skydb.store.snapshot import Snapshot

from .flag_functions import FLAG_FUNCTIONS, register_flags
from .functions import SKY_FUNCTIONS, register
from .names import CODES_TABLE, codes_of

if TYPE_CHECKING:
    import duckdb

    from .relations import Relation


class Session:
    """An empty DuckDB database in memory that knows the sky functions and the names of photcodes."""

    def __init__(self, snapshot: Snapshot, *, memory_limit: str | None, threads: int | None) -> None:
        import duckdb

        held = ExitStack()
        self._let_go = weakref.finalize(self, held.close)
        settings: dict[str, Any] = {
            "temp_directory": str(held.enter_context(held_folder(Path(tempfile.gettempdir()), "skydb-"))),
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
        }
        given = {"memory_limit": memory_limit, "threads": threads}
        settings |= {name: value for name, value in given.items() if value is not None}
        try:
            self._database = duckdb.connect(config=settings)
        except duckdb.Error as error:
            raise UsageError(f"DuckDB refuses its settings: {error}", "connect", "correct them") from error
        self._snapshot = snapshot
        self._functions: set[str] = set()
        self._has_codes = False
        self._has_flags = False
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()

    def close(self) -> None:
        """Close the database and every connection to it."""
        for cursor in self._cursors:
            cursor.close()
        self._database.close()
        self._let_go()

    def answer(
        self, sql: str, relations: Mapping[str, Relation], tables: Mapping[str, pa.Table]
    ) -> duckdb.DuckDBPyRelation:
        """Return the rows of a query over relations and user tables; they are computed when they are fetched."""
        cursor = self._cursor(sql, relations)
        for name, table in tables.items():
            cursor.register(name, table)
        for name, relation in relations.items():
            for stream_name, stream in relation.streams.items():
                cursor.register(stream_name, stream)
            cursor.execute(f'CREATE TEMP VIEW "{name}" AS {relation.sql}')
        return cursor.sql(sql)

    def _cursor(self, sql: str, relations: Mapping[str, Relation]) -> duckdb.DuckDBPyConnection:
        """Return a new connection, with the functions and the table that a query needs."""
        text = sql.lower()
        functions = {name for name in SKY_FUNCTIONS if name in text} - self._functions
        if functions:
            register(self._database, functions, temporary=False)
            self._functions |= functions
        if not self._has_flags and any(name in text for name in FLAG_FUNCTIONS):
            register_flags(self._database)
            self._has_flags = True
        if not self._has_codes and any(CODES_TABLE in relation.sql for relation in relations.values()):
            with self._database.cursor() as cursor:
                cursor.register("_codes", codes_of(self._snapshot))
                cursor.execute(f"CREATE TABLE {CODES_TABLE} AS SELECT * FROM _codes")
            self._has_codes = True
        cursor = self._database.cursor()
        self._cursors.add(cursor)
        return cursor
