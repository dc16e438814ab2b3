"""What a job leaves behind, however it ends: nothing but what was committed.

A job works in a folder of its own, and notes there every data file before it stores it: a file under `data/` is named
by the catalog, or by a note. When the job ends, the folder goes, and with it every noted file that no commit names: the
catalog decides, because a failure inside a commit may strike before or after the transaction.

The job holds its folder (`locks`), and so does a task while it stores a file. A folder in `work/` that nobody holds is
that of a job that was killed: the next job to write clears it up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from skydb.errors import SkydbError, clear_disk_errors

from .catalog import reading
from .cells import LOCAL, Cell
from .crashpoints import reached
from .files import DataFile, make_directory, temporary_of
from .layout import WORK, data_path, new_name
from .locks import alone, shared, wait_alone
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
        """Note and store sorted rows of a cell's table, or of a global one, as `store_rows` does.

        Raises
        ------
        FileNotFoundError
            The job has ended; nothing is stored.
        """
        name, host, key = new_name(), cell.host if cell else LOCAL, cell.key if cell else None
        root = snapshot.folder_of(host)
        path = root / data_path(table, key, name)
        with shared(self.path), self._noted(path, snapshot.root):
            file = store_rows(
                root, snapshot.database_id, rows, table, cell=key, base=base, host=host, name=name,
                declared=snapshot.table(table),
            )  # fmt: skip
            reached("store.stored")
            return file

    @contextmanager
    def _noted(self, path: Path, root: Path) -> Iterator[None]:
        """Note a file for its storing, relative to a database that may move; take both away if the block fails."""
        note = self.path / f"{path.stem}{_NOTE}"
        try:
            note.write_text(str(path.relative_to(root) if path.is_relative_to(root) else path))
            reached("store.noted")
            yield
        except BaseException:
            with suppress(OSError):  # then the note stays, for whoever clears up
                _remove(path)
                _remove(note)
            raise


@contextmanager
def scratch(root: Path) -> Iterator[Scratch]:
    """Open a job's folder in a database and clear up after it; first, after jobs that were killed.

    Raises
    ------
    DataError, UsageError
        The disk is full or fails, or may not be written.
    """
    with clear_disk_errors(root):
        sweep(root)
        with ExitStack() as held:
            folder, handle = _new_folder(root / WORK, held)
            reached("job.opened")
            try:
                yield Scratch(folder)
            finally:
                _end(root, folder, handle)


def _new_folder(parent: Path, held: ExitStack) -> tuple[Path, int]:
    """Make a folder and hold it; another one, if a job takes it for that of a killed job before it is held."""
    while True:
        folder = parent / new_name()
        make_directory(folder)
        with suppress(FileNotFoundError):
            return folder, held.enter_context(shared(folder))


def _end(root: Path, folder: Path, handle: int) -> None:
    """Clear up after a job; where the disk does not let it, its folder is left to the next job."""
    ended = folder.with_name(f"{folder.name}.ended")
    reached("job.ending")
    with suppress(OSError, SkydbError):
        folder.rename(ended)  # a task that still runs finds it gone, and stores no more
        reached("job.renamed")
        wait_alone(handle)  # … but for the file that it is writing
        _clear(root, ended)


def sweep(root: Path) -> None:
    """Clear up after jobs that were killed; those that run hold their folders."""
    for folder in (root / WORK).glob("*/"):
        with suppress(OSError, SkydbError), alone(folder) as left:
            if left:
                _clear(root, folder)


def _clear(root: Path, folder: Path) -> None:
    """Remove a folder and the files noted there that no commit names; what needs no question first, to make room."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.suffix != _NOTE:
            entry.unlink(missing_ok=True)
    reached("job.emptied")
    drop_uncommitted(root, folder)
    reached("job.files-dropped")
    shutil.rmtree(folder, ignore_errors=True)


def drop_uncommitted(root: Path, folder: Path) -> None:
    """Remove the noted files of a folder that no commit names.

    Raises
    ------
    SkydbError, OSError
        The catalog cannot be asked, or a file not be removed; the notes of what is left are still there.
    """
    noted = {note.stem: root / note.read_text() for note in folder.glob(f"*{_NOTE}")}
    for path in noted.values():
        _remove(temporary_of(path))
    failures = []
    for name in noted.keys() - _committed(root, noted):
        try:
            if noted[name].stem == name:  # a note that was cut off names no file
                _remove(noted[name])
            _remove(folder / f"{name}{_NOTE}")
        except OSError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def _committed(root: Path, names: Collection[str]) -> set[str]:
    if not names:
        return set()
    query = "SELECT name FROM files WHERE name IN (SELECT value FROM json_each(?))"
    with reading(root) as connection:
        return {name for (name,) in connection.execute(query, (json.dumps(list(names)),))}


def noted_names(root: Path) -> set[str]:
    """Return the names of the files that running jobs, and killed ones, have noted."""
    return {note.stem for note in (root / WORK).glob(f"*/*{_NOTE}")}
