"""Checksums by which damage to a stored file shows before its rows are used, whoever decodes them.

A stored file is a Parquet file with one addition, which Parquet readers pass over:

    PAR1 | column chunks | page index | CRC32 of every column chunk | Parquet footer, its length, PAR1
                         └──────────────────────────── tail ─────────────────────────────────────┘

The catalog holds the CRC32 of the tail, and the tail that of every column chunk, so no byte that a reader looks at goes
unchecked. Parquet's own page checksums leave out page headers, page index and footer (docs/decisions/checksums.md).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from skydb.errors import DataError

from .files import StoredFile, Tail
from .mending import how_to_mend

_MAGIC_BYTES = 4
_SUM = np.dtype("<u4")
_KEPT_FOOTERS = 256
"""Footers kept at most: parsing one takes up to 2 ms, keeping one up to 1.7 MB (67 columns, 28 row groups)."""

_KEPT_FILES = 65_536
"""Files of which the checked columns are remembered at most, about 1 KB each."""


def seal(path: Path) -> Tail:
    """Write the CRC32 of every column chunk into a Parquet file, before its footer, and return its tail."""
    metadata = pq.read_metadata(path)
    everything = range(metadata.num_row_groups), range(metadata.num_columns)
    with path.open("rb+") as file:
        chunks = [_chunk(metadata, *at) for at in _pairs(*everything)]
        sums = np.array([_crc_of(file, *chunk) for chunk in chunks], dtype=_SUM)
        footer = file.seek(-(metadata.serialized_size + 8), os.SEEK_END)
        rest = file.read()
        file.seek(footer)
        file.write(sums.tobytes() + rest)
        start = file.seek(max((start + size for start, size in chunks), default=_MAGIC_BYTES))
        return Tail(start, zlib.crc32(file.read()))


@dataclass(frozen=True)
class Footer:
    """What the tail of a stored file says, once it was found whole.

    Attributes
    ----------
    file, metadata
        The file, and its Parquet footer.
    sums : (G, C)
        CRC32 of every column chunk, by row group and leaf column.
    checked : (G, C)
        Which chunks this process has found whole; filled as they are read.
    """

    file: StoredFile
    metadata: pq.FileMetaData
    sums: NDArray[np.uint32]
    checked: NDArray[np.bool_]

    @cached_property
    def leaves(self) -> dict[str, list[int]]:
        """The leaf columns of every column."""
        found: dict[str, list[int]] = {}
        for number in range(self.metadata.num_columns):
            found.setdefault(self.metadata.schema.column(number).path.split(".")[0], []).append(number)
        return found

    def require_whole(self, groups: Sequence[int], columns: Iterable[str]) -> None:
        """Refuse column chunks that are not as they were written; each is read and summed once in a process.

        Raises
        ------
        DataError
            Names the file and the column.
        """
        leaves = [leaf for name in columns for leaf in self.leaves.get(name, ())]
        missing = [at for at in _pairs(groups, leaves) if not self.checked[at]]
        if not missing:
            return
        try:
            with self.file.path.open("rb", buffering=0) as file:
                for at in missing:
                    if _crc_of(file, *_chunk(self.metadata, *at)) != self.sums[at]:
                        raise damaged(self.file.path, f"column {self.metadata.schema.column(at[1]).path}, checksum")
                    self.checked[at] = True
        except OSError as error:
            raise damaged(self.file.path, error) from error


def footer_of(file: StoredFile) -> Footer:
    """Return what the tail of a stored file says.

    Raises
    ------
    DataError
        The file is missing, has another length, or its tail is damaged.
    """
    changed_ns = _changed_ns(file)
    try:
        return _footer(file, changed_ns)
    except (OSError, pa.ArrowException) as error:
        raise damaged(file.path, error) from error


def require_whole_columns(file: StoredFile, columns: Sequence[str]) -> None:
    """Refuse a stored file of which some columns are not as they were written: for readers that do not check.

    A process reads and sums each column of a file once.

    Raises
    ------
    DataError
        Names the file, and the column if it is one.
    """
    known = _whole_columns(file, _changed_ns(file))
    if not known.issuperset(columns):
        footer = footer_of(file)
        footer.require_whole(range(footer.metadata.num_row_groups), columns)
        known.update(columns)


def damaged(path: Path, error: object) -> DataError:
    """Return the error of a stored file that is not as it was written."""
    return DataError(f"a stored file is damaged: {error}", str(path), how_to_mend(path))


def _changed_ns(file: StoredFile) -> int:
    """Return when a file was changed last; one that was is checked again."""
    try:
        there = file.path.stat()
    except FileNotFoundError:
        raise DataError("a stored file is missing", str(file.path), how_to_mend(file.path)) from None
    except OSError as error:
        raise damaged(file.path, error) from error
    if there.st_size != file.bytes:
        raise damaged(file.path, f"it has {there.st_size} bytes of {file.bytes}")
    return there.st_mtime_ns


@lru_cache(maxsize=_KEPT_FILES)
def _whole_columns(file: StoredFile, changed_ns: int) -> set[str]:
    """Return the columns of a file that this process has found whole, to add to."""
    return set()


@lru_cache(maxsize=_KEPT_FOOTERS)
def _footer(file: StoredFile, changed_ns: int) -> Footer:
    with file.path.open("rb", buffering=0) as handle:
        tail = os.pread(handle.fileno(), file.bytes - file.tail.start, file.tail.start)
    if zlib.crc32(tail) != file.tail.crc:
        raise damaged(file.path, "footer, checksum")
    metadata = pq.read_metadata(pa.BufferReader(tail))
    shape = metadata.num_row_groups, metadata.num_columns
    end = len(tail) - metadata.serialized_size - 8
    sums = np.frombuffer(tail, _SUM, shape[0] * shape[1], end - shape[0] * shape[1] * _SUM.itemsize)
    return Footer(file, metadata, sums.reshape(shape).copy(), np.zeros(shape, dtype=np.bool_))


def _pairs(groups: Iterable[int], leaves: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((group, leaf) for group in groups for leaf in leaves)


def _chunk(metadata: pq.FileMetaData, group: int, leaf: int) -> tuple[int, int]:
    """Return where a column chunk begins, its dictionary included, and its bytes."""
    chunk = metadata.row_group(group).column(leaf)
    return chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size


def _crc_of(file: BinaryIO, start: int, size: int) -> int:
    """Return the CRC32 of some bytes of a file; read, not mapped, so that a bad sector is an error and not a signal."""
    return zlib.crc32(os.pread(file.fileno(), size, start))
