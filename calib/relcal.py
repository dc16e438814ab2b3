"""relcal: solve the photometric zero points of a survey's images from its own stars, and apply them.

The road: pin a snapshot → select and pack every cell's measurements (`packing`) → solve band by band, streaming the
packed selections (`passes`, `zeropoints`) → commit the calibration and apply it to every cell
(`skydb.calibration.recalibrate`). Images that arrive between the two ends keep their own first zero points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path

from skydb.calibration.kept_apply import Solved, kept_calibration
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.recalibrate import apply_to_all, finish_apply
from skydb.database import Database
from skydb.errors import BusyError, SkydbError, UsageError, did_you_mean
from skydb.executors import executor_of
from skydb.parallel.executor import Executor, Workers
from skydb.parallel.steps import StepProgress, Steps
from skydb.store.carried import map_cells
from skydb.store.changes import Calibration
from skydb.store.command_line import one_line
from skydb.store.history import catalog_table
from skydb.store.scratch import scratch, sweep
from skydb.store.snapshot import Snapshot
from skydb.store.unfinished import Unfinished, described_jobs, unfinished_jobs

from .bands import Band, bands_of
from .brightest import BrightnessCounts, with_faint_limits
from .images_cal import images_cal_rows, solved_rows
from .packing import Packed, PackTask, count_cell, load_band, pack_cell
from .passes import PassLine, StreamedSums
from .relcal_report import (
    BandReport,
    RelcalReport,
    calibration_report,
    overall_chi2,
    report_band,
    report_of_calibration,
)
from .report import ZeroPointSolution
from .select import SelectionRules
from .zeropoints import ZeroPointRules, solve_zero_points

MODES = ("images",)
KIND = "relcal"
"""Of the commit, the calibration and the job."""


@dataclass(frozen=True)
class RelcalOptions:
    """How a run of relcal works; see `relcal`."""

    bands: tuple[str, ...] | None
    rules: SelectionRules
    brightest: int | None
    exclude_photflags: int | None
    solution: ZeroPointRules
    dry_run: bool

    def settings(self) -> dict[str, object]:
        """Return what the calibration's row keeps of them."""
        own = {"brightest": self.brightest, "exclude_photflags": self.exclude_photflags}
        return {"mode": "images", "selection": {**asdict(self.rules), **own}}

    def command(self, root: Path) -> str:
        """Return the command line that does the same to a database."""
        words = ["relcal", str(root)]
        words += ["--bands", ",".join(self.bands)] if self.bands else []
        words += ["--max-mag-err", f"{self.rules.max_mag_err:g}"]
        words += ["--brightest", str(self.brightest)] if self.brightest else []
        words += ["--exclude-photflags", f"{self.exclude_photflags:#x}"] if self.exclude_photflags is not None else []
        return one_line([*words, "--allow-poor"] if self.rules.allow_poor else words)


@dataclass(frozen=True)
class SolvedBand:
    """One band's solution and what is to be said about it."""

    solution: ZeroPointSolution
    report: BandReport


