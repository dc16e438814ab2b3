"""The objects of rows: by id, by position, or by the measurement that a row is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct, is_among
from skydb.parallel.executor import Executor
from skydb.sky.partition import merge_ranges, pixel_of, separation_arcsec, unit_vectors
from skydb.store.aliases import current_ids
from skydb.store.arrays import numbers_of
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.changes import NOWHERE
from skydb.store.snapshot import Snapshot

from ..reach import sky_around
from ..routing import PLAN_ORDER
from .reading import RowFile, blocks_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FINE, NO_KEY, NO_OBJECT, TOO_FAR, NO_IMAGE, NO_MEASUREMENT, DUPLICATE = range(7)
REASONS = ("", "no key", "no object", "no object within the radius", "no image", "no measurement", "duplicate")
"""What is wrong with a row, by its number."""


@dataclass(frozen=True)
class Matched:
    """Objects of some rows: `object_id` (N,), `reason` (N,) why one has none, and the key columns that are stored."""

    object_id: Ints
    reason: NDArray[np.int8]
    keys: dict[str, Ints] = field(default_factory=dict)


Match = Callable[[int, pa.Table], Matched]
"""Finds the objects of a block: of the number of its first row and its key columns."""


def match_by_id(snapshot: Snapshot) -> Match:
    """Return how rows find their objects by id; an id that was merged into another stands for that one."""

    def match(_: int, keys: pa.Table) -> Matched:
        ids, has_key = _whole(keys, "object_id")
        return Matched(current_ids(snapshot, ids), np.where(has_key, FINE, NO_KEY).astype(np.int8))

    return match


def _whole(keys: pa.Table, name: str) -> tuple[Ints, NDArray[np.bool_]]:
    """Return a key column, 0 where it is NULL, and where it is not."""
    column = keys.column(name)
    return numbers_of(column.fill_null(0)), np.asarray(column.is_valid())


@dataclass
class PositionMatch:
    """Rows find the nearest object, by its mean position; `reads` (K, 2) is the sky that was looked at."""

    snapshot: Snapshot
    radius_arcsec: float
    reads: Ints = field(default_factory=lambda: NOWHERE)

    def __call__(self, _: int, keys: pa.Table) -> Matched:
        """Return the objects of a block."""
        ra, dec = (np.asarray(keys.column(name).to_numpy(zero_copy_only=False), np.float64) for name in ("ra", "dec"))
        known = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))
        ids, reason = np.zeros(len(ra), np.int64), np.full(len(ra), NO_KEY, np.int8)
        for rows in self._by_cell(known, ra, dec):
            near = self._nearest(ra[rows], dec[rows])
            ids[rows], reason[rows] = near, np.where(near >= 0, FINE, TOO_FAR)
        return Matched(ids, reason)

    def _by_cell(self, rows: Ints, ra: Floats, dec: Floats) -> Iterator[Ints]:
        """Yield the rows that lie in one cell, or between two, after one another."""
        pixel = pixel_of(ra[rows] % 360, dec[rows])
        lows = np.array([c.lo for c in self.snapshot.cells()], dtype=np.int64)
        home = np.searchsorted(lows, pixel, side="right")
        order = np.argsort(home, kind="stable")
        if len(order):
            yield from np.split(rows[order], np.flatnonzero(np.diff(home[order])) + 1)

    def _nearest(self, ra: Floats, dec: Floats) -> Ints:
        """Return the nearest object within the radius of each position, -1 where there is none."""
        from scipy.spatial import cKDTree

        drift = max((c.drift_arcsec for c in self.snapshot.cells()), default=0.0)
        sky = sky_around(distinct(pixel_of(ra % 360, dec, PLAN_ORDER)), self.radius_arcsec + drift)
        self.reads = merge_ranges(np.concatenate([self.reads, sky]))
        parts = [_positions(self.snapshot, cell, sky) for cell in self.snapshot.cells(sky)]
        ids, object_ra, object_dec = (np.concatenate(each) for each in zip(*parts, strict=True)) if parts else _NOTHING
        if not len(ids):
            return np.full(len(ra), -1, np.int64)
        tree = cKDTree(unit_vectors(object_ra, object_dec))
        found: tuple[Any, Any] = tree.query(unit_vectors(ra % 360, dec), k=[*range(1, min(2, len(ids)) + 1)])
        chord, at = found
        first = np.where(chord[:, 0] == chord[:, -1], at.min(axis=1), at[:, 0])  # of two equally near, the lower id
        away = separation_arcsec(ra % 360, dec, object_ra[first], object_dec[first])
        return np.where(away <= self.radius_arcsec, ids[first], -1)


SEED_COLUMNS = ("object_id", "assoc_ra", "assoc_dec", "retired")


def living_seeds(snapshot: Snapshot, cell: Cell, *, ranges: Ints | None = None) -> pa.Table:
    """Return the seeds of a cell's objects (`SEED_COLUMNS`) that have not retired."""
    seeds = snapshot.read_cell("object_seeds", cell, SEED_COLUMNS, ranges=ranges)
    return seeds.filter(pc.invert(pc.fill_null(seeds.column("retired"), False)))


_NOTHING: tuple[Ints, Floats, Floats] = (np.empty(0, np.int64), np.empty(0), np.empty(0))


