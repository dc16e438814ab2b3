"""The verb `merge`: bring another database into one, in one commit.

What comes is decided against the newest snapshot (`coming`), read cell by cell of the other database (`spilling`), tied
to the objects that are here (`pairing`), written cell by cell of this one (`writing`) and committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath

import numpy as np
import pyarrow as pa

from skydb import database
from skydb.calibration.mapped import save_mapped
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.executors import executor_of
from skydb.kernels.distinct import by_value, is_among
from skydb.parallel.executor import Executor, Workers
from skydb.parallel.steps import StepProgress, Steps
from skydb.schema.declaration import table_of
from skydb.sky.partition import merge_ranges
from skydb.sky.region_text import Area, parse_region
from skydb.store.carried import map_cells
from skydb.store.changes import Calibration, Changes, LogEntry
from skydb.store.command_line import one_line
from skydb.store.compact import compact as fold
from skydb.store.crashpoints import reached
from skydb.store.files import DataFile
from skydb.store.history import catalog_table
from skydb.store.motion import MOTION, raised_bound
from skydb.store.notes import drop_uncommitted
from skydb.store.retries import until_committed
from skydb.store.row_log import log_with_rows
from skydb.store.scratch import Scratch, scratch
from skydb.store.snapshot import Snapshot

from .addstar import checked_radius
from .batch import DEFAULT_RADIUS_ARCSEC
from .merging.coming import Came, Coming, coming_from, log_after
from .merging.in_part import held_keys, recounted
from .merging.left_out import left_out
from .merging.pairing import pair_objects
from .merging.report import MergeReport
from .merging.selection import Selection
from .merging.spilling import Spilled, SpillTask, spill_cell
from .merging.strays import store_strays
from .merging.tally import Tally
from .merging.writing import MergedCell, MergeTask, alias_work, store_aliases, write_merged_cell
from .reach import Reach, reach_of
from .writing import CellWork, WrittenCell, store_tables, write_task


def merge(
    db: Database | str | PathLike[str], source: Database | str | PathLike[str], *, at: int | str | None = None,
    radius_arcsec: float | None = None, region: Area | str | None = None, photcodes: Iterable[str] | str = (),
    only_matches: bool = False, compact: bool = True, workers: Workers = None, cluster: object = None,
    progress: StepProgress | None = None,
) -> MergeReport:  # fmt: skip
    """Bring another database into one, in one commit: images, measurements, objects, declared rows, solutions, log.

    Objects are matched one to one, nearest first, by their association positions. An image that both databases have
    keeps what it has here. Merged again, a database brings only what came to it since, or was left out. Its photometric
    solutions come with its images, as a calibration that leaves the images that are here as they are.

    Parameters
    ----------
    db
        The database, or its path, that takes the other in.
    source
        The other one, or its path; it is only read.
    at
        Snapshot or tag of the other one; None: the newest.
    radius_arcsec : arcsec
        Objects nearer than this may be one; None: 1 arcsec.
    region
        Bring only objects whose association position lies in it: a region of `skydb.sky.regions`, or a text such as
        "cone 10.68 41.27 30arcmin" (box, polygon, moc). Images come with the measurements of these objects.
    photcodes
        Bring only images of these; the name of a band stands for all photcodes of it.
    only_matches
        Bring only what is of objects that match one here; none is new.
    compact
        Split cells over their limit and fold deltas afterwards.
    workers, cluster
        As `skydb.addstar` takes them.
    progress
        Called with (step, done, all).

    Raises
    ------
    UsageError
        The two are one database, or one a copy of the other; one is of difference images, the other not; a bad radius
        or region; an unknown photcode, or some only of a survey's, whose rows measure in all of them.
    DataError
        A photcode or a declared table is another in both, or a file was read otherwise here and there.
    CommitConflict
        Other writers came first again and again.

    Examples
    --------
    ::

        print(skydb.merge("survey.sky", "night42.sky").text())
        skydb.merge("survey.sky", "allsky.sky", region="cone 10.68 41.27 2", photcodes=["g", "r"])
    """
    into = db if isinstance(db, Database) else database.open(db)
    other = source if isinstance(source, Database) else database.open(source)
    if into.id == other.id:
        what = "it is the same database" if into.root == other.root else "one is a copy of the other, by its identity"
        raise UsageError(what, str(other.root), "merge databases that were created apart")
    if into.difference != other.difference:
        what = "one is a database of difference images, the other is not"
        raise UsageError(what, str(other.root), "merge databases of one kind")
    radius = checked_radius(radius_arcsec) or DEFAULT_RADIUS_ARCSEC
    selection = Selection(
        parse_region(region) if isinstance(region, str) else region,
        (photcodes,) if isinstance(photcodes, str) else tuple(photcodes), only_matches,
    )  # fmt: skip
    command = ["merge", str(into.root), str(other.root), *(["--at", str(at)] if at is not None else [])]
    command += ["--radius", f"{radius_arcsec:g}"] if radius_arcsec is not None else []
    command += selection.words()
    executor = executor_of(into, workers, cluster)
    name = str(other.root) if isinstance(source, Database) else fspath(source)
    job = _Merge(into, other, name, other.snapshot(at), radius, selection, executor, Steps(progress), one_line(command))
    report = job.run()
    if compact and report.snapshot is not None:
        with job.steps.step("compact") as show:
            fold(into.snapshot, into.commit, None, cell_rows=into.cell_rows, executor=executor, progress=show)
    return replace(report, seconds=job.steps.seconds)


@dataclass(frozen=True)
class _Written:
    """What was written: cells, aliases, rows of declared tables apart from their objects' cells; and what it counts.

    `coming` is what of it came; `several` are files by the numbers that `tally` gives them.
    """

    coming: Coming
    several: tuple[str, ...]
    cells: tuple[MergedCell, ...]
    aliases: tuple[DataFile, ...]
    strays: tuple[WrittenCell, ...]
    tally: Tally

    @property
    def changed(self) -> list[WrittenCell]:
        """The cells that changed; of one that is there twice, the last is as it will be."""
        return [*self.strays, *(m.written for m in self.cells if m.written is not None)]

    @property
    def declared(self) -> dict[str, int]:
        """How many rows of each declared table came."""
        strays = (Counter({f.table: f.rows}) for w in self.strays for f in w.adds)
        return dict(sum((Counter(m.declared) for m in self.cells), sum(strays, Counter())))

    def came(self) -> Came:
        """Return what the log is to count."""
        founders = sum((by_value(m.founders) for m in self.cells), Counter[int]())
        return Came(self.tally.came, founders, {self.several[number]: n for number, n in self.tally.rows.items()})


@dataclass
class _Merge:
    """One call of merge: what its attempts share."""

    into: Database
    other: Database
    name: str
    source: Snapshot
    radius_arcsec: float
    selection: Selection
    executor: Executor
    steps: Steps
    command: str
    _read: tuple[int | None, np.ndarray, Spilled] | None = None

    def run(self) -> MergeReport:
        """Merge, again from the new state where another writer comes first."""
        root = self.into.root
        with scratch(root) as place:
            return until_committed(
                root, partial(self._attempt, place), after_conflict=partial(drop_uncommitted, root, place.path)
            )

    def _attempt(self, place: Scratch) -> MergeReport:
        coming = coming_from(self.source, self.into.snapshot(), self.selection)
        if coming.is_nothing and not self.source.declared:
            return self._report(coming, coming, Tally.total(()))
        spilled = self._spilled(coming, place)
        with self.steps.step("match") as progress:
            reach = reach_of(
                coming.base, (spilled.pixels, spilled.counts), radius_arcsec=self.radius_arcsec,
                cell_rows=self.into.cell_rows,
            )  # fmt: skip
            work, reach = pair_objects(
                coming.base, reach, spilled, place.path, self.executor, source_id=self.source.database_id,
                radius_arcsec=self.radius_arcsec, progress=progress,
            )  # fmt: skip
        reached("merge.matched")
        written = self._written(coming, spilled, reach, work, place)
        reached("merge.written")
        report = self._report(coming, written.coming, written.tally)
        if written.coming.is_nothing and not (written.changed or written.aliases):
            return report
        with self.steps.step("commit"):
            snapshot = self.into.commit(self._changes(written, reach, place))
        return replace(
            report, snapshot=snapshot, n_matched=sum(m.n_matched for m in written.cells),
            n_new=sum(m.n_new for m in written.cells), n_aliases=sum(file.rows for file in written.aliases),
            declared=written.declared,
        )  # fmt: skip

    def _report(self, coming: Coming, came: Coming, tally: Tally) -> MergeReport:
        """Report on images and measurements: what was to come, and what came of it."""
        left = left_out(coming, came, tally, self.selection)
        return MergeReport(
            self.name, self.source.id, None, came.images.num_rows, coming.known_images, len(came.in_part.digest),
            left.n_images_in_part, left.n_images, tally.came.total(), n_objects_unmatched=tally.n_no_match,
            left_out=left.reasons,
        )  # fmt: skip

    def _spilled(self, coming: Coming, place: Scratch) -> Spilled:
        """Read the other database; again only if others come than in the attempt before."""
        in_part = coming.in_part.ids
        ids = np.sort(np.concatenate([coming.ids, in_part]))
        at = coming.base.id if len(in_part) else None  # of images in part, what the base has counts too
        if self._read is None or self._read[0] != at or not np.array_equal(self._read[1], coming.ids):
            with self.steps.step("read") as progress:
                images = place.path / f"coming-{coming.base.id}.arrow"
                save_mapped(images, {"image_id": ids, "in_part": is_among(ids, in_part)})
                held = held_keys(coming.base, coming.in_part, images, self.executor)
                reading = SpillTask(self.source, place.path, images, held, self.selection.region)
                task = partial(spill_cell, task=reading)
                parts = list(map_cells(self.executor, task, self.source, self.source.cells(), progress=progress))
            self._read = at, coming.ids, Spilled.concat(parts)
        return self._read[2]

    def _written(
        self, coming: Coming, spilled: Spilled, reach: Reach, work: Sequence[CellWork], place: Scratch
    ) -> _Written:
        base = coming.base.declaring({d.name: table_of(d.name, d.text) for d in coming.declarations})
        with self.steps.step("write") as progress:
            photcodes = PhotcodeTerms.from_table(coming.photcodes.to_arrow())
            writing = write_task(base, place, spilled.measurements, coming.terms(), photcodes)
            several = coming.save_several(place.path)
            task = MergeTask(writing, spilled, self.source.database_id, several, self.selection.only_matches)
            cells = tuple(map_cells(
                self.executor, partial(write_merged_cell, task=task), base, work, progress=progress
            ))  # fmt: skip
            tally = Tally.total(m.tally for m in cells)
            self._check_conserved(coming, spilled, tally)
            named = map_cells(
                self.executor, partial(store_aliases, snapshot=base, place=place), base,
                alias_work(reach.cells, cells),
            )  # fmt: skip
            aliases = tuple(file for file in named if file is not None)
            strays = store_strays((s for m in cells for s in m.strays.items()), base, place, self.executor)
            came = coming.that_came(tally.came, cut=self.selection.cuts_images)
            return _Written(came, coming.several, cells, aliases, tuple(strays), tally)

    def _check_conserved(self, coming: Coming, spilled: Spilled, tally: Tally) -> None:
        """Refuse to go on unless every object and measurement that was read came, or stays out for a reason."""
        read, done = Counter(spilled.n_measurements), tally.came + tally.no_match
        n_objects = sum(spill.rows for spill in spilled.objects)
        said = {} if self.selection.region is not None else coming.counts()
        short = {image: n for image, n in said.items() if read[image] != n}
        if done != read or n_objects != tally.n_objects or short:
            what = (
                f"{n_objects} objects with {read.total()} measurements were read, and {tally.n_objects} with"
                f" {done.total()} dealt with; {len(short)} images have others than their count says"
            )
            todo = "check it with `skydb fsck`; if it is sound, report this fault of skydb: nothing was changed"
            raise DataError(what, str(self.other.root), todo)

    def _changes(self, written: _Written, reach: Reach, place: Scratch) -> Changes:
        coming = written.coming
        cells = {w.cell.key: w.cell for w in written.changed}
        named = {(f.norder, f.npix) for f in written.aliases} - cells.keys()
        cells |= {c.key: c for c in reach.cells if c.key in named}
        writes = merge_ranges(np.array([(c.lo, c.hi) for c in cells.values()], dtype=np.int64).reshape(-1, 2))
        log, ends_log = _with_declared(written, *log_after(coming, written.came()))
        tables, replaced = _tables(written, place)
        replaces = [*replaced, *(name for w in written.changed for name in w.replaces)]
        settings, ends_settings = raised_bound(self.into.root, (w.motion for w in written.changed))
        return Changes(
            "merge", self.command, coming.base.id,
            adds=(*tables, *(f for w in written.changed for f in w.adds), *written.aliases),
            replaces=tuple(replaces), cells=tuple(cells.values()), log=log, ends_log=ends_log, images=coming.keys(),
            exposures=tuple(coming.exposures.column("exposure_id").to_pylist()),
            exposures_of_images=tuple(set(coming.images.column("exposure_id").to_pylist())),
            calibration=_calibration(coming), declarations=coming.declarations,
            settings=settings, ends_settings=ends_settings, uses_settings=(MOTION,),
            reads=merge_ranges(np.concatenate([reach.reads, writes])), writes=writes, uses_calibration=True,
            replaces_globals=("photcodes",) if coming.brings_photcodes else (),
        )  # fmt: skip


def _tables(written: _Written, place: Scratch) -> tuple[tuple[DataFile, ...], tuple[str, ...]]:
    """Write the rows of the global tables that come, and those that change; what begins and what ends."""
    coming, came = written.coming, written.tally.came
    counts = [came[i] for i in coming.images_cal.column("image_id").to_pylist()]
    at = coming.images_cal.column_names.index("n_measurements")
    solutions = coming.images_cal.set_column(at, "n_measurements", pa.array(counts, pa.int32()))
    tables = {"images": coming.images, "images_cal": solutions, "exposures": coming.exposures}
    adds, ends = recounted({i: came[i] for i in coming.in_part.digest}, coming.base, place)
    if coming.brings_photcodes:
        tables["photcodes"] = coming.photcodes.to_arrow()
        ends += tuple(f.name for f in coming.base.files("photcodes"))
    return (*store_tables(tables, coming.base, place), *adds), ends


def _with_declared(
    written: _Written, log: Sequence[LogEntry], ends_log: Sequence[str]
) -> tuple[tuple[LogEntry, ...], tuple[str, ...]]:
    """Have the log, and what of it ends, count the rows of declared tables that came."""
    coming = written.coming
    files = [f for w in written.changed for f in w.adds]
    came = {name: sum(f.rows for f in files if f.table == name) for name in coming.source.declared}
    brought = [entry for entry in log if entry.digest not in ends_log]
    changed = {entry.digest: entry for entry in log_with_rows(coming.base, came, brought)}
    here = changed.keys() - {entry.digest for entry in log}
    entries = {entry.digest: entry for entry in log} | changed
    return tuple(entries.values()), (*ends_log, *here)


def _calibration(coming: Coming) -> Calibration | None:
    """Return the calibration that the solutions of the other database's images make with those that are here."""
    if not coming.source.calibration_id or not coming.images.num_rows:
        return None
    (theirs,) = (
        row for row in catalog_table(coming.source, "calibrations").to_pylist()
        if row["calibration_id"] == coming.source.calibration_id
    )  # fmt: skip
    report = {"database_id": coming.source.database_id, "snapshot": coming.source.id, **theirs}
    bands = tuple(band for band in theirs["bands"].split(",") if band)
    return Calibration("merge", bands, coming.images.num_rows, theirs["n_measurements"], theirs["chi2"], report)
