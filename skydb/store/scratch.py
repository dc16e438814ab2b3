"""What a job leaves behind, however it ends: nothing but what was committed.

A job works in a folder of its own, and notes there every data file before it stores it, or a copy of it on another
host: a file under `data/` of a storage root is named by the catalog, or by a note. When the job ends, the folder goes,
and with it every noted copy that no commit names: the catalog decides, because a failure inside a commit may strike
before or after the transaction.

The job holds its folder (`locks`), and so does a task while it stores a file. A folder in `work/` that nobody holds is
that of a job that was killed: the next job to write clears it up, unless the job can be continued (`unfinished`).
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from skydb.errors import BusyError, CommitConflict, SkydbError, SkydbWarning, clear_disk_errors, is_of_full_disk

from .cells import LOCAL, Cell
from .crashpoints import reached
from .files import DataFile, make_directory
from .layout import WORK, data_path, new_name
from .locks import POLL_SECONDS, alone, shared, wait_alone, waiting
from .manifest import require_own_catalog
from .notes import NOTE, drop_uncommitted, noted
from .parquet import store_rows
from .placement import host_of_copy
from .roots import Place
from .snapshot import Snapshot
from .transfer import copy_whole, is_whole, put_file
from .unfinished import JOB, kept_kind

TAKEN_UP_SECONDS = 60.0
"""How long the workers of a job that is to be continued are waited for: they may store a last file."""
LOOKED_AT_SECONDS = 1.0
"""How long a job is waited for that somebody looks at."""


@dataclass(frozen=True)
class Scratch:
    """The folder of a running job; it pickles, so that tasks store through it."""

    path: Path

    def store(
        self, snapshot: Snapshot, rows: pa.Table, table: str, *, cell: Cell | None = None, base: str | None = None
    ) -> DataFile:
        """Note and store sorted rows of a cell's table, or of a global one, as `store_rows` does.

        They go to the cell's host and, where two copies are wanted, to a second one; if that is not there, it is left
        to `skydb hosts DB backup`, with a warning.

        Raises
        ------
        FileNotFoundError
            The job has ended; nothing is stored.
        DataError, BusyError
            The cell's host is not there.
        """
        name, key = new_name(), cell.key if cell else None
        first, *others = _hosts_for(snapshot, table, cell)
        storage, relative = snapshot.storage, data_path(table, key, name)
        places = [storage.place(host, relative) for host in (first, *others)]
        folder = Path(places[0].root) if places[0].is_local else self.path / f"{name}.upload"
        with shared(self.path), noted(self.path, name, places, snapshot.root):
            file = store_rows(
                folder, snapshot.database_id, rows, table, cell=key, base=base, host=first, name=name,
                declared=snapshot.table(table),
            )  # fmt: skip
            for place in places if not places[0].is_local else places[1:]:
                put_file(folder / relative, place)
            if not places[0].is_local:
                shutil.rmtree(folder)
            reached("store.stored")
            return replace(file, backup=others[0] if others else None)

    def copy(self, name: str, digest: str, sources: Sequence[Place], targets: Sequence[Place], home: Path) -> None:
        """Note and write copies of a stored file, and verify each; one that is there and whole is kept.

        Raises
        ------
        FileNotFoundError
            The job has ended; nothing is copied.
        DataError, BusyError
            No source is whole, or a target is not there.
        """
        with shared(self.path), noted(self.path, name, targets, home):
            for place in targets:
                if not is_whole(place, digest):
                    copy_whole(sources, place, digest, spare=self.path / f"{name}.spare")
            reached("store.stored")


def _hosts_for(snapshot: Snapshot, table: str, cell: Cell | None) -> tuple[str, ...]:
    """Return the host of a new file, and of its second copy if there is to be one.

    Raises
    ------
    CommitConflict
        There is no such host any more.
    DataError, BusyError, UsageError
        Its root is not there, or another catalog keeps it.
    """
    storage = snapshot.storage
    first = cell.host if cell else LOCAL
    if first not in storage.hosts:
        raise CommitConflict(f"another writer removed the host {first!r}")
    storage.require_writable(first)
    second = host_of_copy(storage, first, str(cell) if cell else table)
    if second is None:
        return (first,)
    try:
        storage.require_writable(second)
    except SkydbError as error:
        warnings.warn(f"new files get no second copy on host {second}: {error}", MissingCopyWarning, stacklevel=3)
        return (first,)
    return first, second


class MissingCopyWarning(SkydbWarning):
    """A file has one copy only, where two are wanted."""


@contextmanager
def scratch(root: Path, *, unfinished: Path | None = None) -> Iterator[Scratch]:
    """Open a job's folder in a database and clear up after it; first, after jobs that were killed.

    Parameters
    ----------
    root
        The database.
    unfinished
        The folder of a job that was cut short, to continue it there.

    Raises
    ------
    BusyError
        Somebody else works there.
    DataError, UsageError
        The disk is full or fails, or may not be written; or the catalog is not that of the manifests.
    """
    with clear_disk_errors(root):
        require_own_catalog(root)
        sweep(root)
        with ExitStack() as held:
            folder, handle = _taken_up(unfinished, held) if unfinished else _new_folder(root / WORK, held)
            reached("job.opened")
            try:
                yield Scratch(folder)
            except BaseException as error:
                _end(root, folder, handle, keep=not is_of_full_disk(error))
                raise
            _end(root, folder, handle)


def _new_folder(parent: Path, held: ExitStack) -> tuple[Path, int]:
    """Make a folder and hold it; another one, if a job takes it for that of a killed job before it is held."""
    while True:
        folder = parent / new_name()
        make_directory(folder)
        with suppress(FileNotFoundError):
            return folder, held.enter_context(shared(folder))


def _taken_up(folder: Path, held: ExitStack) -> tuple[Path, int]:
    """Hold the folder of a job that was cut short; nobody clears it up or takes it up meanwhile."""
    busy = BusyError("another process works on this job, or has just ended it", str(folder), "wait, and look again")
    try:
        held.enter_context(working_on(folder))
        with waiting(folder, TAKEN_UP_SECONDS, alone=True) as left:
            if not left:
                raise busy
        until = time.monotonic() + TAKEN_UP_SECONDS
        while time.monotonic() < until and folder.exists():
            with suppress(FileNotFoundError):  # somebody looks whether it is held
                return folder, held.enter_context(shared(folder))
            time.sleep(POLL_SECONDS)
    except FileNotFoundError:
        raise busy from None
    raise busy


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Be the one who works on a job that is described.

    Raises
    ------
    BusyError
        Somebody else is.
    """
    with waiting(folder / JOB, LOOKED_AT_SECONDS, alone=True) as ours:
        if not ours:
            raise BusyError("another process works on this job", str(folder), "wait until it has ended")
        yield


