"""addstar: detections of files become measurements of objects, in one commit per batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import Any

from skydb import database
from skydb.arguments import as_text
from skydb.database import Database
from skydb.errors import UsageError
from skydb.executors import executor_of
from skydb.parallel.executor import Workers
from skydb.parallel.steps import StepProgress, Steps
from skydb.store.command_line import one_line

from .batches import ingest_files
from .job import AddstarOptions, Job
from .readers.interface import DetectionFilter
from .readers.mapping import Mapping, load_mapping
from .report import AddstarReport

LARGEST_RADIUS_ARCSEC = 600.0


def addstar(
    db: Database | str | PathLike[str], files: Sequence[str | PathLike[str]] | str | PathLike[str], *,
    photcode: str | None = None, mapping: Mapping | str | PathLike[str] | None = None,
    radius_arcsec: float | None = None, keep: DetectionFilter | None = None, association: str = "one-to-one",
    keep_order: bool = False, defer: bool = False, compact: bool = True, workers: Workers = None,
    cluster: object = None, progress: StepProgress | None = None,
) -> AddstarReport:  # fmt: skip
    """Ingest files: associate their detections with objects, store measurements and images, refresh means.

    Images associate in order of their starts, whatever the order of the files. A call too large for one batch is cut
    between files, which are then taken by their first starts; a file that spans a long time and does not fit one batch
    with its contemporaries associates before those of later batches.

    Parameters
    ----------
    db
        The database, or its path.
    files
        Paths of files to ingest. A file whose content is in the database already is recognised and changes nothing.
    photcode
        Name of the photcode of every image, where headers do not give it.
    mapping
        Name or path of the mapping file that says which column of a table is what.
    radius_arcsec : arcsec
        Association radius; None: that of each photcode, 1 arcsec where it has none.
    keep
        Which detections are kept; by default all that have a position.
    association
        "one-to-one" per image, or "dvo": several detections of an image may join one object.
    keep_order
        Associate files in the order given, not by start time.
    defer
        Leave the refresh of derived tables to `skydb refresh`.
    compact
        Split cells over their limit and fold deltas afterwards.
    workers
        Worker processes; None: one per core, and none for steps that are done sooner than workers start. Or an
        executor, whose workers are taken.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: its workers are taken.
    progress
        Called with (step, done, all).

    Returns
    -------
    AddstarReport
        What became of every file. A file that cannot be read is reported as failed; the others go on.

    Raises
    ------
    UsageError
        No files, what is no path or no name that can be kept, an unknown photcode or association, a bad radius.
    CommitConflict
        Other writers came first again and again.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    names = _names(files)
    options = AddstarOptions(
        photcode=photcode,
        mapping=load_mapping(mapping) if isinstance(mapping, str | PathLike) else mapping,
        radius_arcsec=checked_radius(radius_arcsec),
        keep=keep or DetectionFilter(),
        one_to_many=is_one_to_many(association),
        keep_order=keep_order,
        defer=defer,
        compact=compact,
    )
    command = one_line(["addstar", str(opened.root), *names, *options.words()])
    executor = executor_of(opened, workers, cluster)
    job = Job(opened, options, executor, Steps(progress), command, adaptive=workers is None and cluster is None)
    _check_photcode(job)
    return ingest_files(job, names)


def _names(files: Any) -> list[str]:
    several = isinstance(files, Iterable) and not isinstance(files, str | PathLike | bytes)
    names = [_name(file) for file in (files if several else [files])]
    if not names:
        raise UsageError("no files to ingest", None, "name at least one")
    return names


def _name(file: object) -> str:
    """Return a file's path as text, which the database, its reports and JSON can hold."""
    name = fspath(file) if isinstance(file, str | PathLike) else None
    if not isinstance(name, str):
        raise UsageError(f"{file!r} is no path of a file", "addstar", "give paths as text, or as pathlib.Path")
    if as_text(name) != name:
        raise UsageError("the file's name is no text in UTF-8", as_text(name), "rename it")
    return name


def checked_radius(radius: float | None) -> float | None:
    """Return an association radius (arcsec), or None.

    Raises
    ------
    UsageError
        It is 0 or less, too large, or no number.
    """
    if radius is not None and not 0 < radius <= LARGEST_RADIUS_ARCSEC:
        limit = f"more than 0 and at most {LARGEST_RADIUS_ARCSEC:g}"
        raise UsageError(f"an association radius of {radius} arcsec", None, f"give arcseconds, {limit}")
    return radius


def is_one_to_many(association: str) -> bool:
    """Return whether an association lets several detections of an image join one object.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if association not in ("one-to-one", "dvo"):
        raise UsageError(f"no association named {association!r}", None, "use 'one-to-one' or 'dvo'")
    return association == "dvo"


def _check_photcode(job: Job) -> None:
    """Refuse an unknown photcode at once, not file by file."""
    name = job.options.photcode
    if name is None:
        return
    known = job.photcodes(job.db.snapshot())
    if name not in known:
        raise UsageError(f"no photcode named {name!r}", str(job.db.root), known.advice(name))
