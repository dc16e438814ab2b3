"""Arrow files between the processes of a job: one table each, uncompressed, mapped by who reads it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write a table."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def map_arrow(path: Path) -> pa.Table:
    """Return the table of a file, mapped rather than read."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