def relcal(
    db: Database | str | PathLike[str], *, mode: str = "images", bands: Sequence[str] | str | None = None,
    max_mag_err: float = 0.05, brightest: int | None = None, exclude_photflags: int | None = None,
    allow_poor: bool = False, solution: ZeroPointRules | None = None, dry_run: bool = False, resume: bool = False,
    workers: Workers = None, cluster: object = None, progress: StepProgress | None = None,
    on_pass: Callable[[PassLine], None] | None = None,
) -> RelcalReport:  # fmt: skip
    """Solve the zero points of a survey's images from the stars that they share, and apply them.

    Each group of images that stars tie together keeps the weighted mean zero point that its images' headers gave, but
    for those headers that the others contradict (nominal where none gave any). Bands that are not asked for, and images
    that cannot be solved or that arrived since, keep what they have. Stacks, warps and reference surveys are not used.

    Parameters
    ----------
    db
        The database, or its path.
    mode
        "images": every image has a zero point of its own.
    bands
        Names of bands, or one string of them with commas; None: all that have images.
    max_mag_err : mag
        Largest photon error of a measurement that enters.
    brightest
        About how many of its brightest measurements enter per image; None: all.
    exclude_photflags
        Bits of `photflags` that keep a measurement out, beside those that its photcode calls bad; None: psphot's bits
        of saturation, where the photcode has no masks.
    allow_poor
        Use measurements whose flags their photcode calls poor (not bad).
    solution
        How to iterate, and when an image is flagged.
    dry_run
        Solve and report, commit nothing.
    resume
        Go on with the relcal that was cut short while it applied what it had solved; without other options.
    workers
        Worker processes; None: one per core. Or an executor, whose workers are taken.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: its workers are taken.
    progress
        Called with (step, done, all).
    on_pass
        Called with a line about every pass of the solution as it ends.

    Returns
    -------
    RelcalReport
        Where no image could be solved, nothing is committed and `snapshot` is None.

    Raises
    ------
    UsageError
        An unknown mode or band, a limit that lets nothing in, or the database has no images; or there is nothing to
        go on with.
    BusyError
        What is to be gone on with is at work.
    """
    from skydb import database

    _check_mode(mode)
    opened = db if isinstance(db, Database) else database.open(db)
    options = RelcalOptions(
        _band_names(bands), SelectionRules(max_mag_err=_checked_error(max_mag_err), allow_poor=allow_poor), brightest,
        exclude_photflags, solution or ZeroPointRules(), dry_run,
    )  # fmt: skip
    executor = executor_of(opened, workers, cluster)
    if resume:
        return _resumed(opened, options, executor, progress)
    with scratch(opened.root) as place:
        return _Run(opened, options, executor, place.path, progress, on_pass).run()


def unfinished_relcal(root: Path) -> Unfinished | None:
    """Return the relcal of a database that was cut short and can be continued, the newest if there are several."""
    return next(reversed(unfinished_jobs(root, KIND)), None)


def discard_unfinished(db: Database | str | PathLike[str]) -> Unfinished | None:
    """Give up the relcal of a database that was cut short, with what it had done; returns it, if there was one.

    Raises
    ------
    BusyError
        A worker of it still stores a file.
    """
    from skydb import database

    root = (db if isinstance(db, Database) else database.open(db)).root
    job = unfinished_relcal(root)
    sweep(root, overtaken=KIND)
    if unfinished_relcal(root):
        raise BusyError("a worker of the relcal that was cut short is still at work", str(root), "wait until it ends")
    return job


def _resumed(db: Database, options: RelcalOptions, executor: Executor, progress: StepProgress | None) -> RelcalReport:
    """Apply what was solved before."""
    if options != RelcalOptions(None, SelectionRules(), None, None, ZeroPointRules(), False):
        raise UsageError("what was solved is applied as it is", "--resume", "leave the other options out")
    job = unfinished_relcal(db.root)
    if job is None:
        raise _nothing_to_resume(db)
    steps = Steps(progress)
    report = report_of_calibration(kept_calibration(job).report, job.about["base"], steps.seconds)
    with steps.step("apply") as show:
        number = finish_apply(db.snapshot, db.commit, job, images_cal_rows, executor=executor, progress=show)
    return replace(report, snapshot=number, calibration=db.snapshot(number).calibration_id)


def _nothing_to_resume(db: Database) -> SkydbError:
    if described_jobs(db.root, KIND):
        return BusyError("a relcal is at work", str(db.root), "wait until it has ended")
    known = catalog_table(db.snapshot(), "calibrations").to_pylist()
    last = [row["snapshot"] for row in known if row["kind"] == KIND][-1:]
    since = f" since that of snapshot {last[0]}" if last else ""
    return UsageError(f"no relcal of it was cut short{since}", str(db.root), "run `skydb relcal` without --resume")


def _check_mode(mode: str) -> None:
    if mode == "nights":
        raise UsageError("mode 'nights' is not there yet", "--mode", "it comes with the model of nights; use 'images'")
    if mode not in MODES:
        raise UsageError(f"no mode named {mode!r}", "--mode", did_you_mean(mode, MODES))


