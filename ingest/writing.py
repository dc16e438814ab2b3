"""Last step of an ingest: a cell's new rows become files, and its derived tables are refreshed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.apply import ImageTerms, calibrate_rows
from skydb.calibration.columns import order_of_measurements
from skydb.calibration.derive import ROW_COLUMNS, ImageSources, derive_tables, drift_arcsec, side_by_side
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.kernels.distinct import distinct
from skydb.schema.tables import MEASUREMENTS
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.motion import MotionBound
from skydb.store.parquet import read_file, sort_rows
from skydb.store.scratch import Scratch
from skydb.store.seeds import FOUNDING, founded_seeds
from skydb.store.snapshot import Snapshot

from .companions import CompanionCounts, Placed, companions_of
from .spill import FILE, PIXEL, Spill, open_spill


@dataclass(frozen=True)
class CellRows:
    """Rows to write into one cell: where they lie in the spills, and what they were linked to; every array is (N,).

    `founders` says which rows stand for a detection that founded its object.
    """

    spill: np.ndarray
    row: np.ndarray
    object_id: np.ndarray
    link_flags: np.ndarray
    founders: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def save(self, path: Path) -> None:
        """Write the rows where the cell's next task finds them."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> CellRows:
        """Read the rows that `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in arrays.files})

    @staticmethod
    def concat(parts: Sequence[CellRows]) -> CellRows:
        """Return all rows of several parts."""
        return CellRows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(CellRows)))


@dataclass(frozen=True)
class CellWork:
    """What one cell has to write: its interior rows, kept in a file, and the border's rows that belong to it."""

    cell: Cell
    interior: Path
    border: CellRows


@dataclass(frozen=True)
class WriteTask:
    """What every cell's task shares: the base snapshot, where to store, the spills, the images' terms and kinds.

    `spills` hold the rows that are to be written, `images` the terms of their images, `sources` the kinds of all.
    """

    snapshot: Snapshot
    place: Scratch
    spills: tuple[Spill, ...]
    images: Path
    sources: Path
    photcodes: PhotcodeTerms
    defer: bool


def write_task(
    snapshot: Snapshot, place: Scratch, spills: Sequence[Spill], terms: ImageTerms, photcodes: PhotcodeTerms, *,
    defer: bool = False,
) -> WriteTask:  # fmt: skip
    """Put what the writing tasks read of the new images, and of all, where they map it."""
    images, sources = (place.path / f"{name}-{snapshot.id}.arrow" for name in ("images", "sources"))
    terms.save(images)
    ImageSources.stored(snapshot, terms).save(sources)
    return WriteTask(snapshot, place, tuple(spills), images, sources, photcodes, defer)


def store_tables(tables: Mapping[str, pa.Table], snapshot: Snapshot, place: Scratch) -> tuple[DataFile, ...]:
    """Store the new rows of global tables, by table, where there are any."""
    return tuple(place.store(snapshot, sort_rows(rows, name), name) for name, rows in tables.items() if rows.num_rows)


@dataclass(frozen=True)
class WrittenCell:
    """The files that one cell gained and lost, the cell as it is now, and what became of rows of declared tables.

    `motion` bounds how fast its new objects move.
    """

    cell: Cell
    adds: tuple[DataFile, ...]
    replaces: tuple[str, ...]
    companions: Mapping[str, CompanionCounts] = field(default_factory=dict)
    motion: MotionBound | None = None


def write_cell(work: CellWork, *, task: WriteTask) -> WrittenCell:
    """Write one cell's new measurements, raw and calibrated, its new seeds, and its refreshed derived tables.

    Rows of declared tables that come with the measurements are stored with them.
    """
    raw, founders, placed = _gather(CellRows.concat([CellRows.load(work.interior), work.border]), task.spills)
    written = store_rows_of_cell(work.cell, raw, _seeds_of(raw, founders), task=task)
    spilled, adds, counts = [s.companions for s in task.spills], list(written.adds), {}
    for name in sorted({name for each in spilled for name, _ in each} & task.snapshot.declared.keys()):
        rows, counts[name] = companions_of(placed, spilled, task.snapshot.table(name))
        if rows.num_rows:
            adds.append(task.place.store(task.snapshot, rows, name, cell=work.cell))
    return replace(written, adds=tuple(adds), companions=counts)


