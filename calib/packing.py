"""Packed selections: what a pass over a cell and band needs, in a file beside the database, 16 bytes a measurement.

The database is read once; every pass of the solution then streams these files, so that memory is that of one cell.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.photometric import nominal_zero_point
from skydb.store.cells import Cell
from skydb.store.layout import new_name
from skydb.store.snapshot import Snapshot

from .bands import Band
from .brightest import BrightnessCounts, count_brightness
from .select import Candidates, Selection, SelectionRules, select

COLUMNS = (
    "object_id", "image_id", "det_id", "code", "airmass", "mflat", "inst_mag", "inst_mag_err", "photflags", "psf_qf",
)  # fmt: skip
"""What is read of `measurements`."""


@dataclass(frozen=True)
class Packed:
    """One packed selection: the number of its band in the task, its file, how many measurements it holds."""

    band: int
    path: Path
    rows: int


@dataclass(frozen=True)
class PackTask:
    """What every cell's task shares: the snapshot, the bands (files of `Band.save`), the rules, where to write."""

    snapshot: Snapshot
    terms: PhotcodeTerms
    bands: tuple[Path, ...]
    rules: SelectionRules
    folder: Path


def pack_cell(cell: Cell, *, task: PackTask) -> tuple[Packed, ...]:
    """Select one cell's measurements, band by band, and write them packed; bands without candidates are left out."""
    packed = []
    for number, (band, rows) in _candidates_of_cell(cell, task).items():
        chosen = select(rows, band.images, band.photcodes, task.rules)
        path = task.folder / f"{new_name()}.packed"  # a second run of the task must not write where others read
        write_selection(path, chosen)
        packed.append(Packed(number, path, len(chosen)))
    return tuple(packed)


def count_cell(cell: Cell, *, task: PackTask) -> dict[int, BrightnessCounts]:
    """Count one cell's usable measurements by image and magnitude, for every band that has any."""
    return {
        number: count_brightness(rows, band.images, band.photcodes, task.rules)
        for number, (band, rows) in _candidates_of_cell(cell, task).items()
    }


def _candidates_of_cell(cell: Cell, task: PackTask) -> dict[int, tuple[Band, Candidates]]:
    rows = task.snapshot.read_cell("measurements", cell, COLUMNS)
    bands = [load_band(path) for path in task.bands]
    found = ((number, band, candidates(rows, band, task.terms)) for number, band in enumerate(bands))
    return {number: (band, own) for number, band, own in found if len(own)}


@lru_cache(maxsize=8)
def load_band(path: Path) -> Band:
    """Read a band; kept for the worker's next cell. The files of every run have names of their own."""
    return Band.load(path)


def candidates(measurements: pa.Table, band: Band, terms: PhotcodeTerms) -> Candidates:
    """Return the rows of a table of measurements that are of one band's images.

    Their magnitudes on the nominal system are those that `calibration.photometric.calibrate` gives at an mcal of 0.
    """
    code = int_column(measurements, "code", np.int32)
    mine = np.flatnonzero(np.isin(code, band.photcodes.code))
    mine = mine[_holds(band.images.image_id, int_column(measurements, "image_id")[mine])]
    rows = measurements.select(list(COLUMNS)).take(pa.array(mine))
    code, image_id = code[mine], int_column(rows, "image_id")
    airmass = float_column(rows, "airmass")
    exptime = band.exptime[band.images.rows_of(image_id)]
    return Candidates(
        object_id=int_column(rows, "object_id"), image_id=image_id, det_id=int_column(rows, "det_id"), code=code,
        sys_mag=float_column(rows, "inst_mag") + 2.5 * np.log10(np.where(exptime > 0, exptime, 1.0))
        + nominal_zero_point(terms, code, airmass) - np.nan_to_num(float_column(rows, "mflat")),
        mag_err=float_column(rows, "inst_mag_err"), airmass=airmass.astype(np.float32),
        photflags=int_column(rows, "photflags", np.uint32), psf_qf=float_column(rows, "psf_qf", np.float32),
    )  # fmt: skip


def _holds(sorted_ids: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each id is one of the band's: stacks, warps and references of the band are not."""
    place = np.searchsorted(sorted_ids, ids).clip(max=max(len(sorted_ids) - 1, 0))
    found: NDArray[np.bool_] = sorted_ids[place] == ids
    return found


def write_selection(path: Path, chosen: Selection) -> None:
    """Write a packed selection: its arrays, one after another."""
    with path.open("wb") as file:
        for field in fields(Selection):
            np.save(file, getattr(chosen, field.name), allow_pickle=False)


def read_selection(path: Path) -> Selection:
    """Read what `write_selection` wrote."""
    with path.open("rb") as file:
        arrays: list[Any] = [np.load(file, allow_pickle=False) for _ in fields(Selection)]
    return Selection(*arrays)
