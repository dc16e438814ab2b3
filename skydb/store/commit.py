"""The commit protocol: all tables of all touched cells move at once, or nothing does.

Files are on disk, fsynced and renamed, before a commit begins (`parquet.store_rows`). The commit is then one
SQLite transaction, after which its manifest is written and fsynced; only then is it acknowledged. A writer that read
what another has changed since is refused with `CommitConflict` and starts again from the new state.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path

from skydb import __version__
from skydb.errors import CommitConflict, DataError, done_so_far

from .catalog import writing
from .cells import Cell
from .changes import ROLLBACK, Calibration, Changes, LogEntry
from .command_line import recorded
from .crashpoints import reached
from .files import DataFile, require_writable
from .layout import COMMITS
from .leases import offer_lease
from .manifest import complete_head, refuse_other_catalog, write_manifest
from .ranges import overlap, pack_ranges, unpack_ranges
from .record import Record, Row, apply_record
from .turns import give_way


def commit(root: Path, changes: Changes) -> int:
    """Commit the changes, write their manifest, and return the new snapshot.

    Raises
    ------
    CommitConflict
        Another writer changed what these changes have read.
    DataError
        The snapshot that they were made on top of does not exist, or the catalog is not that of the manifests; or the
        disk filled up before the manifest was written: the error then says that the snapshot is committed.
    """
    reached("commit.begun")
    if len(changes.writes):
        give_way(root)
    snapshot = transact(root, changes)
    reached("commit.committed")
    with done_so_far(f"snapshot {snapshot} is committed", root):
        write_manifest(root, snapshot)
    offer_lease(root, snapshot)
    reached("commit.acknowledged")
    return snapshot


def transact(root: Path, changes: Changes) -> int:
    """Move the catalog, in one transaction, and return the new snapshot; it has no manifest yet."""
    with writing(root) as connection:
        require_writable(root / COMMITS)
        complete_head(root, _head(connection))
        refuse_other_catalog(root, connection)
        _check_base(connection, changes)
        reached("commit.checked")
        record = record_of(connection, changes)
        try:
            found = apply_record(connection, record)
        except sqlite3.IntegrityError as error:
            raise CommitConflict(f"another writer brought the same file, image or name: {error}") from error
        for table, keys in record.ended.items():
            if table != "cells" and keys and found[table] != len(keys):
                lost = len(keys) - found[table]
                raise CommitConflict(f"another writer ended {lost} of the same rows of the catalog's table {table}")
        _check_hosts(connection, changes)
        reached("commit.applied")
    return record.number


def _head(connection: sqlite3.Connection) -> int:
    """Return the newest snapshot."""
    (head,) = connection.execute("SELECT MAX(snapshot) FROM snapshots").fetchone()
    return int(head)


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
        if changes.kind == ROLLBACK or (kind == ROLLBACK and changes.adds):
            raise CommitConflict(f"snapshot {snapshot} ({kind}) may have changed all that was read")
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
    _check_settings(connection, changes)
    _check_exposures(connection, changes)
    _check_kept(connection, changes)
    _check_moves(connection, changes)


def _check_settings(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse an answer that depends on settings which were changed since."""
    later = connection.execute(
        "SELECT key FROM settings WHERE key IN (SELECT value FROM json_each(?1))"
        " AND (begin_snapshot > ?2 OR end_snapshot > ?2) LIMIT 1",
        (json.dumps(changes.uses_settings), changes.base),
    ).fetchone() if changes.uses_settings else None
    if later:
        raise CommitConflict(f"another writer changed the setting {later[0]!r}")


