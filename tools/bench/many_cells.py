"""A database of many cells: what opening it, planning a cone and a commit that touches many of them take.

Every file of it has a path of its own, where a small file lies: hard links, since all that is asked is where they are.
The folders of its cells are left out, 500,000 of which take minutes to make and to remove.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count, cycle
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb import database
from skydb.checks.rebuild import rebuild_catalog
from skydb.database import Database
from skydb.query.connection import connect
from skydb.schema.tables import TABLES
from skydb.snapshots import diff, gc, rollback
from skydb.store.cells import Cell, Cells
from skydb.store.changes import Changes
from skydb.store.files import DataFile
from skydb.store.layout import CATALOG, data_path, manifest_path
from skydb.store.manifest import write_manifest
from skydb.store.parquet import store_rows
from skydb.store.snapshot import Snapshot, snapshot_number

from .case import OURS, Case
from .scene import Scene, random_numbers

GROUP = "cells"
NAMES = (
    "open", "plan", "look up", "transaction", "manifest", "pin", "commit", "reopen", "rebuild", "diff", "rollback",
    "gc, choice", "gc",
)  # fmt: skip
ORDER, CELLS, REWRITTEN, ROUNDS, PINS = 7, 100_000, 10_000, 6, 100
ROWS = 20
SKY_TABLES = ("object_seeds", "measurements", "measurements_cal", "objects", "object_bands")

Models = Mapping[str, DataFile]
"""A stored file of each table."""


def cases(scene: Scene) -> Iterator[Case]:
    """Yield the cases; they share one database."""
    db, models = _many_cells(scene)
    yield Case(
        "open", GROUP, f"open {CELLS:,} cells", {OURS: partial(_opened, db)}, goal="300 ms",
        numbers=partial(_metadata, db),
    )  # fmt: skip
    with connect(db) as con:
        centres = iter(random_numbers("plan").uniform((0, -60), (360, 60), (10_000, 2)).tolist())

        def planned() -> None:
            ra, dec = next(centres)
            con.explain(f"SELECT * FROM objects WHERE in_cone(ra, dec, {ra}, {dec}, 1)").arrow()

        yield Case("plan", GROUP, "plan a cone of 1 degree", {OURS: planned}, goal="20 ms")
    looked_up = f"look up the calibrated and derived files of {REWRITTEN:,} cells"
    yield Case("look up", GROUP, looked_up, {OURS: lambda: len(_live(db.snapshot()))})
    turns = count()
    rewrites = {turn: _rewrite(db, models, turn) for turn in range(ROUNDS + 1)}  # the first round is not timed
    yield Case(
        "transaction", GROUP, f"replace those files in the catalog, {3 * REWRITTEN:,} rows, and write the manifest",
        {OURS: lambda: db.commit(rewrites[next(turns)])}, goal="2 s", repeat=ROUNDS,
    )  # fmt: skip
    newest, _ = snapshot_number(db.root, None)
    yield Case(
        "manifest", GROUP, "write the manifest alone", {OURS: partial(write_manifest, db.root, newest)},
        repeat=ROUNDS,
    )  # fmt: skip
    yield from _history(scene, db)


def _history(scene: Scene, db: Database) -> Iterator[Case]:
    """Yield the cases about snapshots: what has been rewritten so far is compared, gone back from, and given up."""
    yield Case(
        "pin", GROUP, "pin a snapshot: look it up and take its lease", {OURS: partial(_pinned, db)}, goal="0.2 ms",
        calls=PINS,
    )  # fmt: skip
    cells = iter(db.snapshot().cells())
    yield Case(
        "commit", GROUP, "commit a change of one cell, with its manifest", {OURS: lambda: _touched(db, next(cells))},
        goal="100 ms", repeat=ROUNDS,
    )  # fmt: skip
    _touched(db, next(cells))
    yield Case(
        "reopen", GROUP, "open it after a writer of one cell died before its manifest", {OURS: partial(_reopened, db)},
        goal="1 s", repeat=ROUNDS,
    )  # fmt: skip
    yield Case(
        "rebuild", GROUP, "make the catalog again from the manifests",
        {OURS: lambda: rebuild_catalog(db.root).snapshot}, goal="60 s", repeat=1,
    )  # fmt: skip
    yield Case(
        "diff", GROUP, f"compare with the empty database, cell by cell, {5 * CELLS:,} files",
        {OURS: lambda: len(diff(db, 0).cells)}, goal="10 s", repeat=3,
    )  # fmt: skip
    there_and_back = cycle((1, db.snapshot().id))
    yield Case(
        "rollback", GROUP, f"go back to before {3 * ROUNDS * REWRITTEN:,} files were replaced, and forth",
        {OURS: lambda: rollback(db, next(there_and_back)).is_new}, goal="10 s", repeat=3,
    )  # fmt: skip
    yield Case(
        "gc, choice", GROUP, "say what could be given up of all that",
        {OURS: lambda: gc(db, grace="0", dry_run=True).files}, repeat=3,
    )  # fmt: skip
    full = _database_of_files(scene)
    yield Case(
        "gc", GROUP, f"give up and remove {REWRITTEN:,} files", {OURS: lambda: gc(full, grace="0").files}, goal="5 s",
        repeat=1,
    )  # fmt: skip


def _metadata(db: Database) -> dict[str, float]:
    """Return what the catalog takes for a cell of one file of each table, and the manifest of its commit for a file."""
    catalog = sum(path.stat().st_size for path in db.root.glob(f"{CATALOG}*") if not path.name.endswith("-shm"))
    manifest = manifest_path(db.root, db.snapshot().id).stat().st_size
    return {"catalog bytes a cell": catalog / CELLS, "manifest bytes a file": manifest / (CELLS * len(SKY_TABLES))}


def _reopened(db: Database) -> int:
    manifest_path(db.root, db.snapshot().id).unlink()
    return database.open(db.root).cell_rows


def _pinned(db: Database) -> None:
    for _ in range(PINS):
        db.snapshot()


def _touched(db: Database, cell: Cell) -> None:
    snapshot = db.snapshot()
    db.commit(Changes("test", "test", snapshot.id, cells=(replace(cell, drift_arcsec=cell.drift_arcsec + 1.0),)))


def _database_of_files(scene: Scene) -> Database:
    """Return a database in which so many files, each on disk, are seen by an old snapshot only."""
    db = scene.fresh_database("gc.sky")
    cells = [Cell(ORDER, number) for number in range(REWRITTEN // len(SKY_TABLES))]
    models = _models(db)
    files = [_linked(db, models, file) for cell in cells for file in _files(models, cell, SKY_TABLES)]
    base = db.snapshot().id
    db.commit(Changes("ingest", "addstar", base, adds=tuple(files), cells=tuple(cells)))
    db.commit(Changes("test", "test", base + 1, replaces=tuple(file.name for file in files)))
    return db


def _opened(db: Database) -> int:
    with connect(db.root) as con:
        return len(con.snapshot.cells())


def _many_cells(scene: Scene) -> tuple[Database, Models]:
    """Return a new database of so many cells, one after another on the sky, and the files that its own are links of."""
    scene.say(f"making a catalog of {CELLS:,} cells")
    db = scene.fresh_database("cells.sky")
    snapshot = db.snapshot()
    cells = [Cell(ORDER, number, drift_arcsec=1.0) for number in range(CELLS)]
    models = _models(db)
    files = [_linked(db, models, file) for cell in cells for file in _files(models, cell, SKY_TABLES)]
    db.commit(Changes("ingest", "addstar", snapshot.id, adds=tuple(files), cells=tuple(cells)))
    return database.open(db.root), models


def _models(db: Database) -> Models:
    return {table: _model(db, table) for table in SKY_TABLES}


def _model(db: Database, table: str) -> DataFile:
    """Store the small file that all of a table are links of."""
    zeros = pa.array(np.zeros(ROWS, np.int8))
    columns = [zeros.cast(field.type) for field in TABLES[table].arrow]
    return store_rows(db.root, db.id, pa.table(columns, TABLES[table].arrow), table, cell=(ORDER, 0))


def _linked(db: Database, models: Models, file: DataFile) -> DataFile:
    """Give a file a place of its own, and return it there."""
    assert file.norder is not None
    assert file.npix is not None
    model = db.root / models[file.table].path
    of_cell = Path(data_path(file.table, (file.norder, file.npix), file.name))
    path = str(of_cell.parents[1] / of_cell.name)
    (db.root / path).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(model, db.root / path)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        shutil.copyfile(model, db.root / path)  # ext4 links a file 65,000 times: from now on, this one
        os.replace(db.root / path, model)
        os.link(model, db.root / path)
    return replace(file, path=path)


def _files(models: Models, cell: Cell, tables: tuple[str, ...]) -> Iterator[DataFile]:
    """Yield a file for each table of a cell; the calibrated one lies beside the raw one, if that is among them."""
    raw = None
    for table in tables:
        file = replace(models[table], name=uuid.uuid4().hex, norder=cell.norder, npix=cell.npix)
        raw = file.name if table == "measurements" else raw
        yield replace(file, base=raw) if table == "measurements_cal" else file


def _rewrite(db: Database, models: Models, turn: int) -> Changes:
    """Return what replaces the calibrated and derived files of some cells, as an apply does."""
    snapshot = db.snapshot()
    old = _live(snapshot, turn)
    new = tuple(_linked(db, models, replace(file, name=uuid.uuid4().hex)) for file in old)
    cells = tuple(_chosen(snapshot, turn))
    return Changes("relcal", "relcal", snapshot.id, adds=new, replaces=tuple(f.name for f in old), cells=cells)


def _live(snapshot: Snapshot, turn: int = 0) -> list[DataFile]:
    cells = _chosen(snapshot, turn)
    files = [snapshot.files_of_cells(table, cells) for table in ("measurements_cal", "objects", "object_bands")]
    return [file for of_table in files for of_cell in of_table for file in of_cell]


def _chosen(snapshot: Snapshot, turn: int) -> Cells:
    """Return cells that no other turn has."""
    return snapshot.cells()[turn * REWRITTEN :][:REWRITTEN]