def _band_names(bands: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if bands is None:
        return None
    return tuple(b.strip() for b in bands.split(",") if b.strip()) if isinstance(bands, str) else tuple(bands)


def _checked_error(max_mag_err: float) -> float:
    if not max_mag_err > 0:
        raise UsageError(f"max_mag_err is {max_mag_err} mag", "--max-mag-err", "give a positive number")
    return max_mag_err


class _Run:
    """One call of relcal: what its steps share."""

    def __init__(
        self, db: Database, options: RelcalOptions, executor: Executor, folder: Path, progress: StepProgress | None,
        on_pass: Callable[[PassLine], None] | None,
    ) -> None:  # fmt: skip
        self.db, self.options, self.executor, self.folder, self._on_pass = db, options, executor, folder, on_pass
        self.steps = Steps(progress)

    def run(self) -> RelcalReport:
        """Select, solve, apply, and report."""
        snapshot = self.db.snapshot()
        with self.steps.step("select") as progress:
            files, packed = self._pack(snapshot, progress)
        with self.steps.step("solve") as progress:
            solved = []
            for number, file in enumerate(files):
                solved.append(self._solve(file, [p for p in packed if p.band == number]))
                progress(number + 1, len(files))
        reports = tuple(s.report for s in solved)
        report = RelcalReport("images", snapshot.id, None, None, reports, self.steps.seconds)
        if self.options.dry_run or not report.n_solved:
            return report
        with self.steps.step("apply") as progress:
            number = self._apply(solved, snapshot.id, progress)
        return replace(report, snapshot=number, calibration=self.db.snapshot(number).calibration_id)

    def _pack(self, snapshot: Snapshot, progress: Callable[[int, int], None]) -> tuple[tuple[Path, ...], list[Packed]]:
        """Select every cell's measurements, all bands in one reading (two, to find the brightest first).

        Returns the files of the bands, and the packed selections.
        """
        terms = PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
        bands = bands_of(snapshot, terms, self.options.bands, exclude_photflags=self.options.exclude_photflags)
        cells = snapshot.cells()
        task = PackTask(snapshot, terms, self._save(bands, "band"), self.options.rules, self.folder)
        if self.options.brightest is not None:
            counts = list(map_cells(self.executor, partial(count_cell, task=task), snapshot, cells))
            limited = [self._limited(band, number, counts) for number, band in enumerate(bands)]
            task = replace(task, bands=self._save(limited, "limited"))
        packed = map_cells(self.executor, partial(pack_cell, task=task), snapshot, cells, progress=progress)
        return task.bands, [p for of_cell in packed for p in of_cell]

    def _save(self, bands: Sequence[Band], name: str) -> tuple[Path, ...]:
        paths = tuple(self.folder / f"{name}{number}.npz" for number in range(len(bands)))
        for band, path in zip(bands, paths, strict=True):
            band.save(path)
        return paths

    def _limited(self, band: Band, number: int, counts: Sequence[dict[int, BrightnessCounts]]) -> Band:
        """The band with a faint limit for every image."""
        own = [c[number] for c in counts if number in c]
        return replace(band, images=with_faint_limits(band.images, own, self.options.brightest or 1))

    def _solve(self, file: Path, packed: Sequence[Packed]) -> SolvedBand:
        band = load_band(file)
        sums = StreamedSums(packed, file, self.executor, self._on_pass)
        found = solve_zero_points(sums, band.images, self.options.solution)
        return SolvedBand(found, report_band(band, found, tuple(sums.lines)))

    def _apply(self, solved: Sequence[SolvedBand], base: int, progress: Callable[[int, int], None]) -> int:
        """Commit the calibration and what follows from it; returns the snapshot."""
        own = [s for s in solved if s.report.n_solved]
        bands = tuple(s.report for s in own)
        calibration = Calibration(
            KIND, tuple(b.band for b in bands), sum(b.n_solved for b in bands),
            sum(b.n_measurements for b in bands), overall_chi2(bands),
            calibration_report(tuple(s.report for s in solved), self.options.settings()),
        )  # fmt: skip
        rows = solved_rows(s.solution for s in own)
        return apply_to_all(
            self.db.snapshot, self.db.commit, Solved(calibration, self.options.command(self.db.root), base, rows),
            images_cal_rows, executor=self.executor, progress=progress,
        )  # fmt: skip
