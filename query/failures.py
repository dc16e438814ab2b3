"""What goes wrong while a query runs, said as an error that names who has to act."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from skydb.errors import DataError, SkydbError, UsageError
from skydb.store.files import DataFile
from skydb.store.snapshot import Snapshot


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
        raise kind(f"the query failed: {text}", "SQL", "correct the query, or the data that it names") from error


def require_whole(snapshot: Snapshot, files: Sequence[DataFile]) -> None:
    """Refuse stored files that are missing or not as long as they were.

    Raises
    ------
    DataError
        Names the first of them.
    """
    for file in files:
        path = snapshot.path_of(file)
        if not path.exists():
            raise DataError("a stored file is missing", str(path), "run `skydb fsck`")
        if path.stat().st_size != file.bytes:
            raise DataError("a stored file is damaged: it has another length", str(path), "run `skydb fsck`")
