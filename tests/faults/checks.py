"""What must be true of a database whatever has been done to the process that wrote it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

import skydb.database as database
from skydb.checks.quarantine import QUARANTINE
from skydb.database import Database
from skydb.store.catalog import alive, reading
from skydb.store.files import digest_of
from skydb.store.history import catalog_table
from skydb.store.hosts import storage_of
from skydb.store.layout import manifest_path, tag_path
from skydb.store.manifest import manifest_numbers
from skydb.store.snapshot import Snapshot
from skydb.store.tags import live_tags
from tests.ingest.skies import GLOBAL_TABLES, SKY_TABLES
from tests.store.test_manifest import replayed, stored

CATALOG_COLUMNS = {
    "cells": ["norder", "npix", "n_objects", "n_measurements", "drift_arcsec", "stale"],
    "ingest_log": ["file", "digest", "n_in", "n_matched", "n_new", "n_rejected", "n_measurements", "reasons"],
    "calibrations": ["kind", "bands", "n_images", "n_measurements", "chi2"],
}


@dataclass(frozen=True)
class State:
    """What a snapshot holds: its number, the number of rows of every table, and a digest of all of them."""

    snapshot: int
    rows: dict[str, int]
    digest: str


def state_of(db: Database, at: int | None = None) -> State:
    """Read all that a snapshot holds; names and places of files, times and snapshot numbers do not count."""
    snapshot = db.snapshot(at)
    tables = {name: _rows(snapshot, name) for name in (*SKY_TABLES, *GLOBAL_TABLES, *snapshot.declared)}
    tables |= {name: catalog_table(snapshot, name).select(columns) for name, columns in CATALOG_COLUMNS.items()}
    with reading(db.root) as connection:
        names = [
            connection.execute(f"SELECT {column} FROM {table} WHERE {alive(snapshot.id)} ORDER BY 1").fetchall()
            for table, column in (("tags", "tag"), ("hosts", "name"))
        ]
    text = repr([(name, table.to_pydict()) for name, table in tables.items()]) + repr(names)
    rows = {name: table.num_rows for name, table in tables.items()}
    return State(snapshot.id, rows, hashlib.blake2b(text.encode(), digest_size=8).hexdigest())


def _rows(snapshot: Snapshot, name: str) -> pa.Table:
    keys = {**SKY_TABLES, **GLOBAL_TABLES}.get(name) or snapshot.declared[name].sort
    if name in GLOBAL_TABLES:
        return snapshot.read_global(name).sort_by([(key, "ascending") for key in keys])
    parts = [snapshot.read_cell(name, cell) for cell in snapshot.cells()]
    if not parts:
        return pa.table({})
    return pa.concat_tables(parts, promote_options="default").sort_by([(key, "ascending") for key in keys])


def check_whole(db: Database) -> None:
    """Fail unless every file of the newest snapshot is as it was written, and the manifests make the catalog."""
    snapshot = db.snapshot()
    for name in (*SKY_TABLES, "measurements_cal", *GLOBAL_TABLES, *snapshot.declared):
        for file in snapshot.files(name):
            assert digest_of(snapshot.stored(file).path) == file.digest, file.path
    assert manifest_numbers(db.root) == list(range(snapshot.id + 1))
    told, kept = replayed(db.root), stored(db.root)
    assert {**told, "removals": []} == {**kept, "removals": []}  # whose rows go when the files have gone
    for tag, number in live_tags(db.root).items():
        with closing(sqlite3.connect(f"{tag_path(db.root, tag).as_uri()}?immutable=1", uri=True)) as copy:
            found = copy.execute("SELECT snapshot FROM tags WHERE tag = ?", (tag,)).fetchone()
            assert found == (number,), tag
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def check_jobs_are_cleared_up(db: Database) -> None:
    """Fail unless data/ has what the catalog names or is about to remove, on every host, and no job left a folder."""
    storage = storage_of(db.root)
    with reading(db.root) as connection:
        rows = [row for place in ("host FROM files", "backup FROM files", "host FROM removals")
                for row in connection.execute(f"SELECT path, {place}") if row[1]]  # fmt: skip
    named = {storage.place(host, path).local: path for path, host in rows}
    folders = [storage.place(host, "data").local for host in storage.hosts]
    held = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    missing = {path for place, path in named.items() if place not in held}
    missing = {path for path in missing if not (db.root / QUARANTINE / path).exists()}
    assert (held - named.keys(), missing) == (set(), set())
    assert list(db.work.iterdir()) == []


def check_clear(db: Database) -> None:
    """Fail if anything lies about that the database does not need."""
    check_jobs_are_cleared_up(db)
    held = {path.relative_to(db.root) for path in db.root.rglob("*") if path.is_file() and path.parts}
    held = {path for path in held if path.parts[0] not in ("data", "leases", QUARANTINE)}
    held = {path for path in held if not path.name.startswith("catalog-replaced-")}
    allowed = {Path(f"catalog.sqlite{more}") for more in ("", "-wal", "-shm")}
    allowed |= {manifest_path(db.root, n).relative_to(db.root) for n in range(db.snapshot().id + 1)}
    allowed |= {tag_path(db.root, tag).relative_to(db.root) for tag in live_tags(db.root)}
    assert held <= allowed, held - allowed


def as_words(state: State) -> dict[str, object]:
    return asdict(state)


def open_if_there(root: Path) -> Database | None:
    """Open a database, if a creation got so far."""
    return database.open(root) if (root / "catalog.sqlite").exists() else None
