"""One module per file format, all of one shape; `reader_for` finds the one that fits a file."""

from __future__ import annotations

from pathlib import Path

from skydb.errors import DataError, UsageError

from .interface import Reader, ReadRequest

__all__ = ["reader_for"]

HEAD_BYTES = 2880


def reader_for(path: str | Path, request: ReadRequest) -> Reader:
    """Return the reader of a file; a request with a mapping means a table, whatever the file looks like.

    One for DVO means the folder of a DVO database.

    Raises
    ------
    UsageError
        There is no such file, or it is a directory.
    DataError
        The file is of no format that is known.
    """
    path = Path(path)
    if request.dvo:
        from .dvo.reader import DvoReader

        return DvoReader()
    head = _head(path)
    for reader in _readers(request):
        if reader.recognises(path, head, request):
            return reader
    if head.startswith(b"\x1f\x8b"):
        raise DataError("the file is compressed", str(path), "expand it with gunzip first")
    raise DataError(
        "the file is of no format that is known", str(path),
        "known: CMF and SMF (psphot), FITS_LDAC (SExtractor), and any table with --survey or --mapping",
    )  # fmt: skip


def _readers(request: ReadRequest) -> list[Reader]:
    if request.mapping is not None:
        from .table import TableReader

        return [TableReader()]
    from .ldac import LdacReader
    from .smf import SmfReader

    return [SmfReader(), LdacReader()]


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise UsageError("a directory is no catalog", str(path),
                         "give its files; the folder of a DVO database comes with `skydb import-dvo`")
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise UsageError("no such file", str(path), "correct its path") from error
    except OSError as error:
        raise DataError(f"the file cannot be read ({error})", str(path), "make it readable") from error
