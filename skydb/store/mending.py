"""What to do about stored rows or files that are missing or damaged: the advice of every error that finds some."""

from __future__ import annotations

from pathlib import Path

from .layout import CATALOG, DATA

DERIVE = "run `skydb refresh --all`, which derives objects and object_bands anew"
RESTORE = "put the database back from a copy, or make it anew from its files"

_DERIVED = frozenset({"objects", "object_bands"})
_FROM_COPY = "put this file back from a copy of the database"


def how_to_mend(path: Path) -> str:
    """Advise what mends a file of a database.

    >>> how_to_mend(Path("survey.sky/data/objects/ab.parquet"))
    'run `skydb refresh --all`, which derives objects and object_bands anew'
    >>> how_to_mend(Path("survey.sky/data/images/ab.parquet"))
    'put this file back from a copy of the database'
    """
    if path.name == CATALOG:
        return f"{_FROM_COPY}, or from tags/, where each tag keeps the catalog as it was"
    after = dict(zip(path.parts, path.parts[1:], strict=False))
    return DERIVE if after.get(DATA) in _DERIVED else _FROM_COPY