def _end(root: Path, folder: Path, handle: int, *, keep: bool = False) -> None:
    """Clear up after a job, unless it is to be kept and can be continued.

    Where the disk does not let it, the folder is left to the next job.
    """
    ended = folder.with_name(f"{folder.name}.ended")
    reached("job.ending")
    with suppress(OSError, SkydbError):
        if keep and kept_kind(root, folder):
            return
        folder.rename(ended)  # a task that still runs finds it gone, and stores no more
        reached("job.renamed")
        wait_alone(handle)  # … but for the file that it is writing
        _clear(root, ended)


def sweep(root: Path, *, overtaken: str | None = None) -> None:
    """Clear up after jobs that were killed; those that run hold their folders.

    Those that can be continued are kept, but for those of a kind that is `overtaken`.
    """
    for folder in (root / WORK).glob("*/"):
        with suppress(OSError, SkydbError):
            if kept_kind(root, folder) in (None, overtaken):
                with alone(folder) as left:
                    if left and kept_kind(root, folder) in (None, overtaken):
                        _clear(root, folder)


def _clear(root: Path, folder: Path) -> None:
    """Remove a folder and the files noted there that no commit names; what needs no question first, to make room."""
    (folder / JOB).unlink(missing_ok=True)  # what is cleared up in part can be continued no more
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.suffix != NOTE:
            entry.unlink(missing_ok=True)
    reached("job.emptied")
    drop_uncommitted(root, folder)
    reached("job.files-dropped")
    shutil.rmtree(folder, ignore_errors=True)
