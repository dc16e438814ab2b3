"""Arrays in a file that worker processes map: one copy in memory, of which a task touches what it looks up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray


def save_mapped(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays of equal length, without NaN turning into anything else, as an uncompressed Arrow file."""
    table = pa.table({name: pa.array(values) for name, values in arrays.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def load_mapped(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays that `save_mapped` wrote, as views of the mapped file."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return {name: table.column(name).to_numpy() for name in table.column_names}
