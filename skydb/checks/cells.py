"""One cell against itself and against the images: its files, its pairs, its keys and links, its bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import int_column
from skydb.calibration.derive import drift_arcsec
from skydb.kernels.distinct import counted, distinct, is_among
from skydb.schema.tables import TABLES
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.motion import SEED_MOTIONS, MotionBound
from skydb.store.snapshot import Snapshot

from .deep import DeepTask, deep_findings
from .detections import PairSpill
from .findings import Finding
from .images import UNKNOWN, Images
from .keys import Ints, among
from .links import check_aliases, check_declared
from .stored import check_file
from .under_check import CellUnderCheck, check_once

KEYS = ("object_id", "image_id", "det_id", "code", "mjd")
"""What a calibrated file repeats of its raw one."""
DRIFT_SLACK = 1e-9
"""Relative: bounds were computed by the same function, maybe of another machine."""


@dataclass(frozen=True)
class CellTask:
    """What every cell's check shares: the snapshot, the images, where pairs go, hosts that are away, more depth.

    `motion` is the catalog's bound of how fast objects move.
    """

    snapshot: Snapshot
    images: Path
    spill: PairSpill
    away: frozenset[str] = frozenset()
    deep: DeepTask | None = None
    motion: MotionBound | None = None


@dataclass(frozen=True)
class NumberedCell:
    """A cell to check, and its number, by which its pairs are kept."""

    number: int
    cell: Cell


@dataclass(frozen=True)
class CellAnswer:
    """What the check of one cell found, and what it counted.

    `image` (K,) are places of images, `count` (K,) their measurements in the cell; `complete` says that all of the
    cell's measurements could be counted; `elsewhere` (M,) are objects of other cells for which its aliases stand.
    """

    findings: tuple[Finding, ...]
    image: Ints
    count: Ints
    complete: bool
    elsewhere: Ints
    n_files: int
    n_rows: int
    n_bytes: int


def check_cell(item: NumberedCell, *, task: CellTask) -> CellAnswer:
    """Check one cell."""
    cell = item.cell
    at = CellUnderCheck(cell, task.snapshot, {t: task.snapshot.files(t, cell) for t in task.snapshot.sky_tables})
    _check_files(at, task.away)
    pairs = _check_pairs(at)
    images = Images.load(task.images)
    rows, complete = _measurement_keys(at, pairs)
    complete &= _check_links(at, rows, images)
    task.spill.write(item.number, rows["image_id"], rows["det_id"])
    if at.whole("object_seeds") and complete:
        _check_seeds(at, rows, images)
    _check_derived(at, rows, complete=complete)
    check_declared(at, rows, complete=complete)
    elsewhere = check_aliases(at)
    drift = _drift(at)
    if drift > cell.drift_arcsec * (1 + DRIFT_SLACK):
        at.found("drift-exceeded", f"{drift:.6g} arcsec, the bound is {cell.drift_arcsec:.6g}")
    if at.whole("object_seeds"):
        _check_motions(at, task.motion)
    sound = at.whole(*at.files) and not [f for f in at.findings if f.severity == "damage"]
    if task.deep is not None and sound:
        at.findings += deep_findings(cell, task.snapshot, task.deep)
    place, there = images.rows_of(rows["image_id"])
    image, count = counted(place[there])
    files = [f for listed in at.files.values() for f in listed]
    return CellAnswer(
        tuple(at.findings), image, count, complete, elsewhere, len(files), sum(f.rows for f in files),
        sum(f.bytes for f in files),
    )  # fmt: skip


def _check_files(at: CellUnderCheck, away: frozenset[str]) -> None:
    """Check every file of the cell by itself."""
    for file in (f for listed in at.files.values() for f in listed):
        checked = check_file(file, at.snapshot, away)
        at.findings += checked.findings
        if checked.whole is not None:
            at.usable[file.name] = checked.whole


def _check_pairs(at: CellUnderCheck) -> list[tuple[DataFile, DataFile | None]]:
    """Return every raw file with its calibrated one, if it has one."""
    cals: dict[str | None, list[DataFile]] = {}
    for cal in at.files["measurements_cal"]:
        cals.setdefault(cal.base, []).append(cal)
    for raw in at.files["measurements"]:
        beside = cals.get(raw.name, [])
        if len(beside) != 1:
            at.found("pair-broken", f"{len(beside)} calibrated files lie beside it", "measurements", file=raw)
    raws = {f.name for f in at.files["measurements"]}
    for cal in (c for base, listed in cals.items() if base not in raws for c in listed):
        at.found("pair-broken", f"its raw file {cal.base} is not there", "measurements_cal", file=cal)
    return [(raw, next(iter(cals.get(raw.name, [])), None)) for raw in at.files["measurements"]]


def _measurement_keys(
    at: CellUnderCheck, pairs: list[tuple[DataFile, DataFile | None]]
) -> tuple[dict[str, Ints], bool]:
    """Compare the keys of every pair; return those of all measurements, and whether they are all."""
    parts, complete = [], True
    for raw, cal in pairs:
        keys = [at.read(f, KEYS) for f in (raw, cal) if f is not None and f.name in at.usable]
        if not keys:
            complete = False
            continue
        parts.append(keys[0])
        if len(keys) == 2 and not keys[0].equals(keys[1]) and cal is not None:
            what, count = _difference(keys[0], keys[1])
            at.found("pair-misaligned", what, "measurements_cal", rows=count, file=cal)
            del at.usable[cal.name]
    rows = pa.concat_tables(parts) if parts else TABLES["measurements"].empty().select(list(KEYS))
    return {name: int_column(rows, name) for name in KEYS if name != "mjd"}, complete


def _difference(raw: pa.Table, cal: pa.Table) -> tuple[str, int | None]:
    if raw.num_rows != cal.num_rows:
        return f"it has {cal.num_rows} rows beside {raw.num_rows} raw ones", None
    differ = [name for name in KEYS if not raw[name].equals(cal[name])]
    unequal = np.zeros(raw.num_rows, dtype=bool)
    for name in differ:
        one, two = (np.nan_to_num(t[name].to_numpy()) for t in (raw, cal))
        unequal |= one != two
    return f"{int(unequal.sum())} rows have another {', '.join(differ)} than the raw ones", int(unequal.sum())


def _check_links(at: CellUnderCheck, rows: dict[str, Ints], images: Images) -> bool:
    """Check that every measurement's image is there, and has its photcode; say whether all are there."""
    place, there = images.rows_of(rows["image_id"])
    lost = rows["image_id"][~there]
    if len(lost):
        what = f"{len(distinct(lost))} images of measurements are not there, such as {lost[0]}"
        at.found("image-missing", what, "measurements", rows=len(lost))
    known = there & (images.code[place] != UNKNOWN) if len(images.code) else there
    other = int((images.code[place] != rows["code"])[known].sum()) if known.any() else 0
    if other:
        at.found("image-missing", f"{other} rows have another photcode than their image", "measurements", rows=other)
    return not len(lost)


