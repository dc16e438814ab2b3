"""Middle step of an ingest: detections find their objects, cell by cell, and once for what crosses borders.

A component of detections and objects that link to each other is solved in its cell when none of its points lies within
linking distance of the border. The components that may cross are exported by every cell and solved together, once and
whole; so the answer does not depend on how the sky is cut (docs/explanation/association.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import float_column
from skydb.calibration.mapped import load_mapped
from skydb.errors import DataError
from skydb.kernels.distinct import distinct, is_among
from skydb.parallel.executor import Executor, Progress
from skydb.sky.epochs import julian_epoch
from skydb.sky.partition import FINEST_ORDER
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.layout import new_name
from skydb.store.motion import SEED_MOTIONS
from skydb.store.snapshot import Snapshot

from .associate import CellLinks, Detections, founders_in_order, link, link_cell
from .associate import Links as AssociationLinks
from .founding import ID_ORDER, found_ids
from .retired import Retired
from .spill import FILE, PIXEL, Spill, slices_of
from .tracks import Images, Seeds
from .writing import CellRows, CellWork

AREA_SHIFT = 2 * (FINEST_ORDER - ID_ORDER)
"""An object's id stays inside its founding pixel of order `ID_ORDER`, its id area, however crowded that is."""


@dataclass(frozen=True)
class LinkTask:
    """What every cell's task shares: the base snapshot, the spills, and the batch's images.

    `image_ids`, `rank` (N,) belong to the batch's images, sorted by id; `images` holds the rules by rank; `accepted`
    says which input files are kept, `left_out` (sorted) which of their images are not; `survey_images` maps each
    reference survey's bit to its stored images. `visitors` is a file of the objects that come, on their way, into a
    cell where they were not founded (`roaming`).

    A merge links objects of another database instead, each one detection whose det_id is its id: the id that it keeps
    if it is free (`keeps_ids`). `paired` is a file of those that were merged before, `theirs` (ascending) and the
    objects `ours` (ascending) that they are part of: neither takes part, and nobody else gets the ids.

    Detections that match no object found one, unless `only_match`; `existing_cells` refuses those outside the cells
    that there are.
    """

    snapshot: Snapshot
    folder: Path
    spills: tuple[Spill, ...]
    image_ids: np.ndarray
    rank: np.ndarray
    images: Images
    survey_images: dict[int, np.ndarray]
    accepted: np.ndarray
    left_out: np.ndarray
    one_to_many: bool
    keeps_ids: bool = False
    paired: Path | None = None
    only_match: bool = False
    existing_cells: bool = False
    visitors: Path | None = None

    @property
    def moves(self) -> bool:
        """Whether objects move."""
        return self.images.span is not None

    def paired_ids(self, side: str) -> np.ndarray:
        """Return one side of the pairs, ascending."""
        none: np.ndarray = np.empty(0, dtype=np.int64)
        return none if self.paired is None else load_mapped(self.paired)[side]


@dataclass(frozen=True)
class Rows:
    """Detections on their way to their objects; every array is (N,).

    `spill`, `row` say where a detection lies, `file` which input file it came from, `image` its place among the
    batch's images; `epoch` (yr) is empty where objects do not move. The rows of a reference survey that share `rank`
    and `det_id` are one detection.
    """

    spill: np.ndarray
    row: np.ndarray
    file: np.ndarray
    image: np.ndarray
    det_id: np.ndarray
    pixel: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    epoch: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: np.ndarray) -> Rows:
        """Return some of the rows."""
        return Rows(*(some_of(getattr(self, f.name), which) for f in fields(self)))

    @staticmethod
    def concat(parts: Sequence[Rows]) -> Rows:
        """Return all rows of several parts."""
        whole, real = np.empty(0, dtype=np.int64), np.empty(0)
        every = [Rows(*[whole] * 6, *[real] * 3), *parts]
        return Rows(*(np.concatenate([getattr(p, f.name) for p in every]) for f in fields(Rows)))


