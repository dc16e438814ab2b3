"""What a running job leaves behind: nothing but what was committed.

A job works in a folder of its own and notes there every data file that it stores. When it ends, by whatever road, the
folder goes, and with it every noted file that no commit names: the catalog decides, because a failure inside a commit
may strike before or after the transaction. A task that is still running in a worker finds the folder gone and takes
its file away itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from skydb.errors import SkydbError

from .catalog import reading
from .cells import Cell
from .files import DataFile, make_directory
from .layout import WORK, new_name
from .parquet import store_rows
from .snapshot import Snapshot

_NOTE = ".stored"


@dataclass(frozen=True)
class Scratch:
    """The folder of a running job; it pickles, so that tasks store through it."""

    path: Path

    def store(
        self, snapshot: Snapshot, rows: pa.Table, table: str, *, cell: Cell | None = None, base: str | None = None
    ) -> DataFile:
        """Store sorted rows of a cell's table, or of a global one, as `store_rows` does, and note the file.

        Raises
        ------
        FileNotFoundError
            The job has ended; the file is not kept.
        """
        if cell is None:
            file = store_rows(snapshot.root, snapshot.database_id, rows, table, base=base)
        else:
            root = snapshot.host_roots[cell.host]
            file = store_rows(root, snapshot.database_id, rows, table, cell=cell.key, base=base, host=cell.host)
        path = snapshot.path_of(file)
        try:
            (self.path / f"{file.name}{_NOTE}").write_text(str(path))
        except BaseException:
            path.unlink()
            raise
        return file


@contextmanager
def scratch(root: Path, parent: Path | None = None) -> Iterator[Scratch]:
    """Open a job's folder in a database (in `parent`, by default where all jobs work), and clear up after it."""
    place = Scratch((parent or root / WORK) / new_name())
    make_directory(place.path)
    try:
        yield place
    finally:
        ended = place.path.with_name(f"{place.path.name}.ended")
        place.path.rename(ended)
        with suppress(SkydbError):  # a catalog that cannot be read says nothing: the files stay, as orphans for fsck
            drop_uncommitted(root, ended)
        shutil.rmtree(ended, ignore_errors=True)


def drop_uncommitted(root: Path, folder: Path) -> None:
    """Remove the noted files of a folder that no commit names."""
    notes = {note.stem: note for note in folder.glob(f"*{_NOTE}")}
    for name in notes.keys() - _committed(root, notes.keys()):
        Path(notes[name].read_text()).unlink(missing_ok=True)
        notes[name].unlink()


def _committed(root: Path, names: Iterable[str]) -> set[str]:
    with reading(root) as connection:
        connection.execute("CREATE TEMP TABLE noted (name TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.executemany("INSERT INTO noted VALUES (?)", [(name,) for name in names])
        return {name for (name,) in connection.execute("SELECT name FROM files JOIN noted USING (name)")}
