"""Notes: files in a job's folder that name what it stores and where; a file that no commit names is removed by them.

The catalog decides what was committed, because a failure inside a commit may strike before or after the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from skydb.errors import SkydbError

from .catalog import reading
from .cells import LOCAL
from .crashpoints import reached
from .hosts import Storage, storage_of
from .keeper import keep
from .layout import HOST_FILE, WORK
from .roots import Place, root_named
from .transfer import remove_copy
from .turns import only_mover

NOTE = ".stored"


@contextmanager
def noted(folder: Path, name: str, places: Collection[Place], home: Path) -> Iterator[None]:
    """Note in a job's folder where copies of a file will be; take copies and note away if the block fails."""
    note = folder / f"{name}{NOTE}"
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


def _noted_line(place: Place, home: Path) -> str:
    """Return the line of a note for one copy; the database's own folder, which may be moved, is left empty."""
    return "\t".join((place.host, "" if place.root == str(home) else place.root, place.path)) + "\n"


def _noted_places(note: Path, home: Path) -> list[Place]:
    """Return where copies of a file may lie, from its note; of a line that was cut off nothing was written."""
    lines = [line.split("\t") for line in note.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [Place(host, root_named(root, str(home)), path.rstrip("\n")) for host, root, path in lines]


def drop_uncommitted(root: Path, folder: Path) -> None:
    """Remove the noted files of a folder that no commit names.

    Raises
    ------
    SkydbError, OSError
        The catalog cannot be asked, or a file not be removed; the notes of what is left are still there.
    """
    noted = {note.stem: _noted_places(note, root) for note in folder.glob(f"*{NOTE}")}
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
                (folder / f"{name}{NOTE}").unlink(missing_ok=True)
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
    return {note.stem for note in folder.glob(f"*{NOTE}")}
