"""Files that could not be read, set aside with the reason, so that nobody tries them again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from skydb.errors import DataError, UsageError
from skydb.store.commit import now
from skydb.store.roots import is_url

from .report import FileReport

REASON = ".why.txt"
"""What the file with the reason is called, after the file's own name."""


def set_aside(reports: Sequence[FileReport], folder: Path) -> tuple[FileReport, ...]:
    """Move the files whose content is at fault into a folder, each with its reason beside it; returns the reports.

    A file that is not there, that fails for another cause, or that was fetched from a URL stays where it is.

    Raises
    ------
    UsageError
        The folder cannot be made, or a file not be moved there.
    """
    return tuple(
        _set_aside(r, folder) if r.exit_code == DataError.exit_code and not is_url(r.file) else r for r in reports
    )


def _set_aside(report: FileReport, folder: Path) -> FileReport:
    source = Path(report.file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = _free(folder, source.name)
        target.with_name(target.name + REASON).write_text(f"{now()}\n{source.absolute()}\n{report.error}\n")
        shutil.move(source, target)
    except OSError as error:
        what = f"{source} cannot be set aside: {error.strerror or error}"
        raise UsageError(what, str(folder), "name a folder that can be written") from error
    return replace(report, quarantined=str(target))


def _free(folder: Path, name: str) -> Path:
    """Return a name in the folder that nothing has yet."""
    names = (folder / (f"{name}.{number}" if number else name) for number in count())
    return next(path for path in names if not path.exists() and not path.with_name(path.name + REASON).exists())
