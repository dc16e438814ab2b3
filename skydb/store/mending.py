"""What to do about a stored file that is missing or damaged: the advice of every error that finds one."""

from __future__ import annotations

from pathlib import Path

from .layout import CATALOG, DATA

_DERIVED = frozenset({"objects", "object_bands"})
_FROM_COPY = "put it back from a copy of the database"
_CATALOG_FROM_COPY = f"{_FROM_COPY}, or from tags/, where each tag keeps the catalog as it was"


def how_to_mend(path: Path) -> str:
    """Advise what mends a file of a database.

    >>> how_to_mend(Path("survey.sky/data/objects/ab.parquet"))
    'run `skydb refresh --all`, which derives it anew'
    >>> how_to_mend(Path("survey.sky/data/images/ab.parquet"))
    'put it back from a copy of the database'
    """
    if path.name == CATALOG:
        return _CATALOG_FROM_COPY
    table = dict(zip(path.parts, path.parts[1:], strict=False)).get(DATA)
    return "run `skydb refresh --all`, which derives it anew" if table in _DERIVED else _FROM_COPY
