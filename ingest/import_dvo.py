"""import_dvo: a DVO database becomes part of a skydb database, in one commit after its photcodes."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

from skydb import database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.executors import executor_of
from skydb.parallel.executor import Workers
from skydb.parallel.steps import StepProgress, Steps
from skydb.photcodes import add_photcodes, stored_photcodes
from skydb.store.command_line import one_line
from skydb.store.crashpoints import reached

from .addstar import checked_radius, is_one_to_many
from .batches import ingest_files
from .dvo_grouping import Grouping, grouping_of
from .dvo_report import DvoReport
from .job import AddstarOptions, Job
from .readers.dvo.images import DvoImages
from .readers.dvo.photcodes import read_photcodes_fits
from .readers.dvo.reader import DvoReader
from .readers.dvo.regions import IMAGE_TABLE, PHOTCODE_TABLE, SKY_TABLE


def import_dvo(
    db: Database | str | PathLike[str], catdir: str | PathLike[str], *, radius_arcsec: float | None = None,
    association: str = "one-to-one", defer: bool = False, compare: bool = False, workers: Workers = None,
    cluster: object = None, progress: StepProgress | None = None,
) -> DvoReport:  # fmt: skip
    """Import a DVO database: photcodes, images with their astrometry and zero points, and all measurements.

    Measurements are associated anew, image by image in order of their starts, as `addstar` does with files. Objects and
    their means are made of them; DVO's own are not read.

    Parameters
    ----------
    db
        The database, or its path.
    catdir
        Folder of the DVO database, with Images.dat and SkyTable.fits; photcodes are those of its Photcodes.dat, else
        those that the database has.
    radius_arcsec : arcsec
        Association radius; None: that of each photcode, 1 arcsec where it has none.
    association
        "one-to-one" per image, or "dvo": several detections of an image may join one object.
    defer
        Leave the refresh of derived tables to `skydb refresh`.
    compare
        Count the objects that hold the same measurements here as in DVO. It reads all again, and holds 50 bytes in
        memory for every measurement.
    workers
        Worker processes; None: one per core, and none for steps that are done sooner than workers start. Or an
        executor, whose workers are taken.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: its workers are taken.
    progress
        Called with (step, done, all).

    Returns
    -------
    DvoReport
        What became of it. A database that cannot be read is reported as failed, and nothing but its photcodes is kept.

    Raises
    ------
    UsageError
        The folder is no DVO database, there are no photcodes, an unknown association, a bad radius.
    DataError
        The photcode table is damaged, or contradicts that of the database.
    CommitConflict
        Other writers came first again and again.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    folder = _folder(catdir)
    options = AddstarOptions(
        radius_arcsec=checked_radius(radius_arcsec), one_to_many=is_one_to_many(association), defer=defer,
        reader=DvoReader(),
    )  # fmt: skip
    command = one_line(["import-dvo", str(opened.root), str(folder), *options.words()])
    executor = executor_of(opened, workers, cluster)
    job = Job(opened, options, executor, Steps(progress), command, adaptive=workers is None and cluster is None)
    n_photcodes = _add_photcodes(opened, folder, command)
    reached("dvo.photcodes")
    report = ingest_files(job, [str(folder)])
    if not report.complete:
        return DvoReport(report, n_photcodes)
    grouping = _compared(job, folder) if compare else None
    return DvoReport(report, n_photcodes, *_said(folder), grouping)


def _folder(catdir: Any) -> Path:
    if not isinstance(catdir, str | PathLike) or not isinstance(fspath(catdir), str):
        raise UsageError(f"{catdir!r} is no path of a folder", "import_dvo", "give the folder of a DVO database")
    folder = Path(catdir)
    missing = [name for name in (IMAGE_TABLE, SKY_TABLE) if not (folder / name).is_file()]
    if missing:
        raise UsageError(f"there is no {', '.join(missing)} in it: it is no DVO database", str(folder),
                         "give the folder that DVO calls CATDIR")  # fmt: skip
    return folder


def _add_photcodes(db: Database, folder: Path, command: str) -> int:
    """Add the photcodes of the DVO database; one without a table of its own means those that are here."""
    path = folder / PHOTCODE_TABLE
    if path.is_file():
        return add_photcodes(db, read_photcodes_fits(path), command)
    if not len(stored_photcodes(db)):
        todo = "bring its photcodes first: `skydb photcodes DB --import FILE`"
        raise UsageError(f"there is no {PHOTCODE_TABLE} in it, and no photcode in {db.root}", str(folder), todo)
    return 0


def _said(folder: Path) -> tuple[int, int]:
    """Return how many images, and how many detections on them, the image table says that there are."""
    images = DvoImages(folder)
    own = ~images.is_exposure
    return int(own.sum()), int(images.table.values("NSTAR")[own].sum())


def _compared(job: Job, folder: Path) -> Grouping:
    snapshot = job.db.snapshot()
    with job.steps.step("compare"):
        return grouping_of(folder, job.request(snapshot), snapshot, job.executor)
