"""Apply a calibration to a whole database, and refresh derived tables: cell by cell, in one commit.

Raw files are read and stay; beside each a new calibrated file is written, and the cell's derived tables anew. A commit
that loses the race to another writer redoes only the cells that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from skydb.parallel.executor import Executor, Progress
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.changes import WHOLE_SKY, Calibration, Changes
from skydb.store.crashpoints import reached
from skydb.store.files import DataFile
from skydb.store.parquet import read_file
from skydb.store.retries import until_committed
from skydb.store.scratch import Scratch, scratch
from skydb.store.snapshot import Snapshot

from .apply import RAW_COLUMNS, ImageTerms, calibrate_rows
from .derive import ROW_COLUMNS, ImageSources, derive_tables, drift_arcsec, side_by_side
from .photcode_terms import PhotcodeTerms

Made = TypeVar("Made")


@dataclass(frozen=True)
class RewrittenCell:
    """The files that one cell gained and lost, and the cell as it is now."""

    cell: Cell
    adds: tuple[DataFile, ...]
    replaces: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A calibration ready to be applied: its row, the command that made it, and `images_cal` of every image."""

    calibration: Calibration
    command: str
    images_cal: pa.Table


@dataclass(frozen=True)
class RecalibrateTask:
    """What every cell's task shares: the base snapshot, where to store, the images' terms and kinds, the photcodes."""

    snapshot: Snapshot
    place: Scratch
    images: Path
    sources: Path
    terms: PhotcodeTerms


def recalibrate_cell(cell: Cell, *, task: RecalibrateTask) -> RewrittenCell:
    """Write one cell's calibrated and derived tables anew under the given image terms."""
    snapshot, store = task.snapshot, partial(task.place.store, task.snapshot, cell=cell)
    images = ImageTerms.load(task.images)
    wanted = list(dict.fromkeys([*RAW_COLUMNS, *(c for c in ROW_COLUMNS if c in ("photflags", "psf_qf"))]))
    adds, measured, drift = [], [], cell.drift_arcsec
    for raw_file, _ in snapshot.measurement_pairs(cell):
        raw = read_file(snapshot.stored(raw_file), wanted).replace_schema_metadata()
        cal = calibrate_rows(raw, images, task.terms)
        adds.append(store(cal, "measurements_cal", base=raw_file.name))
        measured.append(side_by_side(raw, cal))
        drift = max(drift, drift_arcsec(cal))
    derived = derive_tables(
        pa.concat_tables(measured), snapshot.read_cell("object_seeds", cell), ImageSources.load(task.sources),
        task.terms,
    )  # fmt: skip
    adds += [store(table, name) for name, table in derived.items()]
    drift = max(drift, drift_arcsec(derived["objects"]))
    old = [f.name for name in ("measurements_cal", *derived) for f in snapshot.files(name, cell)]
    return RewrittenCell(replace(cell, drift_arcsec=drift, stale=False), tuple(adds), tuple(old))


def refresh_cell(cell: Cell, *, task: RecalibrateTask) -> RewrittenCell:
    """Write one cell's derived tables anew from its measurements as they are."""
    snapshot = task.snapshot
    derived = derive_tables(
        snapshot.read_cell("measurements", cell, ROW_COLUMNS), snapshot.read_cell("object_seeds", cell),
        ImageSources.load(task.sources), task.terms,
    )  # fmt: skip
    adds = tuple(task.place.store(snapshot, table, name, cell=cell) for name, table in derived.items())
    old = tuple(f.name for name in derived for f in snapshot.files(name, cell))
    drift = max(cell.drift_arcsec, drift_arcsec(derived["objects"]))
    return RewrittenCell(replace(cell, drift_arcsec=drift, stale=False), adds, old)


class Rewriting(Generic[Made]):
    """Does a task for cells of a snapshot; after a lost race, for those whose files or terms have changed since."""

    def __init__(self, executor: Executor, progress: Progress | None = None) -> None:
        self._executor, self._progress = executor, progress
        self._done: dict[tuple[int, int], tuple[tuple[str, ...], Made]] = {}
        self._terms: tuple[ImageTerms, pa.Table] | None = None

    def begin(self, images: ImageTerms, photcodes: pa.Table) -> None:
        """Take note of the terms; what was written under others is of no use."""
        if self._terms is not None and not (images.agrees(self._terms[0]) and photcodes.equals(self._terms[1])):
            self._done = {}
        self._terms = images, photcodes

    def run(
        self, snapshot: Snapshot, cells: Sequence[Cell], task: Callable[[Cell], Made], *,
        executor: Executor | None = None,
    ) -> list[Made]:  # fmt: skip
        """Do the task for the cells as they are in the snapshot and return what all gave, in the order given.

        A cell without measurements gives nothing. `executor` is another one than usual.
        """
        files = {c.key: _files_of(snapshot, c) for c in cells}
        self._done = {key: made for key, made in self._done.items() if files.get(key) == made[0]}
        todo = [c for c in cells if c.key not in self._done and snapshot.files("measurements", c)]
        answers = map_cells(executor or self._executor, task, snapshot, todo, progress=self._progress)
        for cell, made in zip(todo, answers, strict=True):
            self._done[cell.key] = files[cell.key], made
        return [self._done[c.key][1] for c in cells if c.key in self._done]


