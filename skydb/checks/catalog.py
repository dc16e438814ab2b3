"""The catalog by itself: SQLite's own check, lives that can be, cells that do not overlap, files in cells."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from skydb.store.catalog import alive, reading
from skydb.store.catalog_tables import LIVING
from skydb.store.cells import Cell
from skydb.store.layout import data_path

from .findings import Finding

MANY = 20
"""Findings of one kind about single rows; more are counted."""


@contextmanager
def copied(root: Path, folder: Path) -> Iterator[sqlite3.Connection]:
    """Copy the catalog as it is now into a folder, and open the copy: one state, however long the checks take.

    Raises
    ------
    DataError
        The catalog cannot be read.
    """
    path = folder / "catalog.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        with reading(root) as source:
            source.backup(copy)
        yield copy


def catalog_findings(connection: sqlite3.Connection, at: int) -> list[Finding]:
    """Check a catalog by itself."""
    said = [text for (text,) in connection.execute("PRAGMA integrity_check(10)")]
    if said != ["ok"]:
        return [Finding("catalog-unreadable", text, file="catalog.sqlite") for text in said]
    return [*_lives(connection), *_overlaps(connection, at), *_homeless(connection, at), *_names(connection, at)]


def _lives(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield tables with rows whose life cannot be."""
    for table in LIVING:
        (count,) = connection.execute(
            f"SELECT COUNT(*) FROM {table.name} WHERE end_snapshot <= begin_snapshot"
            " OR begin_snapshot NOT IN (SELECT snapshot FROM snapshots)"
            " OR (end_snapshot IS NOT NULL AND end_snapshot NOT IN (SELECT snapshot FROM snapshots))"
        ).fetchone()
        if count:
            yield Finding("life-impossible", f"{count} rows of the catalog's table {table.name}", rows=count)
    doubled = connection.execute(
        "SELECT one.name FROM files AS one JOIN files AS two ON one.name = two.name"
        " AND one.begin_snapshot < two.begin_snapshot"
        " AND (one.end_snapshot IS NULL OR one.end_snapshot > two.begin_snapshot)"
    ).fetchall()
    if doubled:
        yield Finding("life-impossible", f"{len(doubled)} files live twice at once, such as {doubled[0][0]}")


def _overlaps(connection: sqlite3.Connection, at: int) -> Iterator[Finding]:
    """Yield live cells that begin before the one before them ends."""
    rows = connection.execute(f"SELECT norder, npix FROM cells WHERE {alive(at)}")
    cells = sorted((Cell(*row) for row in rows), key=lambda c: (c.lo, c.hi))
    widest: Cell | None = None
    for cell in cells:
        if widest is not None and cell.lo < widest.hi:
            yield Finding("cells-overlap", f"it lies in cell {widest}", cell=str(cell))
        if widest is None or cell.hi > widest.hi:
            widest = cell


def _homeless(connection: sqlite3.Connection, at: int) -> Iterator[Finding]:
    """Yield live files of sky tables whose cell is not live."""
    query = (
        f"SELECT table_name, norder, npix, path FROM files WHERE {alive(at)} AND norder IS NOT NULL AND NOT EXISTS"
        f" (SELECT 1 FROM cells WHERE cells.norder = files.norder AND cells.npix = files.npix AND {_cell_alive(at)})"
    )
    for table, norder, npix, path in connection.execute(f"{query} LIMIT {MANY}"):
        yield Finding("file-without-cell", "its cell is not there", table, f"{norder}/{npix}", path)


def _cell_alive(at: int) -> str:
    return f"cells.begin_snapshot <= {at} AND (cells.end_snapshot IS NULL OR cells.end_snapshot > {at})"


def _names(connection: sqlite3.Connection, at: int) -> Iterator[Finding]:
    """Yield live files whose path, table or host cannot be."""
    hosts = {name for (name,) in connection.execute("SELECT name FROM hosts WHERE end_snapshot IS NULL")}
    told = 0
    query = f"SELECT name, table_name, norder, npix, host, path, backup FROM files WHERE {alive(at)}"
    for name, table, norder, npix, host, path, backup in connection.execute(query):
        cell = None if norder is None else (norder, npix)
        wrong = []
        if path != data_path(table, cell, name):
            wrong.append("its path is not that of its table, cell and name")
        if host not in hosts or backup not in {None, *hosts}:
            wrong.append(f"its host {host if host not in hosts else backup} is not known")
        if wrong and told < MANY:
            told += 1
            yield Finding("name-impossible", "; ".join(wrong), table, f"{norder}/{npix}" if cell else None, path)

