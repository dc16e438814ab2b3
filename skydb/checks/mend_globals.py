"""Images, their solutions, exposures and photcodes mended: from each other, from measurements, from older files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.photometric import nominal_zero_point
from skydb.errors import DataError
from skydb.kernels.distinct import distinct, is_among
from skydb.parallel.executor import Executor
from skydb.schema.identity import image_id as id_of_key
from skydb.schema.identity import key_parts
from skydb.schema.tables import EXPOSURES, IMAGES, IMAGES_CAL, TABLES
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.files import DataFile
from skydb.store.parquet import read_file, sort_rows
from skydb.store.snapshot import Snapshot

from .keys import Ints, repeated
from .ledger import LostRows


@dataclass(frozen=True)
class GlobalPlan:
    """What is wrong with the global tables: names of files that cannot be read, and tables to be put in order anyway.

    `known` (N,) are the images that the catalog's index has, ascending, `keys` their (key, exposure).
    """

    lost: frozenset[str]
    tables: frozenset[str]
    known: Ints
    keys: dict[int, tuple[str, int]]


@dataclass
class MendedGlobals:
    """The global tables as they are to be: those rewritten, what was done, the images given up, what else is lost."""

    rows: dict[str, pa.Table] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    dropped: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    lost: list[LostRows] = field(default_factory=list)

    def put(self, table: str, rows: pa.Table, done: str) -> None:
        """Rewrite a table."""
        self.rows[table], self.done[table] = sort_rows(TABLES[table].conform(rows), table), done


def mend_globals(
    snapshot: Snapshot, plan: GlobalPlan, older: Callable[[str], Sequence[DataFile]], executor: Executor
) -> MendedGlobals:
    """Mend the global tables; `older` gives ended files of a table, the newest first."""
    mended = MendedGlobals()
    photcodes = _photcodes(snapshot, plan, older, mended)
    images = _images(snapshot, plan, mended)
    if "photcodes" in plan.tables:
        _lost_photcodes(snapshot, plan, photcodes, images, mended)
    _exposures(snapshot, plan, images, mended)
    if "images_cal" in plan.tables or len(mended.dropped):
        _solutions(snapshot, plan, images, PhotcodeTerms.from_table(photcodes), mended, executor)
    return mended


def _good_rows(snapshot: Snapshot, table: str, lost: frozenset[str]) -> pa.Table:
    """Return the rows of a table's files that can be read."""
    files = [f for f in snapshot.files(table) if f.name not in lost]
    parts = [read_file(snapshot.stored(f)).replace_schema_metadata() for f in files]
    empty = TABLES[table].empty().replace_schema_metadata()
    return pa.concat_tables([empty, *parts], promote_options="default")


def _without_repeated(rows: pa.Table, *columns: str) -> pa.Table:
    keep = np.ones(rows.num_rows, dtype=bool)
    keep[repeated(*(int_column(rows, name) for name in columns))] = False
    return rows.filter(pa.array(keep))


def _photcodes(
    snapshot: Snapshot, plan: GlobalPlan, older: Callable[[str], Sequence[DataFile]], mended: MendedGlobals
) -> pa.Table:
    rows = _good_rows(snapshot, "photcodes", plan.lost)
    if "photcodes" not in plan.tables:
        return rows
    for file in older("photcodes"):
        try:
            before = read_file(snapshot.stored(file)).replace_schema_metadata()
        except DataError:
            continue
        new = before.filter(pc.invert(pc.is_in(before["name"], rows["name"].combine_chunks())))
        rows = pa.concat_tables([rows, new], promote_options="default")
        break
    names = rows["name"].to_pylist()
    first = [names.index(name) for name in dict.fromkeys(names)]
    rows = rows.take(pa.array(first, pa.int64()))
    mended.put("photcodes", rows, f"{rows.num_rows} photcodes, from what is left and the newest older file")
    return rows


