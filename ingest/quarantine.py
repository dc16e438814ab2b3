"""Files that could not be read, set aside with the reason, so that nobody tries them again."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from skydb.errors import DataError, UsageError
from skydb.store.commit import now
from skydb.store.crashpoints import reached
from skydb.store.files import fsync_directory, write_durably
from skydb.store.roots import is_url

from .report import FileReport

REASON = ".why.txt"
"""What the file with the reason is called, after the file's own name."""


def set_aside(reports: Sequence[FileReport], folder: Path) -> tuple[FileReport, ...]:
    """Move the files whose content is at fault into a folder, each with its reason beside it; returns the reports.

    A file that is not there (another call may have moved it), fails for another cause, or was fetched from a URL
    stays where it is.

    Raises
    ------
    UsageError
        The folder cannot be made, or a file not be moved there.
    """
    return tuple(
        _set_aside(r, folder) if r.exit_code == DataError.exit_code and not is_url(r.file) else r for r in reports
    )


def _set_aside(report: FileReport, folder: Path) -> FileReport:
    """Write the reason, then move the file: killed in between, the file is where it came, and the same call goes on."""
    source = Path(report.file)
    if not source.exists():
        return report
    try:
        target = _place_for(source, folder)
        words = f"{now()}\n{source.absolute()}\n{report.error}\n"
        write_durably(_reason_of(target), lambda path: path.write_text(words, encoding="utf-8"))
        reached("quarantine.noted")
        _move(source, target)
        reached("quarantine.moved")
    except OSError as error:
        what = f"{source} cannot be set aside: {error.strerror or error}"
        raise UsageError(what, str(folder), "name a folder that can be written") from error
    return replace(report, quarantined=str(target))


def _place_for(source: Path, folder: Path) -> Path:
    """Return a name in the folder that nothing has yet, or for which only the reason of this very file is there."""
    places = (folder / (f"{source.name}.{number}" if number else source.name) for number in count())
    return next(path for path in places if not path.exists() and _is_free_or_of(_reason_of(path), source))


def _reason_of(target: Path) -> Path:
    return target.with_name(target.name + REASON)


def _is_free_or_of(reason: Path, source: Path) -> bool:
    try:
        return str(source.absolute()) in reason.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return True


def _move(source: Path, target: Path) -> None:
    """Rename a file; to another file system it is copied, and goes here when the copy is durable."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if source.is_dir():
            shutil.move(source, target)
            return
        write_durably(target, lambda path: shutil.copy2(source, path))
        source.unlink()
    fsync_directory(target.parent)
