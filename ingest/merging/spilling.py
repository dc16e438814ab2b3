"""First step of a merge: the other database's rows go to spills in sky order, cell by cell of its own.

Each cell gives four kinds of spills: its objects; the measurements that come, object by object; rows of declared
tables; and the ids that objects had in databases that were merged into it. An object's row says which of the
measurements are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import float_column, int_column, order_of_measurements
from skydb.calibration.mapped import load_mapped
from skydb.kernels.distinct import is_among
from skydb.schema.tables import MEASUREMENTS, OBJECT_SEEDS
from skydb.sky.epochs import mjd_of_epoch
from skydb.sky.partition import pixel_of
from skydb.sky.region_text import Area
from skydb.store.cells import Cell
from skydb.store.layout import new_name
from skydb.store.parquet import read_file
from skydb.store.snapshot import Snapshot

from ..retired import Retired
from ..routing import PLAN_ORDER, counts_by_pixel
from ..spill import Spill, write_spill
from .in_part import images_in_file, not_held

FIRST, COUNT = "_first", "_count"
"""Of an object: the first of its rows in the spill of measurements with the same number, and how many there are."""


@dataclass(frozen=True)
class SpillTask:
    """What every cell's task shares: the source, where to spill, the images of which measurements come (a mapped file).

    The file has their ids, ascending, and which of them the base has in part: of these come the measurements that are
    not `held`. Objects outside the region stay out.
    """

    source: Snapshot
    folder: Path
    images: Path
    held: tuple[Spill, ...] = ()
    region: Area | None = None


@dataclass(frozen=True)
class Spilled:
    """The spills of one cell, or of several, and how many measurements there are of each image.

    `objects` and `measurements` go together, one by one. `declared` are by table. `pixels` (N,) of order `PLAN_ORDER`,
    ascending, and `counts` (N,) say where how much is to be stored.
    """

    objects: tuple[Spill, ...]
    measurements: tuple[Spill, ...]
    declared: dict[str, tuple[Spill, ...]]
    aliases: tuple[Spill, ...]
    n_measurements: dict[int, int]
    pixels: np.ndarray
    counts: np.ndarray

    @classmethod
    def concat(cls, parts: list[Spilled]) -> Spilled:
        """Return the spills of several cells."""
        total: dict[int, int] = {}
        declared: dict[str, tuple[Spill, ...]] = {}
        for part in parts:
            for image, count in part.n_measurements.items():
                total[image] = total.get(image, 0) + count
            for name, spills in part.declared.items():
                declared[name] = declared.get(name, ()) + spills
        pixels, counts = counts_by_pixel([p.pixels for p in parts], [p.counts for p in parts])
        return cls(
            tuple(s for p in parts for s in p.objects), tuple(s for p in parts for s in p.measurements), declared,
            tuple(s for p in parts for s in p.aliases), total, pixels, counts,
        )  # fmt: skip


def spill_cell(cell: Cell, *, task: SpillTask) -> Spilled:
    """Spill what a cell of the source brings: its objects in the region, with those of their rows that are new."""
    source = task.source
    seeds, _ = Retired.apart(source.read_cell("object_seeds", cell, list(OBJECT_SEEDS.names)))
    if task.region is not None:
        ra, dec = (float_column(seeds, name) for name in ("assoc_ra", "assoc_dec"))
        seeds = seeds.filter(pa.array(task.region.contains(ra, dec)))
    rows = _rows_of_objects(cell, seeds, task)
    objects = _with_rows(seeds, int_column(rows, "object_id"))
    at = pixel_of(float_column(objects, "assoc_ra"), float_column(objects, "assoc_dec"))
    names, counts = np.unique(int_column(rows, "image_id"), return_counts=True)
    aliases = source.read_cell("object_aliases", cell)
    declared: dict[str, tuple[Spill, ...]] = {
        name: (_spill(part, int_column(part, "object_id"), task.folder),)
        for name, part in _declared_rows(source, cell, int_column(seeds, "object_id"))
    }  # fmt: skip
    ids = np.concatenate([at, int_column(aliases, "object_id")])  # what needs a cell
    weight = np.concatenate([np.maximum(int_column(objects, COUNT), 1), np.ones(aliases.num_rows, dtype=np.int64)])
    return Spilled(
        (_spill(_as_detections(objects), at, task.folder),),
        (_spill(rows, int_column(rows, "object_id"), task.folder),), declared,
        (_spill(aliases, int_column(aliases, "stands_for"), task.folder),) if aliases.num_rows else (),
        dict(zip(names.tolist(), counts.tolist(), strict=True)),
        *counts_by_pixel([ids >> 2 * (29 - PLAN_ORDER)], [weight]),
    )  # fmt: skip


def _spill(rows: pa.Table, pixels: np.ndarray, folder: Path) -> Spill:
    path = folder / f"{new_name()}.arrow"  # a second run of the task must not write where others read
    return write_spill(path, rows, pixels, np.zeros(len(pixels), dtype=np.int32))


def _rows_of_objects(cell: Cell, seeds: pa.Table, task: SpillTask) -> pa.Table:
    """Return the raw measurements of a cell that come, of the objects that do, as `measurements` is sorted."""
    rows = _coming_rows(task.source, cell if seeds.num_rows else None, load_mapped(task.images)["image_id"])
    if task.region is not None:
        rows = rows.filter(pa.array(is_among(int_column(rows, "object_id"), np.sort(int_column(seeds, "object_id")))))
    in_part = images_in_file(task.images)
    return rows.filter(pa.array(not_held(rows, in_part, task.held))) if len(in_part) else rows


def _coming_rows(source: Snapshot, cell: Cell | None, images: np.ndarray) -> pa.Table:
    """Return the raw measurements of a cell that are of some images (ascending), as `measurements` is sorted."""
    parts = [MEASUREMENTS.empty().replace_schema_metadata()]
    for file in source.files("measurements", cell) if cell is not None else []:
        stored = source.stored(file)
        comes = is_among(int_column(read_file(stored, ["image_id"]), "image_id"), images)
        if comes.any():
            rows = read_file(stored).replace_schema_metadata()
            parts.append(rows if comes.all() else rows.filter(pa.array(comes)))
    rows = pa.concat_tables(parts, promote_options="default")
    order = order_of_measurements(rows)
    return rows if order is None else rows.take(pa.array(order))


def _with_rows(seeds: pa.Table, object_id: np.ndarray) -> pa.Table:
    """Return the objects with which rows are theirs; `object_id` (N,) of the rows, ascending."""
    ids = int_column(seeds, "object_id")
    first, last = np.searchsorted(object_id, ids), np.searchsorted(object_id, ids, side="right")
    return seeds.append_column(FIRST, pa.array(first)).append_column(COUNT, pa.array(last - first))


def _as_detections(objects: pa.Table) -> pa.Table:
    """Return objects as association takes detections: those of one image, each numbered by its id."""
    as_detection = {
        "image_id": pa.array(np.zeros(objects.num_rows, dtype=np.int64)), "det_id": objects["object_id"],
        "ra_raw": objects["assoc_ra"], "dec_raw": objects["assoc_dec"],
        "mjd": pa.array(mjd_of_epoch(np.nan_to_num(float_column(objects, "assoc_epoch"), nan=2000.0))),
    }  # fmt: skip
    for name, values in as_detection.items():
        objects = objects.append_column(name, values)
    return objects


def _declared_rows(source: Snapshot, cell: Cell, objects: np.ndarray) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of declared tables about living objects, and about their measurements, if there are any."""
    living = np.sort(objects)
    for name, table in source.declared.items():
        rows = source.read_cell(name, cell)
        rows = rows.filter(pa.array(is_among(int_column(rows, "object_id"), living)))
        if rows.num_rows:
            yield name, rows.sort_by([(column, "ascending") for column in table.sort])
