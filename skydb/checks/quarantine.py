"""Files that a repair gave up: moved out of the way, never removed, under the path that they had."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from skydb.errors import SkydbError
from skydb.store.files import DataFile, fsync_directory, make_directory
from skydb.store.roots import Place
from skydb.store.transfer import bytes_at, fetch_file, remove_copy

QUARANTINE = "quarantine"


def quarantined(root: Path, file: DataFile) -> Path:
    """Return where a file lies once it is given up."""
    return root / QUARANTINE / file.path


def is_quarantined(root: Path, file: DataFile) -> bool:
    """Say whether a repair has given up a file, or said that it is missing."""
    return quarantined(root, file).exists() or _note(root, file).exists()


def give_up(root: Path, file: DataFile, places: tuple[Place, ...]) -> str | None:
    """Move what is left of a file from the first place that has any of it; note why where that cannot be done.

    Returns where it lies now: its path relative to the database, or where it was if it could not be moved; None where
    nothing was found of it.
    """
    target = quarantined(root, file)
    source = next((place for place in places if bytes_at(place) is not None), None)
    try:
        make_directory(target.parent)
        if source is not None:
            _move(source, target)
            return str(target.relative_to(root))
        why = "nothing of it was found when it was given up"
    except (OSError, SkydbError) as error:
        why = f"it was given up, and could not be moved from {source}: {error}"
    with suppress(OSError):  # without the note the file goes on to be damage
        _note(root, file).write_text(f"{why}\n")
        fsync_directory(target.parent)
    return None if source is None else str(source)


def _move(source: Place, target: Path) -> None:
    """Move a file; from another file system, or from behind a URL, by a copy that is whole before the file goes.

    Raises
    ------
    OSError, SkydbError
        It cannot be read there, or not be written here.
    """
    if source.is_local:
        try:
            source.local.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            fsync_directory(target.parent)
            return
    fetch_file(source, target)
    with suppress(OSError, SkydbError):  # gc removes what is not given away here
        remove_copy(source)


def _note(root: Path, file: DataFile) -> Path:
    target = quarantined(root, file)
    return target.with_name(f"{target.name}.missing")
