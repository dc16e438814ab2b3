"""Release a snapshot as a HATS collection: an object catalog with nested light curves, and its margin."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path

from skydb import __version__
from skydb.database import Database
from skydb.errors import UsageError, did_you_mean
from skydb.executors import executor_of
from skydb.parallel.executor import Executor, Progress, Workers
from skydb.parallel.steps import StepProgress, of_step
from skydb.sky.partition import DEEPEST_PLANNED
from skydb.store.carried import map_cells
from skydb.store.files import fsync_directory, make_directory
from skydb.store.held_folders import held_folder
from skydb.store.history import catalog_table
from skydb.store.layout import given_path
from skydb.store.snapshot import Snapshot

from .columns import SPATIAL_INDEX, ReleaseColumns, release_columns
from .declared import DeclaredColumns, DeclaredTask
from .hats_files import MAP_ORDER, VERSION, CatalogFiles, map_counts, write_maps, write_properties
from .margins import MAX_MARGIN_ARCSEC
from .partitions import CellCounts, PixelTree, Source, count_cell, plan_tree, sources_of, total_counts
from .rows import PartitionReader, PhotcodeNames
from .writing import Folders, MarginTask, PartitionTask, Written, margin_jobs

KINDS = ("hats",)
DEFAULT_ROWS = 250_000
DEFAULT_MEASUREMENTS = 2_000_000


@dataclass(frozen=True)
class ReleaseReport:
    """What was released: where, of which state, and how much.

    `margin_objects` counts rows of the margin catalog: an object may lie in the margins of several partitions. `tables`
    has the rows of each table that the database declares for itself.
    """

    path: str
    kind: str
    name: str
    database_id: str
    snapshot: int
    calibration: int
    objects: int
    measurements: int
    partitions: int
    margin_arcsec: float
    margin_objects: int
    bytes: int
    tables: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """What is written, decided before the first file is."""

    snapshot: Snapshot
    name: str
    margin_arcsec: float
    columns: ReleaseColumns
    counts: CellCounts
    tree: PixelTree
    sources: Mapping[int, Sequence[Source]]

    @property
    def margin_name(self) -> str:
        return f"{self.name}_margin"


def release(
    db: Database | str | PathLike[str], out: str | PathLike[str], *, as_: str = "hats", at: int | str | None = None,
    name: str | None = None, margin_arcsec: float = 10.0, rows_per_partition: int = DEFAULT_ROWS,
    measurements_per_partition: int = DEFAULT_MEASUREMENTS, light_curve_columns: Sequence[str] | None = None,
    workers: Workers = None, cluster: object = None, progress: StepProgress | None = None,
) -> ReleaseReport:  # fmt: skip
    """Write a snapshot as a data release, whole or not at all.

    The objects are partitioned anew by their current position. Each table that the database declares for itself is a
    catalog of its own, `OUT/NAME_TABLE`, in the same partitions, with the positions of its objects. The same snapshot
    makes the same files, whatever the number of workers. A worker holds one partition in memory.

    Parameters
    ----------
    db
        The database, or its path.
    out
        Directory to make; it must not exist.
    as_
        "hats": a HATS collection, which `lsdb.open_catalog(out)` opens.
    at
        Snapshot or tag; None: the newest snapshot.
    name
        Name of the catalog; None: that of `out`.
    margin_arcsec : arcsec
        Width of the margin catalog, the largest radius of a later cross-match; 0: no margin catalog.
    rows_per_partition, measurements_per_partition
        Objects, and points of light curves, that a partition holds at most (none is smaller than 51 arcsec).
    light_curve_columns
        Columns of `measurements` in the light curves; None: `columns.LIGHT_CURVE_COLUMNS`.
    workers
        Worker processes; None: one per core. Or an executor, whose workers are taken.
    cluster
        Address of a Dask scheduler, or a `distributed.Client`: its workers are taken.
    progress
        Called with (step, done, all).

    Raises
    ------
    UsageError
        `out` exists, the snapshot holds no objects or waits for a refresh, or an argument is not one of those above.
    DataError
        A stored file is missing or damaged.

    Examples
    --------
    >>> skydb.query.release.release("survey.sky", "dr1", at="PV1")  # doctest: +SKIP
    """
    from skydb import database

    path = given_path(out)
    _check_call(path, as_, margin_arcsec=margin_arcsec, limits=(rows_per_partition, measurements_per_partition))
    release_columns((), light_curve_columns)  # a name that is wrong is told before the first cell is read
    opened = db if isinstance(db, Database) else database.open(db)
    executor = executor_of(opened, workers, cluster)
    plan = _planned(
        opened.snapshot(at), executor, of_step(progress, "count"), name=_catalog_name(name, path),
        margin_arcsec=float(margin_arcsec), limits=(rows_per_partition, measurements_per_partition),
        light_curve=light_curve_columns,
    )  # fmt: skip
    with _whole_directory(path) as folder:
        written, margins = _write_rows(plan, folder, executor, progress)
        tables = {name: _write_declared(plan, name, folder, executor, progress) for name in plan.snapshot.declared}
        _write_collection(plan, folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return ReleaseReport(
        str(path), as_, plan.name, plan.snapshot.database_id, plan.snapshot.id, plan.snapshot.calibration_id,
        sum(w.objects for w in written), sum(w.measurements for w in written), len(written), plan.margin_arcsec,
        margins, size, tables,
    )  # fmt: skip


def _check_call(path: Path, as_: str, *, margin_arcsec: float, limits: tuple[int, int]) -> None:
    if as_ not in KINDS:
        raise UsageError(f"no kind of release is named {as_!r}", None, did_you_mean(as_, KINDS))
    if path.exists() or path.is_symlink():
        raise UsageError("already exists", str(path), "choose another name")
    if not 0 <= margin_arcsec <= MAX_MARGIN_ARCSEC:
        raise UsageError(f"margin of {margin_arcsec} arcsec", None, f"give 0 to {MAX_MARGIN_ARCSEC:g} arcsec")
    if min(limits) < 1:
        raise UsageError(f"partitions of at most {limits} objects and measurements", None, "give at least 1 of each")


def _catalog_name(name: str | None, path: Path) -> str:
    chosen = re.sub(r"[^A-Za-z0-9._-]", "_", path.name).lstrip("._-") or "catalog" if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", chosen):
        raise UsageError(f"{chosen!r} cannot name a catalog", None, "use letters, digits, '.', '_' and '-'")
    return chosen


def _planned(
    snapshot: Snapshot, executor: Executor, progress: Progress | None, *, name: str, margin_arcsec: float,
    limits: tuple[int, int], light_curve: Sequence[str] | None,
) -> _Plan:  # fmt: skip
    """Count what is there, and plan columns and partitions.

    Raises
    ------
    UsageError
        There is nothing to release, or means wait for a refresh.
    """
    cells, where = snapshot.cells(), f"{snapshot.home}, snapshot {snapshot.id}"
    stale = [str(cell) for cell in cells if cell.stale]
    if stale:
        raise UsageError(f"the means of {len(stale)} cells, such as {stale[0]}, are not up to date", where,
                         "run `skydb refresh`")  # fmt: skip
    count = partial(count_cell, snapshot=snapshot)
    counts = list(map_cells(executor, count, snapshot, cells, progress=progress))
    if not any(len(count.pixel) for count in counts):
        raise UsageError("no objects to release", where, "ingest something with `skydb addstar`")
    total = total_counts(counts)
    tree = plan_tree(total, objects=limits[0], measurements=limits[1])
    columns = release_columns(total.bands, light_curve)
    return _Plan(snapshot, name, margin_arcsec, columns, total, tree, sources_of(cells, counts, tree))


@contextmanager
def _whole_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory beside the path, which takes its name if all goes well, and goes away if not."""
    try:
        make_directory(path.parent)
        with held_folder(path.parent, f".{path.name}.", ".tmp") as temporary:
            yield temporary
            fsync_directory(temporary)
            if path.exists():
                raise UsageError("was made by somebody else meanwhile", str(path), "choose another name")
            temporary.rename(path)
            fsync_directory(path.parent)
    except OSError as error:
        raise UsageError(f"cannot write the release: {error}", str(path), "see to space and permissions") from error


