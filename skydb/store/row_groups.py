"""Row groups of stored files, decoded from bytes that were found whole: mapped where they lie here, else fetched."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from skydb.errors import DataError
from skydb.schema.evolve import evolved, stored_names

from .checksums import Footer
from .copies import Piece, read_pieces
from .fetching import damaged
from .files import StoredFile


class RowGroups:
    """One stored file, open for reading; close it when done, or use it in a `with` block.

    Of a copy in a folder of this machine, Arrow maps the bytes. Without one, or once it shows damage, column chunks are
    fetched from the first place that has them whole, and decoded from memory.
    """

    def __init__(self, footer: Footer) -> None:
        self.footer = footer
        self._fetched = SparseFile(footer.file.bytes)
        self._is_mapped = footer.is_mapped
        self._file = self._mapped() if footer.is_mapped else self._in_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    @property
    def metadata(self) -> pq.FileMetaData:
        """The Parquet footer."""
        return self.footer.metadata

    def lacking(self, groups: Iterable[int], columns: Sequence[str]) -> list[Piece]:
        """Return what has to be fetched before it can be read; of a mapped file nothing has."""
        if self._is_mapped:
            return []
        pieces = self.footer.pieces(groups, dict.fromkeys(columns))
        return [piece for piece in pieces if piece.start not in self._fetched]

    def put(self, piece: Piece, body: bytes | memoryview) -> None:
        """Keep a piece that was fetched."""
        self._fetched.put(piece.start, body)

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Read one row group in this thread: handing its columns to others takes longer than decoding them.

        Raises
        ------
        DataError, BusyError
            No copy can be read and has these columns whole.
        """
        file = self._whole([group], columns)
        try:
            rows = file.read_row_group(group, columns=own_columns(self.footer.file, columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.footer.file.place, error) from error
        return _as_declared(rows, self.footer.file, columns)

    def read_all(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read some columns of all row groups, or all columns.

        Raises
        ------
        DataError, BusyError
            No copy can be read and has these columns whole.
        """
        stored = self.footer.file
        names = list(columns if columns is not None else stored.table.names if stored.table else self.footer.leaves)
        file = self._whole(range(self.metadata.num_row_groups), names)
        try:
            rows = file.read(columns=own_columns(stored, names))
        except (OSError, pa.ArrowException) as error:
            raise damaged(stored.place, error) from error
        return _as_declared(rows, stored, names)

    def _whole(self, groups: Sequence[int], columns: Sequence[str]) -> pq.ParquetFile:
        """Return the file, once some of its column chunks are known to be whole."""
        if self._is_mapped:
            try:
                self.footer.require_whole(groups, columns)
                return self._file
            except DataError:
                if not self.footer.file.may_lie_elsewhere:
                    raise
            self._file.close()
            self._file, self._is_mapped = self._in_memory(), False
        fetch_ahead([(self, groups, columns)])
        return self._file

    def _mapped(self) -> pq.ParquetFile:
        file = self.footer.file
        try:
            return pq.ParquetFile(file.path, metadata=self.metadata, memory_map=True, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise damaged(file.place, error) from error

    def _in_memory(self) -> pq.ParquetFile:
        file = pa.PythonFile(self._fetched, mode="r")
        return pq.ParquetFile(file, metadata=self.metadata, pre_buffer=False)  # which reads what lies between, too


def fetch_ahead(wanted: Iterable[tuple[RowGroups, Iterable[int], Sequence[str]]]) -> None:
    """Fetch at once what is going to be read: column chunks of some row groups of files."""
    lacking = [(file, piece) for file, groups, columns in wanted for piece in file.lacking(groups, columns)]
    for (file, piece), body in zip(lacking, read_pieces([piece for _, piece in lacking]), strict=True):
        file.put(piece, body)


def own_columns(stored: StoredFile, columns: Sequence[str]) -> list[str]:
    """Return which of some columns of its table a file has: one of an earlier version lacks those that came later."""
    return list(columns) if stored.table is None else stored_names(stored.table, stored.version, columns)


def _as_declared(rows: pa.Table, stored: StoredFile, columns: Sequence[str]) -> pa.Table:
    """Return rows of a file as its table is declared now."""
    if stored.table is None or stored.version == stored.table.version:
        return rows
    return evolved(rows, stored.table, columns)


class SparseFile(io.RawIOBase):
    """A file of which only some pieces are there; other bytes cannot be read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._at = size, 0
        self._starts: list[int] = []
        self._pieces: dict[int, memoryview] = {}

    def __contains__(self, start: int) -> bool:
        return start in self._pieces

    def put(self, start: int, body: bytes | memoryview) -> None:
        """Add the piece that begins at a byte."""
        self._starts.insert(bisect_right(self._starts, start), start)
        self._pieces[start] = memoryview(body)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it has positions."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> memoryview:
        """Read inside one piece; nothing is copied.

        Raises
        ------
        OSError
            These bytes are not there.
        """
        number = bisect_right(self._starts, self._at) - 1
        start = self._starts[number] if number >= 0 else 0
        body = self._pieces.get(start, memoryview(b""))[self._at - start:]
        if size > len(body):
            raise OSError(f"bytes {self._at} to {self._at + size} were not fetched")
        self._at += size
        return body[:size]
