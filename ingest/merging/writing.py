"""Last step of a merge: the objects that go to a cell, with all that is theirs, under the ids that they have here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.columns import int_column, order_of_measurements
from skydb.calibration.derive import ImageSources
from skydb.checks.keys import among
from skydb.kernels.distinct import by_value, distinct, is_among
from skydb.schema.declaration import KEYS
from skydb.schema.model import Table
from skydb.schema.tables import MEASUREMENTS, OBJECT_ALIASES, OBJECT_SEEDS
from skydb.sky.partition import merge_ranges
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.parquet import sort_rows
from skydb.store.scratch import Scratch
from skydb.store.snapshot import Snapshot

from ..retired import Retired
from ..rows.storing import new_rows
from ..spill import FILE, PIXEL, Spill, open_spill
from ..writing import CellRows, CellWork, WriteTask, WrittenCell, store_rows_of_cell
from .spilling import COUNT, FIRST, Spilled
from .strays import spill_strays
from .tally import Tally, rows_by_file

SPILL, NEW_ID, FOUNDS = "_spill", "_new_id", "_founds"
"""Of an object: the number of its spill, its id here, and whether it is a new one."""


@dataclass(frozen=True)
class MergeTask:
    """What every cell's task shares: what to write where, the spills, and the database from which they come.

    `write` has the spills of measurements. Objects that match none here stay out, if `only_matches`. `several` is a
    mapped file: the images (ascending) of files whose rows make several measurements, and numbers of the files.
    """

    write: WriteTask
    spilled: Spilled
    source_id: str
    several: Path
    only_matches: bool = False


@dataclass(frozen=True)
class MergedCell:
    """What became of one cell, and what it could not store itself.

    `written` is None where nothing changed. `old`, `new` (K,) are ids of objects that have another one here, `database`
    (K,) the databases that gave them: they lie where the old ids do. `founders` (M,) are the images of measurements
    that come and founded their objects, new ones and ones that came before them. `declared` counts rows of declared
    tables that came; `strays` are spilled rows of them about measurements that are not among those of their objects.
    """

    written: WrittenCell | None
    old: np.ndarray
    new: np.ndarray
    database: tuple[str, ...]
    founders: np.ndarray
    tally: Tally
    n_matched: int
    n_new: int
    declared: dict[str, int]
    strays: dict[str, Path]


def write_merged_cell(work: CellWork, *, task: MergeTask) -> MergedCell:
    """Write the measurements, the seeds and the declared rows of the objects that go to one cell."""
    rows = CellRows.concat([CellRows.load(work.interior), work.border])
    live, retired = Retired.apart(task.write.snapshot.read_cell("object_seeds", work.cell, list(Retired.COLUMNS)))
    objects, away = _objects_of(rows, np.sort(retired.object_id), task)
    founds = objects.column(FOUNDS).to_numpy()
    raw = _measurements_of(objects, task)
    tally = Tally(
        by_value(int_column(raw, "image_id")), by_value(_images_of(away, task)), rows_by_file(raw, task.several),
        int((int_column(away, COUNT) > 0).sum()), len(rows),
    )  # fmt: skip
    seeds = _seeds_of(objects.filter(pa.array(founds)), raw, task)
    adds, declared, strays = _declared_files(work.cell, objects, np.sort(int_column(away, "object_id")), raw, task)
    written = None
    if raw.num_rows:
        written = store_rows_of_cell(work.cell, raw, seeds, task=task.write)
        written = replace(written, adds=(*written.adds, *adds))
    elif adds:
        written = WrittenCell(work.cell, tuple(adds), ())
    old, new, database = _aliases_of(objects, task)
    return MergedCell(
        written, old, new, database, np.concatenate([_founders(seeds, raw), _founders(live, raw)]), tally,
        int((~founds).sum()), seeds.num_rows, declared, strays,
    )  # fmt: skip


def _founders(seeds: pa.Table, raw: pa.Table) -> np.ndarray:
    """Return the images of measurements that come, once for each object of theirs that they founded."""
    ids, image, det = (int_column(seeds, name) for name in ("object_id", "founder_image_id", "founder_det_id"))
    return image[among([ids, image, det], [int_column(raw, name) for name in KEYS["measurement"]])]


def _objects_of(rows: CellRows, retired: np.ndarray, task: MergeTask) -> tuple[pa.Table, pa.Table]:
    """Return the objects with their ids here, and those that stay away.

    They would be new, and bring no measurement or are not wanted. One that has `retired` here is founded again.
    """
    rows = replace(rows, founders=rows.founders | is_among(rows.object_id, retired))
    parts, names = [_no_objects()], [*OBJECT_SEEDS.names, FIRST, COUNT]
    for number in distinct(rows.spill):
        mine = np.flatnonzero(rows.spill == number)
        part = open_spill(task.spilled.objects[int(number)]).select(names).take(pa.array(rows.row[mine]))
        for name, values in ((SPILL, rows.spill), (NEW_ID, rows.object_id), (FOUNDS, rows.founders)):
            part = part.append_column(name, pa.array(values[mine]))
        parts.append(part)
    objects = pa.concat_tables(parts, promote_options="default").combine_chunks()
    away = objects.column(FOUNDS).to_numpy() & (task.only_matches | (int_column(objects, COUNT) == 0))
    return objects.filter(pa.array(~away)), objects.filter(pa.array(away))


def _no_objects() -> pa.Table:
    none = pa.array(np.empty(0, dtype=np.int64))
    empty = OBJECT_SEEDS.empty().replace_schema_metadata()
    for name in (FIRST, COUNT, SPILL, NEW_ID):
        empty = empty.append_column(name, none)
    return empty.append_column(FOUNDS, pa.array(np.empty(0, dtype=bool)))


def _measurements_of(objects: pa.Table, task: MergeTask) -> pa.Table:
    """Return the measurements of the objects under their ids here, as `measurements` is sorted."""
    objects = objects.sort_by(NEW_ID)
    owner = np.repeat(int_column(objects, NEW_ID), int_column(objects, COUNT))
    rows = _spilled_rows(objects, task, [name for name in MEASUREMENTS.names if name != "object_id"])
    rows = rows.append_column("object_id", pa.array(owner))
    order = order_of_measurements(rows)  # two of theirs may be one of ours
    return MEASUREMENTS.conform(rows if order is None else rows.take(pa.array(order)))


def _images_of(objects: pa.Table, task: MergeTask) -> np.ndarray:
    """Return the images of all measurements of some objects."""
    return int_column(_spilled_rows(objects, task, ["image_id"]), "image_id")


def _spilled_rows(objects: pa.Table, task: MergeTask, columns: Sequence[str]) -> pa.Table:
    """Return some columns of the measurements of the objects, object by object."""
    spill, first, count = (int_column(objects, name) for name in (SPILL, FIRST, COUNT))
    parts, begins, length = [MEASUREMENTS.empty().replace_schema_metadata().select(columns)], first.copy(), 0
    for number in distinct(spill[count > 0]):
        mine = np.flatnonzero((spill == number) & (count > 0))
        low, high = int(first[mine].min()), int((first + count)[mine].max())
        parts.append(open_spill(task.write.spills[int(number)]).select(columns).slice(low, high - low))
        begins[mine] += length - low
        length += high - low
    return pa.concat_tables(parts, promote_options="default").take(pa.array(_stretches(begins, count)))


def _stretches(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the rows of stretches, one after another, that begin at `first` (K,) and are `count` (K,) long."""
    return np.repeat(first - (np.cumsum(count) - count), count) + np.arange(count.sum())