def _lost_photcodes(
    snapshot: Snapshot, plan: GlobalPlan, photcodes: pa.Table, images: pa.Table, mended: MendedGlobals
) -> None:
    """Say how many photcodes are lost, and name those of images, whose keys know them."""
    known = set(_good_rows(snapshot, "photcodes", plan.lost)["name"].to_pylist())
    found = photcodes.num_rows - len(known)
    wanted = images.filter(pc.invert(pc.is_in(images["code"], photcodes["code"].combine_chunks())))
    named = {key_parts(key)[2] for key in wanted["image_key"].to_pylist()}
    rows = max(sum(f.rows for f in snapshot.files("photcodes") if f.name in plan.lost) - found, len(named))
    if rows:
        file = _lost_file(snapshot, "photcodes", plan)
        mended.lost.append(LostRows("photcodes", rows, file=file, names=tuple(sorted(named))))


def _images(snapshot: Snapshot, plan: GlobalPlan, mended: MendedGlobals) -> pa.Table:
    """Keep the images that the catalog's index has, as it has them; those that are not there are given up."""
    rows = _good_rows(snapshot, "images", plan.lost)
    if "images" not in plan.tables:
        return rows
    rows = _without_repeated(rows, "image_id")
    columns = (rows[name].to_pylist() for name in ("image_id", "image_key", "exposure_id"))
    keep = [plan.keys.get(i) == (key, e) and id_of_key(key) == i for i, key, e in zip(*columns, strict=True)]
    rows = rows.filter(pa.array(keep, pa.bool_()))
    mended.dropped = plan.known[~is_among(plan.known, np.sort(int_column(rows, "image_id")))]
    mended.put("images", rows, f"{rows.num_rows} images kept, {len(mended.dropped)} given up")
    return IMAGES.conform(rows)


def _exposures(snapshot: Snapshot, plan: GlobalPlan, images: pa.Table, mended: MendedGlobals) -> None:
    """Make exposures that are not there from their images."""
    rows = _good_rows(snapshot, "exposures", plan.lost)
    held = np.sort(int_column(rows, "exposure_id"))
    wanted = distinct(int_column(images, "exposure_id"))
    lost = wanted[~is_among(wanted, held)]
    if "exposures" not in plan.tables and not len(lost):
        return
    first = {e: i for i, e in reversed(list(enumerate(images["exposure_id"].to_pylist())))}
    made = [_exposure_of(images.slice(first[e], 1).to_pylist()[0]) for e in lost.tolist()]
    rows = _without_repeated(pa.concat_tables([EXPOSURES.conform(rows), _table_of(made)]), "exposure_id")
    mended.put("exposures", rows, f"{len(lost)} exposures made from their images")
    if made:
        names = tuple(str(row["name"] or row["exposure_id"]) for row in made)
        part, file = "what their images do not say", _lost_file(snapshot, "exposures", plan)
        mended.lost.append(LostRows("exposures", len(made), file=file, names=names, part=part))


def _lost_file(snapshot: Snapshot, table: str, plan: GlobalPlan) -> str | None:
    """Return the name of a table's damaged file, the first of them, if there is one."""
    return next((f.name for f in snapshot.files(table) if f.name in plan.lost), None)


def _exposure_of(image: dict[str, Any]) -> dict[str, Any]:
    """Return what an image says about its exposure."""
    same = ("exposure_id", "kind", "mjd", "utc_start", "exptime", "airmass", "latitude", "ra", "dec")
    return {**{name: image[name] for name in same}, "name": key_parts(image["image_key"])[4] or None}


