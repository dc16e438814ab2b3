"""What each row of a block is: its photcode, its time, whether a cut rejects it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, UsageError, did_you_mean
from skydb.schema.photcodes import Photcode
from skydb.schema.tables import IMAGES

from .interface import DetectionFilter, ReadRequest
from .mapping import Mapping
from .mapping_rules import CutRule
from .table_columns import BlockColumns, floats
from .table_images import Moments
from .table_photometry import check_calibrated, counts_whole_exposures
from .table_times import days_of, tai_and_utc_start
from .table_values import Values, converted


@dataclass(frozen=True)
class Plan:
    """A mapping for one request: the photcodes that its rows can have, and the epoch of a reference survey (MJD)."""

    mapping: Mapping
    keep: DetectionFilter
    photcodes: tuple[Photcode, ...]
    override: bool
    epoch_mjd: float
    epoch_utc: float

    @classmethod
    def of(cls, mapping: Mapping, request: ReadRequest) -> Plan:
        """Look up the photcodes.

        Raises
        ------
        UsageError
            A photcode that the request lacks, or that does not suit the kind of table.
        """
        names = _photcode_names(mapping, request.photcode)
        photcodes = tuple(_known(mapping, request, name) for name in names)
        check_calibrated(mapping, photcodes)
        epoch_mjd, epoch_utc = np.nan, np.nan
        if mapping.kind == "reference":
            epoch = days_of(pa.array([mapping.time.value]), mapping.time, (), constant=True)
            days = epoch.array.to_numpy(zero_copy_only=False)
            mjd, utc = tai_and_utc_start(days, np.zeros(1), scale=mapping.time.scale, at="mid")
            epoch_mjd, epoch_utc = float(mjd[0]), float(utc[0])
        return cls(mapping, request.keep, photcodes, request.photcode is not None, epoch_mjd, epoch_utc)

    @property
    def zero_points(self) -> np.ndarray:
        """Nominal zero point of each photcode, mag."""
        return np.array([code.zero_point for code in self.photcodes])


def _photcode_names(mapping: Mapping, override: str | None) -> tuple[str, ...]:
    if override is not None and len(mapping.magnitudes) > 1:
        raise UsageError("one photcode is given, the mapping has several", f"mapping {mapping.name}", "leave it out")
    if override is not None:
        return (override,)
    if mapping.photcode and mapping.photcode.column:
        return tuple(dict.fromkeys(mapping.photcode.values.values()))
    return tuple(band.photcode for band in mapping.bands)


def _known(mapping: Mapping, request: ReadRequest, name: str) -> Photcode:
    if name not in request.photcodes:
        todo = f"{did_you_mean(name, request.photcodes.names)}, or declare it in [[photcodes]] of the mapping"
        raise UsageError(f"no photcode named {name!r}", f"mapping {mapping.name}", todo)
    code = request.photcodes.by_name(name)
    if mapping.kind == "reference" and code.kind != "REF":
        raise UsageError(f"photcode {name!r} is {code.kind}, not REF", f"mapping {mapping.name}", "use a REF photcode")
    return code


def row_photcodes(plan: Plan, columns: BlockColumns) -> np.ndarray:
    """Return the photcode (its place in the plan) of every row (N,); rows without one are rejected or stop the file."""
    rule = plan.mapping.photcode
    if rule is None or not rule.column or plan.override:
        return np.zeros(len(columns), dtype=np.int64)
    place = {code.name: i for i, code in enumerate(plan.photcodes)}
    words = converted(columns.source(rule.column), "string", nulls=plan.mapping.file.nulls, sexagesimal=False, factor=1)
    encoded = words.array.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    found = np.array([place[rule.values[v]] if v in rule.values else -1 for v in values] + [-1], dtype=np.int64)
    codes: np.ndarray = found[encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)]
    columns.reject(np.asarray(words.array.is_null()), "no_photcode")
    unknown = np.flatnonzero((codes < 0) & columns.kept)
    if len(unknown) and rule.others == "error":
        row = int(unknown[0])
        value = words.array[row].as_py()
        todo = f'{did_you_mean(value, rule.values)} (add it to photcode.values, or set photcode.others = "reject")'
        raise DataError(f"no photcode is given for {value!r} in column {rule.column!r}", columns.place(row), todo)
    columns.reject(codes < 0, "other_photcode")
    return codes


def flux_signs(plan: Plan, columns: BlockColumns) -> np.ndarray | None:
    """Return the sign of every row's flux (N,), NaN where the file has none; None where its magnitudes need none."""
    rule = plan.mapping.difference
    if rule is None:
        return None
    sign = {**dict.fromkeys(rule.positive, 1.0), **dict.fromkeys(rule.negative, -1.0)}
    nulls = plan.mapping.file.nulls
    words = converted(columns.source(rule.column), "string", nulls=nulls, sexagesimal=False, factor=1)
    encoded = words.array.dictionary_encode()
    found = np.array([sign.get(word, 0.0) for word in encoded.dictionary.to_pylist()] + [np.nan])
    signs: np.ndarray = found[encoded.indices.fill_null(len(found) - 1).to_numpy(zero_copy_only=False)]
    columns.take(rule.column, Values(words.array, signs == 0.0, words.n_nulled), "sign")
    return signs


