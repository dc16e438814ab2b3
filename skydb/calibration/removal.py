"""Take images out of a cell: its files without their measurements, and what follows from the others anew.

An object that is left without measurements retires: its seed stays, so that its id stays taken, and is marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.kernels.distinct import distinct, is_among
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.mending import how_to_mend
from skydb.store.parquet import read_file, split_columns
from skydb.store.scratch import Scratch
from skydb.store.snapshot import Snapshot

from .columns import int_column
from .derive import ROW_COLUMNS, ImageSources, derive_tables, drift_arcsec, side_by_side
from .photcode_terms import PhotcodeTerms
from .rewriting import RewrittenCell

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class CountedCell:
    """How many measurements a cell holds of each of some images; images without any are left out."""

    cell: Cell
    n_measurements: dict[int, int]


@dataclass(frozen=True)
class RemovalTask:
    """What every cell's task shares: the snapshot, where to store, the images (ascending), kinds of all, photcodes."""

    snapshot: Snapshot
    place: Scratch
    images: Ids
    sources: Path
    terms: PhotcodeTerms


@dataclass(frozen=True)
class ThinnedCell:
    """What taking images out of a cell made of it, and how many objects retired."""

    written: RewrittenCell
    n_retired: int


def count_images(cell: Cell, *, snapshot: Snapshot, images: Ids) -> CountedCell:
    """Count a cell's measurements of some images (ascending), by the one column that names them."""
    found = [np.empty(0, dtype=np.int64)]
    for file in snapshot.files("measurements_cal", cell):
        ids = int_column(read_file(snapshot.stored(file), ["image_id"]), "image_id")
        found.append(ids[is_among(ids, images)])
    names, counts = np.unique(np.concatenate(found), return_counts=True)
    return CountedCell(cell, dict(zip(names.tolist(), counts.tolist(), strict=True)))


def remove_images(cell: Cell, *, task: RemovalTask) -> ThinnedCell:
    """Write those of a cell's files anew that hold rows of the images, without them, and its derived tables."""
    snapshot, store = task.snapshot, partial(task.place.store, task.snapshot, cell=cell)
    pairs = [_thinned(snapshot, raw, cal, task.images) for raw, cal in snapshot.measurement_pairs(cell)]
    adds, ends = _stored_pairs(pairs, task.place, snapshot, cell)
    measured = [side_by_side(p.raw, p.cal) for p in pairs if p.raw.num_rows]
    left = distinct(np.concatenate([np.empty(0, np.int64), *(int_column(m, "object_id") for m in measured)]))
    gone = distinct(np.concatenate([np.empty(0, np.int64), *(p.objects for p in pairs)]))
    retiring = gone[~is_among(gone, left)]
    derived = _derived(task, cell, measured)
    drift = max(cell.drift_arcsec, drift_arcsec(derived["objects"]) if derived else 0.0)
    ends += [f.name for name in ("objects", "object_bands") for f in snapshot.files(name, cell)]
    adds += [store(rows, name) for name, rows in derived.items()]
    for old, rows in (*_retired_seeds(snapshot, cell, retiring), *_declared_rows(snapshot, cell, task.images)):
        ends.append(old.name)
        adds += [store(rows, old.table)] if rows.num_rows else []
    written = RewrittenCell(replace(cell, drift_arcsec=drift, stale=False), tuple(adds), tuple(ends))
    return ThinnedCell(written, len(retiring))


@dataclass(frozen=True)
class _Pair:
    """A pair of files, and the rows that are left in it: all columns if it `lost` some, else what the means read.

    `objects` are those that the lost rows were of.
    """

    files: tuple[DataFile, DataFile]
    raw: pa.Table
    cal: pa.Table
    objects: Ids
    lost: bool


def _thinned(snapshot: Snapshot, raw_file: DataFile, cal_file: DataFile, images: Ids) -> _Pair:
    if raw_file.rows != cal_file.rows:
        path = snapshot.stored(cal_file).path
        raise DataError("the calibrated file does not match its raw file", str(path), how_to_mend(path))
    keys = read_file(snapshot.stored(cal_file), ["object_id", "image_id"])
    hit = is_among(int_column(keys, "image_id"), images)
    files, lost = (raw_file, cal_file), bool(hit.any())
    cal_names, raw_names = (None, None) if lost else split_columns(ROW_COLUMNS)
    raw, cal = (
        read_file(snapshot.stored(f), names).replace_schema_metadata()
        for f, names in ((raw_file, raw_names), (cal_file, cal_names))
    )
    if lost:
        raw, cal = raw.filter(pa.array(~hit)), cal.filter(pa.array(~hit))
    return _Pair(files, raw, cal, distinct(int_column(keys, "object_id")[hit]), lost)


def _stored_pairs(
    pairs: Sequence[_Pair], place: Scratch, snapshot: Snapshot, cell: Cell
) -> tuple[list[DataFile], list[str]]:
    """Store the pairs that lost rows anew, if any are left; returns the new files and the names of the old ones."""
    adds: list[DataFile] = []
    for pair in (p for p in pairs if p.lost and p.raw.num_rows):
        raw = place.store(snapshot, pair.raw, "measurements", cell=cell)
        adds += [raw, place.store(snapshot, pair.cal, "measurements_cal", cell=cell, base=raw.name)]
    return adds, [file.name for pair in pairs if pair.lost for file in pair.files]


def _derived(task: RemovalTask, cell: Cell, measured: Sequence[pa.Table]) -> dict[str, pa.Table]:
    if not measured:
        return {}
    seeds = task.snapshot.read_cell("object_seeds", cell)
    rows = pa.concat_tables(measured, promote_options="default")
    return derive_tables(rows, seeds, ImageSources.load(task.sources), task.terms)


def _retired_seeds(snapshot: Snapshot, cell: Cell, retiring: Ids) -> Iterator[tuple[DataFile, pa.Table]]:
    """Yield the files of seeds in which objects retire, each with its rows as they are then."""
    for file in snapshot.files("object_seeds", cell) if len(retiring) else []:
        rows = read_file(snapshot.stored(file)).replace_schema_metadata()
        retire = is_among(int_column(rows, "object_id"), retiring)
        if retire.any():
            retired = rows.column("retired").fill_null(False).to_numpy() | retire
            yield file, rows.set_column(rows.column_names.index("retired"), "retired", pa.array(retired))


def _declared_rows(snapshot: Snapshot, cell: Cell, images: Ids) -> Iterator[tuple[DataFile, pa.Table]]:
    """Yield the files of tables of the user's own that hold rows of the images' measurements, each with the others."""
    for name, table in snapshot.declared.items():
        for file in snapshot.files(name, cell) if table.keyed_by == "measurement" else []:
            rows = read_file(snapshot.stored(file)).replace_schema_metadata()
            hit = is_among(int_column(rows, "image_id"), images)
            if hit.any():
                yield file, rows.filter(pa.array(~hit))
