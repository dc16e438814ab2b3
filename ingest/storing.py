"""Second half of an ingest: a batch that has been read is linked, written and committed on top of one snapshot.

Order the images (`batch`) → plan cells (`reach`) → find objects that move into others (`roaming`) → link cell by cell,
then what crosses borders (`linking`) → write cell by cell (`writing`) → commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.apply import ImageTerms
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.errors import BusyError
from skydb.schema.photcodes import Photcodes
from skydb.sky.partition import merge_ranges
from skydb.store.carried import map_cells
from skydb.store.changes import Changes, ImageKey, LogEntry
from skydb.store.crashpoints import reached
from skydb.store.files import DataFile
from skydb.store.motion import MOTION, raised_bound
from skydb.store.snapshot import Snapshot

from .batch import ImageBatch, build_batch, first_zero_points
from .companion_log import companion_log, counts_of_file, sum_of
from .job import Job
from .known import Staying, accepted_images
from .linking import Linked, LinkTask, link_cells
from .reach import Reach, reach_of
from .report import FileReport
from .roaming import with_motions
from .routing import FileSummary, RoutedBatch
from .writing import WriteTask, WrittenCell, store_tables, write_cell, write_task

LINKED_ROWS_PER_SECOND, WRITTEN_ROWS_PER_SECOND = 1e6, 1.6e5
"""What one process links and writes, as measured on Tycho-2; rows that a cell holds already count, as it is derived."""


@dataclass(frozen=True)
class Base:
    """What a batch is stored on top of: a snapshot, its photcodes with the mapping's, and which files are accepted."""

    snapshot: Snapshot
    photcodes: Photcodes
    stored_photcodes: Photcodes
    summaries: tuple[FileSummary, ...]
    images: ImageBatch

    @cached_property
    def terms(self) -> PhotcodeTerms:
        """The photcodes as arrays."""
        return PhotcodeTerms.from_table(self.photcodes.to_arrow())

    @property
    def brings_photcodes(self) -> bool:
        """Whether the batch adds photcodes to the database."""
        return self.photcodes != self.stored_photcodes


@dataclass(frozen=True)
class Written:
    """What was written of a batch: its cells, its rows of the global tables, and which exposures are new."""

    cells: tuple[WrittenCell, ...]
    tables: tuple[DataFile, ...]
    exposures: tuple[int, ...]


def store_batch(job: Job, batch: RoutedBatch) -> dict[str, FileReport]:
    """Store a batch on top of the newest snapshot and report on its files, by path.

    Raises
    ------
    CommitConflict
        Another writer came first: what was written is noted in the batch's folder, and of no use.
    """
    base = base_of(job, batch)
    if not any(s.accepted for s in base.summaries):
        return _reports(batch, base, None, None)
    with job.steps.step("associate") as progress:
        reach = reach_of(
            base.snapshot, batch.counted_pixels(), radius_arcsec=base.images.rules().largest_radius_arcsec,
            cell_rows=job.db.cell_rows,
        )  # fmt: skip
        executor = job.executor_of(_rows_touched(batch, base, reach) / LINKED_ROWS_PER_SECOND)
        link_task, reach = with_motions(_link_task(job, batch, base), reach, batch.counted_pixels()[0], executor)
        rows = _rows_touched(batch, base, reach)
        linked = link_cells(reach.cells, link_task, executor, progress=progress)
    reached("addstar.linked")
    if job.options.dry_run:
        return _reports(batch, base, linked, None)
    with job.steps.step("write") as progress:
        images_cal = first_zero_points(base.images.images, base.terms, linked.n_measurements)
        task = partial(write_cell, task=_write_task(job, batch, base, images_cal))
        executor = job.executor_of(rows / WRITTEN_ROWS_PER_SECOND)
        cells = tuple(map_cells(executor, task, base.snapshot, linked.cells, progress=progress))
        exposures = _new_exposures(base)
        tables = _write_tables(batch, base, {"images_cal": images_cal, "exposures": exposures})
        written = Written(cells, tables, tuple(exposures.column("exposure_id").to_pylist()))
    reports = _reports(batch, base, linked, cells)
    reached("addstar.written")
    with job.steps.step("commit"):
        job.db.commit(_changes(job, batch, base, reach, written, reports))
    return reports


