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
    """Move what is left of a file from the first place that has any of it; note that it is missing where none has.

    Returns its path now, relative to the database; None where nothing was left.
    """
    target = quarantined(root, file)
    make_directory(target.parent)
    source = next((p.local for p in places if p.is_local and p.local.is_file()), None)
    if source is None:
        _note(root, file).write_text("it was not there when it was given up\n")
    else:
        try:
            source.rename(target)
        except OSError:
            target.write_bytes(source.read_bytes())  # of another file system; gc removes what stays there
    fsync_directory(target.parent)
    return None if source is None else str(target.relative_to(root))


def _note(root: Path, file: DataFile) -> Path:
    target = quarantined(root, file)
    return target.with_name(f"{target.name}.missing")
