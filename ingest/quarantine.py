"""Files that could not be read, set aside with the reason, so that nobody tries them again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from skydb.errors import UsageError
from skydb.store.commit import now
from skydb.store.layout import CATALOG, HOST_FILE, given_path
from skydb.store.roots import is_url

from .report import FileReport

REASON = ".why.txt"
"""What the file with the reason is called, after the file's own name."""


def checked_folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder that files are to be moved into; it is made when the first one is.

    Raises
    ------
    UsageError
        It is no folder, cannot be made or written, or lies in a database.
    """
    folder = given_path(path)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    problem = (
        "it is no folder" if not there.is_dir()
        else "it is part of a database" if _is_of_database(folder / "file")
        else "it may not be written" if not os.access(there, os.W_OK | os.X_OK)
        else None
    )  # fmt: skip
    if problem:
        what = f"files cannot be set aside there: {problem}"
        raise UsageError(what, str(folder), "name a folder that can be written")
    return folder


def set_aside(reports: Sequence[FileReport], folder: Path) -> tuple[FileReport, ...]:
    """Move the files whose content is at fault into a folder, each with its reason beside it; returns the reports.

    All others stay where they are, and so does what was fetched from a URL or is part of a database. Where a file
    cannot be moved, its report says so.
    """
    return tuple(_set_aside(r, folder) if _is_to_move(r) else r for r in reports)


def _is_to_move(report: FileReport) -> bool:
    return report.fault == "content" and not is_url(report.file) and not _is_of_database(Path(report.file))


def _is_of_database(path: Path) -> bool:
    """Say whether a path lies in a database, or in a host's part of one."""
    return any((parent / name).exists() for parent in path.resolve().parents for name in (CATALOG, HOST_FILE))


def _set_aside(report: FileReport, folder: Path) -> FileReport:
    source = Path(report.file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target, reason = _reserved(folder, source.name)
        with _removed_on_error(reason, source):
            reason.write_text(f"{now()}\n{source.absolute()}\n{report.error}\n", encoding="utf-8")
            _move(source, target)
    except OSError as error:
        what = f"it cannot be set aside in {folder}: {error.strerror or error}"
        return replace(report, error=f"{report.error}; {what}")
    return replace(report, quarantined=str(target))


def _reserved(folder: Path, name: str) -> tuple[Path, Path]:
    """Return a name in the folder that nothing has yet, and that of the reason, which now exists: it holds the name."""
    for number in count():
        target = folder / (f"{name}.{number}" if number else name)
        reason = target.with_name(target.name + REASON)
        if not os.path.lexists(target):
            with suppress(FileExistsError):
                reason.touch(exist_ok=False)
                return target, reason
    raise AssertionError("numbers have no end")


def _move(source: Path, target: Path) -> None:
    """Move a file whole or not at all; of a link only the link, which then names its file in full."""
    if source.is_symlink():
        target.symlink_to(source.resolve())
        with _removed_on_error(target, source):
            source.unlink()
    elif source.is_dir():
        source.rename(target)
    else:
        with _removed_on_error(target, source):
            shutil.move(source, target)


@contextmanager
def _removed_on_error(path: Path, source: Path) -> Iterator[None]:
    """Remove a file if the block raises, unless it is all that is left of the source."""
    try:
        yield
    except BaseException:
        if os.path.lexists(source):
            with suppress(OSError):
                path.unlink()
        raise
