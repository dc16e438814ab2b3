"""Apply a calibration to a whole database, and refresh derived tables: cell by cell, in one commit.

Raw files are read and stay; beside each a new calibrated file is written, and the cell's derived tables anew. A commit
that loses the race to another writer redoes only the cells that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from skydb.errors import BusyError
from skydb.parallel.executor import Executor, Progress
from skydb.store.cells import Cell
from skydb.store.changes import WHOLE_SKY, Changes
from skydb.store.crashpoints import reached
from skydb.store.files import DataFile
from skydb.store.layout import new_name
from skydb.store.parquet import read_file
from skydb.store.retries import until_committed
from skydb.store.scratch import Scratch, scratch, sweep, working_on
from skydb.store.snapshot import Snapshot
from skydb.store.stretches import Stretch, cells_in, stretches
from skydb.store.unfinished import Unfinished, kept_kind

from .apply import RAW_COLUMNS, ImageTerms, calibrate_rows
from .derive import ROW_COLUMNS, ImageSources, derive_tables, drift_arcsec, side_by_side
from .kept_apply import KeptApply, Solved, kept_solution
from .photcode_terms import PhotcodeTerms
from .rewriting import Rewriting, RewrittenCell, sky_of

Fill = Callable[[Snapshot, pa.Table], pa.Table]
"""Gives the rows of `images_cal` of all images of a snapshot, from the solved rows of some."""


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


def apply_to_all(
    snapshot_now: Callable[[], Snapshot], commit: Callable[[Changes], int], solved: Solved, fill: Fill, *,
    executor: Executor, progress: Progress | None = None,
) -> int:  # fmt: skip
    """Apply a calibration to every cell and commit it; return the snapshot.

    Cut short, it can be continued (`finish_apply`), until another calibration of its kind is applied.

    Raises
    ------
    CommitConflict
        Other writers changed the database again and again.
    """
    snapshot = snapshot_now()
    with scratch(snapshot.root) as place:
        KeptApply(place.path).describe(solved, snapshot.id, len(snapshot.cells()))
        with working_on(place.path):
            sweep(snapshot.root, overtaken=solved.calibration.kind)
            return _apply(snapshot_now, commit, solved, fill, place, snapshot, executor, progress)


def finish_apply(
    snapshot_now: Callable[[], Snapshot], commit: Callable[[Changes], int], job: Unfinished, fill: Fill, *,
    executor: Executor, progress: Progress | None = None,
) -> int:  # fmt: skip
    """Continue the `apply_to_all` that was cut short: cells that are done, and have not changed since, are not redone.

    Raises
    ------
    CommitConflict
        Other writers changed the database again and again.
    BusyError
        Somebody else continues it; or it is over, because another of its kind was committed.
    """
    snapshot = snapshot_now()
    root = snapshot.root
    with scratch(root, unfinished=job.folder) as place:
        if not kept_kind(root, place.path):
            raise BusyError(f"another {job.kind} was committed since", str(root), "look at `skydb calibrations` first")
        sweep(root, overtaken=job.kind)
        return _apply(snapshot_now, commit, kept_solution(job), fill, place, snapshot, executor, progress)


def _apply(
    snapshot_now: Callable[[], Snapshot], commit: Callable[[Changes], int], solved: Solved, fill: Fill, place: Scratch,
    first: Snapshot, executor: Executor, progress: Progress | None,
) -> int:  # fmt: skip
    kept = KeptApply(place.path)
    rewriting = Rewriting[RewrittenCell](executor, progress, keep=kept.keep)
    rewriting.take_up(kept.done(first))
    sources = _Sources(place)

    def attempt() -> int:
        snapshot = snapshot_now()
        images_cal = fill(snapshot, solved.rows)
        images = snapshot.read_global("images", ["image_id", "kind", "exptime", "airmass"])
        name, agreeing = kept.begin(ImageTerms.of(images, images_cal), snapshot.read_global("photcodes"))
        rewriting.begin(name, agreeing)
        recalibrate = partial(recalibrate_cell, task=_task(snapshot, place, sources, kept.images_path(name)))
        written = rewriting.run(snapshot, snapshot.cells(), recalibrate)
        added = place.store(snapshot, images_cal, "images_cal")
        reached("apply.written")
        return commit(_changes(snapshot, solved, written, added))

    return until_committed(first.root, attempt)


class _Sources:
    """The images' kinds where tasks map them, written once for the same images."""

    def __init__(self, place: Scratch) -> None:
        self._place = place
        self._path, self._files = place.path, [""]

    def of(self, snapshot: Snapshot) -> Path:
        """Return where those of a snapshot's images are."""
        files = [f.name for f in snapshot.files("images")]
        if files != self._files:
            self._path, self._files = self._place.path / f"{new_name()}.sources.arrow", files
            ImageSources.stored(snapshot).save(self._path)
        return self._path


def _task(snapshot: Snapshot, place: Scratch, sources: _Sources, images: Path | None = None) -> RecalibrateTask:
    """Return what all cells' tasks share; a refresh needs no terms, only the images' kinds."""
    terms, path = PhotcodeTerms.from_table(snapshot.read_global("photcodes")), sources.of(snapshot)
    return RecalibrateTask(snapshot, place, images or path, path, terms)


def _changes(snapshot: Snapshot, solved: Solved, written: Sequence[RewrittenCell], images_cal: DataFile) -> Changes:
    old = [f.name for f in snapshot.files("images_cal")]
    return Changes(
        solved.calibration.kind, solved.command, snapshot.id,
        adds=(images_cal, *(f for w in written for f in w.adds)),
        replaces=(*old, *(n for w in written for n in w.replaces)),
        cells=tuple(w.cell for w in written), calibration=solved.calibration,
        reads=WHOLE_SKY, writes=sky_of([w.cell for w in written]), uses_calibration=True,
        replaces_globals=("images_cal",),
    )  # fmt: skip


def refresh(
    snapshot_now: Callable[[], Snapshot], commit: Callable[[Changes], int], *, executor: Executor,
    every: bool = False, progress: Progress | None = None,
) -> int | None:  # fmt: skip
    """Derive the tables of cells that wait for it (or of `every` cell), in one commit for each stretch of sky.

    Returns the last one's snapshot; None when nothing was to do.

    Raises
    ------
    CommitConflict
        Other writers changed the cells again and again.
    """
    first, last = snapshot_now(), None
    chosen = [c for c in first.cells() if c.stale or every]
    with scratch(first.root) as place:
        sources = _Sources(place)
        for stretch, show in stretches(chosen, progress):
            rewriting = Rewriting[RewrittenCell](executor, show)

            def attempt(stretch: Stretch = stretch, rewriting: Rewriting[RewrittenCell] = rewriting) -> int | None:
                snapshot = snapshot_now()
                cells = [c for c in cells_in(snapshot, stretch) if c.stale or every]
                written = rewriting.run(snapshot, cells, partial(refresh_cell, task=_task(snapshot, place, sources)))
                if not written:
                    return None
                reached("refresh.written")
                sky = sky_of([w.cell for w in written])
                return commit(Changes(
                    "refresh", "refresh", snapshot.id, adds=tuple(f for w in written for f in w.adds),
                    replaces=tuple(n for w in written for n in w.replaces), cells=tuple(w.cell for w in written),
                    reads=sky, writes=sky, uses_calibration=True,
                ))  # fmt: skip

            last = until_committed(first.root, attempt) or last
    return last
