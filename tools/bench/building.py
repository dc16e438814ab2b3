"""Jobs that make or change a database: ingest, one exposure more, calibration; and what a measurement weighs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skydb import database
from skydb.calib.relcal import relcal
from skydb.calibration.kept_apply import Solved
from skydb.calibration.recalibrate import apply_to_all
from skydb.database import Database
from skydb.derived import refresh
from skydb.ingest.addstar import addstar
from skydb.ingest.readers import reader_for
from skydb.ingest.readers.interface import ReadRequest
from skydb.parallel.executor import executor_for
from skydb.schema.photcodes import Photcodes
from skydb.schema.tables import TABLES
from skydb.store.changes import Calibration
from skydb.store.compact import compact
from skydb.store.layout import CATALOG

from .case import OURS, Case
from .memory import peak_memory
from .scene import HELD_BACK, Scene

GROUP = "building"
NAMES = ("ingest", "append, deferred", "append, refreshed", "relcal", "column update")
COPY, REWRITE = "DuckDB COPY", "full rewrite"


def cases(scene: Scene) -> Iterator[Case]:
    """Yield the cases; each works on a database of its own."""
    peaks: dict[str, float] = {}
    yield Case(
        "ingest", GROUP, "SMF files to associated, averaged, committed measurements",
        {OURS: lambda: _ingest(scene, peaks), COPY: lambda: _copy(scene, peaks)},
        goal="1.2 x", peer_does="reads the same rows and writes the same columns; nothing else", repeat=1,
        numbers=lambda: peaks,
    )  # fmt: skip
    linked = linked_copy(scene, scene.db, "linked.sky")
    fresh = iter(scene.exposures[-HELD_BACK:])
    rounds = HELD_BACK // 2 - 1
    yield Case(
        "append, deferred", GROUP, "one exposure more into the full database; means wait",
        {OURS: lambda: addstar(linked, next(fresh), defer=True, workers=1).count("n_in")}, goal="1 s", repeat=rounds,
    )  # fmt: skip
    refresh(linked, workers=scene.workers)
    yield Case(
        "append, refreshed", GROUP, "one exposure more, with the means of its objects",
        {OURS: lambda: addstar(linked, next(fresh), workers=1).count("n_in")}, goal="5 s", repeat=rounds,
    )  # fmt: skip
    yield Case(
        "relcal", GROUP, "zero points solved, and applied to every measurement and mean",
        {OURS: lambda: relcal(linked, workers=scene.workers).n_solved}, goal="60 s", repeat=1,
    )  # fmt: skip
    yield Case(
        "column update", GROUP, "other zero points applied to every measurement and mean",
        {OURS: lambda: _applied(linked, scene), REWRITE: lambda: _rewritten(linked, scene)}, repeat=1,
        peer_does="writes all rows of all tables anew, as a format without row-aligned columns must",
    )  # fmt: skip


def _ingest(scene: Scene, peaks: dict[str, float]) -> int:
    db = scene.new_database("ingest.sky")
    with peak_memory(os.getpid()) as peak:
        counts = addstar(db, scene.exposures, workers=scene.workers)
    peak.note(peaks)
    shutil.rmtree(db.root)
    return counts.count("n_measurements")


def _applied(db: Database, scene: Scene) -> int:
    """Apply a calibration that differs from the present one by 1 mmag, and return the measurements."""
    rows = db.snapshot().read_global("images_cal")
    shifted = rows.set_column(rows.column_names.index("mcal"), "mcal", pc.add(rows.column("mcal"), 0.001))
    solved = Solved(Calibration("relcal", (), rows.num_rows, 0, None, {}), "bench", db.snapshot().id, shifted)
    apply_to_all(
        db.snapshot, db.commit, solved, lambda snapshot, rows: rows, executor=executor_for(scene.workers)
    )
    return _stored(db)


def _rewritten(db: Database, scene: Scene) -> int:
    """Write every table of every cell anew, and return the measurements."""
    cells = db.snapshot().cells()
    compact(db.snapshot, db.commit, cells, cell_rows=db.cell_rows, executor=executor_for(scene.workers))
    return _stored(db)


def _stored(db: Database) -> int:
    return sum(file.rows for file in db.snapshot().files("measurements_cal"))


def _copy(scene: Scene, peaks: dict[str, float]) -> int:
    """Let DuckDB write the columns of every detection, read by our readers, to one Parquet file; return the rows."""
    import duckdb

    photcodes = Photcodes.from_arrow(scene.db.snapshot().read_global("photcodes"))
    path = scene.folder / "copy.parquet"
    schema = pa.schema([f for f in TABLES["measurements"].arrow if f.name != "object_id"])
    rows = pa.RecordBatchReader.from_batches(schema, _detections(scene, ReadRequest(photcodes), schema))
    with (
        peak_memory(os.getpid()) as peak,
        duckdb.connect(config={"temp_directory": str(scene.folder / "copy.tmp")}) as con,
    ):
        con.register("rows", rows)
        con.execute(f"COPY rows TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        (count,) = con.execute(f"SELECT count(*) FROM '{path}'").fetchall()[0]
    peak.note(peaks, " of DuckDB")
    path.unlink()
    return int(count)


def _detections(scene: Scene, request: ReadRequest, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in scene.exposures:
        for chunk in reader_for(path, request).read(path, request):
            columns = [
                chunk.detections.column(f.name).cast(f.type) if f.name in chunk.detections.column_names
                else pa.nulls(len(chunk.detections), f.type) for f in schema
            ]  # fmt: skip
            yield from pa.table(columns, schema=schema).to_batches()


def linked_copy(scene: Scene, db: Database, name: str) -> Database:
    """Return a database with the same content: its immutable files are linked, its catalog is copied."""
    target = scene.folder / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(db.root, target, copy_function=_link_or_copy)
    return database.open(target)


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).name.startswith(CATALOG):
        shutil.copy2(source, target)
    else:
        os.link(source, target)