def _write_rows(
    plan: _Plan, folder: Path, executor: Executor, progress: StepProgress | None
) -> tuple[list[Written], int]:
    """Write the partitions, then the margins; return what was written, and the rows of the margins."""
    folders = Folders(folder / plan.name, folder / plan.margin_name, folder / ".spill")
    folders.spill.mkdir()
    reader = PartitionReader(plan.snapshot, plan.columns, PhotcodeNames.stored(plan.snapshot))
    task = PartitionTask(reader, plan.tree, folders, plan.margin_arcsec)
    written = list(map_cells(
        executor, task, plan.snapshot, sorted(plan.sources.items()), cells_of=lambda job: [cell for cell, _ in job[1]],
        progress=of_step(progress, "partitions"),
    ))  # fmt: skip
    jobs = margin_jobs(written)
    margins = sum(executor.map(MarginTask(plan.tree, folders), jobs, progress=of_step(progress, "margins")))
    shutil.rmtree(folders.spill)
    _describe(plan, folders, [target for target, _ in jobs])
    return written, margins


def _describe(plan: _Plan, folders: Folders, margins: Sequence[int]) -> None:
    """Write what stands beside the partitions of both catalogs."""
    tree, schema = plan.tree, plan.columns.schema
    catalog = CatalogFiles(folders.catalog, [tree.pixel(i) for i in tree.partitions], schema)
    rows, fullest = catalog.write_metadata()
    write_maps(folders.catalog, *map_counts(plan.counts.pixel, plan.counts.objects, DEEPEST_PLANNED))
    catalog.write_properties({
        "obs_collection": plan.name, "dataproduct_type": "object", "hats_nrows": rows, **_positions(),
        "hats_skymap_order": MAP_ORDER, "hats_max_rows": fullest, "hats_order": max(n for n, _ in catalog.pixels),
        "moc_sky_fraction": f"{tree.sky_fraction:.6g}", **_provenance(plan.snapshot),
    })  # fmt: skip
    if not plan.margin_arcsec:
        return
    margin = CatalogFiles(folders.margin, [tree.pixel(i) for i in margins], schema)
    rows, fullest = margin.write_metadata()
    margin.write_properties({
        "obs_collection": plan.margin_name, "dataproduct_type": "margin", "hats_nrows": rows, **_positions(),
        "hats_primary_table_url": plan.name, "hats_margin_threshold": plan.margin_arcsec, "hats_max_rows": fullest,
        "hats_order": max((n for n, _ in margin.pixels), default=0), **_provenance(plan.snapshot),
    })  # fmt: skip


