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
from collections import OrderedDict
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

from .copies import Piece, read_pieces
from .fetching import damaged, refusal
from .files import StoredFile, Tail

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
    is_mapped
        Whether the first copy lies in a folder of this machine and was whole so far. Of others, chunks are fetched.
    """

    file: StoredFile
    metadata: pq.FileMetaData
    sums: NDArray[np.uint32]
    checked: NDArray[np.bool_]
    is_mapped: bool

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
        missing = [at for at in _pairs(groups, self._leaves_of(columns)) if not self.checked[at]]
        if not missing:
            return
        try:
            with self.file.path.open("rb", buffering=0) as file:
                for at in missing:
                    if _crc_of(file, *_chunk(self.metadata, *at)) != self.sums[at]:
                        raise damaged(self.file.place, f"{self._name(at[1])}, checksum")
                    self.checked[at] = True
        except OSError as error:
            raise refusal(self.file.place, error) from error

    def pieces(self, groups: Iterable[int], columns: Iterable[str]) -> list[Piece]:
        """Return the column chunks of some row groups, to be read wherever they are whole."""
        found = []
        for at in _pairs(groups, self._leaves_of(columns)):
            start, size = _chunk(self.metadata, *at)
            found.append(Piece(self.file, start, start + size, int(self.sums[at]), self._name(at[1])))
        return found

    def _leaves_of(self, columns: Iterable[str]) -> list[int]:
        return [leaf for name in columns for leaf in self.leaves.get(name, ())]

    def _name(self, leaf: int) -> str:
        return f"column {self.metadata.schema.column(leaf).path}"


def footer_of(file: StoredFile) -> Footer:
    """Return what the tail of a stored file says.

    Raises
    ------
    DataError, BusyError
        No copy of the file can be read, has its length, and a tail that is whole.
    """
    return footers_of([file])[0]


def footers_of(files: Sequence[StoredFile]) -> list[Footer]:
    """Return what the tails of stored files say; those that lie on servers are fetched side by side."""
    found = {file: footer for file in files if (footer := _at_hand(file)) is not None}
    absent = [file for file in dict.fromkeys(files) if file not in found]
    if absent:
        tails = read_pieces([Piece(f, f.tail.start, f.bytes, f.tail.crc, "footer") for f in absent])
        for file, tail in zip(absent, tails, strict=True):
            found[file] = _fetched[file] = _parsed(file, tail, is_mapped=False)
    return [found[file] for file in files]


def is_whole_here(file: StoredFile, columns: Sequence[str]) -> bool:
    """Say whether the first copy of a stored file lies in a folder of this machine, and some columns are whole there.

    Raises
    ------
    DataError
        It is not as it was written, and there is no other copy.
    """
    if not file.place.is_local:
        return False
    try:
        require_whole_columns(file, columns)
    except DataError:
        if not file.elsewhere():
            raise
        return False
    return True


def require_there(file: StoredFile) -> None:
    """Refuse a stored file whose first copy belongs into a folder here, and is missing or of another length.

    Raises
    ------
    DataError
        And it lies nowhere else.
    """
    if not file.place.is_local:
        return
    try:
        _changed_ns(file)
    except DataError:
        if not file.elsewhere():
            raise


def require_whole_columns(file: StoredFile, columns: Sequence[str]) -> None:
    """Refuse a stored file whose first copy, a local one, is not as it was written: for readers that do not check.

    A process reads and sums each column of a file once.

    Raises
    ------
    DataError
        Names the file, and the column if it is one.
    """
    changed_ns = _changed_ns(file)
    known = _whole_columns(file, changed_ns)
    if not known.issuperset(columns):
        footer = _mapped_footer(file, changed_ns)
        footer.require_whole(range(footer.metadata.num_row_groups), columns)
        known.update(columns)


def _at_hand(file: StoredFile) -> Footer | None:
    """Return the footer of a file that needs no fetching; None where there is no such."""
    if not file.place.is_local:
        return _fetched.get(file)
    try:
        return _mapped_footer(file, _changed_ns(file))
    except DataError:
        if not file.may_lie_elsewhere:
            raise
        return None


def _changed_ns(file: StoredFile) -> int:
    """Return when a local file was changed last; one that was is checked again."""
    try:
        there = file.path.stat()
    except OSError as error:
        raise refusal(file.place, error) from None
    if there.st_size != file.bytes:
        raise damaged(file.place, f"it has {there.st_size} bytes of {file.bytes}")
    return there.st_mtime_ns


@lru_cache(maxsize=_KEPT_FILES)
def _whole_columns(file: StoredFile, changed_ns: int) -> set[str]:
    """Return the columns of a file that this process has found whole, to add to."""
    return set()


def _mapped_footer(file: StoredFile, changed_ns: int) -> Footer:
    try:
        return _footer(file, changed_ns)
    except (OSError, pa.ArrowException) as error:
        raise refusal(file.place, error) from error


@lru_cache(maxsize=_KEPT_FOOTERS)
def _footer(file: StoredFile, changed_ns: int) -> Footer:
    with file.path.open("rb", buffering=0) as handle:
        tail = os.pread(handle.fileno(), file.bytes - file.tail.start, file.tail.start)
    if zlib.crc32(tail) != file.tail.crc:
        raise damaged(file.place, "footer, checksum")
    return _parsed(file, tail, is_mapped=True)


class _Kept(OrderedDict[StoredFile, Footer]):
    """The footers that were fetched last; a file keeps its content for ever, so that none gets old."""

    def __setitem__(self, file: StoredFile, footer: Footer) -> None:
        super().__setitem__(file, footer)
        while len(self) > _KEPT_FOOTERS:
            self.popitem(last=False)


_fetched = _Kept()


def _parsed(file: StoredFile, tail: bytes | memoryview, *, is_mapped: bool) -> Footer:
    metadata = pq.read_metadata(pa.BufferReader(tail))
    shape = metadata.num_row_groups, metadata.num_columns
    end = len(tail) - metadata.serialized_size - 8
    sums = np.frombuffer(tail, _SUM, shape[0] * shape[1], end - shape[0] * shape[1] * _SUM.itemsize)
    return Footer(file, metadata, sums.reshape(shape).copy(), np.zeros(shape, dtype=np.bool_), is_mapped)


def _pairs(groups: Iterable[int], leaves: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((group, leaf) for group in groups for leaf in leaves)


def _chunk(metadata: pq.FileMetaData, group: int, leaf: int) -> tuple[int, int]:
    """Return where a column chunk begins, its dictionary included, and its bytes."""
    chunk = metadata.row_group(group).column(leaf)
    return chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size


def _crc_of(file: BinaryIO, start: int, size: int) -> int:
    """Return the CRC32 of some bytes of a file; read, not mapped, so that a bad sector is an error and not a signal."""
    return zlib.crc32(os.pread(file.fileno(), size, start))
