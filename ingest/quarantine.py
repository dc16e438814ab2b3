"""Files that could not be read, set aside with the reason, so that nobody tries them again."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from skydb.errors import UsageError
from skydb.store.commit import now
from skydb.store.crashpoints import reached
from skydb.store.files import fsync_directory, write_durably
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
    """Write the reason, then move the file: killed in between, the file is where it came, and the same call goes on."""
    source = Path(report.file)
    if not os.path.lexists(source):  # another call has moved it
        return report
    try:
        words = f"{now()}\n{source.absolute()}\n{report.error}\n"
        target, reason = _reserved(folder, source, words)
        with _removed_on_error(reason, source):
            reached("quarantine.noted")
            _move(source, target)
            reached("quarantine.moved")
    except OSError as error:
        what = f"it cannot be set aside in {folder}: {error.strerror or error}"
        return replace(report, error=f"{report.error}; {what}")
    return replace(report, quarantined=str(target))


def _reserved(folder: Path, source: Path, words: str) -> tuple[Path, Path]:
    """Return a name in the folder that nothing has yet, and that of the reason, which is there now and holds the name.

    A reason that a call left which was killed before it moved this very file is taken up.
    """
    place = hashlib.blake2b(str(source.absolute()).encode(), digest_size=8).hexdigest()
    noted = folder / f".{place}{REASON}"  # the same when the call is done again
    write_durably(noted, lambda path: path.write_text(words, encoding="utf-8"))
    try:
        for number in count():
            target = folder / (f"{source.name}.{number}" if number else source.name)
            reason = target.with_name(target.name + REASON)
            if not os.path.lexists(target) and (_linked(noted, reason) or _is_of(reason, source)):
                return target, reason
    finally:
        noted.unlink(missing_ok=True)
        fsync_directory(folder)
    raise AssertionError("numbers have no end")


def _linked(file: Path, name: Path) -> bool:
    """Give a file a second name, whole and at once; False: something has that name."""
    try:
        os.link(file, name)
    except FileExistsError:
        return False
    return True


def _is_of(reason: Path, source: Path) -> bool:
    with suppress(FileNotFoundError):
        return str(source.absolute()) in reason.read_text(encoding="utf-8", errors="replace").splitlines()
    return False


def _move(source: Path, target: Path) -> None:
    """Move a file whole or not at all; of a link only the link, which then names its file in full."""
    if source.is_symlink():
        target.symlink_to(source.resolve())
        with _removed_on_error(target, source):
            source.unlink()
    else:
        _rename(source, target)
    fsync_directory(target.parent)


def _rename(source: Path, target: Path) -> None:
    """Rename a file; to another file system it is copied, and goes here when the copy is durable."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV or source.is_dir():
            raise
        write_durably(target, lambda path: shutil.copy2(source, path))
        with _removed_on_error(target, source):
            source.unlink()


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
