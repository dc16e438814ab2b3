"""What a query would read, and what workers would send here, said before it runs."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from skydb.store.snapshot import Snapshot

from .gathering import expected_bytes
from .relations import Scan
from .views import views_of

_READ = (
    ("table", pa.string()), ("relation", pa.string()), ("reads", pa.string()), ("columns", pa.string()),
    ("cells", pa.int64()), ("files", pa.int64()), ("hosts", pa.string()), ("bytes", pa.int64()), ("rows", pa.int64()),
)  # fmt: skip
_GATHERED = (("decided_there", pa.string()), ("gathered_bytes", pa.int64()))


def explained(snapshot: Snapshot, scans: Sequence[Scan], *, gathered: bool) -> pa.Table:
    """Return a row about each use of a table; with what workers do of it, if they do."""
    rows = [_read(scan) | (_sent(snapshot, scan) if gathered else {}) for scan in scans]
    return pa.Table.from_pylist(rows, schema=pa.schema([*_READ, *(_GATHERED if gathered else ())]))


def _read(scan: Scan) -> dict[str, object]:
    return {
        "table": scan.table, "relation": scan.relation, "reads": ", ".join(scan.stored),
        "columns": ", ".join(scan.columns), "cells": None if scan.parts is None else len(scan.parts),
        "files": len(scan.files), "hosts": ", ".join(sorted({f.host for f in scan.files})),
        "bytes": sum(f.bytes for f in scan.files), "rows": scan.rows,
    }  # fmt: skip


def _sent(snapshot: Snapshot, scan: Scan) -> dict[str, object]:
    if scan.parts is None:
        return dict.fromkeys(dict(_GATHERED))
    schema = snapshot.empty_rows(scan.read_as, views_of(snapshot).stored_columns(scan.table, scan.columns)).schema
    return {
        "decided_there": " AND ".join(scan.conditions), "gathered_bytes": expected_bytes(schema, scan.rows),
    }  # fmt: skip