def _check_seeds(at: CellUnderCheck, rows: dict[str, Ints], images: Images) -> None:
    """Check that every object has one seed, and its founder among its measurements, unless that may be gone."""
    seeds = at.rows("object_seeds", ["object_id", "founder_image_id", "founder_det_id", "retired"])
    columns = [int_column(seeds, name) for name in seeds.column_names[:3]]
    ids, retired = columns[0], seeds["retired"].fill_null(False).to_numpy()
    check_once(at, "object-twice", "object_seeds", seeds.select(["object_id"]))
    lost = ~is_among(rows["object_id"], np.sort(ids))
    if lost.any():
        objects = distinct(rows["object_id"][lost])
        what = f"{len(objects)} objects have measurements and no seed, such as {objects[0]}"
        at.found("seed-missing", what, "object_seeds", rows=len(objects))
    measured = is_among(ids, np.sort(rows["object_id"]))
    living, empty = retired & measured, ~retired & ~measured
    if living.any():
        what = f"{int(living.sum())} objects with measurements have retired, such as {ids[living][0]}"
        at.found("seed-missing", what, "object_seeds", rows=int(living.sum()))
    if empty.any():
        what = f"{int(empty.sum())} objects without measurements live, such as {ids[empty][0]}"
        at.found("object-empty", what, "object_seeds", rows=int(empty.sum()))
    held = among(columns, [rows["object_id"], rows["image_id"], rows["det_id"]])
    gone = images.are_whole(columns[1]) & ~held & ~retired & ~empty
    if gone.any():
        what = f"{int(gone.sum())} objects lack the measurement that founded them, such as {ids[gone][0]}"
        at.found("founder-missing", what, "object_seeds", rows=int(gone.sum()))


def _check_derived(at: CellUnderCheck, rows: dict[str, Ints], *, complete: bool) -> None:
    """Check the derived tables of the cell: each object once, with the measurements that it has."""
    if not at.whole("objects", "object_bands"):
        return
    objects = at.rows("objects", ["object_id", "n_measurements"])
    bands = at.rows("object_bands", ["object_id", "band", "source"])
    check_once(at, "object-twice", "object_bands", bands)
    if not check_once(at, "object-twice", "objects", objects.select(["object_id"])):
        return
    ids, counts = int_column(objects, "object_id"), int_column(objects, "n_measurements")
    order = np.argsort(ids, kind="stable")
    ids, counts = ids[order], counts[order]
    measured, n_measured = counted(rows["object_id"])
    if at.cell.stale or not complete:
        measured, n_measured = ids, counts
    if not np.array_equal(ids, measured):
        at.found("objects-differ", f"it has {len(ids)} objects, its measurements are of {len(measured)}", "objects")
    elif not np.array_equal(counts, n_measured):
        wrong = int((counts != n_measured).sum())
        at.found("objects-differ", f"{wrong} objects have other numbers of measurements", "objects", rows=wrong)
    elif strange := int((~is_among(int_column(bands, "object_id"), ids)).sum()):
        at.found("objects-differ", f"{strange} rows are of no object", "object_bands", rows=strange)


def _check_motions(at: CellUnderCheck, bound: MotionBound | None) -> None:
    """Check that no object moves faster, or has another epoch, than the catalog says of all that move."""
    found = MotionBound.of(at.rows("object_seeds", list(SEED_MOTIONS)))
    if found is not None and MotionBound.joined([bound, found]) != bound:
        at.found("motion-exceeded", f"{found.text}, the bound is {'none' if bound is None else bound.text}")


def _drift(at: CellUnderCheck) -> float:
    """Return how far anything in the cell lies from where its object was founded."""
    return max((drift_arcsec(rows, ra=ra, dec=dec) for rows, ra, dec in _positions(at)), default=0.0)


def _positions(at: CellUnderCheck) -> Iterator[tuple[pa.Table, str, str]]:
    named = {"measurements": ("ra_raw", "dec_raw"), "measurements_cal": ("ra", "dec"), "objects": ("ra", "dec")}
    for table, (ra, dec) in named.items():
        for file in (f for f in at.files[table] if f.name in at.usable):
            yield at.read(file, ["object_id", ra, dec]), ra, dec