def _write_declared(
    plan: _Plan, name: str, folder: Path, executor: Executor, progress: StepProgress | None
) -> int:
    """Write the catalog of one declared table, if it has rows of objects that are released, and return their number."""
    columns, catalog = DeclaredColumns(plan.snapshot.declared[name]), folder / f"{plan.name}_{name}"
    jobs = sorted(plan.sources.items()) if plan.snapshot.files(name) else []
    task = DeclaredTask(plan.snapshot, columns, plan.tree, catalog)
    counts = list(map_cells(
        executor, task, plan.snapshot, jobs, cells_of=lambda job: [cell for cell, _ in job[1]],
        progress=of_step(progress, name),
    ))  # fmt: skip
    pixels = [plan.tree.pixel(index) for (index, _), count in zip(jobs, counts, strict=True) if count]
    if not pixels:
        return 0
    files = CatalogFiles(catalog, pixels, columns.schema)
    rows, fullest = files.write_metadata()
    files.write_properties({
        "obs_collection": catalog.name, "dataproduct_type": "object" if columns.has_one_row_per_object else "source",
        "hats_nrows": rows, **_positions(*(c.name for c in columns.position)), "hats_max_rows": fullest,
        "hats_order": max(norder for norder, _ in pixels), **_provenance(plan.snapshot),
    })  # fmt: skip
    return rows


def _positions(ra: str = "ra", dec: str = "dec") -> dict[str, object]:
    return {
        "hats_col_ra": ra, "hats_col_dec": dec, "hats_col_healpix": SPATIAL_INDEX.name,
        "hats_col_healpix_order": 29, "hats_npix_suffix": ".parquet",
    }  # fmt: skip


def _provenance(snapshot: Snapshot) -> dict[str, object]:
    """Where a release comes from; its date is that of the snapshot, so that it can be made again, byte for byte."""
    time = catalog_table(snapshot, "snapshots").to_pylist()[-1]["time"]
    return {
        "hats_builder": f"skydb {__version__}",
        "hats_creation_date": datetime.fromisoformat(time).strftime("%Y-%m-%dT%H:%MUTC"),
        **VERSION,
        "skydb_database_id": snapshot.database_id,
        "skydb_snapshot": snapshot.id,
        "skydb_snapshot_time": time,
        "skydb_calibration_id": snapshot.calibration_id,
        "skydb_version": __version__,
    }


def _write_collection(plan: _Plan, folder: Path) -> None:
    margins = {"all_margins": plan.margin_name, "default_margin": plan.margin_name} if plan.margin_arcsec else {}
    write_properties(folder / "collection.properties", "HATS Collection", {
        "obs_collection": plan.name, "hats_primary_table_url": plan.name, **margins, **_provenance(plan.snapshot),
    })  # fmt: skip
