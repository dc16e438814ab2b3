"""A cell under check: which of its files can be read, and what was found of it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from skydb.store.cells import Cell
from skydb.store.files import DataFile, StoredFile
from skydb.store.parquet import read_file
from skydb.store.snapshot import Snapshot

from .findings import Finding
from .keys import Ints, repeated


@dataclass
class CellUnderCheck:
    """A cell under check: its files by table, those that can be read by name, what was found."""

    cell: Cell
    snapshot: Snapshot
    files: dict[str, list[DataFile]]
    usable: dict[str, StoredFile] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def whole(self, *tables: str) -> bool:
        """Say whether every file of some tables can be read."""
        return all(f.name in self.usable for table in tables for f in self.files[table])

    def read(self, file: DataFile, columns: Sequence[str]) -> pa.Table:
        """Read columns of one usable file."""
        return read_file(self.usable[file.name], columns).replace_schema_metadata()

    def rows(self, table: str, columns: Sequence[str]) -> pa.Table:
        """Read columns of all usable files of a table."""
        parts = [self.read(f, columns) for f in self.files[table] if f.name in self.usable]
        return pa.concat_tables(parts) if parts else self.snapshot.table(table).empty().select(list(columns))

    def found(self, kind: str, what: str, table: str | None = None, *, rows: int | None = None,
              file: DataFile | None = None) -> None:  # fmt: skip
        """Add a finding about the cell."""
        self.findings.append(Finding(kind, what, table, str(self.cell), file.path if file else None, rows))


def check_once(at: CellUnderCheck, kind: str, table: str, keys: pa.Table) -> bool:
    """Check that no two rows of the cell have the same keys, among them the object; say whether that is so."""
    twice = repeated(*map(comparable, keys.columns))
    if len(twice):
        what = f"{len(twice)} rows are there twice, such as of object {keys['object_id'][int(twice[0])].as_py()}"
        at.found(kind, what, table, rows=len(twice))
    return not len(twice)


def comparable(column: pa.ChunkedArray) -> Ints:
    """Return integers that are equal where the values of a column are; NULL equals NULL.

    >>> comparable(pa.chunked_array([["b", "a", None, "b"]])).tolist()
    [0, 1, -1, 0]
    """
    if pa.types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy()).astype(np.int64)
    indices = column.combine_chunks().dictionary_encode().indices
    return np.asarray(indices.fill_null(-1).to_numpy(zero_copy_only=False)).astype(np.int64)
