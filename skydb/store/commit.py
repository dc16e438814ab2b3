"""The commit protocol: all tables of all touched cells move at once, or nothing does.

Files are on disk, fsynced and renamed, before a commit begins (`parquet.store_rows`). The commit is then one
SQLite transaction, after which its manifest is written and fsynced; only then is it acknowledged. A writer that read
what another has changed since is refused with `CommitConflict` and starts again from the new state.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from skydb import __version__
from skydb.errors import CommitConflict, DataError

from .catalog import FORMAT_VERSION, reading, writing
from .cells import Cell
from .command_line import recorded
from .crashpoints import reached
from .files import DataFile, write_durably
from .layout import manifest_path

WHOLE_SKY = np.array([[0, 12 << 58]], dtype=np.int64)
NOWHERE = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class LogEntry:
    """What became of one ingested file: a row of `ingest_log`."""

    file: str
    digest: str
    bytes: int
    format: str
    n_images: int
    n_in: int
    n_matched: int
    n_new: int
    n_rejected: int
    n_measurements: int
    n_nulled: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class ImageKey:
    """An image that a commit brings: its id, what the id is the hash of, its exposure, and its file's digest."""

    image_id: int
    image_key: str
    exposure_id: int
    digest: str


@dataclass(frozen=True)
class Calibration:
    """A calibration that a commit brings and makes current: a row of `calibrations`."""

    kind: str
    bands: tuple[str, ...]
    n_images: int
    n_measurements: int
    chi2: float | None
    report: dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """What one commit would do.

    `reads`, `writes` are (K, 2) half-open ranges of order-29 pixels: the sky that the answer depends on, and the
    sky that it changes. `replaces` names files that end; `replaces_globals` the global tables whose every file it
    has read and ends. `exposures` are the ids of the exposures that it adds, because its base has no row of them.
    """

    kind: str
    command: str
    base: int
    adds: tuple[DataFile, ...] = ()
    replaces: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    ends_cells: tuple[tuple[int, int], ...] = ()
    log: tuple[LogEntry, ...] = ()
    images: tuple[ImageKey, ...] = ()
    exposures: tuple[int, ...] = ()
    calibration: Calibration | None = None
    reads: np.ndarray = field(default_factory=lambda: NOWHERE)
    writes: np.ndarray = field(default_factory=lambda: NOWHERE)
    uses_calibration: bool = False
    replaces_globals: tuple[str, ...] = ()


def commit(root: Path, changes: Changes) -> int:
    """Commit the changes, write their manifest, and return the new snapshot.

    Raises
    ------
    CommitConflict
        Another writer changed what these changes have read.
    DataError
        An image or a file that they bring is already in the database.
    """
    reached("commit.begun")
    snapshot = transact(root, changes)
    reached("commit.committed")
    write_manifest(root, snapshot)
    reached("commit.acknowledged")
    return snapshot


def transact(root: Path, changes: Changes) -> int:
    """Move the catalog, in one transaction, and return the new snapshot; it has no manifest yet."""
    with writing(root) as connection:
        _check_base(connection, changes)
        reached("commit.checked")
        snapshot = _insert_snapshot(connection, changes)
        reached("commit.numbered")
        _end_files(connection, changes, snapshot)
        reached("commit.files-ended")
        _insert_files(connection, changes.adds, snapshot)
        reached("commit.files-added")
        _replace_cells(connection, changes, snapshot)
        _insert_log(connection, changes, snapshot)
        reached("commit.moved")
    return snapshot


def _check_base(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse the changes when a later snapshot touched the sky, the tables or the calibration that they read."""
    later = connection.execute(
        "SELECT snapshot, kind, writes, calibration_id FROM snapshots WHERE snapshot >= ? ORDER BY snapshot",
        (changes.base,),
    ).fetchall()
    if not later:
        raise DataError(f"snapshot {changes.base} does not exist", None, "start again")
    _, _, _, calibration = later[0]
    for snapshot, kind, writes, its_calibration in later[1:]:
        if overlap(changes.reads, unpack_ranges(writes)):
            raise CommitConflict(f"snapshot {snapshot} ({kind}) changed the same part of the sky")
        if changes.uses_calibration and its_calibration != calibration:
            raise CommitConflict(f"snapshot {snapshot} ({kind}) changed the current calibration")
    for table in changes.replaces_globals:
        added = connection.execute(
            "SELECT COUNT(*) FROM files WHERE table_name = ? AND begin_snapshot > ?", (table, changes.base)
        ).fetchone()[0]
        if added:
            raise CommitConflict(f"another writer added to the table {table}")
    _check_exposures(connection, changes)


def _check_exposures(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse to add an exposure that came with chips of another writer's since."""
    if changes.exposures:
        later = connection.execute(
            "SELECT exposure_id FROM image_index WHERE begin_snapshot > ?"
            " AND exposure_id IN (SELECT value FROM json_each(?)) LIMIT 1",
            (changes.base, json.dumps(changes.exposures)),
        ).fetchone()
        if later:
            raise CommitConflict(f"another writer added the exposure {later[0]}, with other images of it")


def _insert_snapshot(connection: sqlite3.Connection, changes: Changes) -> int:
    head, calibration_id = connection.execute(
        "SELECT snapshot, calibration_id FROM snapshots ORDER BY snapshot DESC LIMIT 1"
    ).fetchone()
    snapshot = int(head) + 1
    if changes.calibration is not None:
        new = changes.calibration
        cursor = connection.execute(
            "INSERT INTO calibrations (kind, bands, n_images, n_measurements, chi2, report, begin_snapshot)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                new.kind,
                ",".join(new.bands),
                new.n_images,
                new.n_measurements,
                new.chi2,
                json.dumps(new.report),
                snapshot,
            ),
        )
        calibration_id = cursor.lastrowid
    connection.execute(
        "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            snapshot,
            head,
            now(),
            changes.kind,
            recorded(changes.command),
            __version__,
            calibration_id,
            pack_ranges(changes.writes),
        ),
    )
    return snapshot


