"""Rows are conserved: what the ingest log says against what is stored, file by file and image by image."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

import numpy as np

from skydb.store.catalog import alive
from skydb.store.history import every_entry
from skydb.store.row_log import brings_rows_of, rows_logged
from skydb.store.snapshot import Snapshot

from .findings import Finding
from .keys import Ints

_COLUMNS = "file, digest, n_in, n_matched, n_new, n_rejected, n_measurements, reasons, n_deleted_measurements"


def log_findings(connection: sqlite3.Connection, at: int, stored: dict[str, int] | None) -> Iterator[Finding]:
    """Yield the entries of the ingest log that do not add up.

    `stored` counts the measurements of every ingested file, by digest; None: they could not all be counted.
    """
    for row in connection.execute(f"SELECT {_COLUMNS} FROM ingest_log WHERE {alive(at)} ORDER BY begin_snapshot, file"):
        file, digest, n_in, matched, new, rejected, measured, reasons, deleted = row
        if n_in != matched + new + rejected:
            what = f"{file}: {n_in} rows, but {matched} matched, {new} new and {rejected} rejected"
            yield Finding("log-differs", what, "ingest_log", rows=abs(n_in - matched - new - rejected))
        if rejected != sum(json.loads(reasons).values()):
            yield Finding("log-differs", f"{file}: {rejected} rows rejected, the reasons count others", "ingest_log")
        found = measured - deleted if stored is None else stored.get(digest, 0)
        if found != measured - deleted:
            what = f"{file}: {found} measurements are stored, {measured} less {deleted} deleted should be"
            yield Finding("log-differs", what, "ingest_log", rows=abs(found - measured + deleted))


def row_findings(snapshot: Snapshot, tables: Iterable[str]) -> Iterator[Finding]:
    """Yield the declared tables that have fewer rows than their files brought, less those that went.

    More are no finding: by a merge, rows may come of a file that the log has with the rows that it brought here.
    """
    entries = every_entry(snapshot)
    for table in tables:
        said = rows_logged(e for e in entries if brings_rows_of(e, table))
        found = sum(f.rows for f in snapshot.files(table))
        if found < said:
            what = f"table {table}: {found} rows are stored, {said} should be, by what its files brought"
            yield Finding("log-differs", what, "ingest_log", rows=said - found)


def stored_by_digest(connection: sqlite3.Connection, at: int, image_id: Ints, counts: Ints) -> dict[str, int]:
    """Return how many measurements of each ingested file are stored; `image_id` (N,) ascending, `counts` (N,)."""
    stored: dict[str, int] = {}
    for image, digest in connection.execute(f"SELECT image_id, digest FROM image_index WHERE {alive(at)}"):
        stored[digest] = stored.get(digest, 0) + int(counts[np.searchsorted(image_id, image)])
    return stored


def digest_findings(connection: sqlite3.Connection, at: int) -> Iterator[Finding]:
    """Yield the images whose ingested file is not in the log."""
    query = (
        f"SELECT COUNT(*), MIN(image_id) FROM image_index WHERE {alive(at)} AND digest NOT IN"
        f" (SELECT digest FROM ingest_log WHERE {alive(at)})"
    )
    count, image = connection.execute(query).fetchone()
    if count:
        what = f"{count} images are of files that are not in the log, such as {image}"
        yield Finding("log-differs", what, "ingest_log", rows=count)


def index_findings(connection: sqlite3.Connection, at: int) -> Iterator[Finding]:
    """Yield the ingested files of which the index has not as many images as the log says, less those deleted."""
    query = (
        "SELECT file, n_images - n_deleted_images AS said, COALESCE(n, 0) AS found FROM ingest_log LEFT JOIN (SELECT"
        f" digest, COUNT(*) AS n FROM image_index WHERE {alive(at)} GROUP BY digest) AS indexed USING (digest)"
        f" WHERE {alive(at)} AND said <> found ORDER BY begin_snapshot, file"
    )
    for file, said, found in connection.execute(query):
        what = f"{file}: the index has {found} images, the log says {said}"
        yield Finding("images-differ", what, "ingest_log", rows=abs(found - said))


def image_findings(image_id: Ints, counted: Ints, said: Ints) -> Iterator[Finding]:
    """Yield the images whose measurements `images_cal` counts wrong; all (N,), `said` is -1 where it is unknown."""
    wrong = np.flatnonzero((said >= 0) & (said != counted))
    if len(wrong):
        first = int(wrong[0])
        what = (
            f"{len(wrong)} images, such as {image_id[first]}: {said[first]} measurements, {counted[first]} are stored"
        )
        yield Finding("image-count", what, "images_cal", rows=len(wrong))