def _seeds_of(objects: pa.Table, raw: pa.Table, task: MergeTask) -> pa.Table:
    """Return the seeds of new objects.

    One whose founding measurement is another object's here is its first one's from now on. If its image is not here, it
    stays the founder, as after a deletion: by it a later merge knows the object again.
    """
    seeds = objects.select(list(OBJECT_SEEDS.names))
    ids, owner = int_column(objects, NEW_ID), int_column(raw, "object_id")
    first = np.searchsorted(owner, ids)
    count = np.searchsorted(owner, ids, side="right") - first
    rows, which = _stretches(first, count), np.repeat(np.arange(len(ids)), count)
    founds, founder = np.ones(len(rows), dtype=bool), {}
    for name, column in (("founder_image_id", "image_id"), ("founder_det_id", "det_id")):
        founder[name] = int_column(seeds, name).copy()
        founds &= int_column(raw, column)[rows] == founder[name][which]
    lost = np.bincount(which[founds], minlength=len(ids)) == 0
    lost &= is_among(founder["founder_image_id"], ImageSources.load(task.write.sources).image_id)
    for name, column in (("founder_image_id", "image_id"), ("founder_det_id", "det_id")):
        founder[name][lost] = int_column(raw, column)[first[lost]]
    for name, values in {"object_id": ids, **founder}.items():
        seeds = seeds.set_column(seeds.column_names.index(name), name, pa.array(values))
    return OBJECT_SEEDS.conform(seeds)