def some_of(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return some of the values of a column, none of one that is empty because nothing needs it."""
    return values[which] if len(values) else values


@dataclass(frozen=True)
class Links:
    """What rows were linked to; every array is (N,). An `object_id` of -1 is none.

    `new`: the row's detection founded its object; `stands`: the row stands for its detection (the first of a
    reference star's rows, else every row).
    """

    object_id: np.ndarray
    link_flags: np.ndarray
    new: np.ndarray
    stands: np.ndarray

    @staticmethod
    def concat(parts: Sequence[Links]) -> Links:
        """Return the links of several parts."""
        return Links(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Links)))

    def take(self, which: np.ndarray) -> Links:
        """Return some of the links."""
        return Links(*(getattr(self, f.name)[which] for f in fields(self)))


@dataclass(frozen=True)
class Founded:
    """Objects founded near border detections (in the same id areas): the pixel each asked for and the id it got."""

    wish: np.ndarray
    object_id: np.ndarray

    @staticmethod
    def concat(parts: Sequence[Founded]) -> Founded:
        """Return the objects of several parts."""
        none = Founded(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        return Founded(*(np.concatenate([getattr(p, n) for p in (none, *parts)]) for n in ("wish", "object_id")))

    @property
    def areas(self) -> np.ndarray:
        """The id areas in which objects were founded."""
        return distinct(self.wish >> AREA_SHIFT)

    @property
    def crowded_areas(self) -> np.ndarray:
        """Those in which an object did not get the pixel that it asked for."""
        return distinct(self.wish[self.wish != self.object_id] >> AREA_SHIFT)


Refused = dict[str, np.ndarray]
"""Detections that are not stored, by reason and, (files,), by input file."""
NO_MATCH, NO_CELL = "no_match", "no_cell"


@dataclass(frozen=True)
class LinkedCell:
    """One cell's answer: its interior rows with their links, kept in a file, and what the pool must solve.

    `n_measurements` (images,) and `matched` (files,) count the interior, `refused` (files,) the detections in it that
    are not stored, by reason; `taken_ids` are the ids taken in the id areas of its pooled detections, `retired` those
    there that have retired.
    """

    interior: Path
    n_rows: int
    n_measurements: np.ndarray
    matched: np.ndarray
    refused: Refused
    founded: Founded
    pooled_rows: Rows
    pooled_seeds: Seeds
    taken_ids: np.ndarray
    retired: Retired


@dataclass(frozen=True)
class Linked:
    """The whole batch's answer: what each cell has to write, and how rows matched.

    `n_measurements` (images,) counts stored rows; `matched` (files,) counts detections that joined an object, `refused`
    (files,) those that are not stored, by reason.
    """

    cells: tuple[CellWork, ...]
    n_measurements: np.ndarray
    matched: np.ndarray
    refused: Refused


def rows_of_cell(cell: Cell, task: LinkTask) -> Rows:
    """Read the keys of the batch's detections in one cell, of accepted files only."""
    return Rows.concat([
        _rows_of_slice(s.spill, s.start, s.rows, task) for s in slices_of(task.spills, cell.lo, cell.hi)
    ])  # fmt: skip


def _rows_of_slice(number: int, start: int, rows: pa.Table, task: LinkTask) -> Rows:
    file = rows.column(FILE).to_numpy().astype(np.int64)
    kept_rows = task.accepted[file]
    if len(task.left_out):
        kept_rows &= ~is_among(rows.column("image_id").to_numpy(), task.left_out)
    if task.paired is not None:
        kept_rows &= ~is_among(rows.column("det_id").to_numpy(), task.paired_ids("theirs"))
    keep = np.flatnonzero(kept_rows)

    def kept(name: str) -> np.ndarray:
        values: np.ndarray = rows.column(name).to_numpy()[keep]
        return values

    image = np.searchsorted(task.image_ids, kept("image_id"))
    spill = np.full(len(keep), number, dtype=np.int64)
    epoch = julian_epoch(kept("mjd")) if task.moves else np.empty(0)
    return Rows(
        spill, keep + start, file[keep], image, kept("det_id"), kept(PIXEL), kept("ra_raw"), kept("dec_raw"), epoch
    )  # fmt: skip


@dataclass(frozen=True)
class KnownObjects:
    """The objects of one cell that detections may join, those that have retired, and the ids that nobody gets."""

    seeds: Seeds
    retired: Retired
    taken: np.ndarray


def objects_of_cell(cell: Cell, task: LinkTask) -> KnownObjects:
    """Read the objects of one cell, and which of the batch's reference surveys they hold a row of already.

    Ids are taken by objects and by what stands for some.
    """
    columns = [*Retired.COLUMNS, *(SEED_MOTIONS if task.moves else ())]
    table, retired = Retired.apart(task.snapshot.read_cell("object_seeds", cell, columns))
    ids = table.column("object_id").to_numpy()
    held = np.zeros(len(ids) if task.survey_images else 0, dtype=np.uint64)
    if task.survey_images and len(ids):
        keys = task.snapshot.read_cell("measurements", cell, ["object_id", "image_id"])
        objects, images = keys.column("object_id").to_numpy(), keys.column("image_id").to_numpy()
        for bit, stored in task.survey_images.items():
            holding = is_among(ids, distinct(objects[is_among(images, stored)]))
            held[holding] |= np.uint64(1 << bit)
    ra, dec = (float_column(table, name) for name in ("assoc_ra", "assoc_dec"))
    epoch, pm_ra, pm_dec = (float_column(table, name) if task.moves else np.empty(0) for name in SEED_MOTIONS)
    seeds = Seeds(ids, ra, dec, epoch, pm_ra, pm_dec, held)
    aliases = task.snapshot.read_cell("object_aliases", cell, ["object_id"]).column("object_id").to_numpy()
    taken, paired = [ids, aliases], task.paired_ids("ours")
    if len(paired):
        gone = is_among(retired.object_id, paired)
        taken.append(retired.object_id[gone])
        seeds, retired = take_seeds(seeds, ~is_among(ids, paired)), retired.take(~gone)
    return KnownObjects(seeds, retired, np.concatenate(taken))


def take_seeds(seeds: Seeds, which: np.ndarray) -> Seeds:
    """Return some of the objects."""
    return Seeds(*(some_of(getattr(seeds, f.name), which) for f in fields(Seeds)))


def all_seeds(parts: Sequence[Seeds]) -> Seeds:
    """Return the objects of several parts, each once."""
    none = Seeds(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))
    seeds = Seeds(*(np.concatenate([getattr(p, f.name) for p in (none, *parts)]) for f in fields(Seeds)))
    if not len(seeds.epoch):
        return seeds  # where nothing moves, each lies in its own cell alone
    return take_seeds(seeds, np.unique(seeds.object_id, return_index=True)[1])