def _table_of(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {c.name: pa.array([r.get(c.name) for r in rows], c.arrow.type) for c in EXPOSURES}
    return EXPOSURES.conform(pa.table(columns))


def _solutions(
    snapshot: Snapshot, plan: GlobalPlan, images: pa.Table, terms: PhotcodeTerms, mended: MendedGlobals,
    executor: Executor,
) -> None:  # fmt: skip
    """Take the zero points of images without a row from their calibrated measurements."""
    rows = IMAGES_CAL.conform(_without_repeated(_good_rows(snapshot, "images_cal", plan.lost), "image_id"))
    there = np.sort(int_column(images, "image_id"))
    rows = rows.filter(pa.array(is_among(int_column(rows, "image_id"), there)))
    ids = int_column(images, "image_id")
    lost = images.filter(pa.array(~is_among(ids, np.sort(int_column(rows, "image_id")))))
    if lost.num_rows:
        lost = lost.take(pa.array(np.argsort(int_column(lost, "image_id"))))
        rows = pa.concat_tables([rows, _solved_again(snapshot, lost, terms, executor)])
        part, file = "errors and numbers of those used", _lost_file(snapshot, "images_cal", plan)
        images_lost = tuple(int_column(lost, "image_id").tolist())
        mended.lost.append(LostRows("images_cal", lost.num_rows, file=file, images=images_lost, part=part))
    mended.put("images_cal", rows, f"{lost.num_rows} solutions from calibrated measurements")


def _solved_again(snapshot: Snapshot, images: pa.Table, terms: PhotcodeTerms, executor: Executor) -> pa.Table:
    """Return rows of `images_cal` for images (in the order of their ids) from what their measurements say of mcal."""
    ids, airmass = int_column(images, "image_id"), float_column(images, "airmass")
    sums = McalSums.of(len(ids))
    task = partial(sum_mcal, snapshot=snapshot, images=ids, airmass=airmass)
    for part in map_cells(executor, task, snapshot, snapshot.cells()):
        sums = sums.with_(part)
    mcal, slope = sums.line()
    codes = int_column(images, "code")
    nominal = nominal_zero_point(terms, codes, np.where(np.isfinite(airmass), airmass, 1.0))
    reference = terms.is_reference[terms.rows_of(codes)]
    return IMAGES_CAL.conform(pa.table({
        "image_id": images["image_id"], "code": images["code"], "mjd": images["mjd"],
        "zero_point": pa.array(np.where(reference, np.nan, nominal - mcal), from_pandas=True),
        "mcal": pa.array(mcal), "mcal_slope": pa.array(slope),
        "mcal_source": pa.array(np.where(mcal == 0, "nominal", "image").tolist(), pa.string()),
        "n_measurements": pa.array(sums.values[:, 0].astype(np.int32)),
        "n_used": pa.array(np.zeros(len(ids), np.int32)), "flags": pa.array(np.zeros(len(ids), np.uint32)),
    }))  # fmt: skip


@dataclass(frozen=True)
class McalSums:
    """For each of N images: rows, and of those with mcal their number and sums of x, x², y, x y, least and greatest y.

    x is the airmass beyond the image's, y is mcal; `values` is (N, 8).
    """

    values: np.ndarray

    @classmethod
    def of(cls, count: int) -> McalSums:
        """Return the sums of nothing."""
        values = np.zeros((count, 8))
        values[:, 6], values[:, 7] = np.inf, -np.inf
        return cls(values)

    def with_(self, other: McalSums) -> McalSums:
        """Return the sums of both."""
        both = self.values + other.values
        both[:, 6] = np.minimum(self.values[:, 6], other.values[:, 6])
        both[:, 7] = np.maximum(self.values[:, 7], other.values[:, 7])
        return McalSums(both)

    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mcal at the image's airmass, and its slope; 0 where nothing is known."""
        _, n, x, xx, y, xy, least, greatest = self.values.T
        same = least >= greatest
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = np.where(same, 0.0, (n * xy - x * y) / (n * xx - x * x))
            slope = np.where(np.isfinite(slope), slope, 0.0)
            mcal = np.where(same, least, (y - slope * x) / n)
        return np.where(n > 0, mcal, 0.0), slope


def sum_mcal(cell: Cell, *, snapshot: Snapshot, images: Ints, airmass: np.ndarray) -> McalSums:
    """Sum what a cell's calibrated measurements say of the zero points of images (ascending)."""
    sums = McalSums.of(len(images))
    for file in snapshot.files("measurements_cal", cell):
        try:
            rows = read_file(snapshot.stored(file), ["image_id", "mcal", "airmass"])
        except DataError:
            continue  # it is mended from what this gives
        ids = int_column(rows, "image_id")
        hit = is_among(ids, images)
        place = np.searchsorted(images, ids[hit])
        y = float_column(rows, "mcal")[hit]
        x = np.nan_to_num(float_column(rows, "airmass")[hit] - airmass[place])
        np.add.at(sums.values[:, 0], place, 1)
        known = np.isfinite(y)
        place, x, y = place[known], x[known], y[known]
        for number, term in enumerate((np.ones(len(x)), x, x * x, y, x * y), 1):
            np.add.at(sums.values[:, number], place, term)
        np.minimum.at(sums.values[:, 6], place, y)
        np.maximum.at(sums.values[:, 7], place, y)
    return sums
