"""The catalog's own tables as Arrow, and the names of snapshots."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from skydb.errors import UsageError
from skydb.schema.tables import TABLES

from .catalog import alive, reading, writing
from .commit import now
from .files import write_durably
from .layout import CATALOG, tag_path
from .snapshot import Snapshot, snapshot_number

_QUERIES: dict[str, Callable[[int], str]] = {
    "cells": lambda at: (
        f"""
        SELECT c.norder, c.npix, c.host, COALESCE(SUM(f.rows) FILTER (WHERE f.table_name = 'objects'), 0) AS n_objects,
            COALESCE(SUM(f.rows) FILTER (WHERE f.table_name = 'measurements'), 0) AS n_measurements,
            COUNT(f.name) AS n_files, COALESCE(SUM(f.bytes), 0) AS bytes, c.drift_arcsec, c.stale
        FROM (SELECT * FROM cells WHERE {alive(at)}) AS c
        LEFT JOIN (SELECT * FROM files WHERE {alive(at)}) AS f ON f.norder = c.norder AND f.npix = c.npix
        GROUP BY c.norder, c.npix ORDER BY c.norder, c.npix"""
    ),
    "hosts": lambda at: "SELECT name, root FROM hosts ORDER BY name",
    "snapshots": lambda at: (
        f"""
        SELECT snapshot, parent, time, kind, command, version, calibration_id,
            (SELECT GROUP_CONCAT(tag, ' ') FROM tags WHERE tags.snapshot = snapshots.snapshot) AS tags
        FROM snapshots WHERE snapshot <= {int(at)} ORDER BY snapshot"""
    ),
    "ingest_log": lambda at: (
        f"""
        SELECT file, digest, begin_snapshot AS snapshot, bytes, format, n_images, n_in, n_matched, n_new, n_rejected,
            n_measurements, n_nulled, reasons
        FROM ingest_log WHERE {alive(at)} ORDER BY begin_snapshot, file"""
    ),
    "calibrations": lambda at: (
        f"""
        SELECT calibration_id, begin_snapshot AS snapshot, kind, bands, n_images, n_measurements, chi2, report
        FROM calibrations WHERE begin_snapshot <= {int(at)} ORDER BY calibration_id"""
    ),
}


def catalog_table(snapshot: Snapshot, name: str) -> pa.Table:
    """Return one of the catalog's tables (cells, hosts, snapshots, ingest_log, calibrations) as of a snapshot."""
    declared = TABLES[name]
    with reading(snapshot.root) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(_QUERIES[name](snapshot.id))]
    types = [(c.name, "int64" if c.type == "bool" else c.type) for c in declared]
    columns = {n: [row[n] for row in rows] for n, _ in types}
    for column in declared:
        if column.type == "bool":
            columns[column.name] = [None if v is None else bool(v) for v in columns[column.name]]
    return pa.table(columns, schema=declared.arrow)


def known_digests(snapshot: Snapshot) -> dict[str, str]:
    """Return the content digests of every ingested file, with the file's name."""
    with reading(snapshot.root) as connection:
        return dict(connection.execute(f"SELECT digest, file FROM ingest_log WHERE {alive(snapshot.id)}"))


def known_images(snapshot: Snapshot) -> dict[int, str]:
    """Return the ids of every image in the database, with the name of the file that brought it."""
    query = f"""
        SELECT image_id, COALESCE(file, '') FROM image_index LEFT JOIN
            (SELECT digest, file FROM ingest_log WHERE {alive(snapshot.id)}) USING (digest)
        WHERE {alive(snapshot.id)}"""
    with reading(snapshot.root) as connection:
        return dict(connection.execute(query))


def set_tag(root: Path, tag: str, at: int | str | None = None) -> int:
    """Name a snapshot, publish a read-only copy of the catalog under the name, and return the snapshot's number.

    Raises
    ------
    UsageError
        The name is taken, or is not made of letters, digits, ".", "_" and "-" with a letter first.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", tag):
        raise UsageError(f"{tag!r} is not a tag", None, "use letters, digits, '.', '_', '-'; a letter first")
    number, _ = snapshot_number(root, at)
    with writing(root) as connection:
        taken = connection.execute("SELECT snapshot FROM tags WHERE tag = ?", (tag,)).fetchone()
        if taken:
            raise UsageError(f"tag {tag!r} names snapshot {taken[0]} already", str(root), "choose another name")
        connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (tag, number, now()))
    write_durably(tag_path(root, tag), lambda path: _copy_catalog(root, path))
    return number


def _copy_catalog(root: Path, path: Path) -> None:
    """Copy the catalog into one file that needs no write access to be read."""
    with sqlite3.connect(root / CATALOG) as source, sqlite3.connect(path) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    source.close()
    target.close()


def summary(snapshot: Snapshot) -> dict[str, object]:
    """Return what a snapshot holds, for people: rows per table, cells, files, bytes."""
    with reading(snapshot.root) as connection:
        tables = connection.execute(
            f"SELECT table_name, SUM(rows), COUNT(*), SUM(bytes) FROM files WHERE {alive(snapshot.id)}"
            " GROUP BY table_name ORDER BY table_name"
        ).fetchall()
        (files,) = connection.execute(f"SELECT COUNT(*) FROM ingest_log WHERE {alive(snapshot.id)}").fetchone()
    rows = {name: count for name, count, _, _ in tables}
    cells = snapshot.cells()
    return {
        "database": str(snapshot.root),
        "snapshot": snapshot.id,
        "calibration": snapshot.calibration_id,
        "cells": len(cells),
        "stale_cells": sum(c.stale for c in cells),
        "ingested_files": files,
        **{name: rows.get(name, 0) for name in ("images", "objects", "object_bands", "measurements")},
        "files": sum(count for _, _, count, _ in tables),
        "bytes": sum(size for *_, size in tables),
        "bytes_per_measurement": _per_measurement(tables, rows),
    }


def _per_measurement(tables: list[tuple[str, int, int, int]], rows: dict[str, int]) -> float | None:
    stored = sum(size for name, _, _, size in tables if name.startswith("measurements"))
    count = rows.get("measurements", 0)
    return round(stored / count, 1) if count else None