def _check_exposures(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse to add or end an exposure of which images came since, and to go by images of one that went since."""
    checked = (("begin_snapshot", changes.exposures, "added"), ("end_snapshot", changes.exposures_of_images, "deleted"))
    for column, exposures, what in checked:
        later = connection.execute(
            f"SELECT exposure_id FROM image_index WHERE {column} > ?"
            " AND exposure_id IN (SELECT value FROM json_each(?)) LIMIT 1",
            (changes.base, json.dumps(exposures)),
        ).fetchone() if exposures else None
        if later:
            raise CommitConflict(f"another writer {what} images of the exposure {later[0]}")


def _check_kept(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse to give up a snapshot that is the newest or has got a tag, and to tag one that was given up."""
    named = "SELECT snapshot FROM tags WHERE end_snapshot IS NULL UNION SELECT MAX(snapshot) FROM snapshots"
    expired = "SELECT snapshot FROM snapshots WHERE expired_by IS NOT NULL"
    tagged = tuple(tag.snapshot for tag in changes.tags)
    for numbers, query, what in ((changes.expires, named, "was tagged"), (tagged, expired, "was given up")):
        found = connection.execute(
            f"SELECT snapshot FROM ({query}) WHERE snapshot IN (SELECT value FROM json_each(?))", (json.dumps(numbers),)
        ).fetchone() if numbers else None
        if found:
            raise CommitConflict(f"snapshot {found[0]} {what} by another commit")


def _check_moves(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse to say where files lie that another writer has moved since, or given up."""
    if changes.moves:
        (same,) = connection.execute(
            "SELECT COUNT(*) FROM (SELECT name FROM files WHERE name IN (SELECT value FROM json_each(?)) GROUP BY name"
            " HAVING MAX(COALESCE(moved_snapshot, 0)) <= ?)",
            (json.dumps([move.name for move in changes.moves]), changes.base),
        ).fetchone()
        if same != len(changes.moves):
            raise CommitConflict(f"another writer moved or gave up {len(changes.moves) - same} of the same files")


def _check_hosts(connection: sqlite3.Connection, changes: Changes) -> None:
    """Refuse to place anything on a host that is not there, and to end a host where something lies; in what results."""
    live = {name for (name,) in connection.execute("SELECT name FROM hosts WHERE end_snapshot IS NULL")}
    places = [(f.host, f.backup) for f in changes.adds] + [(m.host, m.backup) for m in changes.moves]
    named = {host for place in places for host in place if host is not None}
    named |= {c.host for c in changes.cells} | {host for _, _, host in changes.placed}
    if named - live:
        raise CommitConflict(f"another writer removed the host {min(named - live)!r}")
    for name in set(changes.ends_hosts) - live:
        if connection.execute(
            "SELECT 1 FROM files WHERE ?1 IN (host, backup) UNION ALL"
            " SELECT 1 FROM cells WHERE host = ?1 AND end_snapshot IS NULL LIMIT 1", (name,)
        ).fetchone():  # fmt: skip
            raise CommitConflict(f"another writer placed something on the host {name!r}")


def record_of(connection: sqlite3.Connection, changes: Changes) -> Record:
    """Return what the changes do to the catalog as it is."""
    head, current = connection.execute(
        "SELECT snapshot, calibration_id FROM snapshots ORDER BY snapshot DESC LIMIT 1"
    ).fetchone()
    calibrations = _calibrations(connection, changes.calibration)
    if changes.calibration_id is not None:
        current = changes.calibration_id
    current = calibrations[0][0] if calibrations else current
    cells = _changed_cells(connection, changes)
    same = {c.key for c in changes.cells} - {c.key for c in cells}
    ends_cells = dict.fromkeys([*(key for key in changes.ends_cells if key not in same), *(c.key for c in cells)])
    return Record(
        (
            int(head) + 1, head, now(), changes.kind, recorded(changes.command), __version__, current,
            pack_ranges(changes.writes),
        ),
        calibrations,
        ended={
            "tags": _keys(changes.ends_tags), "hosts": _keys(changes.ends_hosts),
            "settings": _keys(changes.ends_settings),
            "cells": tuple(ends_cells), "files": _keys(changes.replaces), "ingest_log": _keys(changes.ends_log),
            "image_index": _keys(changes.ends_images), "declarations": _keys(changes.ends_declarations),
        },
        added={
            "tags": tuple(map(astuple, changes.tags)), "hosts": tuple(map(astuple, changes.hosts)),
            "settings": tuple(map(astuple, changes.settings)),
            "cells": tuple((c.norder, c.npix, c.host, c.drift_arcsec, int(c.stale)) for c in cells),
            "files": tuple(map(_file_row, changes.adds)), "ingest_log": tuple(map(_log_row, changes.log)),
            "image_index": tuple((i.image_id, i.image_key, i.exposure_id, i.digest) for i in changes.images),
            "declarations": tuple(map(astuple, changes.declarations)),
        },
        moved=tuple(map(astuple, changes.moves)),
        expired=changes.expires,
    )  # fmt: skip


def _keys(values: Sequence[str | int]) -> tuple[Row, ...]:
    return tuple((value,) for value in values)


def _calibrations(connection: sqlite3.Connection, new: Calibration | None) -> tuple[Row, ...]:
    """Return the row of a new calibration, numbered."""
    if new is None:
        return ()
    (last,) = connection.execute("SELECT MAX(calibration_id) FROM calibrations").fetchone()
    counts = (new.n_images, new.n_measurements, new.chi2)
    return ((last + 1, new.kind, ",".join(new.bands), *counts, json.dumps(new.report)),)


def _changed_cells(connection: sqlite3.Connection, changes: Changes) -> tuple[Cell, ...]:
    """Return the cells that are new or not what they were; one that is there keeps its host, unless it is placed."""
    placed = {(norder, npix): host for norder, npix, host in changes.placed}
    wanted = json.dumps([*(c.key for c in changes.cells), *placed])
    rows = connection.execute(
        "SELECT norder, npix, host, drift_arcsec, stale FROM (SELECT value FROM json_each(?)) AS wanted"
        " CROSS JOIN cells ON norder = json_extract(wanted.value, '$[0]')"
        " AND npix = json_extract(wanted.value, '$[1]') AND end_snapshot IS NULL",
        (wanted,),
    )
    stored = {(n, p): Cell(n, p, host, drift, bool(stale)) for n, p, host, drift, stale in rows}
    wanted_cells = {key: stored[key] for key in placed if key in stored} | {c.key: c for c in changes.cells}
    settled = (replace(c, host=placed.get(k, stored.get(k, c).host)) for k, c in wanted_cells.items())
    return tuple(c for c in settled if stored.get(c.key) != c)


def _file_row(f: DataFile) -> Row:
    return (
        f.name, f.table, f.norder, f.npix, f.host, f.path, f.rows, f.bytes, f.digest, f.tail_start, f.tail_crc, f.base,
        f.min_key, f.max_key, f.schema_version, f.backup,
    )  # fmt: skip


def _log_row(e: LogEntry) -> Row:
    return (
        e.file, e.digest, e.bytes, e.format, e.n_images, e.n_in, e.n_matched, e.n_new, e.n_rejected, e.n_measurements,
        e.n_nulled, json.dumps(e.reasons), e.n_deleted, e.n_deleted_measurements, e.n_deleted_images,
    )  # fmt: skip


def now() -> str:
    """Return the present time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
