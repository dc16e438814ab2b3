"""What goes wrong while a query runs, said as an error that names who has to act."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from skydb.errors import DataError, SkydbError, UsageError, did_you_mean
from skydb.flags import flag_rows
from skydb.store.checksums import require_there
from skydb.store.files import DataFile
from skydb.store.snapshot import Snapshot

from .flag_functions import FLAG_FUNCTIONS
from .functions import SKY_FUNCTIONS


@contextmanager
def clear_errors(check: Callable[[], None] | None = None) -> Iterator[None]:
    """Turn what DuckDB and Arrow raise in the block into errors of skydb.

    Parameters
    ----------
    check
        Called first when something fails: raises DataError if a stored file is to blame.

    Raises
    ------
    DataError
        A file is missing or damaged.
    UsageError
        Everything else: what was asked cannot be answered.
    """
    import duckdb

    try:
        yield
    except SkydbError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if check is not None:
            check()
        text = str(error).strip()
        kind = DataError if text.startswith("IO Error") or "DataError" in text else UsageError
        raise kind(*_said(text)) from error


def _said(text: str) -> tuple[str, str, str]:
    """Return what an error of DuckDB says, where, and what to do.

    The line of the query that it shows is left out: names are translated in it.
    """
    wrong = re.search(r"Macro \W*(\w+)\W* does not support", text)
    if wrong and wrong[1] in SKY_FUNCTIONS:
        what = f"{wrong[1]} takes no such arguments, by number or type"
        return what, "SQL", f"write {SKY_FUNCTIONS[wrong[1]]}, all numbers in degrees"
    if key := re.search(r'Could not find key "(.*?)" in struct', text):
        flags = {name for flags in FLAG_FUNCTIONS.values() for name, _, _ in flag_rows(flags)}
        return f"no flag or field named {key[1]!r}", "SQL", did_you_mean(key[1], flags)
    if "Connection already closed" in text or "Connection Error" in text:
        return "the connection was closed before the rows were fetched", "result", "fetch them before, or ask again"
    if os.strerror(errno.EMFILE) in text:
        return "too many files are open at once", "SQL", "raise the limit (ulimit -n) and ask again"
    said = re.split(r"\s*\bLINE \d+:", text)[0]
    return f"the query failed: {said}", "SQL", "correct the query, or the data that it names"


def blame(snapshot: Snapshot, files: Sequence[DataFile], failures: Iterable[Sequence[SkydbError]]) -> None:
    """Raise what went wrong with stored files, if it was that by which a query failed.

    Parameters
    ----------
    files
        Those that it reads.
    failures
        What the streams from which it reads have noted.

    Raises
    ------
    DataError, BusyError
        Names a file that could not be read.
    """
    for noted in failures:
        for error in noted:
            raise error
    for file in files:
        require_there(snapshot.stored(file))