def _files_of(snapshot: Snapshot, cell: Cell) -> tuple[str, ...]:
    tables = ("measurements", "measurements_cal", "objects", "object_seeds", *snapshot.declared)
    return tuple(f.name for t in tables for f in snapshot.files(t, cell))


def apply_to_all(
    snapshot_now: Callable[[], Snapshot], commit: Callable[[Changes], int], prepare: Callable[[Snapshot], Prepared], *,
    executor: Executor, progress: Progress | None = None,
) -> int:  # fmt: skip
    """Apply a calibration to every cell and commit it; return the snapshot.

    Parameters
    ----------
    prepare
        Gives, for a snapshot, the calibration and the rows of `images_cal` of all its images.

    Raises
    ------
    CommitConflict
        Other writers changed the database again and again.
    """
    rewriting: Rewriting[RewrittenCell] = Rewriting(executor, progress)
    root = snapshot_now().root
    with scratch(root) as place:

        def attempt() -> int:
            snapshot = snapshot_now()
            prepared = prepare(snapshot)
            images = snapshot.read_global("images", ["image_id", "kind", "exptime", "airmass"])
            terms = ImageTerms.of(images, prepared.images_cal)
            rewriting.begin(terms, snapshot.read_global("photcodes"))
            recalibrate = partial(recalibrate_cell, task=_task(snapshot, place, terms))
            written = rewriting.run(snapshot, snapshot.cells(), recalibrate)
            added = place.store(snapshot, prepared.images_cal, "images_cal")
            reached("apply.written")
            return commit(_changes(snapshot, prepared, written, added))

        return until_committed(root, attempt)


def _task(snapshot: Snapshot, place: Scratch, terms: ImageTerms | None = None) -> RecalibrateTask:
    """Put what tasks read of images where they map it; a refresh needs no terms, only the images' kinds."""
    images, sources = place.path / f"images-{snapshot.id}.arrow", place.path / f"sources-{snapshot.id}.arrow"
    if terms is not None:
        terms.save(images)
    ImageSources.stored(snapshot).save(sources)
    return RecalibrateTask(
        snapshot, place, images, sources, PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
    )


def _changes(
    snapshot: Snapshot, prepared: Prepared, written: Sequence[RewrittenCell], images_cal: DataFile
) -> Changes:
    old = [f.name for f in snapshot.files("images_cal")]
    return Changes(
        prepared.calibration.kind, prepared.command, snapshot.id,
        adds=(images_cal, *(f for w in written for f in w.adds)),
        replaces=(*old, *(n for w in written for n in w.replaces)),
        cells=tuple(w.cell for w in written), calibration=prepared.calibration,
        reads=WHOLE_SKY, writes=sky_of([w.cell for w in written]), uses_calibration=True,
        replaces_globals=("images_cal",),
    )  # fmt: skip


def refresh(
    snapshot_now: Callable[[], Snapshot], commit: Callable[[Changes], int], *, executor: Executor,
    every: bool = False, progress: Progress | None = None,
) -> int | None:  # fmt: skip
    """Derive the tables of cells that wait for it (or of `every` cell) and commit; None when nothing was to do.

    Raises
    ------
    CommitConflict
        Other writers changed the cells again and again.
    """
    rewriting: Rewriting[RewrittenCell] = Rewriting(executor, progress)
    root = snapshot_now().root
    with scratch(root) as place:

        def attempt() -> int | None:
            snapshot = snapshot_now()
            cells = [c for c in snapshot.cells() if c.stale or every]
            written = rewriting.run(snapshot, cells, partial(refresh_cell, task=_task(snapshot, place)))
            if not written:
                return None
            reached("refresh.written")
            sky = sky_of([w.cell for w in written])
            return commit(Changes(
                "refresh", "refresh", snapshot.id, adds=tuple(f for w in written for f in w.adds),
                replaces=tuple(n for w in written for n in w.replaces), cells=tuple(w.cell for w in written),
                reads=sky, writes=sky, uses_calibration=True,
            ))  # fmt: skip

        return until_committed(root, attempt)


def sky_of(cells: Sequence[Cell]) -> np.ndarray:
    """Return the sorted ranges (K, 2) of order-29 pixels of some cells."""
    return np.array(sorted((c.lo, c.hi) for c in cells), dtype=np.int64).reshape(-1, 2)