def base_of(job: Job, batch: RoutedBatch, *, replacing: Staying | None = None) -> Base:
    """Decide, against the newest snapshot, which files are accepted, and order their images.

    `replacing` as in `accepted_images`.

    Raises
    ------
    BusyError
        A photcode means something else than when the files were read.
    """
    snapshot = job.db.snapshot()
    stored = Photcodes.from_arrow(snapshot.read_global("photcodes"))
    photcodes = job.photcodes(snapshot)
    _check_numbers(batch.photcodes, photcodes)
    summaries = accepted_images(
        job.db, snapshot, batch.files, batch.summaries, replacing=replacing, offer_replacing=not job.options.replace
    )
    images = build_batch(
        summaries, photcodes, radius_arcsec=job.options.radius_arcsec, keep_order=job.options.keep_order
    )
    return Base(snapshot, photcodes, stored, tuple(summaries), images)


def _check_numbers(read: Photcodes, now: Photcodes) -> None:
    """Refuse to store rows whose photcode numbers mean something else by now."""
    changed = [p.name for p in read if p.name not in now or now.by_name(p.name).code != p.code]
    if changed:
        raise BusyError(f"photcode {changed[0]!r} was changed while the files were read", None, "run addstar again")


def _rows_touched(batch: RoutedBatch, base: Base, reach: Reach) -> int:
    """Return the new rows of a batch, and those that the cells in its reach hold."""
    keys = {c.key for c in reach.cells}
    stored = sum(f.rows for f in base.snapshot.files("measurements") if (f.norder, f.npix) in keys)
    return stored + sum(s.n_measurements for s in base.summaries)


def _link_task(job: Job, batch: RoutedBatch, base: Base) -> LinkTask:
    accepted = np.zeros(batch.n_numbers, dtype=bool)
    accepted[[s.number for s in base.summaries if s.accepted]] = True
    images = base.images
    left_out = np.array(sorted(i for s in base.summaries for i in s.left_out), dtype=np.int64)
    return LinkTask(
        base.snapshot, batch.place.path, batch.spills, images.ids, images.rank, images.rules(),
        _survey_images(base), accepted, left_out, job.options.one_to_many, only_match=job.options.only_match,
        existing_cells=job.options.existing_cells,
    )  # fmt: skip


def _survey_images(base: Base) -> dict[int, np.ndarray]:
    """Return the stored images of the reference surveys that the batch brings more of, by their bit."""
    if not base.images.surveys:
        return {}
    stored = base.snapshot.read_global("images", ["image_id", "exposure_id"])
    ids, exposures = stored.column("image_id").to_numpy(), stored.column("exposure_id").to_numpy()
    return {bit: np.sort(ids[exposures == survey]) for bit, survey in enumerate(base.images.surveys)}


def _write_task(job: Job, batch: RoutedBatch, base: Base, images_cal: pa.Table) -> WriteTask:
    terms = ImageTerms.of(base.images.images, images_cal)
    return write_task(base.snapshot, batch.place, batch.spills, terms, base.terms, defer=job.options.defer)


def _new_exposures(base: Base) -> pa.Table:
    """Return the batch's exposures that the database lacks: another chip of theirs may be there."""
    known = base.snapshot.read_global("exposures", ["exposure_id"]).column(0)
    exposures = base.images.exposures
    return exposures.filter(pc.invert(pc.is_in(exposures.column("exposure_id"), known.combine_chunks())))


def _write_tables(batch: RoutedBatch, base: Base, made: dict[str, pa.Table]) -> tuple[DataFile, ...]:
    """Write the batch's rows of the global tables; `made` are those beside its images and photcodes."""
    tables = {"images": base.images.images, **made}
    if base.brings_photcodes:
        tables["photcodes"] = base.photcodes.to_arrow()
    return store_tables(tables, base.snapshot, batch.place)