def visitors_of_cell(cell: Cell, task: LinkTask) -> Seeds:
    """Return the objects of other cells that come into one on their way."""
    if task.visitors is None:
        return all_seeds([])
    stored = load_mapped(task.visitors)
    first, last = np.searchsorted(stored["pixel"], [cell.lo, cell.hi])
    seeds = Seeds(**{name: values[first:last] for name, values in stored.items() if name != "pixel"})
    return all_seeds([take_seeds(seeds, (seeds.object_id < cell.lo) | (seeds.object_id >= cell.hi))])


class Batch:
    """Rows gathered into the detections that are associated: the rows of one reference star are one.

    `first` (D,) is a row of each detection, `detection` (N,) the detection of each row.
    """

    def __init__(self, rows: Rows, task: LinkTask) -> None:
        rank = task.rank[rows.image]
        if len(task.images.survey):
            self.first, self.detection = _same_star(rank, rows.det_id, rows.file)
        else:
            self.first = self.detection = np.arange(len(rows))
        one = rows.take(self.first)
        self.rows = rows
        self.detections = Detections(one.ra, one.dec, rank[self.first], one.det_id, one.pixel, one.epoch)
        self._image_id, self._keeps_ids = task.image_ids[one.image], task.keeps_ids

    def links(
        self, found: AssociationLinks, seeds: Seeds, taken: np.ndarray, retired: Retired
    ) -> tuple[Links, Founded]:
        """Number the founded objects and return the link of every row."""
        founders = founders_in_order(self.detections, found)
        det_id, pixel = self.detections.det_id[founders], self.detections.found_pix29[founders]
        wish = det_id if self._keeps_ids else retired.wishes(pixel, self._image_id[founders], det_id)
        ids = found_ids(wish, taken=taken, retired=retired.object_id)
        object_id = np.full(len(self.first), -1, dtype=np.int64)
        old, young = found.seed >= 0, found.founder >= 0
        object_id[old] = seeds.object_id[found.seed[old]]
        object_id[founders] = ids
        object_id[young] = object_id[found.founder[young]]
        new = np.zeros(len(self.first), dtype=bool)
        new[founders] = True
        stands = np.zeros(len(self.rows), dtype=bool)
        stands[self.first] = True
        of_row = self.detection
        return Links(object_id[of_row], found.blend[of_row], new[of_row], stands), Founded(wish, ids)

    def rows_of(self, detections: np.ndarray) -> np.ndarray:
        """Return which rows (N,) belong to some of the detections (D,)."""
        chosen: np.ndarray = detections[self.detection]
        return chosen