def _positions(snapshot: Snapshot, cell: Cell, ranges: Ints) -> tuple[Ints, Floats, Floats]:
    """Return id and position of a cell's living objects, by id; of one that waits for a refresh, the first position."""
    seeds = living_seeds(snapshot, cell, ranges=ranges).sort_by("object_id")
    ids, ra, dec = (numbers_of(seeds.column(name)) for name in SEED_COLUMNS[:3])
    means = snapshot.read_cell("objects", cell, ["object_id", "ra", "dec"], ranges=ranges)
    own = numbers_of(means.column("object_id"))
    at = np.searchsorted(ids, own)
    known = np.flatnonzero(is_among(own, ids))
    ra, dec = ra.copy(), dec.copy()
    for values, name in ((ra, "ra"), (dec, "dec")):
        values[at[known]] = numbers_of(means.column(name))[known]
    return ids, ra, dec


def match_by_measurement(file: RowFile, snapshot: Snapshot, executor: Executor, folder: Path) -> Match:
    """Return how rows find the objects of their measurements.

    The keys of the whole file are held in memory, 40 bytes a row; every cell is read once.
    """
    images, dets, reasons = [], [], []
    name_ids = _image_ids(snapshot) if "image" in file.key_columns else None
    for block in blocks_of(file, only_keys=True):
        image, has_image, reason = _images_of(block.keys, name_ids)
        det, has_det = _whole(block.keys, "det_id")
        images.append(image)
        dets.append(det)
        reasons.append(np.where(has_image & has_det, reason, NO_KEY))
    image_id, det_id, reason = (np.concatenate([np.empty(0, np.int64), *parts]) for parts in (images, dets, reasons))
    found = objects_of_measurements(image_id, det_id, snapshot, executor, folder)
    reason = np.where((reason == FINE) & (found < 0), NO_MEASUREMENT, reason)

    def match(first: int, keys: pa.Table) -> Matched:
        rows = slice(first, first + keys.num_rows)
        return Matched(found[rows], reason[rows].astype(np.int8), {"image_id": image_id[rows], "det_id": det_id[rows]})

    return match


def _image_ids(snapshot: Snapshot) -> dict[str, int]:
    """Return the images by name; -1 for a name that several have."""
    rows = snapshot.read_global("images", ["name", "image_id"])
    found: dict[str, int] = {}
    for name, image in zip(rows.column("name").to_pylist(), rows.column("image_id").to_pylist(), strict=True):
        found[name] = -1 if name in found else image
    return found


def _images_of(keys: pa.Table, ids: dict[str, int] | None) -> tuple[Ints, NDArray[np.bool_], NDArray[np.int64]]:
    """Return image ids, where there are any, and what is wrong with them."""
    if ids is None:
        image, has_key = _whole(keys, "image_id")
        return image, has_key, np.full(len(image), FINE, np.int64)
    names = keys.column("image")
    image = np.array([ids.get(name, -1) for name in names.to_pylist()], dtype=np.int64)
    return image, np.asarray(names.is_valid()), np.where(image < 0, NO_IMAGE, FINE)


def objects_of_measurements(image_id: Ints, det_id: Ints, snapshot: Snapshot, executor: Executor, folder: Path) -> Ints:
    """Return the objects of measurements (N,), -1 where there is no such measurement."""
    wanted = _Wanted(distinct(image_id), distinct(det_id))
    codes = wanted.codes(image_id, det_id)
    every = distinct(codes)
    path = folder / "wanted.npz"
    np.savez(path, images=wanted.images, dets=wanted.dets, codes=every)
    objects = np.full(len(every), -1, np.int64)
    task = partial(_found_in_cell, snapshot=snapshot, path=path)
    for at, ids in map_cells(executor, task, snapshot, snapshot.cells()):
        objects[at] = ids
    return objects[np.searchsorted(every, codes)] if len(every) else np.empty(0, np.int64)


@dataclass(frozen=True)
class _Wanted:
    """Measurements by number: their images and their detection ids, both ascending."""

    images: Ints
    dets: Ints

    def codes(self, image_id: Ints, det_id: Ints) -> Ints:
        """Return one number for each measurement whose image and detection id are among those."""
        image, det = np.searchsorted(self.images, image_id), np.searchsorted(self.dets, det_id)
        return np.asarray(image * len(self.dets) + det, dtype=np.int64)


def _found_in_cell(cell: Cell, *, snapshot: Snapshot, path: Path) -> tuple[Ints, Ints]:
    """Return which of the wanted measurements a cell has, and their objects."""
    with np.load(path) as stored:
        wanted, codes = _Wanted(stored["images"], stored["dets"]), stored["codes"]
    places, objects = [], []
    for part in snapshot.cell_parts("measurements", cell, ["object_id", "image_id", "det_id"]):
        object_id, image, det = (numbers_of(part.column(name)) for name in ("object_id", "image_id", "det_id"))
        rows = np.flatnonzero(is_among(image, wanted.images) & is_among(det, wanted.dets))
        code = wanted.codes(image[rows], det[rows])
        hit = is_among(code, codes)
        places.append(np.searchsorted(codes, code[hit]))
        objects.append(object_id[rows][hit])
    none = np.empty(0, np.int64)
    return np.concatenate([none, *places]), np.concatenate([none, *objects])