def _end_files(connection: sqlite3.Connection, changes: Changes, snapshot: int) -> None:
    """End the files that are replaced."""
    ended = connection.executemany(
        "UPDATE files SET end_snapshot = ? WHERE name = ? AND end_snapshot IS NULL",
        [(snapshot, name) for name in changes.replaces],
    )
    if changes.replaces and ended.rowcount != len(changes.replaces):
        lost = len(changes.replaces) - ended.rowcount
        raise CommitConflict(f"another writer replaced {lost} of the same files")


def _insert_files(connection: sqlite3.Connection, files: Iterable[DataFile], snapshot: int) -> None:
    connection.executemany(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        [
            (f.name, f.table, f.norder, f.npix, f.host, f.path, f.rows, f.bytes, f.digest, f.tail_start, f.tail_crc,
             f.base, f.min_key, f.max_key, snapshot)
            for f in files
        ],
    )  # fmt: skip


def _replace_cells(connection: sqlite3.Connection, changes: Changes, snapshot: int) -> None:
    connection.executemany(
        "UPDATE cells SET end_snapshot = ? WHERE norder = ? AND npix = ? AND end_snapshot IS NULL",
        [(snapshot, *key) for key in (*changes.ends_cells, *(c.key for c in changes.cells))],
    )
    connection.executemany(
        "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, NULL)",
        [(c.norder, c.npix, c.host, c.drift_arcsec, int(c.stale), snapshot) for c in changes.cells],
    )


def _insert_log(connection: sqlite3.Connection, changes: Changes, snapshot: int) -> None:
    try:
        connection.executemany(
            "INSERT INTO ingest_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (e.file, e.digest, e.bytes, e.format, e.n_images, e.n_in, e.n_matched, e.n_new, e.n_rejected,
                 e.n_measurements, e.n_nulled, json.dumps(e.reasons), snapshot)
                for e in changes.log
            ],
        )  # fmt: skip
        connection.executemany(
            "INSERT INTO image_index VALUES (?, ?, ?, ?, ?, NULL)",
            [(i.image_id, i.image_key, i.exposure_id, i.digest, snapshot) for i in changes.images],
        )
    except sqlite3.IntegrityError as error:
        raise CommitConflict(f"another writer ingested the same file or image: {error}") from error


def now() -> str:
    """Return the present time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def pack_ranges(ranges: np.ndarray) -> bytes:
    """Pack (K, 2) ranges of order-29 pixels for the catalog."""
    return zlib.compress(np.ascontiguousarray(ranges, dtype="<i8").tobytes(), 1)


def unpack_ranges(blob: bytes) -> np.ndarray:
    """Return the (K, 2) ranges that `pack_ranges` packed."""
    return np.frombuffer(zlib.decompress(blob), dtype="<i8").reshape(-1, 2)


def overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Say whether two sets of sorted, disjoint, half-open ranges have a pixel in common."""
    if not len(first) or not len(second):
        return False
    after = np.searchsorted(second[:, 1], first[:, 0], side="right")
    inside = after < len(second)
    return bool((second[np.minimum(after, len(second) - 1), 0] < first[:, 1])[inside].any())


def write_manifest(root: Path, snapshot: int) -> None:
    """Write the manifest of a snapshot from the catalog, durably; it alone can rebuild the catalog's rows."""
    text = _json_of(manifest_of(root, snapshot))
    write_durably(manifest_path(root, snapshot), lambda path: _write_text(path, text))


def _json_of(manifest: dict[str, Any]) -> str:
    """Return a manifest as JSON with one line for each row: to read, to compare, and quick to write."""
    parts = []
    for key, value in manifest.items():
        rows = ",\n  ".join(map(json.dumps, value)) if isinstance(value, list) else None
        text = json.dumps(value) if rows is None else f"[\n  {rows}\n ]" if rows else "[]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def manifest_of(root: Path, snapshot: int) -> dict[str, Any]:
    """Return everything that one commit did, as the catalog records it."""
    with reading(root) as connection:
        connection.row_factory = sqlite3.Row

        def rows(query: str) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query, (snapshot,))]

        (head,) = rows("SELECT * FROM snapshots WHERE snapshot = ?")
        head["writes"] = unpack_ranges(head["writes"]).tolist()
        return {
            "format": FORMAT_VERSION,
            "snapshot": head,
            "files_added": rows("SELECT * FROM files WHERE begin_snapshot = ? ORDER BY name"),
            "files_ended": [r["name"] for r in rows("SELECT name FROM files WHERE end_snapshot = ? ORDER BY name")],
            "cells_added": rows("SELECT * FROM cells WHERE begin_snapshot = ? ORDER BY norder, npix"),
            "cells_ended": rows("SELECT norder, npix FROM cells WHERE end_snapshot = ? ORDER BY norder, npix"),
            "ingest_log": rows("SELECT * FROM ingest_log WHERE begin_snapshot = ?"),
            "images": rows("SELECT * FROM image_index WHERE begin_snapshot = ? ORDER BY image_id"),
            "calibrations": rows("SELECT * FROM calibrations WHERE begin_snapshot = ?"),
        }


def describe(changes: Changes) -> dict[str, Any]:
    """Return a summary of what a commit would do, for `--dry-run` and logs."""
    return {
        "kind": changes.kind,
        "files_added": len(changes.adds),
        "bytes_added": sum(f.bytes for f in changes.adds),
        "files_ended": len(changes.replaces),
        "cells": [asdict(c) for c in changes.cells],
    }
