"""One cell mended: what follows from raw measurements is made anew, what cannot be had any more is given up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.calibration.apply import RAW_COLUMNS, ImageTerms, calibrate_rows
from skydb.calibration.columns import int_column
from skydb.calibration.derive import ROW_COLUMNS, ImageSources, derive_tables, drift_arcsec, side_by_side
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.rewriting import RewrittenCell
from skydb.errors import DataError
from skydb.kernels.distinct import counted, distinct, is_among
from skydb.schema.model import Table
from skydb.schema.tables import OBJECT_SEEDS, TABLES
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.motion import MotionBound
from skydb.store.parquet import read_file, sort_rows
from skydb.store.scratch import Scratch
from skydb.store.seeds import FOUNDING
from skydb.store.snapshot import Snapshot

from .images import UNKNOWN, Images
from .keys import Ints, repeated
from .ledger import LostRows
from .links import NAMES, linked
from .seeds import MendedSeeds, mended_seeds
from .under_check import comparable

_NEEDED = tuple(dict.fromkeys([
    *RAW_COLUMNS, *FOUNDING, *(c for c in ROW_COLUMNS if c in TABLES["measurements"]),
]))  # fmt: skip
_DERIVED = ("objects", "object_bands")
UNTIED = frozenset({"row-unlinked", "row-twice"})
"""What is found of the user's own tables when all their files can be read."""


@dataclass(frozen=True)
class CellPlan:
    """What is wrong in a cell.

    `lost` names files whose rows cannot be read, `untidy` those whose rows need sorting and sifting; `recalibrate` has
    the calibrated measurements made anew; `kinds_of` are the kinds of what was found in each table; `older` are ended
    files of seeds, the newest first, if seeds are lost.
    """

    cell: Cell
    lost: frozenset[str] = frozenset()
    untidy: frozenset[str] = frozenset()
    recalibrate: bool = False
    kinds_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    older: tuple[DataFile, ...] = ()


@dataclass(frozen=True)
class MendTask:
    """What every cell's mending shares: snapshot, where to store, the images that stay, their terms and kinds."""

    snapshot: Snapshot
    place: Scratch
    images: Path
    terms: Path
    sources: Path
    photcodes: PhotcodeTerms


@dataclass(frozen=True)
class MendedCell:
    """A cell as it is now, what it lost, what was done in words, and how many measurements of which images it has.

    `motion` bounds how fast its objects move.
    """

    written: RewrittenCell
    lost: tuple[LostRows, ...]
    done: tuple[str, ...]
    image_id: Ints
    count: Ints
    motion: MotionBound | None


