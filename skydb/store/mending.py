"""What to do about stored rows or files that are missing or damaged: the advice of every error that finds some."""

from __future__ import annotations

from pathlib import Path

from .layout import CATALOG, DATA

DERIVE = "run `skydb refresh --all`, which derives objects and object_bands anew"
RESTORE = "run `skydb fsck`, which says what is wrong, and `skydb fsck --repair`"
AT_THE_SERVER = "see whether the server sends this very file; if so, run `skydb fsck` where the database is kept"

_DERIVED = frozenset({"objects", "object_bands"})
_REPAIR = "put this file back from a copy of the database, or run `skydb fsck --repair`"
_REBUILD = "run `skydb fsck --rebuild-catalog`, which makes it anew from the manifests in commits/"


def how_to_mount(host: str) -> str:
    """Advise what brings back a host whose root has no `host.json`."""
    return f"mount the disk of host {host} there, or say where it is: `skydb hosts DB set {host} --root …`"


def how_to_take_over(host: str, root: str) -> str:
    """Advise what lets a database write to a host that another catalog of it keeps."""
    return (
        f"if this database was moved or restored, `skydb hosts DB set {host} --root {root}` takes the host over;"
        " if it is a copy, copy that folder too, and name the copied folder there"
    )


def how_to_mend(path: Path) -> str:
    """Advise what mends a file of a database.

    >>> how_to_mend(Path("survey.sky/data/objects/ab.parquet"))
    'run `skydb refresh --all`, which derives objects and object_bands anew'
    >>> how_to_mend(Path("survey.sky/data/images/ab.parquet"))
    'put this file back from a copy of the database, or run `skydb fsck --repair`'
    """
    if path.name == CATALOG:
        return _REBUILD
    after = dict(zip(path.parts, path.parts[1:], strict=False))
    return DERIVE if after.get(DATA) in _DERIVED else _REPAIR