def exposure_times(plan: Plan, columns: BlockColumns, photcode: np.ndarray) -> np.ndarray:
    """Return the exposure time (N,) of every row, s; NaN where none is known.

    One below 0 is none, and counted; so is a 0 of a column where counts are of the whole exposure. A constant 0 is what
    the mapping says on purpose: that they are per second.
    """
    rule = plan.mapping.time
    seconds = np.full(len(columns), np.nan)
    if rule.exptime is not None:
        seconds = floats(columns.value(IMAGES["exptime"], rule.exptime))
        zero = rule.exptime.value is None and counts_whole_exposures(plan.mapping)
        none = (seconds <= 0.0) if zero else (seconds < 0.0)
        columns.n_nulled += int(none.sum())
        seconds = np.where(none, np.nan, seconds)
    if rule.exptime_by_photcode:
        nominal = np.array([rule.exptime_by_photcode.get(code.name, np.nan) for code in plan.photcodes])
        seconds = np.where(np.isnan(seconds), nominal[photcode], seconds)
    return seconds


def moments_of(plan: Plan, columns: BlockColumns, exptime: np.ndarray, column: str = "") -> Moments:
    """Return when every row (N,) was measured; NaN where the file does not say.

    `column` is a column of times in place of the one that the mapping names for all photcodes.
    """
    rule, name = plan.mapping.time, column or plan.mapping.time.column
    if name:
        nulls = (*rule.nulls, *plan.mapping.file.nulls)
        array = columns.take(name, days_of(columns.source(name), rule, nulls), "time")
        days = floats(array)
    elif plan.mapping.kind == "reference":
        n = len(columns)
        return Moments(np.full(n, plan.epoch_mjd), np.full(n, plan.epoch_utc), exptime)
    else:
        value = days_of(pa.array([rule.value]), rule, (), constant=True).array
        days = np.full(len(columns), floats(value)[0])
    mjd, utc_start = tai_and_utc_start(days, exptime, scale=rule.scale, at=rule.at)
    return Moments(mjd, utc_start, exptime)


def earliest_start(plan: Plan, columns: BlockColumns) -> float:
    """Return when the first row began, UTC as modified Julian date; NaN where no row says."""
    by_code = bool(plan.mapping.time.exptime_by_photcode)
    photcode = row_photcodes(plan, columns) if by_code else np.zeros(len(columns), dtype=np.int64)
    exptime = exposure_times(plan, columns, photcode)
    starts = [moments_of(plan, columns, exptime, band.time).utc_start for band in plan.mapping.bands]
    return float(np.fmin.reduce(np.concatenate(starts), initial=np.nan))


def apply_cuts(plan: Plan, columns: BlockColumns) -> None:
    """Reject the rows that fail the mapping's quality cuts."""
    for cut in plan.mapping.cuts:
        columns.reject(_fails(cut, plan.mapping, columns), cut.reason or f"cut_{cut.column}")


def _fails(cut: CutRule, mapping: Mapping, columns: BlockColumns) -> np.ndarray:
    source, nulls = columns.source(cut.column), mapping.file.nulls
    failed = np.zeros(len(columns), dtype=bool)
    if cut.bits:
        bits = columns.take(cut.column, converted(source, "int64", nulls=nulls, sexagesimal=False, factor=1), "integer")
        failed |= (bits.fill_null(0).to_numpy(zero_copy_only=False) & cut.bits) != 0
    if cut.min is not None or cut.max is not None:
        values = floats(
            columns.take(cut.column, converted(source, "float64", nulls=nulls, sexagesimal=False, factor=1), "number")
        )
        low, high = -np.inf if cut.min is None else cut.min, np.inf if cut.max is None else cut.max
        failed |= ~((values >= low) & (values <= high))
    if cut.holds is not None:
        failed |= columns.not_good(cut.column, cut.holds)
    return failed
