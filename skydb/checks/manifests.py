"""The catalog against its manifests and its published tags: what a rebuild would make is what is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from skydb.errors import DataError
from skydb.store.catalog import reading
from skydb.store.catalog_tables import CATALOG_TABLES, catalog_sql
from skydb.store.files import write_durably
from skydb.store.layout import manifest_path, tag_path
from skydb.store.manifest import manifest_as_told, manifest_numbers, read_manifest, replay

from .catalog import copied
from .findings import Finding

FOLLOWS = frozenset({"removals"})
"""Tables whose rows go without a commit, when what they name is gone."""


def manifest_findings(root: Path, connection: sqlite3.Connection, head: int, folder: Path) -> Iterator[Finding]:
    """Replay the manifests up to a snapshot and compare with its catalog; the newest one may not be written yet."""
    there = manifest_numbers(root)
    ahead = [number for number in there if number > head]
    if ahead and ahead[-1] > _newest(root):
        yield Finding("manifest-ahead", f"there are manifests up to snapshot {ahead[-1]}, the catalog ends at {head}")
    lost = list(_unreadable(root, head, set(there)))
    yield from lost
    if lost:
        return
    last = head if manifest_path(root, head).exists() else head - 1
    if last < head:
        return
    path = folder / "replayed.sqlite"
    try:
        make_catalog(path, [manifest_path(root, number) for number in range(last + 1)])
    except DataError as error:
        yield Finding("manifest-differs", error.what, file=error.where)
        return
    yield from _differences(connection, path)


def _newest(root: Path) -> int:
    with reading(root) as connection:
        (number,) = connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone()
    return int(number)


def _unreadable(root: Path, head: int, there: set[int]) -> Iterator[Finding]:
    """Yield the snapshots without a manifest that can be read, but for a newest one that has none yet."""
    for number in range(head + 1):
        path = manifest_path(root, number)
        if number not in there and number < head:
            yield Finding("manifest-missing", f"snapshot {number} has no manifest", file=str(path.relative_to(root)))
        elif number in there:
            try:
                read_manifest(path)
            except DataError as error:
                yield Finding("manifest-missing", error.what, file=str(path.relative_to(root)))


def rewrite_manifests(root: Path, numbers: list[int], folder: Path) -> bool:
    """Write manifests that are missing or damaged from the catalog; say whether it tells them still.

    They are believed if, with the others, they make the catalog as it is; else nothing is written.
    """
    with reading(root) as connection:
        (head,) = connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone()
        texts = {number: manifest_as_told(connection, number) for number in numbers}
        for number, text in texts.items():
            (folder / f"{number}.json").write_bytes(text)
        paths = [folder / f"{n}.json" if n in texts else manifest_path(root, n) for n in range(head + 1)]
        try:
            make_catalog(folder / "retold.sqlite", paths)
        except DataError:
            return False
    with copied(root, folder) as catalog:
        if list(_differences(catalog, folder / "retold.sqlite")):
            return False
    for number, text in texts.items():
        write_durably(manifest_path(root, number), partial(_write, text=text))
    return True


def _write(path: Path, *, text: bytes) -> None:
    path.write_bytes(text)


def make_catalog(path: Path, manifests: list[Path]) -> None:
    """Make a catalog, where there is none, of what manifests say.

    Raises
    ------
    DataError
        A manifest is missing, damaged, of another database, or does not fit those before it.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.executescript(catalog_sql())
        connection.execute("BEGIN")
        for _ in replay(connection, manifests):
            pass
        connection.execute("COMMIT")


def _differences(connection: sqlite3.Connection, replayed: Path) -> Iterator[Finding]:
    """Yield the tables that differ from those of another catalog, with how many rows and an example."""
    connection.execute("ATTACH ? AS replayed", (str(replayed),))
    try:
        for table in (t for t in CATALOG_TABLES if t.name not in FOLLOWS):
            columns = ", ".join(table.names)
            here, there = (f"SELECT {columns} FROM {schema}.{table.name}" for schema in ("main", "replayed"))
            extra = connection.execute(f"{here} EXCEPT {there}").fetchall()
            lost = connection.execute(f"{there} EXCEPT {here}").fetchall()
            if extra or lost:
                example = (extra or lost)[0][:3]
                what = f"table {table.name}: {len(extra)} rows that no manifest makes, {len(lost)} that are not there"
                yield Finding("manifest-differs", f"{what}, such as {example}", file="catalog.sqlite")
    finally:
        connection.execute("DETACH replayed")


def tag_findings(root: Path, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield the tags whose published copy is missing, damaged, or does not know the snapshot."""
    query = "SELECT tag, snapshot FROM tags WHERE end_snapshot IS NULL ORDER BY tag"
    for tag, snapshot in connection.execute(query).fetchall():
        path = tag_path(root, tag)
        wrong = "it is not there" if not path.exists() else tag_fault(path, tag, snapshot)
        if wrong:
            yield Finding("tag-unpublished", wrong, file=str(path.relative_to(root)))


def tag_fault(path: Path, tag: str, snapshot: int) -> str | None:
    """Return what is wrong with the published copy of a tag; None: nothing."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
            (said,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if said != "ok":
                return f"SQLite finds it damaged: {said}"
            named = copy.execute("SELECT snapshot FROM tags WHERE tag = ? AND end_snapshot IS NULL", (tag,)).fetchone()
    except sqlite3.DatabaseError as error:
        return f"SQLite cannot read it: {error}"
    return None if named == (snapshot,) else "it does not know the tag"