def _aliases_of(objects: pa.Table, task: MergeTask) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the ids, here others, that the objects have in the source and in what was merged into it before."""
    theirs, ours = int_column(objects, "object_id"), int_column(objects, NEW_ID)
    other = theirs != ours
    old, new, database = [theirs[other]], [ours[other]], [task.source_id] * int(other.sum())
    order = np.argsort(theirs)
    for spill in task.spilled.aliases:
        for part in _near(spill, theirs[order]):
            alias, target = int_column(part, "object_id"), int_column(part, "stands_for")
            now = ours[order][np.searchsorted(theirs[order], target)]
            keep = alias != now
            old.append(alias[keep])
            new.append(now[keep])
            database += pc.filter(part.column("database_id"), pa.array(keep)).to_pylist()
    return np.concatenate(old), np.concatenate(new), tuple(database)


def _near(spill: Spill, ids: np.ndarray) -> Iterator[pa.Table]:
    """Yield the rows of a spill whose pixel is one of some ids (ascending)."""
    if len(ids) and spill.may_hold(int(ids[0]), int(ids[-1]) + 1):
        rows = open_spill(spill)
        pixels = rows.column(PIXEL).to_numpy()
        first, last = np.searchsorted(pixels, ids[0]), np.searchsorted(pixels, ids[-1], side="right")
        part = rows.slice(first, last - first)
        yield part.filter(pa.array(is_among(pixels[first:last], ids)))


def _declared_files(
    cell: Cell, objects: pa.Table, away: np.ndarray, raw: pa.Table, task: MergeTask
) -> tuple[list[DataFile], dict[str, int], dict[str, Path]]:
    """Store the declared rows of the objects that are not here yet; spill those about measurements of others.

    `away` (K,) are objects of the source that stay away, ascending: another one here may have their measurements.
    """
    base, place, files, counts, strays = task.write.snapshot, task.write.place, [], {}, {}
    theirs = int_column(objects, "object_id")
    order = np.argsort(theirs)
    for name, spills in task.spilled.declared.items():
        table = base.table(name)
        rows = _rows_of(spills, theirs[order], table)
        now = int_column(objects, NEW_ID)[order][np.searchsorted(theirs[order], int_column(rows, "object_id"))]
        rows = rows.set_column(rows.column_names.index("object_id"), "object_id", pa.array(now))
        if table.keyed_by == "measurement":
            rows, others = _apart(rows, raw, base, cell)
            others = pa.concat_tables([others, _rows_of(spills, away, table)], promote_options="permissive")
            if others.num_rows:
                strays[name] = spill_strays(others, place.path)
        if rows.num_rows and (fresh := new_rows(rows, base, table, cell)).num_rows:
            files.append(place.store(base, fresh, name, cell=cell))
            counts[name] = fresh.num_rows
    return files, counts, strays


def _rows_of(spills: Sequence[Spill], ids: np.ndarray, table: Table) -> pa.Table:
    """Return the spilled rows of a declared table about objects of the source (ascending)."""
    parts = [part.drop_columns([PIXEL, FILE]) for spill in spills for part in _near(spill, ids)]
    return pa.concat_tables([table.empty().replace_schema_metadata(), *parts], promote_options="permissive")


def _apart(rows: pa.Table, raw: pa.Table, base: Snapshot, cell: Cell) -> tuple[pa.Table, pa.Table]:
    """Return the rows about measurements that come, or that their objects have here already, and the others."""
    comes = among(*([int_column(part, name) for name in KEYS["measurement"]] for part in (rows, raw)))
    rest = rows.filter(pa.array(~comes))
    if not rest.num_rows:
        return rows, rest
    ids = distinct(int_column(rest, "object_id"))
    keys = list(KEYS["measurement"])
    stored = base.read_cell("measurements", cell, keys, ranges=merge_ranges(np.stack([ids, ids + 1], axis=1)))
    here, elsewhere = (
        rest.join(stored, keys, join_type=f"left {kind}").select(rest.column_names).cast(rest.schema)
        for kind in ("semi", "anti")
    )  # fmt: skip
    return pa.concat_tables([rows.filter(pa.array(comes)), here]), elsewhere


@dataclass(frozen=True)
class AliasWork:
    """Ids that lie in one cell, what they stand for, and the databases that gave them."""

    cell: Cell
    old: np.ndarray
    new: np.ndarray
    database: tuple[str, ...]


def alias_work(cells: Sequence[Cell], merged: Sequence[MergedCell]) -> list[AliasWork]:
    """Return the ids that were replaced, cell by cell of where they lie."""
    none = np.empty(0, dtype=np.int64)
    old, new = (np.concatenate([none, *(getattr(m, n) for m in merged)]) for n in ("old", "new"))
    database = np.array([d for m in merged for d in m.database], dtype=object)
    order = np.argsort(old, kind="stable")
    work = []
    for cell in cells:
        first, last = np.searchsorted(old[order], [cell.lo, cell.hi])
        mine = order[first:last]
        if len(mine):
            work.append(AliasWork(cell, old[mine], new[mine], tuple(database[mine])))
    return work


def store_aliases(work: AliasWork, *, snapshot: Snapshot, place: Scratch) -> DataFile | None:
    """Store the ids of one cell that are not known yet."""
    rows = sort_rows(OBJECT_ALIASES.conform(pa.table({
        "object_id": pa.array(work.old), "stands_for": pa.array(work.new),
        "database_id": pa.array(work.database, pa.string()),
    })), "object_aliases")  # fmt: skip
    stored = snapshot.read_cell("object_aliases", work.cell, ["object_id", "database_id"])
    known = set(zip(stored["object_id"].to_pylist(), stored["database_id"].to_pylist(), strict=True))
    keys = zip(rows["object_id"].to_pylist(), rows["database_id"].to_pylist(), strict=True)
    fresh = rows.filter(pa.array([key not in known for key in keys], pa.bool_()))
    store = partial(place.store, snapshot, cell=work.cell)
    return store(fresh, "object_aliases") if fresh.num_rows else None
