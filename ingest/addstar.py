"""addstar: detections of files become measurements of objects, in one commit per batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from skydb import database
from skydb.arguments import as_text
from skydb.database import Database
from skydb.errors import UsageError
from skydb.executors import executor_of
from skydb.parallel.executor import Workers
from skydb.parallel.steps import StepProgress, Steps
from skydb.store.command_line import one_line
from skydb.store.roots import is_url

from .batches import ingest_files
from .fetching import matching
from .job import AddstarOptions, Job
from .quarantine import checked_folder, set_aside
from .readers.hats_folder import files_of
from .readers.interface import DetectionFilter
from .readers.mapping import Mapping, load_mapping
from .report import AddstarReport

LARGEST_RADIUS_ARCSEC = 600.0


def addstar(
    db: Database | str | PathLike[str], files: Sequence[str | PathLike[str]] | str | PathLike[str], *,
    photcode: str | None = None, mapping: Mapping | str | PathLike[str] | None = None,
    radius_arcsec: float | None = None, keep: DetectionFilter | None = None, association: str = "one-to-one",
    only_match: bool = False, existing_cells: bool = False, keep_order: bool = False, defer: bool = False,
    compact: bool = True, replace_images: bool = False, dry_run: bool = False,
    quarantine: str | PathLike[str] | None = None, workers: Workers = None, cluster: object = None,
    progress: StepProgress | None = None,
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
        Paths of files to ingest, or URLs, which are fetched first; as text they may be patterns (`night/*.smf`, `**`
        for any folders). A file whose content is in the database already is
        recognised and changes nothing.
        With a mapping, the folder of a HATS catalog is its leaf files.
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
    only_match
        Found no objects: a detection that matches none of those that there are is rejected as "no_match".
    existing_cells
        Reject detections outside the cells that hold objects already, as "no_cell".
    keep_order
        Associate files in the order given, not by start time.
    defer
        Leave the refresh of derived tables to `skydb refresh`.
    compact
        Split cells over their limit and fold deltas afterwards.
    replace_images
        An image that another file brought before is deleted first, in a commit of its own, if its new file is
        accepted otherwise; else its new file is refused.
    dry_run
        Read and associate, and say what would become of the files, but store nothing. A call that takes several
        batches is told what each batch alone would do.
    quarantine
        A folder to which files are moved whose content cannot be read, each with the reason beside it: not those that
        a disk could not give, that are written just now, that lack a photcode, or whose images are there already.
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
        No files, what is no path or no name that can be kept, an unknown photcode or association, a bad radius, a
        quarantine that cannot be written.
    CommitConflict
        Other writers came first again and again.
    """
    opened = db if isinstance(db, Database) else database.open(db)
    table = load_mapping(mapping) if isinstance(mapping, str | PathLike) else mapping
    names = _names(files, table)
    if replace_images and dry_run:
        raise UsageError("replacing images cannot be tried without doing it", "dry_run", "leave one of them out")
    options = AddstarOptions(
        photcode=photcode,
        mapping=table,
        radius_arcsec=checked_radius(radius_arcsec),
        keep=keep or DetectionFilter(),
        one_to_many=is_one_to_many(association),
        keep_order=keep_order,
        defer=defer,
        compact=compact,
        only_match=only_match,
        existing_cells=existing_cells,
        dry_run=dry_run,
        replace=replace_images,
    )
    command = one_line(["addstar", str(opened.root), *names, *options.words()])
    executor = executor_of(opened, workers, cluster)
    aside = None if quarantine is None or dry_run else checked_folder(quarantine)
    job = Job(opened, options, executor, Steps(progress), command, adaptive=workers is None and cluster is None)
    _check_photcode(job)
    report = ingest_files(job, names)
    return report if aside is None else replace(report, files=set_aside(report.files, aside))


def _names(files: Any, mapping: Mapping | None) -> list[str]:
    """Return the files as text; a HATS catalog of a reference survey is its leaf files, each ingested by itself."""
    several = isinstance(files, Iterable) and not isinstance(files, str | PathLike | bytes)
    given = [(file, file_name(file)) for file in (files if several else [files])]
    names = [file_name(n) for file, name in given for n in (matching(name) if isinstance(file, str) else [name])]
    if not names:
        raise UsageError("no files to ingest", None, "name at least one")
    if mapping is None or mapping.kind != "reference":
        return names
    return [file_name(file) for name in names for file in ([name] if is_url(name) else files_of(Path(name)))]


def file_name(file: object) -> str:
    """Return a file's path as text, which the database, its reports and JSON can hold.

    Raises
    ------
    UsageError
        It is no path, or no text in UTF-8.
    """
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
