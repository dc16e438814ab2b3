"""Arrays in a file that worker processes map: one copy in memory, of which a task touches what it looks up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from skydb.store.arrow_files import map_arrow, write_arrow


def save_mapped(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays of equal length, without NaN turning into anything else, as an uncompressed Arrow file."""
    write_arrow(pa.table({name: pa.array(values) for name, values in arrays.items()}), path)


def load_mapped(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays that `save_mapped` wrote, as views of the mapped file."""
    table = map_arrow(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}
