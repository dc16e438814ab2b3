"""What a database really holds, in the words of the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from skydb.database import Database
from skydb.store.history import catalog_table
from skydb.store.snapshot import Snapshot

from .sky_model import EXPTIME, Exposure, Key, Model

COLUMNS = ("object_id", "image_id", "det_id", "ra_raw", "dec_raw", "inst_mag", "mag", "mcal")
SECONDS_PER_DAY = 86_400.0
MILLIMAGNITUDE = 1e-3


def check(snapshot: Snapshot, model: Model, exposures: Mapping[int, Exposure]) -> None:
    """Fail unless a snapshot holds what a model does."""
    images = images_of(snapshot, exposures)
    assert set(images.values()) == set(model.mcal)
    stored = {key: row for row in _rows(snapshot, "measurements", COLUMNS)
              if (key := (images[row["image_id"]], row["det_id"]))}  # fmt: skip
    assert len(stored) == _count(snapshot, "measurements"), "a measurement is there twice"
    assert {key: row["object_id"] for key, row in stored.items()} == model.object_of
    for key, row in stored.items():
        _check_row(row, key, model, exposures)
    seeds = {row["object_id"]: (row["assoc_ra"], row["assoc_dec"]) for row in _rows(snapshot, "object_seeds")}
    assert seeds == model.seeds
    assert {row["object_id"] for row in _rows(snapshot, "object_seeds") if row["retired"]} == model.retired
    assert {int(row["object_id"]) for row in _rows(snapshot, "object_aliases")} == model.aliases
    if not model.stale:
        counts = {row["object_id"]: row["n_measurements"] for row in _rows(snapshot, "objects")}
        assert counts == model.counts()
        bands = {row["object_id"]: row["n_measurements"] for row in _rows(snapshot, "object_bands")}
        assert bands == model.counts()
    _check_cells(snapshot)


def _check_row(row: Mapping[str, float], key: Key, model: Model, exposures: Mapping[int, Exposure]) -> None:
    exposure = exposures[key[0]]
    assert (row["ra_raw"], row["dec_raw"]) == tuple(exposure.at[key[1]])
    assert row["inst_mag"] == np.float32(exposure.mag[key[1]])
    assert abs(row["mag"] - model.mag(exposure, key[1])) < MILLIMAGNITUDE / 100


def images_of(snapshot: Snapshot, exposures: Mapping[int, Exposure]) -> dict[int, int]:
    """Return the exposure of every image, by its start and the file that its name tells."""
    known = {(round(e.mjd * SECONDS_PER_DAY), e.path.name): number for number, e in exposures.items()}
    rows = snapshot.read_global("images", ["image_id", "name", "utc_start", "exptime"]).to_pylist()
    assert all(row["exptime"] == EXPTIME for row in rows)
    keys = {row["image_id"]: (round(row["utc_start"] * SECONDS_PER_DAY), row["name"].split("[")[0]) for row in rows}
    return {image: known[key] for image, key in keys.items()}


def _rows(snapshot: Snapshot, table: str, columns: tuple[str, ...] | None = None) -> list[dict[str, float]]:
    parts = [snapshot.read_cell(table, cell, columns) for cell in snapshot.cells()]
    return pa.concat_tables(parts, promote_options="default").to_pylist() if parts else []


def _count(snapshot: Snapshot, table: str) -> int:
    return sum(file.rows for file in snapshot.files(table))


def _check_cells(snapshot: Snapshot) -> None:
    """Cells do not overlap, and every file lies in one."""
    cells = snapshot.cells()
    assert all(one.hi <= other.lo for one, other in itertools.pairwise(cells))
    keys = {cell.key for cell in cells}
    assert all((f.norder, f.npix) in keys for f in snapshot.files("measurements"))


def check_log(db: Database, model: Model) -> None:
    """Fail unless the ingest log tells of the files that are there, and of every row."""
    entries = [e for e in catalog_table(db.snapshot(), "ingest_log").to_pylist()
               if e["n_measurements"] > e["n_deleted_measurements"]]  # fmt: skip
    assert len(entries) == len(model.mcal)
    assert all(e["n_in"] == e["n_matched"] + e["n_new"] + e["n_rejected"] for e in entries)
    assert sum(e["n_measurements"] - e["n_deleted_measurements"] for e in entries) == len(model.object_of)
