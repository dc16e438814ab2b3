"""What a job leaves behind, however it ends: nothing but what was committed.

A job works in a folder of its own, and notes there every data file before it stores it, or a copy of it on another
host: a file under `data/` of a storage root is named by the catalog, or by a note. When the job ends, the folder goes,
and with it every noted copy that no commit names: the catalog decides, because a failure inside a commit may strike
before or after the transaction.

The job holds its folder (`locks`), and so does a task while it stores a file. A folder in `work/` that nobody holds is
that of a job that was killed: the next job to write clears it up.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from skydb.errors import BusyError, CommitConflict, SkydbError, SkydbWarning, clear_disk_errors

from .catalog import BUSY_SECONDS, reading
from .cells import LOCAL, Cell
from .crashpoints import reached
from .files import DataFile, make_directory
from .hosts import Storage, storage_of
from .keeper import keep
from .layout import DATA, HOST_FILE, WORK, data_path, new_name
from .locks import alone, shared, wait_alone, waiting
from .manifest import require_own_catalog
from .parquet import store_rows
from .placement import host_of_copy
from .roots import Place, root_named
from .snapshot import Snapshot
from .transfer import copy_whole, is_whole, put_file, remove_copy

_NOTE = ".stored"


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
        with shared(self.path), self._noted(name, places, snapshot.root):
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
        with shared(self.path), self._noted(name, targets, home):
            for place in targets:
                if not is_whole(place, digest):
                    copy_whole(sources, place, digest, spare=self.path / f"{name}.spare")
            reached("store.stored")

    @contextmanager
    def _noted(self, name: str, places: Sequence[Place], home: Path) -> Iterator[None]:
        """Note where copies of a file will be; take copies and note away if the block fails."""
        note = self.path / f"{name}{_NOTE}"
        try:
            note.write_text("".join(_noted_line(place, home) for place in places))
            reached("store.noted")
            yield
        except BaseException:
            with suppress(OSError, SkydbError):  # then the note stays, for whoever clears up
                for place in places:
                    remove_copy(place)
                note.unlink(missing_ok=True)
            raise


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


def _noted_line(place: Place, home: Path) -> str:
    """Return the line of a note for one copy; the database's own folder, which may be moved, is left empty."""
    return "\t".join((place.host, "" if place.root == str(home) else place.root, place.path)) + "\n"


def _noted_places(note: Path, home: Path) -> list[Place]:
    """Return where copies of a file may lie, from its note; of a line that was cut off nothing was written."""
    lines = [line.split("\t") for line in note.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [Place(host, root_named(root, str(home)), path.rstrip("\n")) for host, root, path in lines]


@contextmanager
def only_mover(root: Path, seconds: float = BUSY_SECONDS) -> Iterator[None]:
    """Be the only one that copies files which the catalog names to other hosts, or clears up after such a one.

    Raises
    ------
    BusyError
        Another process is, for as long.
    """
    with waiting(root / DATA, seconds, alone=True) as in_time:
        if not in_time:
            raise BusyError("another process is moving files between hosts", str(root), "wait and try again")
        yield


@contextmanager
def scratch(root: Path) -> Iterator[Scratch]:
    """Open a job's folder in a database and clear up after it; first, after jobs that were killed.

    Raises
    ------
    DataError, UsageError
        The disk is full or fails, or may not be written; or the catalog is not that of the manifests.
    """
    with clear_disk_errors(root):
        require_own_catalog(root)
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
    noted = {note.stem: _noted_places(note, root) for note in folder.glob(f"*{_NOTE}")}
    if not noted:
        return
    failures: list[Exception] = []
    known = _known_hosts(root, noted)
    copied = any(place.host not in known[name] for name, places in noted.items() if name in known for place in places)
    with only_mover(root, 0) if copied else nullcontext():  # another may be about to commit the same copies
        storage, known = storage_of(root), _known_hosts(root, noted)
        for name, places in noted.items():
            try:
                for place in places:
                    if place.host not in known.get(name, ()):
                        _remove_everywhere(storage, place)
                (folder / f"{name}{_NOTE}").unlink(missing_ok=True)
            except (OSError, SkydbError) as error:
                failures.append(error)
    if failures:
        raise failures[0]


def _remove_everywhere(storage: Storage, place: Place) -> None:
    """Remove a copy from where it was noted, and from where that host's root is by now.

    A copied database has copies of the notes too: what was noted on a host is for the host's keeper to remove.
    """
    places = [place]
    if place.host in storage.hosts and storage.root_of(place.host) != place.root:
        places.append(storage.place(place.host, place.path))
    for each in places:
        if each.host != LOCAL:
            keep(replace(each, path=HOST_FILE), storage.identity(each.host))
        remove_copy(each)


def _known_hosts(root: Path, names: Collection[str]) -> dict[str, set[str]]:
    """Return those of some files that the catalog names, with the hosts that it says have copies, needed or not."""
    wanted = "WHERE name IN (SELECT value FROM json_each(?1))"
    query = f"SELECT name, host, backup FROM files {wanted} UNION ALL SELECT name, host, host FROM removals {wanted}"
    known: dict[str, set[str]] = {}
    with reading(root) as connection:
        for name, *hosts in connection.execute(query, (json.dumps(list(names)),)):
            known.setdefault(name, set()).update(hosts)
    return known


def noted_names(root: Path) -> set[str]:
    """Return the names of the files that running jobs, and killed ones, have noted."""
    return {name for folder in (root / WORK).glob("*/") for name in names_noted_in(folder)}


def names_noted_in(folder: Path) -> set[str]:
    """Return the names of the files that one job has noted."""
    return {note.stem for note in folder.glob(f"*{_NOTE}")}
