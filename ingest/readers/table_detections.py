"""The detections of one block: positions, numbers, and for each photcode magnitudes and time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.photometric import AB_NJY
from skydb.errors import DataError
from skydb.schema.identity import image_id
from skydb.schema.tables import MEASUREMENTS

from .detections import outside
from .interface import DetectionFilter
from .mapping_rules import ColumnRule, MagnitudeRule
from .table_columns import BlockColumns, arrays_of, floats, wrapped
from .table_images import ImageColumns, Moments
from .table_photometry import as_kept, magnitudes_of_fluxes, with_signs
from .table_rows import Plan, apply_cuts, exposure_times, flux_signs, moments_of, row_photcodes
from .table_values import converted

PHOTOMETRY = ("inst_mag", "inst_flux")
"""A row makes a detection of a photcode where one of these has a value."""

EXACT_IN_FLOATS = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}
"""Beyond this, a float of so many bits has no longer every whole number."""


SIGNED = ("inst_mag", "inst_mag_err", "inst_ap_mag")
"""Magnitudes, and their error, that a difference image has of negative fluxes too."""


class NumbersSeen:
    """The numbers of the detections of a file so far, 16 bytes each, to find those that come twice."""

    def __init__(self) -> None:
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []

    def repeated(self, image_id: np.ndarray, det_id: np.ndarray) -> np.ndarray:
        """Return which detections (N,) have the image and number of an earlier one, and remember all."""
        order = np.lexsort((image_id, det_id))  # stable: of equal pairs the first row stays first
        ids, numbers = image_id[order], det_id[order]
        again = np.zeros(len(order), dtype=bool)
        again[1:] = (ids[1:] == ids[:-1]) & (numbers[1:] == numbers[:-1])
        for earlier_ids, earlier in self._blocks:
            first, last = np.searchsorted(earlier, numbers), np.searchsorted(earlier, numbers, side="right")
            for row in np.flatnonzero(first < last):
                again[row] |= bool((earlier_ids[first[row] : last[row]] == ids[row]).any())
        self._blocks.append((ids, numbers))
        mask = np.zeros(len(order), dtype=bool)
        mask[order] = again
        return mask


@dataclass(frozen=True)
class BlockDetections:
    """The detections (M,) of a block, the row that made each, its photcode (place in the plan), its time."""

    columns: dict[str, pa.Array]
    row: np.ndarray
    photcode: np.ndarray
    moments: Moments


@dataclass(frozen=True)
class _Band:
    """What the rows (N,) hold for one photcode. `trouble` says why a row can make no detection of it, "" if it can."""

    columns: dict[str, pa.Array]
    photcode: np.ndarray
    moments: Moments
    valued: np.ndarray
    trouble: np.ndarray


def detections_of(plan: Plan, columns: BlockColumns, images: ImageColumns) -> BlockDetections:
    """Return the detections that the rows of a block make; rows that make none are rejected, with a reason."""
    shared = {name: columns.value(MEASUREMENTS[name], rule) for name, rule in plan.mapping.measurements.items()}
    if "airmass" in images.images and "airmass" not in shared:
        shared["airmass"] = images.images["airmass"]
    shared |= _positions(columns, shared)
    shared["det_id"] = _numbers(plan, columns)
    apply_cuts(plan, columns)
    signs = flux_signs(plan, columns)
    bands = [_band(plan, columns, shared, i, signs=signs) for i in range(len(plan.mapping.bands))]
    parts = []
    for band, wanted in zip(bands, _wanted(bands), strict=True):
        rows = np.flatnonzero(wanted & columns.kept & (band.trouble == ""))
        at = pa.array(rows)
        taken = {name: array.take(at) for name, array in band.columns.items()}
        parts.append(BlockDetections(taken, rows, band.photcode[rows], band.moments.take(rows)))
    _reject_rows_without(columns, bands, np.concatenate([p.row for p in parts]))
    return _joined(parts)


def _positions(columns: BlockColumns, shared: dict[str, pa.Array]) -> dict[str, pa.Array]:
    ra, dec = floats(shared["ra_raw"]), floats(shared["dec_raw"])
    columns.reject(np.isnan(ra) | np.isnan(dec), "no_position")
    columns.reject((np.abs(dec) > 90.0) | (ra < -360.0) | (ra > 720.0), "bad_position")
    return {"ra_raw": arrays_of(wrapped(ra), MEASUREMENTS["ra_raw"])}


def _numbers(plan: Plan, columns: BlockColumns) -> pa.Array:
    """Return det_id (N,): the file's own numbers, or the number of the row in the file."""
    name = plan.mapping.det_id
    if not name:
        return pa.array(columns.block.number.astype(np.int64))
    ids = _numbers_of_text(plan, columns) if plan.mapping.det_id_text else _numbers_given(columns, name)
    columns.reject(np.asarray(ids.is_null()), "no_det_id")
    return ids


