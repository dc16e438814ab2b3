"""The catalog's own tables as Arrow, and what it remembers of ingested files and images."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from skydb.schema.tables import TABLES

from .catalog import alive, reading
from .changes import LogEntry
from .snapshot import Snapshot
from .unfinished import unfinished_jobs

_QUERIES: dict[str, Callable[[int], str]] = {
    "cells": lambda at: (
        f"""
        SELECT norder, npix, host, COALESCE(n_objects, 0) AS n_objects, COALESCE(n_measurements, 0) AS n_measurements,
            COALESCE(n_files, 0) AS n_files, COALESCE(f.bytes, 0) AS bytes, drift_arcsec, stale
        FROM cells LEFT JOIN (
            SELECT norder, npix, COUNT(*) AS n_files, SUM(bytes) AS bytes,
                SUM(rows) FILTER (WHERE table_name = 'objects') AS n_objects,
                SUM(rows) FILTER (WHERE table_name = 'measurements') AS n_measurements
            FROM files WHERE {alive(at)} GROUP BY norder, npix
        ) AS f USING (norder, npix) WHERE {alive(at)} ORDER BY norder, npix"""
    ),
    "hosts": lambda at: "SELECT name, root, worker, state FROM hosts WHERE end_snapshot IS NULL ORDER BY name",
    "snapshots": lambda at: (
        f"""
        SELECT snapshot, parent, time, kind, command, version, calibration_id,
            (SELECT GROUP_CONCAT(tag, ' ') FROM tags
                WHERE tags.snapshot = snapshots.snapshot AND tags.end_snapshot IS NULL) AS tags, expired_by
        FROM snapshots WHERE snapshot <= {int(at)} ORDER BY snapshot"""
    ),
    "ingest_log": lambda at: (
        f"""
        SELECT file, digest, begin_snapshot AS snapshot, bytes, format, n_images, n_in, n_matched, n_new, n_rejected,
            n_measurements, n_nulled, reasons, n_deleted, n_deleted_measurements,
            n_deleted_images
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


LOG_COLUMNS = (
    "file, digest, bytes, format, n_images, n_in, n_matched, n_new, n_rejected, n_measurements, n_nulled, reasons,"
    " n_deleted, n_deleted_measurements, n_deleted_images"
)


def log_entry(row: Sequence[Any]) -> LogEntry:
    """Return the entry of the ingest log that a row of `LOG_COLUMNS` is."""
    values = dict(zip(LOG_COLUMNS.split(", "), row, strict=True))
    return LogEntry(**{**values, "reasons": json.loads(values["reasons"])})


def logged_files(snapshot: Snapshot, digests: Iterable[str]) -> dict[str, LogEntry]:
    """Return what the ingest log has of files of some contents, by digest."""
    return {row[1]: log_entry(row) for row in _looked_up(snapshot, "ingest_log", ("digest", LOG_COLUMNS), digests)}


def every_entry(snapshot: Snapshot) -> list[LogEntry]:
    """Return the whole ingest log."""
    with reading(snapshot.root) as connection:
        query = f"SELECT {LOG_COLUMNS} FROM ingest_log WHERE {alive(snapshot.id)} ORDER BY digest"
        return [log_entry(row) for row in connection.execute(query)]


def known_images(snapshot: Snapshot, image_ids: Iterable[int]) -> dict[int, str]:
    """Return those of some image ids that the database has, with the names of the files that brought them."""
    digest_of = digests_of_images(snapshot, image_ids)
    files = logged_files(snapshot, set(digest_of.values()))
    return {image: files[digest].file if digest in files else "" for image, digest in digest_of.items()}


def digests_of_images(snapshot: Snapshot, image_ids: Iterable[int]) -> dict[int, str]:
    """Return those of some image ids that the database has, with the digests of the files that brought them."""
    return dict(_looked_up(snapshot, "image_index", ("image_id", "image_id, digest"), image_ids))


def images_of_digests(snapshot: Snapshot, digests: Iterable[str]) -> dict[int, str]:
    """Return the images that files of some contents brought, each with the digest; it looks at the whole index."""
    query = (
        "SELECT image_id, digest FROM image_index WHERE digest IN (SELECT value FROM json_each(?))"
        f" AND {alive(snapshot.id)} ORDER BY image_id"
    )
    with reading(snapshot.root) as connection:
        return dict(connection.execute(query, (json.dumps(list(digests)),)))


def _looked_up(
    snapshot: Snapshot, table: str, columns: tuple[str, str], keys: Iterable[str | int]
) -> list[tuple[Any, ...]]:
    """Look up rows by key: a survey has millions of images, and a call asks for a few thousand."""
    listed = json.dumps(list(keys))
    with reading(snapshot.root) as connection:
        return connection.execute(lookup_query(table, columns, snapshot.id), (listed, listed)).fetchall()


def lookup_query(table: str, columns: tuple[str, str], at: int) -> str:
    """Return the query for the rows with some keys that a snapshot sees; live and ended rows have an index each.

    `columns` are the key, and those that are asked for, as SQL lists them.
    """
    key, wanted = columns
    chosen = (
        f"SELECT {wanted} FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))"
        f" AND begin_snapshot <= {int(at)}"
    )
    return f"{chosen} AND end_snapshot IS NULL UNION ALL {chosen} AND end_snapshot > {int(at)}"


BROUGHT_IMAGES = "instr(format, ':') = 0"
"""Of the log, in SQL: the files that brought images, not the rows of declared tables that came from a file."""


def summary(snapshot: Snapshot) -> dict[str, object]:
    """Return what a snapshot holds, for people: rows per table, cells, files, bytes."""
    with reading(snapshot.root) as connection:
        tables = connection.execute(
            f"SELECT table_name, SUM(rows), COUNT(*), SUM(bytes) FROM files WHERE {alive(snapshot.id)}"
            " GROUP BY table_name ORDER BY table_name"
        ).fetchall()
        files, deleted = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(n_deleted_images), 0) FROM ingest_log"
            f" WHERE {BROUGHT_IMAGES} AND {alive(snapshot.id)}"
        ).fetchone()
    rows = {name: count for name, count, _, _ in tables}
    cells = snapshot.cells()
    return {
        "database": str(snapshot.root),
        "snapshot": snapshot.id,
        "calibration": snapshot.calibration_id,
        "cells": len(cells),
        "stale_cells": sum(c.stale for c in cells),
        "ingested_files": files,
        "deleted_images": deleted,
        "unfinished": "; ".join(map(str, unfinished_jobs(snapshot.root))) or None,
        **{name: rows.get(name, 0) for name in ("images", "objects", "object_bands", "measurements")},
        "files": sum(count for _, _, count, _ in tables),
        "bytes": sum(size for *_, size in tables),
        "bytes_per_measurement": _per_measurement(tables, rows),
    }


def _per_measurement(tables: list[tuple[str, int, int, int]], rows: dict[str, int]) -> float | None:
    stored = sum(size for name, _, _, size in tables if name.startswith("measurements"))
    count = rows.get("measurements", 0)
    return round(stored / count, 1) if count else None