def store_rows_of_cell(cell: Cell, raw: pa.Table, seeds: pa.Table, *, task: WriteTask) -> WrittenCell:
    """Store a cell's new measurements (sorted), raw and calibrated, its new seeds, and its refreshed derived tables."""
    snapshot = task.snapshot
    store = partial(task.place.store, snapshot, cell=cell)
    new = _NewRows(raw, calibrate_rows(raw, ImageTerms.load(task.images), task.photcodes), seeds)
    first = store(new.raw, "measurements")
    adds = [first, store(new.cal, "measurements_cal", base=first.name)]
    if new.seeds.num_rows:
        adds.append(store(sort_rows(new.seeds, "object_seeds"), "object_seeds"))
    kept, revived = _without_revived(cell, task, new.seeds)
    adds += kept
    drift = max(cell.drift_arcsec, drift_arcsec(new.cal), drift_arcsec(new.raw, ra="ra_raw", dec="dec_raw"))
    motion = MotionBound.of(seeds)
    if task.defer:
        return WrittenCell(Cell(*cell.key, cell.host, drift, stale=True), tuple(adds), revived, motion=motion)
    derived = _derive(cell, task, new)
    old = [f.name for name in derived for f in snapshot.files(name, cell)]
    adds += [store(table, name) for name, table in derived.items()]
    drift = max(drift, drift_arcsec(derived["objects"]))
    return WrittenCell(Cell(*cell.key, cell.host, drift, stale=False), tuple(adds), (*old, *revived), motion=motion)


def _without_revived(cell: Cell, task: WriteTask, seeds: pa.Table) -> tuple[list[DataFile], tuple[str, ...]]:
    """Write files of seeds anew without those of objects that retired and are founded again; what begins and ends."""
    adds, ends = [], []
    for file in task.snapshot.files("object_seeds", cell) if seeds.num_rows else []:
        rows = read_file(task.snapshot.stored(file)).replace_schema_metadata()
        kept = _not_among(rows, seeds)
        if kept.num_rows < rows.num_rows:
            ends.append(file.name)
            if kept.num_rows:
                adds.append(task.place.store(task.snapshot, kept, "object_seeds", cell=cell))
    return adds, tuple(ends)


def _not_among(seeds: pa.Table, new: pa.Table) -> pa.Table:
    """Return the stored seeds of objects that are not founded anew."""
    return seeds.filter(pc.invert(pc.is_in(seeds.column("object_id"), new.column("object_id").combine_chunks())))


@dataclass(frozen=True)
class _NewRows:
    """The new rows of a cell: measurements, raw and calibrated, row by row, and the seeds of objects founded."""

    raw: pa.Table
    cal: pa.Table
    seeds: pa.Table


def _derive(cell: Cell, task: WriteTask, new: _NewRows) -> dict[str, pa.Table]:
    """Derive the cell's tables from what it holds and what is new."""
    stored = task.snapshot.read_cell("measurements", cell, ROW_COLUMNS)
    seeds = _not_among(task.snapshot.read_cell("object_seeds", cell), new.seeds)
    return derive_tables(
        _all_rows([stored, side_by_side(new.raw, new.cal)]), _all_rows([seeds, new.seeds]),
        ImageSources.load(task.sources), task.photcodes,
    )  # fmt: skip


def _all_rows(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables whose columns may be declared NOT NULL in some and not in others."""
    return pa.concat_tables([p.replace_schema_metadata() for p in parts], promote_options="default")


def _gather(rows: CellRows, spills: Sequence[Spill]) -> tuple[pa.Table, pa.Array, Placed]:
    """Take a cell's rows out of the spills.

    Returns them as `measurements` is sorted, which of these are founders, and where all lie in the spills.
    """
    parts, order = [], []
    for number in distinct(rows.spill):
        mine = np.flatnonzero(rows.spill == number)
        table = open_spill(spills[int(number)])
        first, last = int(rows.row[mine].min()), int(rows.row[mine].max()) + 1
        parts.append(table.slice(first, last - first).take(pa.array(rows.row[mine] - first)))
        order.append(mine)
    place = np.concatenate(order)
    raw = pa.concat_tables(parts, promote_options="default").drop_columns([PIXEL, FILE])
    raw = raw.append_column("object_id", pa.array(rows.object_id[place]))
    raw = raw.append_column("link_flags", pa.array(rows.link_flags[place], pa.uint32()))
    image, det = (raw.column(name).to_numpy() for name in ("image_id", "det_id"))
    placed = Placed(rows.spill[place], rows.row[place], rows.object_id[place], image, det)
    founders = pa.array(rows.founders[place])
    by_key = order_of_measurements(raw)
    if by_key is not None:
        raw, founders = raw.take(pa.array(by_key)), founders.take(pa.array(by_key))
    return MEASUREMENTS.conform(raw), founders, placed


def _seeds_of(raw: pa.Table, founders: pa.Array) -> pa.Table:
    """Return the seeds that the founding detections make; an object has one founder."""
    return founded_seeds(raw.select(FOUNDING).filter(founders))