def _numbers_given(columns: BlockColumns, name: str) -> pa.Array:
    """Return the file's own numbers; floats are refused where they cannot tell one whole number from the next."""
    source = columns.source(name)
    if pa.types.is_floating(source.type):
        lost = np.flatnonzero(np.abs(floats(source)) > EXACT_IN_FLOATS[source.type.bit_width])
        if len(lost):
            what = f"{source[int(lost[0])].as_py():.0f} in column {name!r}, stored as {source.type}, has lost digits"
            raise DataError(what, columns.place(int(lost[0])), "have the file written with integers")
    return columns.value(MEASUREMENTS["det_id"], ColumnRule(column=name))


def _numbers_of_text(plan: Plan, columns: BlockColumns) -> pa.Array:
    """Return the numbers that the mapping makes of a column of text."""
    mapping = plan.mapping
    given = converted(
        columns.source(mapping.det_id), "string", nulls=mapping.file.nulls, sexagesimal=False, factor=1.0
    ).array
    if mapping.det_id_text == "hash":
        return pa.array([None if word is None else image_id(word) for word in given.to_pylist()], pa.int64())
    digits = pc.replace_substring_regex(given, r"\D", "")
    values = converted(digits, "int64", nulls=(), sexagesimal=False, factor=1.0)
    wrong = values.unreadable | np.asarray(pc.equal(digits, "").fill_null(False))
    return columns.take(mapping.det_id, replace(values, unreadable=wrong), "text with digits")


def _band(
    plan: Plan, columns: BlockColumns, shared: dict[str, pa.Array], number: int, *, signs: np.ndarray | None
) -> _Band:
    """Return what the rows hold for one photcode."""
    rule = plan.mapping.bands[number]
    several = len(plan.mapping.bands) > 1
    photcode = np.full(len(columns), number, dtype=np.int64) if several else row_photcodes(plan, columns)
    exptime = exposure_times(plan, columns, photcode)
    moments = moments_of(plan, columns, exptime, rule.time)
    own = {name: columns.value(MEASUREMENTS[name], r) for name, r in rule.columns.items()}
    own = columns.holding(own, rule.only_where)
    found = _photometry(plan, shared | own, rule, exptime=exptime, zero_point=plan.zero_points[photcode])
    if signs is not None:
        found |= _signed(columns, found, signs)
    valued = np.zeros(len(columns), dtype=bool)
    for name in PHOTOMETRY:
        valued |= np.asarray(found[name].is_valid()) if name in found else False
    trouble = np.where(np.isnan(moments.mjd), "no_time", _filtered(found, plan.keep))
    return _Band(found, photcode, moments, valued, trouble)


