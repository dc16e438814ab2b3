"""A small database's life, verb by verb: what is killed and starved here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import skydb.database as database
from skydb import hosts
from skydb.calib.relcal import relcal
from skydb.checks.fsck import fsck
from skydb.checks.rebuild import rebuild_catalog
from skydb.database import Database
from skydb.declared import declare_table, drop_table
from skydb.deletion import delete
from skydb.derived import refresh
from skydb.errors import DataError, clear_disk_errors
from skydb.ingest import batches
from skydb.ingest.addrows import addrows
from skydb.ingest.addstar import addstar
from skydb.ingest.merge import merge
from skydb.parallel.executor import executor_for
from skydb.photcodes import import_photcodes
from skydb.snapshots import gc, rollback
from skydb.store import moving
from skydb.store.compact import compact
from skydb.store.tags import delete_tag, live_tags, set_tag
from skydb.store.unfinished import unfinished_jobs
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import PHOTCODES

STARS = 24
DECLARED = "starpar"
CELL_ROWS = 70
"""More than one night's rows and less than two nights': the cell splits once."""


def write_inputs(folder: Path) -> None:
    """Write what the verbs take: photcodes, three nights of a small field, and a database of a fourth."""
    (folder / "photcodes.txt").write_text(PHOTCODES)
    for night in range(3):
        for exposure in range(2):
            write_exposure(folder / f"{night}-{exposure}.cmf", night, exposure)
    write_exposure(folder / "apart.cmf", 3, 0)
    apart = database.create(folder / "apart.sky")
    import_photcodes(apart, folder / "photcodes.txt")
    addstar(apart, folder / "apart.cmf", workers=1)
    write_parameters(folder, apart)


def write_exposure(path: Path, night: int, exposure: int) -> None:
    """One exposure of the stars, a little cloudy, where the four cells of order 1 of a cell of order 0 meet."""
    stars, noise = np.random.default_rng(0), np.random.default_rng(2 * night + exposure)
    x, y = stars.uniform(0, 1000, STARS), stars.uniform(0, 800, STARS)
    mags = stars.uniform(-14, -9, STARS) + noise.normal(0, 0.01, STARS) + noise.uniform(0, 0.3)
    table = rows(
        STARS, seed=night, X_PSF=x.astype("f4"), Y_PSF=y.astype("f4"), PSF_INST_MAG=mags.astype("f4"),
        PSF_INST_MAG_SIG=np.full(STARS, 0.01, "f4"), FLAGS=np.zeros(STARS, "u4"),
    )  # fmt: skip
    write_cmf(path, table, {
        "CRVAL1": 0.0, "CRVAL2": 0.0, "OBS_ID": f"o{night}-{exposure}", "MJD-OBS": 56900.25 + night + 0.01 * exposure,
        "PHOTCODE": "CAM.g.XY01",
    })  # fmt: skip


def write_parameters(folder: Path, apart: Database) -> None:
    """Write rows of a declared table for the stars, by position: all of them into the other database, half for here."""
    stars = pa.concat_tables(apart.snapshot().read_cell("objects", cell) for cell in apart.snapshot().cells())
    table = pa.table({"ra": stars["ra"], "dec": stars["dec"], "feh": np.linspace(-2, 0, len(stars), dtype="f4")})
    pq.write_table(table.slice(0, STARS // 2), folder / "half.parquet")
    pq.write_table(table, folder / "all.parquet")
    declare_table(apart, DECLARED)
    addrows(apart, DECLARED, folder / "all.parquet", workers=1)


def _night(inputs: Path, night: int) -> list[Path]:
    return sorted(inputs.glob(f"{night}-*.cmf"))


def _addstar(root: Path, files: list[Path], **options: int) -> None:
    report = addstar(root, files, **options)
    refused = [f.error for f in report.files if f.status == "failed"]
    if refused:
        raise AssertionError(f"good files were refused: {refused}")


def _declared(root: Path, inputs: Path, workers: int) -> None:
    """Declare a table and bring its rows."""
    declare_table(root, DECLARED)
    report = addrows(root, DECLARED, inputs / "half.parquet", workers=workers)
    if report.count("n_matched") != STARS // 2 and report.files[0].status != "known":
        raise DataError(f"not all rows came: {report.text()}", str(root), "see there")


def _in_batches(root: Path, inputs: Path, workers: int) -> None:
    """Ingest a night in two batches, and compact."""
    with patch.object(batches, "BATCH_BYTES", 1):
        _addstar(root, _night(inputs, 2), workers=workers)


def _compact(root: Path, inputs: Path, workers: int) -> None:
    db = database.open(root)
    compact(db.snapshot, db.commit, None, cell_rows=db.cell_rows, executor=executor_for(workers))


def _resume(root: Path, inputs: Path, workers: int) -> None:
    """Go on with a relcal that was stopped when it had written everything; one that waits, or a new one."""
    if not unfinished_jobs(root):
        with patch.object(Database, "commit", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
            relcal(root, workers=workers)
    relcal(root, resume=True, workers=workers)


def _balance(root: Path, inputs: Path, workers: int) -> None:
    """Move files to the second host, in several commits."""
    with patch.object(moving, "BATCH_FILES", 4):
        hosts.balance(database.open(root), workers=workers)


def _drain(root: Path, inputs: Path, workers: int) -> None:
    """Take all from the second host, second copies first."""
    db = database.open(root)
    with patch.object(moving, "BATCH_FILES", 8):
        hosts.set_copies(db, 1, workers=workers)
        hosts.drain(db, "far", workers=workers)


def _damaged_file(db: Database) -> tuple[Path, int]:
    """Return the file that `_repair` damages, and its size as it should be."""
    snapshot = db.snapshot()
    file = snapshot.files("objects")[0]
    return Path(snapshot.stored(file).path), file.bytes


def is_damaged(db: Database) -> bool:
    """Say whether a repair did not come to what it had to mend."""
    path, size = _damaged_file(db)
    return path.stat().st_size != size


def _repair(root: Path, inputs: Path, workers: int) -> None:
    """Cut a file off that follows from others, and mend the database."""
    db = database.open(root)
    path, size = _damaged_file(db)
    with clear_disk_errors(root), path.open("rb+") as file:
        file.truncate(size // 2)
    fsck(db, repair=True, workers=workers)
    if is_damaged(db):
        raise DataError("not mended", str(root), "see there")


def _drop(root: Path, inputs: Path, workers: int) -> None:
    if DECLARED in database.open(root).snapshot().declared:
        drop_table(root, DECLARED)


def _untag(root: Path, inputs: Path, workers: int) -> None:
    if "PV1" in live_tags(database.open(root).root):
        delete_tag(root, "PV1")


Step = Callable[[Path, Path, int], object]
"""What takes the database, the folder of inputs and a number of workers."""

STEPS: dict[str, Step] = {
    "create": lambda root, inputs, workers: database.create(root, cell_rows=CELL_ROWS),
    "photcodes": lambda root, inputs, workers: import_photcodes(database.open(root), inputs / "photcodes.txt"),
    "addstar": lambda root, inputs, workers: _addstar(root, _night(inputs, 0), compact=False, workers=workers),
    "declared": _declared,
    "defer": lambda root, inputs, workers: _addstar(root, _night(inputs, 1), defer=True, workers=workers),
    "refresh": lambda root, inputs, workers: refresh(root, workers=workers),
    "compact": _compact,
    "relcal": lambda root, inputs, workers: relcal(root, workers=workers),
    "resume": _resume,
    "tag": lambda root, inputs, workers: set_tag(database.open(root).root, "PV1"),
    "host": lambda root, inputs, workers: hosts.add_host(database.open(root), "far", root.parent / "far"),
    "balance": _balance,
    "batches": _in_batches,
    "merge": lambda root, inputs, workers: merge(root, inputs / "apart.sky", workers=workers),
    "delete": lambda root, inputs, workers: delete(root, files=inputs / "0-1.cmf", workers=workers),
    "rollback": lambda root, inputs, workers: rollback(root, "PV1"),
    "rebuild": lambda root, inputs, workers: rebuild_catalog(root),
    "copies": lambda root, inputs, workers: hosts.set_copies(database.open(root), 2, workers=workers),
    "drain": _drain,
    "repair": _repair,
    "drop": _drop,
    "untag": _untag,
    "gc": lambda root, inputs, workers: gc(root, grace="0 s"),
}

ONCE = ("create", "relcal", "resume", "host", "delete")
"""Steps that, done twice, refuse or do something again."""

DAMAGED = ("repair",)
"""Steps that damage something before they mend it; until then it cannot be read."""
