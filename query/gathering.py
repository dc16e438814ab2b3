"""Rows of cells that workers read beside the files and send here, where they wait in a file for what is left to do.

They are gathered in the thread that asks, before DuckDB begins: while it runs, it takes Python's lock all the time, and
what waits for workers meanwhile is slow (39 cells and two worker processes: 30 s instead of 0.1).
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from skydb.errors import BusyError, DataError, SkydbError, UsageError, clear_disk_errors
from skydb.parallel.interface import Executor
from skydb.store.carried import backup_of, map_cells
from skydb.store.copies import BackupWarning
from skydb.store.held_folders import held_folder
from skydb.store.layout import new_name
from skydb.store.snapshot import Snapshot

from .atlas import CellPart

if TYPE_CHECKING:
    from .sources import CellStream

CELLS_AT_ONCE = 2_000
"""Cells of a stage: of more, a cluster would make batches of several, each of which comes here as a whole."""

FILLED = 0.8
"""How much of the room that is left in the temporary folder may be filled."""

TEXT_BYTES = 12
"""A value of no fixed width, with its offset: names of bands and sources."""

Read = Callable[[CellPart], list[pa.Table]]


class Gathering:
    """The workers of a connection, who read cells for it, and the folder where their rows wait.

    Rows are handed on as they come, so that memory depends on the size of a cell and the number of workers alone.

    Parameters
    ----------
    executor
        Runs the tasks, each on the host of its cell, or on its backup.
    limit : bytes
        What one use of a table may bring here; None: what the temporary folder has room for.
    """

    def __init__(self, executor: Executor, limit: int | None = None) -> None:
        self._executor, self._limit = executor, limit
        self._held = ExitStack()
        self._let_go = weakref.finalize(self, self._held.close)

    @property
    def is_open(self) -> bool:
        """Whether its connection is."""
        return self._let_go.alive

    def close(self) -> None:
        """Remove all rows that wait."""
        self._let_go()

    @cached_property
    def folder(self) -> Path:
        """Where rows wait, made when it is first needed."""
        return self._held.enter_context(held_folder(Path(tempfile.gettempdir()), "skydb-"))

    def room(self) -> int:
        """Return how many bytes may come for one use of a table."""
        left = int(FILLED * shutil.disk_usage(tempfile.gettempdir()).free)
        return left if self._limit is None else min(left, self._limit)

    def gathered(self, read: Read, snapshot: Snapshot, parts: Sequence[CellPart]) -> Iterator[list[pa.Table]]:
        """Yield the rows of every part, in order.

        Parameters
        ----------
        read
            Reads the rows of a part through `snapshot`, the very object.

        Raises
        ------
        SkydbError
            A cell cannot be read, on its host nor on its backup; or nobody is there to read it.
        """
        task = _Reading(read)
        for start in range(0, len(parts), CELLS_AT_ONCE):
            some = parts[start : start + CELLS_AT_ONCE]
            for part, answer in zip(some, map_cells(self._executor, task, snapshot, some), strict=True):
                yield answer if isinstance(answer, list) else self._from_backup(task, snapshot, part, answer)

    def _from_backup(self, task: _Reading, snapshot: Snapshot, part: CellPart, error: SkydbError) -> list[pa.Table]:
        """Return the rows of a part whose host has a worker, and cannot read the files."""
        cell = part.cell
        backup = backup_of([file for name in snapshot.sky_tables for file in snapshot.files(name, cell)], cell.host)
        if backup is None:
            raise error
        (answer,) = map_cells(self._executor, task, snapshot, [replace(part, cell=replace(cell, host=backup))])
        if not isinstance(answer, list):
            raise error
        warnings.warn(f"other copies are read instead of those on host {cell.host}: {error}", BackupWarning, 2)
        return answer


@dataclass(frozen=True)
class _Reading:
    """Reads a part; what cannot be read is an answer too, so that it can be read elsewhere."""

    read: Read

    def __call__(self, part: CellPart) -> list[pa.Table] | SkydbError:
        try:
            return self.read(part)
        except (DataError, BusyError) as error:
            return error


class GatheredRows:
    """Rows of cells as workers send them, as an Arrow stream that can be read again and again once they are here.

    Parameters
    ----------
    stream
        The rows, read by the workers.
    least : bytes
        What will come at least, as far as that is known.
    """

    def __init__(self, stream: CellStream, workers: Gathering, *, least: int = 0) -> None:
        self.schema = stream.schema
        self._stream, self._workers, self._least = stream, workers, least
        self._path: Path | None = None

    def require_room(self) -> None:
        """Refuse rows for which there is certainly no room, unless they are here.

        Raises
        ------
        UsageError
            Says how much they take, and how much there is.
        """
        room = self._workers.room()
        if self._path is None and self._least > room:
            raise _too_much(f"would bring about {_gigabytes(self._least)}", room)

    def gather(self) -> None:
        """Have the rows sent, unless they are here; they go with this object, or with the connection.

        Raises
        ------
        SkydbError
            As `Gathering.gathered` raises it; or there is no room for them.
        """
        if self._path is None and self._workers.is_open:
            path = self._workers.folder / f"{new_name()}.arrow"
            weakref.finalize(self, path.unlink, missing_ok=True)
            with clear_disk_errors(path):
                self._write(path, self._workers.room())
            self._path = path

    def _write(self, path: Path, room: int) -> None:
        size = 0
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, self.schema) as writer:
            for rows in self._stream.tables():
                size += rows.nbytes
                if size > room:
                    raise _too_much(f"brings more than {_gigabytes(room)}", room)
                writer.write_table(rows)

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the rows; none if they were not gathered, as where only their names and types are asked for."""
        if self._path is None:
            return self.schema.empty_table().__arrow_c_stream__(requested_schema)
        return pa.ipc.open_stream(pa.memory_map(str(self._path))).__arrow_c_stream__(requested_schema)


def gather(uses: Sequence[GatheredRows]) -> None:
    """Have workers send the rows for all uses of tables in a query, if there is room for them.

    Raises
    ------
    SkydbError
        As `GatheredRows.gather` raises it.
    """
    for rows in uses:
        rows.require_room()
    for rows in uses:
        rows.gather()


def expected_bytes(schema: pa.Schema, rows: int) -> int:
    """Return about how many bytes some rows take here."""
    return rows * sum(_width(field.type) for field in schema)


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return TEXT_BYTES


def _too_much(what: str, room: int) -> UsageError:
    """Return the error of a use of a table that brings more rows here than there is room for."""
    todo = "narrow the query, give TMPDIR more room, or raise gather_limit of connect"
    return UsageError(f"a table {what} from its hosts", f"room for {_gigabytes(room)}", todo)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