def _photometry(
    plan: Plan, found: dict[str, pa.Array], rule: MagnitudeRule, *, exptime: np.ndarray, zero_point: np.ndarray
) -> dict[str, pa.Array]:
    """Return the columns with counts and magnitudes as skydb keeps them; magnitudes are made where only fluxes are."""
    kept = dict(found)
    for name, column_rule in {**plan.mapping.measurements, **rule.columns}.items():
        if column_rule.per or column_rule.calibrated:
            values = as_kept(name, floats(found[name]), column_rule, seconds=exptime, zero_point=zero_point)
            kept[name] = arrays_of(values, MEASUREMENTS[name])
    if "inst_flux" in kept and "inst_mag" not in kept:
        flux = floats(kept["inst_flux"])
        error = floats(kept["inst_flux_err"]) if "inst_flux_err" in kept else np.full(len(flux), np.nan)
        reference = plan.mapping.kind == "reference"
        mag, mag_err = magnitudes_of_fluxes(flux, error, zero_point=AB_NJY if reference else 0.0)
        kept["inst_mag"] = arrays_of(mag, MEASUREMENTS["inst_mag"])
        kept["inst_mag_err"] = arrays_of(mag_err, MEASUREMENTS["inst_mag_err"])
    return kept


def _signed(columns: BlockColumns, found: dict[str, pa.Array], signs: np.ndarray) -> dict[str, pa.Array]:
    """Return fluxes of the magnitudes, and the magnitudes that are left; those that lack a sign are counted as lost."""
    given = {name: floats(found[name]) for name in SIGNED if name in found}
    if "inst_mag" in given:
        columns.n_nulled += int((np.isnan(signs) & np.isfinite(given["inst_mag"])).sum())
    return {name: arrays_of(values, MEASUREMENTS[name]) for name, values in with_signs(given, signs).items()}


def _filtered(found: dict[str, pa.Array], keep: DetectionFilter) -> np.ndarray:
    """Return why the caller's filter drops each row, "" where it does not; a missing value passes."""
    n = len(found["ra_raw"])
    reason = np.full(n, "", dtype=object)
    tests: list[tuple[str, np.ndarray]] = []
    if keep.max_mag_err and "inst_mag_err" in found:
        tests.append(("magnitude_error", floats(found["inst_mag_err"]) > keep.max_mag_err))
    if keep.exclude_photflags and "photflags" in found:
        flags = found["photflags"].fill_null(0).to_numpy(zero_copy_only=False)
        tests.append(("photflags", (flags & np.uint32(keep.exclude_photflags)) != 0))
    for axis, limits in (("x", keep.x_range), ("y", keep.y_range)):
        if axis in found:
            tests.append(("window", outside(floats(found[axis]), limits)))
    for name, dropped in reversed(tests):
        reason[dropped] = name
    return reason


def _wanted(bands: list[_Band]) -> list[np.ndarray]:
    """Return which rows should make a detection of each photcode: with a value; of the first also those without any."""
    if len(bands) == 1:
        return [np.ones(len(bands[0].valued), dtype=bool)]
    nowhere = ~np.logical_or.reduce([band.valued for band in bands])
    return [band.valued | nowhere if i == 0 else band.valued for i, band in enumerate(bands)]


def _reject_rows_without(columns: BlockColumns, bands: list[_Band], made: np.ndarray) -> None:
    """Reject rows that made no detection; count the magnitudes that are lost for want of a time in rows that did."""
    has = np.zeros(len(columns), dtype=bool)
    has[made] = True
    for band, wanted in zip(bands, _wanted(bands), strict=True):
        columns.n_nulled += int((has & wanted & band.valued & (band.trouble == "no_time")).sum())
        for reason in sorted(set(band.trouble[wanted & ~has]) - {""}):
            columns.reject(wanted & ~has & (band.trouble == reason), reason)
    if (columns.kept & ~has).any():
        raise DataError("rows are neither kept nor rejected", str(columns.path), "report this: skydb miscounts")


def _joined(parts: list[BlockDetections]) -> BlockDetections:
    names = [name for name in MEASUREMENTS.names if any(name in part.columns for part in parts)]
    columns = {}
    for name in names:
        kind = MEASUREMENTS[name].arrow.type
        columns[name] = pa.concat_arrays(
            [part.columns.get(name, pa.nulls(len(part.row), kind)).cast(kind) for part in parts]
        )
    rows, photcode = np.concatenate([p.row for p in parts]), np.concatenate([p.photcode for p in parts])
    return BlockDetections(columns, rows, photcode, Moments.joined([p.moments for p in parts]))
