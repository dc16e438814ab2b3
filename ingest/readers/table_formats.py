"""Which format a table file has, from its first bytes: for surveys whose archives export several."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAD_BYTES = 2880

_PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""How files begin that are compressed whole, and what expands them."""


def format_of(path: Path) -> str:
    """Return the format of a table file as `[file]` of a mapping names it; what is nothing else is `text`.

    An IPAC table begins with a backslash (a keyword) or a bar (its header).
    """
    head = _head(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    if b"<VOTABLE" in head:
        return "votable"
    if head.startswith(b"# %ECSV"):
        return "ecsv"
    return "ascii.ipac" if head[:1] in (b"\\", b"|") else "text"


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, of a compressed one those of its content."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    expand = next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None)
    if expand is None:
        return head
    with expand(path, "rb") as stream:
        return bytes(stream.read(HEAD_BYTES))
