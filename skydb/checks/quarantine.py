"""Files that a repair gave up: moved out of the way, never removed, under the path that they had."""

from __future__ import annotations

from pathlib import Path

from skydb.store.files import DataFile, fsync_directory, make_directory
from skydb.store.roots import Place

QUARANTINE = "quarantine"


def quarantined(root: Path, file: DataFile) -> Path:
    """Return where a file lies once it is given up."""
    return root / QUARANTINE / file.path


def is_quarantined(root: Path, file: DataFile) -> bool:
    """Say whether a repair has given up a file, or said that it is missing."""
    return quarantined(root, file).exists() or _note(root, file).exists()


def give_up(root: Path, file: DataFile, places: tuple[Place, ...]) -> str | None:
    """Move what is left of a file from its first place; note that it is missing where there is nothing.

    Returns its path now, relative to the database; None where nothing was left.
    """
    target = quarantined(root, file)
    make_directory(target.parent)
    try:
        source = places[0].local if places and places[0].is_local else None
        if source is None:
            raise FileNotFoundError
        try:
            source.rename(target)
        except OSError:
            target.write_bytes(source.read_bytes())  # of another file system; gc removes what stays there
    except (FileNotFoundError, NotADirectoryError):
        _note(root, file).write_text("it was not there when it was given up\n")
        return None
    finally:
        fsync_directory(target.parent)
    return str(target.relative_to(root))


def _note(root: Path, file: DataFile) -> Path:
    target = quarantined(root, file)
    return target.with_name(f"{target.name}.missing")