def _same_star(rank: np.ndarray, det_id: np.ndarray, file: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((det_id, rank, file))
    keys = np.stack([file[order], rank[order], det_id[order]])
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    detection = np.empty(len(order), dtype=np.int64)
    detection[order] = np.cumsum(begins) - 1
    return order[begins], detection


def link_one_cell(cell: Cell, *, task: LinkTask, whole: frozenset[tuple[int, int]] = frozenset()) -> LinkedCell:
    """Solve what surely stays inside a cell, and give the rest to the pool; a cell in `whole` gives everything."""
    rows, known = rows_of_cell(cell, task), objects_of_cell(cell, task)
    refused: Refused = {}
    if task.existing_cells and not task.snapshot.files("object_seeds", cell):
        refused[NO_CELL] = _by_file(rows.file[Batch(rows, task).first], task)
        rows = rows.take(np.empty(0, dtype=np.int64))
    batch, retired = Batch(rows, task), known.retired
    seeds = all_seeds([known.seeds, visitors_of_cell(cell, task)]) if task.moves else known.seeds
    if cell.key in whole:
        cut = _nothing_linked(len(batch.first), len(seeds.object_id))
    else:
        cut = link_cell(
            batch.detections, task.images, seeds, cell=cell.key, pix29=batch.detections.found_pix29,
            one_to_many=task.one_to_many, founds=not task.only_match,
        )  # fmt: skip
    every_link, founded = batch.links(cut.links, seeds, known.taken, retired)
    pooled_rows = batch.rows_of(cut.pooled_detections)
    inside, links, lost = _linked(rows.take(~pooled_rows), every_link.take(~pooled_rows), task)
    path = task.folder / f"{new_name()}.npz"  # a second run of the task must not write where others read
    _cell_rows(inside, links).save(path)
    border = rows.take(pooled_rows)
    near = _in_areas_of(border.pixel, founded.wish)
    founded = Founded(founded.wish[near], founded.object_id[near])
    return LinkedCell(
        path, len(inside), *_counts(inside, links, task), refused | lost, founded, border,
        take_seeds(seeds, cut.pooled_seeds), known.taken[_in_areas_of(border.pixel, known.taken)],
        retired.take(_in_areas_of(border.pixel, retired.object_id)),
    )  # fmt: skip


def _linked(rows: Rows, links: Links, task: LinkTask) -> tuple[Rows, Links, Refused]:
    """Return the rows that have an object, with their links, and the detections that have none."""
    if not task.only_match:
        return rows, links, {}
    has_object = links.object_id >= 0
    lost = _by_file(rows.file[~has_object & links.stands], task)
    return rows.take(has_object), links.take(has_object), {NO_MATCH: lost}


def _by_file(files: np.ndarray, task: LinkTask) -> np.ndarray:
    return np.bincount(files, minlength=len(task.accepted))


def _nothing_linked(n_detections: int, n_seeds: int) -> CellLinks:
    """Return the links of a cell that gives everything to the pool."""
    none = np.full(n_detections, -1, dtype=np.int64)
    links = AssociationLinks(none, none, np.zeros(n_detections), np.zeros(n_detections, dtype=np.uint32), 0, 0)
    return CellLinks(links, np.ones(n_detections, dtype=bool), np.ones(n_seeds, dtype=bool))


def _in_areas_of(pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return is_among(ids >> AREA_SHIFT, distinct(pixels >> AREA_SHIFT))


def _cell_rows(rows: Rows, links: Links) -> CellRows:
    return CellRows(rows.spill, rows.row, links.object_id, links.link_flags, links.new & links.stands)


def _counts(rows: Rows, links: Links, task: LinkTask) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of every image, and the detections of every file that joined an object."""
    images = np.bincount(rows.image, minlength=len(task.image_ids))
    return images, _by_file(rows.file[links.stands & ~links.new], task)


def link_cells(
    cells: Sequence[Cell], task: LinkTask, executor: Executor, *, progress: Progress | None = None
) -> Linked:  # fmt: skip
    """Link the whole batch: every cell's interior, then the pool, once and whole.

    Interior and pool number their new objects apart. That is the same as together unless, in one id area, both found
    objects and one of them did not get its own pixel; then the cells of that area give everything to the pool.
    """
    whole: frozenset[tuple[int, int]] = frozenset()
    while True:
        link_one = partial(link_one_cell, task=task, whole=whole)
        done = list(map_cells(executor, link_one, task.snapshot, cells, progress=progress))
        pool, links, founded = _solve_pool(done, task)
        clash = _clashing_cells(cells, done, founded)
        if clash <= whole:
            return _by_cell(cells, done, (pool, links), task)
        whole = whole | clash


def _solve_pool(done: Sequence[LinkedCell], task: LinkTask) -> tuple[Batch, Links, Founded]:
    pool = Batch(Rows.concat([d.pooled_rows for d in done]), task)
    seeds = all_seeds([d.pooled_seeds for d in done])
    nothing = np.empty(0, dtype=np.int64)
    taken = np.concatenate([nothing, *(d.taken_ids for d in done), *(d.founded.object_id for d in done)])
    found = link(
        pool.detections, task.images, seeds, one_to_many=task.one_to_many, founds=not task.only_match
    )  # fmt: skip
    return pool, *pool.links(found, seeds, taken, Retired.concat([d.retired for d in done]))


def _clashing_cells(cells: Sequence[Cell], done: Sequence[LinkedCell], pool: Founded) -> frozenset[tuple[int, int]]:
    """Return the cells of crowded id areas in which both a cell and the pool founded objects."""
    inside = Founded.concat([d.founded for d in done])
    both = inside.areas[is_among(inside.areas, pool.areas)]
    crowded = distinct(np.concatenate([inside.crowded_areas, pool.crowded_areas]))
    clash = both[is_among(both, crowded)] << AREA_SHIFT
    return frozenset(c.key for c in cells if ((clash >= c.lo) & (clash < c.hi)).any())


def _by_cell(
    cells: Sequence[Cell], done: Sequence[LinkedCell], pool: tuple[Batch, Links], task: LinkTask
) -> Linked:  # fmt: skip
    """Bring the pool's rows to the cells of their objects, and add up the counts.

    Raises
    ------
    DataError
        A row is in no cell or in two.
    """
    rows, links, lost = _linked(pool[0].rows, pool[1], task)
    work, placed = [], 0
    for cell, part in zip(cells, done, strict=True):
        mine = np.flatnonzero((links.object_id >= cell.lo) & (links.object_id < cell.hi))
        placed += len(mine)
        if part.n_rows or len(mine):
            work.append(CellWork(cell, part.interior, _cell_rows(rows.take(mine), links.take(mine))))
    if placed != len(rows):
        raise DataError("rows were lost between cells", "association", "report this: it is a fault of skydb")
    images, files = _counts(rows, links, task)
    refused = dict(lost)
    for part in done:
        images, files = images + part.n_measurements, files + part.matched
        refused |= {reason: refused.get(reason, 0) + counts for reason, counts in part.refused.items()}
    return Linked(tuple(work), images, files, refused)
