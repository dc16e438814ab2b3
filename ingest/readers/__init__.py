"""One module per file format, all of one shape; `reader_for` finds the one that fits a file."""

from __future__ import annotations

from pathlib import Path

from skydb.errors import DataError, UsageError, disk_error

from .hats_folder import is_hats
from .interface import Reader, ReadRequest
from .whole_compression import compression_of

__all__ = ["reader_for"]

HEAD_BYTES = 2880


def reader_for(path: str | Path, request: ReadRequest) -> Reader:
    """Return the reader of a file; a request with a mapping means a table, whatever the file looks like.

    One that names a reader means that one.

    Raises
    ------
    UsageError
        There is no such file, or it is a folder and no HATS catalog that a mapping describes.
    DataError
        The file is of no format that is known.
    """
    path = Path(path)
    if request.reader is not None:
        return request.reader
    head = b"" if request.mapping is not None and is_hats(path) else _head(path)
    for reader in _readers(request):
        if reader.recognises(path, head, request):
            return reader
    if head.startswith(b"Obj\x01"):
        raise DataError("the file holds Avro records", str(path),
                        "say whose: --mapping ztf_alerts, --mapping lsst_alerts, or a mapping of your own")  # fmt: skip
    if compression := compression_of(head):
        todo = "expand it first; a table or an archive of alert packets needs a --mapping, and is read as it is"
        raise DataError(f"the file is compressed by {compression}", str(path), todo)
    raise DataError(
        "the file is of no format that is known", str(path),
        "known: CMF and SMF (psphot), FITS_LDAC (SExtractor), lists of DAOPHOT and IRAF, and any table with --survey or"
        " --mapping",
    )  # fmt: skip


def _readers(request: ReadRequest) -> list[Reader]:
    if request.mapping is not None:
        from .table import TableReader

        return [TableReader()]
    from .daophot import DaophotReader
    from .ldac import LdacReader
    from .smf import SmfReader

    return [SmfReader(), LdacReader(), DaophotReader()]


def _head(path: Path) -> bytes:
    if path.is_dir():
        todo = "give its files; a HATS catalog also needs --mapping or --survey, a DVO database `skydb import-dvo`"
        raise UsageError("a directory is no catalog", str(path), todo)
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise UsageError("no such file", str(path), "correct its path") from error
    except OSError as error:
        what = f"the file cannot be read ({error})"
        raise disk_error(error, path) or DataError(what, str(path), "make it readable") from error
