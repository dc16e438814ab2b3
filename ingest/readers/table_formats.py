"""Which format a table file has, from its first bytes: for surveys whose archives export several."""

from __future__ import annotations

from pathlib import Path

from .whole_compression import expanded

HEAD_BYTES = 2880


def format_of(path: Path) -> str:
    """Return the format of a table file as `[file]` of a mapping names it; what is nothing else is `text`.

    An IPAC table begins with a backslash (a keyword) or a bar (its header). Of a compressed file the content counts.

    Raises
    ------
    DataError
        It is compressed by what is not known, or damaged.
    """
    with expanded(path) as content:
        head = content.read(HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    if b"<VOTABLE" in head:
        return "votable"
    if head.startswith(b"# %ECSV"):
        return "ecsv"
    return "ascii.ipac" if head[:1] in (b"\\", b"|") else "text"
