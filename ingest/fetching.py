"""Input files: those that patterns match, and those at URLs, which are fetched and read under their own names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import glob
from os.path import isdir, lexists
from pathlib import Path
from urllib.parse import unquote, urlsplit

from skydb.errors import BusyError, DataError, SkydbError, UsageError, clear_disk_errors
from skydb.store.roots import filesystem_of, is_url
from skydb.store.scratch import scratch

from .readers.contents import has_wildcards

Fetched = Mapping[str, Path | SkydbError]
"""Where each URL's file is now, or why it could not be had."""

_CHUNK = 1 << 20


@contextmanager
def fetched(names: Sequence[str], root: Path) -> Iterator[Fetched]:
    """Fetch those of some input files that are URLs; they are there as long as the block lasts.

    Parameters
    ----------
    names
        Paths and URLs.
    root
        The database, in whose `work/` folder they are kept meanwhile: they need as much room.
    """
    urls = [name for name in dict.fromkeys(names) if is_url(name)]
    if not urls:
        yield {}
        return
    with scratch(root) as place:
        yield {url: _fetch(url, place.path / f"{number:06d}") for number, url in enumerate(urls)}


def matching(name: str) -> list[str]:
    """Return the files or URLs that a name with wildcards stands for, in order; any other name as it is.

    A file that has the name itself, wildcards and all, goes before what they match. `**` stands for any folders, and
    matches none itself. A path that nothing matches stays as it is too: no such file.

    Raises
    ------
    UsageError
        No URL matches, or the server does not list its files.
    """
    if not has_wildcards(name):
        return [name]
    return _urls(name) if is_url(name) else _paths(name) or [name]


def _paths(pattern: str) -> list[str]:
    if lexists(pattern):
        return [pattern]
    return sorted(path for path in glob(pattern, recursive=True) if "**" not in pattern or not isdir(path))


def _urls(pattern: str) -> list[str]:
    try:
        filesystem = filesystem_of(pattern)
        found = sorted(filesystem.unstrip_protocol(path) for path in filesystem.glob(pattern))
    except SkydbError:
        raise
    except Exception as error:  # every protocol has errors of its own
        raise UsageError(f"what matches cannot be listed: {error}", pattern, "name the files") from error
    if not found:
        raise UsageError("nothing matches", pattern, "correct the URL, or name the files")
    return found


def _fetch(url: str, folder: Path) -> Path | SkydbError:
    """Return a URL's file in a folder of its own, under its own name; or why it could not be had."""
    target = folder / (unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] or "file")
    try:
        filesystem = filesystem_of(url)
        with clear_disk_errors(folder):
            folder.mkdir()
            how = {"block_size": 0} if url.startswith("http") else {}  # as a stream
            with filesystem.open(url, "rb", **how) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
    except SkydbError as error:
        return error
    except Exception as error:  # every protocol has errors of its own
        return _why(error, url)
    return target


def _why(error: Exception, url: str) -> SkydbError:
    """Return what it means that a file could not be fetched; of what a web server refuses fsspec says: not found."""
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    status = next((found for each in causes if (found := getattr(each, "status", None)) is not None), None)
    if status in (401, 403) or isinstance(error, PermissionError):
        return DataError("the server does not let you read it", url, "ask its owner for the right")
    if status in (404, 410) or (status is None and isinstance(error, FileNotFoundError)):
        return UsageError("there is no such file", url, "correct the URL")
    said = " ".join(str(causes[-1]).split())
    return BusyError(f"it cannot be fetched ({type(causes[-1]).__name__}: {said})", url, "try again later")
