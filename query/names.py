"""Names of photcodes and bands: looked up by the stored code, in Arrow for small answers and in SQL for queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from skydb.store.arrays import numbers_of, row_numbers
from skydb.store.snapshot import Snapshot

LOOKED_UP = {"photcode": "name", "band": "band"}
"""Columns that are looked up, and the columns of the photcode table that hold them."""

CODES_TABLE = "_skydb_codes"
"""DuckDB's table of the codes: joined as a table, not as an Arrow stream, a name costs half (8 against 15 ns a row)."""


def codes_of(snapshot: Snapshot) -> pa.Table:
    """Return code, name and band of every photcode that a measurement can have, by code; an ALT is never stored."""
    rows = snapshot.read_global("photcodes", ["code", "name", "band", "kind"])
    kept = [i for i, kind in enumerate(rows.column("kind").to_pylist()) if kind != "ALT"]
    return rows.drop_columns(["kind"]).take(row_numbers(np.array(kept, dtype=np.int64)))


def with_names(rows: pa.Table, codes: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return some columns of rows that have a code, the looked-up ones among them."""
    names = [c for c in columns if c in LOOKED_UP and c not in rows.column_names]
    if names:
        place = np.searchsorted(numbers_of(codes.column("code")), numbers_of(rows.column("code")))
        for name in names:
            rows = rows.append_column(name, codes.column(LOOKED_UP[name]).take(row_numbers(place)))
    return rows.select(list(columns))


def with_names_sql(query: str, columns: Sequence[str], names: Sequence[str]) -> str:
    """Return SQL for some columns of a query that gives the stored ones, the looked-up ones joined."""
    shown = ", ".join(f'p."{LOOKED_UP[c]}" AS "{c}"' if c in names else f'b."{c}"' for c in columns)
    joined = f" LEFT JOIN {CODES_TABLE} AS p ON b.code = p.code" if names else ""
    return f"SELECT {shown} FROM ({query}) AS b{joined}"