def _changes(
    job: Job, batch: RoutedBatch, base: Base, reach: Reach, written: Written, reports: dict[str, FileReport]
) -> Changes:
    cells = written.cells
    replaces = [name for w in cells for name in w.replaces]
    if base.brings_photcodes:
        replaces += [f.name for f in base.snapshot.files("photcodes")]
    writes = merge_ranges(np.array([(w.cell.lo, w.cell.hi) for w in cells], dtype=np.int64))
    companions = companion_log(batch.files, base.summaries, base.snapshot, cells, reports)
    settings, ends_settings = raised_bound(job.db.root, (w.motion for w in cells))
    return Changes(
        "addstar", job.command, base.snapshot.id,
        adds=(*written.tables, *(f for w in cells for f in w.adds)), replaces=tuple(replaces),
        cells=tuple(w.cell for w in cells), log=(*_log(batch, base, reports), *companions.begins),
        ends_log=(
            *(s.logged.digest for s in base.summaries if s.accepted and s.logged is not None), *companions.ends
        ),
        images=_image_keys(batch, base.images), exposures=written.exposures,
        exposures_of_images=tuple(base.images.exposures.column("exposure_id").to_pylist()),
        reads=merge_ranges(np.concatenate([reach.reads, writes])), writes=writes, uses_calibration=True,
        settings=settings, ends_settings=ends_settings, uses_settings=(MOTION,),
        replaces_globals=("photcodes",) if base.brings_photcodes else (),
    )  # fmt: skip


def _image_keys(batch: RoutedBatch, images: ImageBatch) -> tuple[ImageKey, ...]:
    digest = {f.number: f.digest for f in batch.files}
    keys, exposures = (images.images.column(name).to_pylist() for name in ("image_key", "exposure_id"))
    rows = zip(images.ids.tolist(), keys, exposures, images.file.tolist(), strict=True)
    return tuple(ImageKey(i, key, exposure, digest[n]) for i, key, exposure, n in rows)


def _log(batch: RoutedBatch, base: Base, reports: dict[str, FileReport]) -> tuple[LogEntry, ...]:
    files = {f.number: f for f in batch.files}
    entries = []
    for summary in (s for s in base.summaries if s.accepted):
        if summary.logged is not None and summary.left_out:
            entries.append(replace(summary.logged, n_deleted=0, n_deleted_measurements=0, n_deleted_images=0))
            continue
        file, report = files[summary.number], reports[files[summary.number].path]
        entries.append(LogEntry(
            file.path, file.digest, file.bytes, summary.format, report.n_images, report.n_in, report.n_matched,
            report.n_new, report.n_rejected, report.n_measurements, report.n_nulled, report.reasons,
        ))  # fmt: skip
    return tuple(entries)


def _reports(
    batch: RoutedBatch, base: Base, linked: Linked | None, cells: Sequence[WrittenCell] | None
) -> dict[str, FileReport]:  # fmt: skip
    """Report on a batch's files, by path; `cells` is None where nothing was written."""
    paths = {f.number: f.path for f in batch.files}
    stored = sum_of([cell.companions for cell in cells or ()])
    stored_rows = rows_by_file(linked, base.images, batch.n_numbers)
    reports = {paths[s.number]: _report(paths[s.number], s, linked, stored_rows) for s in base.summaries}
    for summary in (s for s in base.summaries if cells is not None and s.accepted and s.companions):
        path = paths[summary.number]
        reports[path] = replace(reports[path], companions=counts_of_file(summary, base.snapshot, stored))
    return reports


def rows_by_file(linked: Linked | None, images: ImageBatch, n_numbers: int) -> np.ndarray:
    """Return the stored measurements of every input file, by its number: (n_numbers,)."""
    rows = np.zeros(n_numbers, dtype=np.int64)
    if linked is not None:
        np.add.at(rows, images.file, linked.n_measurements)
    return rows


def _report(path: str, summary: FileSummary, linked: Linked | None, stored_rows: np.ndarray) -> FileReport:
    if summary.known:
        return FileReport(path, "known")
    if summary.error is not None or linked is None:
        return FileReport(path, "failed", error=summary.error, exit_code=summary.exit_code, fault=summary.fault)
    matched = int(linked.matched[summary.number])
    there = sum(summary.rows_of_image[image] for image in summary.left_out)
    refused = Counter({reason: int(counts[summary.number]) for reason, counts in linked.refused.items()})
    rejected = +(summary.rejected + refused)
    return FileReport(
        path, "ingested", summary.images.num_rows, summary.n_in, matched,
        summary.n_kept - there - matched - refused.total(), rejected.total(),
        int(stored_rows[summary.number]), summary.n_nulled, dict(rejected), n_there=there,
    )  # fmt: skip
