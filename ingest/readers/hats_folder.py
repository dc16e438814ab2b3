"""The folder of a HATS catalog: which of its Parquet files hold the rows.

A catalog is a folder with `hats.properties` (or `properties`) and `dataset/Norder=k/Dir=d/Npix=n.parquet`, or a folder
of that name with several Parquet files; a collection is a folder with `collection.properties`, which names its primary
catalog. Source: hats.readthedocs.io, and catalogs that hats-import has written.
"""

from __future__ import annotations

import csv
import os.path
import re
from pathlib import Path

from skydb.errors import DataError, UsageError

CATALOG, COLLECTION = ("hats.properties", "properties"), "collection.properties"
WITHOUT_ROWS = ("margin", "index", "association", "map")
"""Kinds of products whose rows are those of another catalog, or no sources."""

_LEAF = re.compile(r"Norder=(\d+)/Dir=\d+/Npix=(\d+)(?:\.parquet|/.*\.parquet)$")


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the leaf files of a HATS catalog; of anything else the path itself.

    Raises
    ------
    UsageError, DataError
        See `leaf_files`.
    """
    return leaf_files(path) if is_hats(path) else (path,)


def is_hats(path: Path) -> bool:
    """Say whether a path is the folder of a HATS catalog or collection."""
    return os.path.isdir(path) and any(os.path.isfile(path / name) for name in (*CATALOG, COLLECTION))


def is_leaf(path: Path) -> bool:
    """Say whether a path is that of a leaf file of a HATS catalog."""
    return _pixel(path) is not None


def leaf_files(folder: Path) -> tuple[Path, ...]:
    """Return the Parquet files with the rows of a HATS catalog, or of a collection's primary one, in order of pixels.

    Raises
    ------
    UsageError
        It is no catalog, or one of another catalog's margins or indexes.
    DataError
        A file that the catalog lists is not there, or none is.
    """
    catalog = _primary(folder)
    kind = _properties(catalog).get("dataproduct_type", "")
    if kind in WITHOUT_ROWS:
        raise UsageError(f"a HATS {kind} holds no rows of its own", str(catalog), "give the catalog that it belongs to")
    found = {leaf: pixel for leaf in catalog.glob("dataset/**/*.parquet") if (pixel := _pixel(leaf)) is not None}
    missing = sorted(_listed(catalog) - set(found.values()))
    if missing or not found:
        what = f"pixels (order, number) {missing[:3]} of {len(missing)} have no file" if missing else "it has no rows"
        raise DataError(what, str(catalog), "fetch the catalog again, or give the leaf files that there are")
    return tuple(sorted(found, key=lambda leaf: (found[leaf], leaf)))


def _primary(folder: Path) -> Path:
    if not (folder / COLLECTION).is_file():
        return folder
    name = _properties(folder, (COLLECTION,)).get("hats_primary_table_url", "")
    if not name or not is_hats(folder / name):
        raise DataError(f"its primary catalog {name!r} is not there", str(folder / COLLECTION), "give the catalog")
    return folder / name


def _properties(folder: Path, names: tuple[str, ...] = CATALOG) -> dict[str, str]:
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise UsageError("a directory is no catalog", str(folder), "give its files")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _pixel(leaf: Path) -> tuple[int, int] | None:
    match = _LEAF.search(leaf.as_posix())
    return (int(match[1]), int(match[2])) if match else None


def _listed(catalog: Path) -> set[tuple[int, int]]:
    """Return the pixels that the catalog says it has, where it does."""
    path = catalog / "partition_info.csv"
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8", newline="") as rows:
        try:
            return {(int(row["Norder"]), int(row["Npix"])) for row in csv.DictReader(rows)}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"it cannot be read ({error})", str(path), "fetch it again, or give leaf files") from None