@dataclass
class _Mending:
    """A cell being mended."""

    plan: CellPlan
    task: MendTask
    images: Images
    terms: ImageTerms
    adds: list[DataFile] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    lost: list[LostRows] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    measured: list[pa.Table] = field(default_factory=list)
    founding: list[pa.Table] = field(default_factory=list)
    drift: float = 0.0

    def files(self, table: str) -> list[DataFile]:
        return self.task.snapshot.files(table, self.plan.cell)

    def read(self, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
        return read_file(self.task.snapshot.stored(file), columns).replace_schema_metadata()

    def tidy(self, file: DataFile) -> pa.Table:
        """Read a file, all columns, its rows in order and those of other cells left out."""
        rows, cell = self.read(file), self.plan.cell
        ids = int_column(rows, "object_id")
        inside = (ids >= cell.lo) & (ids < cell.hi)
        if not inside.all():
            self.give_up(file, int((~inside).sum()))
        return sort_rows(rows.filter(pa.array(inside)), file.table, self.task.snapshot.tables)

    def give_up(self, file: DataFile, rows: int, images: tuple[int, ...] = ()) -> None:
        """Say that rows of a file are lost, of some images as far as that is known."""
        self.lost.append(LostRows(file.table, rows, str(self.plan.cell), file.name, images))

    def store(self, rows: pa.Table, table: str, base: str | None = None) -> DataFile:
        file = self.task.place.store(self.task.snapshot, rows, table, cell=self.plan.cell, base=base)
        self.adds.append(file)
        return file


def mend_cell(plan: CellPlan, *, task: MendTask) -> MendedCell:
    """Mend one cell: measurements, then seeds, then what is derived."""
    at = _Mending(plan, task, Images.load(task.images), ImageTerms.load(task.terms), drift=plan.cell.drift_arcsec)
    _mend_measurements(at)
    seeds = _mend_seeds(at)
    _mend_derived(at, seeds.rows)
    _mend_others(at, seeds.rows)
    ids = [int_column(rows, "image_id") for rows in at.founding]
    image_id, count = counted(np.concatenate([np.empty(0, np.int64), *ids]))
    cell = replace(plan.cell, drift_arcsec=at.drift, stale=False)
    return MendedCell(
        RewrittenCell(cell, tuple(at.adds), tuple(at.ends)), tuple(at.lost), tuple(at.done), image_id, count,
        MotionBound.of(seeds.rows),
    )  # fmt: skip


def _mend_measurements(at: _Mending) -> None:
    """Keep, calibrate anew, sift or give up each pair of files."""
    beside: dict[str | None, list[DataFile]] = {}
    for cal in at.files("measurements_cal"):
        beside.setdefault(cal.base, []).append(cal)
    raws = at.files("measurements")
    for raw in raws:
        _mend_pair(at, raw, beside.get(raw.name, []))
    names = {raw.name for raw in raws}
    for cal in (c for base, listed in beside.items() if base not in names for c in listed):
        at.ends.append(cal.name)
        at.give_up(cal, cal.rows, _images_of(at, cal))


def _mend_pair(at: _Mending, raw: DataFile, cals: list[DataFile]) -> None:
    sound = [cal for cal in cals if cal.name not in at.plan.lost | at.plan.untidy]
    if raw.name in at.plan.lost:
        at.ends += [raw.name, *(cal.name for cal in cals)]
        at.give_up(raw, raw.rows, _images_of(at, sound[0]) if sound else ())
        return
    untidy = raw.name in at.plan.untidy
    rows = at.tidy(raw) if untidy else at.read(raw, _NEEDED)
    keep = _of_known_images(at, rows)
    if not keep.all():
        at.give_up(raw, int((~keep).sum()), tuple(distinct(int_column(rows, "image_id")[~keep]).tolist()))
    rewrite = untidy or not keep.all()
    if rewrite:
        rows = (rows if untidy else at.read(raw)).filter(pa.array(keep))
    if rewrite or len(cals) != 1 or len(sound) != 1 or at.plan.recalibrate:
        at.ends += [cal.name for cal in cals] + ([raw.name] if rewrite else [])
        if not rows.num_rows:
            return
        first = at.store(rows, "measurements") if rewrite else raw
        cal_rows = calibrate_rows(rows, at.terms, at.task.photcodes)
        at.store(cal_rows, "measurements_cal", base=first.name)
        at.done.append(f"{'sifted' if rewrite else 'calibrated'} {rows.num_rows} measurements anew")
    else:
        cal_rows = at.read(sound[0])
    at.measured.append(side_by_side(rows, cal_rows))
    at.founding.append(rows.select(list(FOUNDING)))
    at.drift = max(at.drift, drift_arcsec(cal_rows), drift_arcsec(rows, ra="ra_raw", dec="dec_raw"))


def _of_known_images(at: _Mending, rows: pa.Table) -> np.ndarray:
    """Say which measurements have an image that is there, and its photcode."""
    place, there = at.images.rows_of(int_column(rows, "image_id"))
    if not len(at.images.code):
        return there
    code = at.images.code[place]
    return np.asarray(there & ((code == UNKNOWN) | (code == int_column(rows, "code"))))


def _images_of(at: _Mending, cal: DataFile) -> tuple[int, ...]:
    """Return the images of the rows beside which a calibrated file lay, if it can be read."""
    if cal.name in at.plan.lost:
        return ()
    return tuple(distinct(int_column(at.read(cal, ["image_id"]), "image_id")).tolist())


def _mend_seeds(at: _Mending) -> MendedSeeds:
    """Make the cell's seeds what its measurements need; stored as one file if anything changed."""
    files = at.files("object_seeds")
    parts = [
        at.tidy(f) if f.name in at.plan.untidy else at.read(f) for f in files if f.name not in at.plan.lost
    ]  # fmt: skip
    empty = TABLES["object_seeds"].empty().replace_schema_metadata()
    left = pa.concat_tables([empty, *parts], promote_options="default")
    rows = pa.concat_tables([left, *_older_seeds(at, left)], promote_options="default")
    measured = pa.concat_tables(at.founding) if at.founding else _no_rows()
    mended = mended_seeds(rows, measured, at.images.image_id)
    lost = [f for f in files if f.name in at.plan.lost]
    gone = sum(f.rows for f in lost) - (mended.rows.num_rows - left.num_rows)
    if lost and gone > 0:
        at.give_up(lost[0], gone)
    found = rows.num_rows > left.num_rows
    if found or mended.changed or any(f.name in at.plan.lost | at.plan.untidy for f in files):
        at.ends += [f.name for f in files]
        if mended.rows.num_rows:
            at.store(mended.rows, "object_seeds")
        at.done.append(
            f"seeds: {rows.num_rows - left.num_rows} from older files, {mended.made} founded again ({mended.guessed} of"
            f" them by a measurement beside their pixel), {mended.refounded} with another founder,"
            f" {mended.retired} retired"
        )
    return mended


def _older_seeds(at: _Mending, seeds: pa.Table) -> Iterator[pa.Table]:
    """Yield what ended files have of the cell's objects that have no seed; a retired one has no other trace."""
    cell, held = at.plan.cell, int_column(seeds, "object_id")
    for file in at.plan.older:
        try:
            rows = at.read(file)
        except DataError:
            continue
        ids = int_column(rows, "object_id")
        new = (ids >= cell.lo) & (ids < cell.hi) & ~is_among(ids, np.sort(held))
        held = np.concatenate([held, ids[new]])
        yield OBJECT_SEEDS.conform(rows.filter(pa.array(new)))


def _no_rows() -> pa.Table:
    return TABLES["measurements"].empty().replace_schema_metadata().select(list(FOUNDING))


def _mend_derived(at: _Mending, seeds: pa.Table) -> None:
    """Derive objects and their means anew."""
    at.ends += [f.name for table in _DERIVED for f in at.files(table)]
    if not at.measured:
        return
    measured = pa.concat_tables(at.measured, promote_options="default")
    tables = derive_tables(measured, seeds, ImageSources.load(at.task.sources), at.task.photcodes)
    for name, rows in tables.items():
        at.store(rows, name)
    at.drift = max(at.drift, drift_arcsec(tables["objects"]))
    at.done.append(f"derived {tables['objects'].num_rows} objects and their means anew")


def _mend_others(at: _Mending, seeds: pa.Table) -> None:
    """Give up what cannot be read of further tables, and put the rest in order, each row of the user's own tied."""
    shaken = bool(at.lost or at.plan.lost)  # what rows of the user's own are tied to may be gone
    for name, table in at.task.snapshot.tables.items():
        if table.kind != "sky" or name in {"measurements", "measurements_cal", "object_seeds", *_DERIVED}:
            continue
        lost = [f for f in at.files(name) if f.name in at.plan.lost]
        at.ends += [f.name for f in lost]
        for file in lost:
            at.give_up(file, file.rows)
        found = at.plan.kinds_of.get(name, frozenset())
        files = [f for f in at.files(name) if f not in lost]
        if files and (shaken or found & UNTIED or any(f.name in at.plan.untidy for f in files)):
            _tidy_table(at, table, files, seeds)


def _tidy_table(at: _Mending, table: Table, files: list[DataFile], seeds: pa.Table) -> None:
    """Store the rows of some files as one, without those that are tied to nothing, and of equal keys the first."""
    declared = table.name in at.task.snapshot.declared
    objects = np.sort(int_column(seeds, "object_id"))
    founding = pa.concat_tables(at.founding) if at.founding else _no_rows()
    measured = [int_column(founding, name) for name in NAMES]
    parts = []
    for file in files:
        rows = at.tidy(file)
        keep = linked(rows, table, objects, measured) if declared else np.ones(rows.num_rows, dtype=bool)
        if not keep.all():
            at.give_up(file, int((~keep).sum()))
        parts.append(rows.filter(pa.array(keep)))
    rows = pa.concat_tables(parts)
    keep = np.ones(rows.num_rows, dtype=bool)
    keep[repeated(*(comparable(rows[name]) for name in table.sort))] = False
    at.ends += [f.name for f in files]
    if keep.any():
        at.store(sort_rows(rows.filter(pa.array(keep)), table.name, at.task.snapshot.tables), table.name)
    at.done.append(f"kept {int(keep.sum())} rows of {table.name}")
