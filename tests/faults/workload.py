"""A small database's life, verb by verb: what is killed and starved here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

import skydb.database as database
from skydb import hosts
from skydb.calib.relcal import relcal
from skydb.deletion import delete
from skydb.derived import refresh
from skydb.ingest import batches
from skydb.ingest.addstar import addstar
from skydb.ingest.merge import merge
from skydb.parallel.executor import executor_for
from skydb.photcodes import import_photcodes
from skydb.snapshots import gc, rollback
from skydb.store import moving
from skydb.store.compact import compact
from skydb.store.tags import set_tag
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import PHOTCODES

STARS = 24
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


def _night(inputs: Path, night: int) -> list[Path]:
    return sorted(inputs.glob(f"{night}-*.cmf"))


def _addstar(root: Path, files: list[Path], **options: int) -> None:
    report = addstar(root, files, **options)
    refused = [f.error for f in report.files if f.status == "failed"]
    if refused:
        raise AssertionError(f"good files were refused: {refused}")


def _in_batches(root: Path, inputs: Path, workers: int) -> None:
    """Ingest a night in two batches, and compact."""
    with patch.object(batches, "BATCH_BYTES", 1):
        _addstar(root, _night(inputs, 2), workers=workers)


def _compact(root: Path, inputs: Path, workers: int) -> None:
    db = database.open(root)
    compact(db.snapshot, db.commit, None, cell_rows=db.cell_rows, executor=executor_for(workers))


def _balance(root: Path, inputs: Path, workers: int) -> None:
    """Move files to the second host, in several commits."""
    with patch.object(moving, "BATCH_FILES", 4):
        hosts.balance(database.open(root), workers=workers)


Step = Callable[[Path, Path, int], object]
"""What takes the database, the folder of inputs and a number of workers."""

STEPS: dict[str, Step] = {
    "create": lambda root, inputs, workers: database.create(root, cell_rows=CELL_ROWS),
    "photcodes": lambda root, inputs, workers: import_photcodes(database.open(root), inputs / "photcodes.txt"),
    "addstar": lambda root, inputs, workers: _addstar(root, _night(inputs, 0), compact=False, workers=workers),
    "defer": lambda root, inputs, workers: _addstar(root, _night(inputs, 1), defer=True, workers=workers),
    "refresh": lambda root, inputs, workers: refresh(root, workers=workers),
    "compact": _compact,
    "relcal": lambda root, inputs, workers: relcal(root, workers=workers),
    "tag": lambda root, inputs, workers: set_tag(database.open(root).root, "PV1"),
    "host": lambda root, inputs, workers: hosts.add_host(database.open(root), "far", root.parent / "far"),
    "balance": _balance,
    "batches": _in_batches,
    "merge": lambda root, inputs, workers: merge(root, inputs / "apart.sky", workers=workers),
    "delete": lambda root, inputs, workers: delete(root, files=inputs / "0-1.cmf", workers=workers),
    "rollback": lambda root, inputs, workers: rollback(root, "PV1"),
    "gc": lambda root, inputs, workers: gc(root, grace="0 s"),
}

ONCE = ("create", "relcal", "host", "delete")
"""Steps that, done twice, refuse or do something again."""
