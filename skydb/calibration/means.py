"""The means of every object, `objects` and `object_bands`: the same for ingest, refresh and apply.

Every number depends on the rows of one object alone, added in their sorted order, so that no cut of the sky or of the
work changes it (promise 3). `docs/explanation/photometry.md` says how measurements are ranked, averaged and rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.flags import MeasurementFlags, ObjectBandFlags, ObjectFlags
from skydb.kernels.ranks import Candidates, Selection, best_ranked, mark_rows
from skydb.kernels.robust import RunMeans, robust_means, weighted_means
from skydb.kernels.robust_plane import robust_points
from skydb.kernels.runs import Groups, group_within_runs, occurring, run_extremes, run_starts
from skydb.kernels.tangent import at_offset, run_offsets
from skydb.schema.model import Table
from skydb.schema.tables import OBJECT_BANDS, OBJECTS
from skydb.sky.epochs import julian_epoch

from .columns import arrow_column
from .measurement_rows import SOURCES, MeasurementRows, Seeds
from .photcode_terms import PhotcodeTerms
from .photometric import POGSON
from .positions import DEFAULT_POSITION_ERR_MAS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_PSF_QF = 0.85
"""A PSF of which no more than this is unmasked makes a measurement poor (DVO's limit)."""
CLEAN, POOR, MASKED_PSF, BAD, NOTHING = range(5)
"""Ranks of a measurement: only the best rank present is averaged."""
_POSITION_CLASS = np.array([{"stack": 1, "warp": 2}.get(source, 0) for source in SOURCES])
"""Which of `SOURCES` a mean position is taken from first: chips and references, then stacks, then (forced) warps."""
_SOURCE_ORDER = np.argsort(np.argsort(SOURCES))
"""Place of each source in the order of the rows of `object_bands`, which is alphabetical."""

_PSF_BITS = int(MeasurementFlags.PHOTOM_PSF), int(MeasurementFlags.MASKED_PSF)
_APER_BITS = int(MeasurementFlags.PHOTOM_APER), int(MeasurementFlags.MASKED_APER)
_KRON_BITS = int(MeasurementFlags.PHOTOM_KRON), int(MeasurementFlags.MASKED_KRON)
_POSITION_BITS = (
    int(MeasurementFlags.USED_OBJ | MeasurementFlags.UNMASKED_ASTRO),
    int(MeasurementFlags.USED_OBJ | MeasurementFlags.POOR_ASTROM),
)
"""Bits of a measurement that is used, and of one that is an outlier."""


@dataclass(frozen=True)
class Means:
    """One derived table, and the derived bits of `db_flags` (N,) that its making found for the measurements."""

    table: pa.Table
    db_flags: NDArray[np.uint32]


@dataclass(frozen=True)
class DerivedTables:
    """Both derived tables, and the bits of `db_flags` (N,) whose `skydb.flags.Origin` is derived."""

    objects: pa.Table
    object_bands: pa.Table
    db_flags: NDArray[np.uint32]


def derive(rows: MeasurementRows, seeds: Seeds, terms: PhotcodeTerms) -> DerivedTables:
    """Derived tables of whole objects.

    Raises
    ------
    DataError
        A measurement of an unknown photcode, or an object without a seed.
    """
    bands, positions = object_bands(rows, terms), objects(rows, seeds, terms)
    return DerivedTables(positions.table, bands.table, bands.db_flags | positions.db_flags)


def object_bands(rows: MeasurementRows, terms: PhotcodeTerms) -> Means:
    """Mean magnitudes and fluxes of every object, band and source.

    Returns
    -------
    Means
        A table with the schema of `object_bands`, in its order; a measurement whose photcode has no band is in none.

    Raises
    ------
    DataError
        A measurement of an unknown photcode.
    """
    places = terms.rows_of(rows.code)
    groups, numbers = _grouped(rows, terms.band[places], len(terms.bands))
    rank = _quality(rows, terms.photometry_poor_mask[places], terms.photometry_bad_mask[places])
    err_sys = terms.photometry_err_sys[places]
    chosen, mag = _mean(Candidates(rows.mag, rows.mag_err, err_sys, rank), groups)
    ap_chosen, ap_mag = _mean(Candidates(rows.ap_mag, rows.ap_mag_err, err_sys, rank), groups)
    kron_chosen, kron_mag = _mean(Candidates(rows.kron_mag, rows.kron_mag_err, err_sys, rank), groups)
    _, flux = _mean(Candidates(rows.flux, rows.flux_err, err_sys * np.abs(rows.flux) / POGSON, rank), groups)
    band, source = numbers[groups.group] // len(SOURCES), numbers[groups.group] % len(SOURCES)
    columns = {
        "object_id": rows.object_id[groups.order[groups.starts[:-1]]],
        "band": _names(terms.bands, band), "source": _names(tuple(sorted(SOURCES)), source),
        "mag": mag.mean, "mag_err": mag.err, "mag_stdev": mag.stdev, "mag_min": mag.smallest, "mag_max": mag.largest,
        "flux": flux.mean, "flux_err": flux.err, "ap_mag": ap_mag.mean, "ap_mag_err": ap_mag.err,
        "kron_mag": kron_mag.mean, "kron_mag_err": kron_mag.err, "chi2": mag.chi2,
        "n_measurements": np.diff(groups.starts), "n_used": mag.n_used, "n_used_flux": flux.n_used,
        "psf_qf_max": run_extremes(rows.psf_qf[groups.order], groups.starts)[1],
        "flags": int(ObjectBandFlags.RANK_0) << chosen.best,
    }  # fmt: skip
    flags = np.zeros(rows.object_id.size, np.uint32)
    mark_rows(flags, groups.order, chosen.weight, mag.used, bits=_PSF_BITS)
    mark_rows(flags, groups.order, ap_chosen.weight, ap_mag.used, bits=_APER_BITS)
    mark_rows(flags, groups.order, kron_chosen.weight, kron_mag.used, bits=_KRON_BITS)
    warp = (rows.source == SOURCES.index("warp")) & (flags & np.uint32(MeasurementFlags.PHOTOM_PSF) > 0)
    flags[warp] |= np.uint32(MeasurementFlags.WARP_USED)
    return Means(_table(OBJECT_BANDS, columns), flags)


def objects(rows: MeasurementRows, seeds: Seeds, terms: PhotcodeTerms) -> Means:
    """Mean position of every object: weighted, without outliers, on the plane that touches its association position.

    Returns
    -------
    Means
        A table with the schema of `objects`, in its order; motions and parallaxes are NULL.

    Raises
    ------
    DataError
        A measurement of an unknown photcode, or an object without a seed.
    """
    places = terms.rows_of(rows.code)
    starts = run_starts(rows.object_id)
    object_id = rows.object_id[starts[:-1]]
    seed = seeds.of(object_id)
    xi, eta = run_offsets(rows.ra, rows.dec, (seed.ra, seed.dec), starts)
    quality = _quality(rows, terms.astrometry_poor_mask[places], terms.astrometry_bad_mask[places])
    rank = quality + NOTHING * _POSITION_CLASS[rows.source]
    nothing = int(NOTHING * (_POSITION_CLASS.max() + 1))
    every = np.arange(xi.size)
    either = np.fmax(rows.ra_err, rows.dec_err)  # a position is known if it is in one axis
    chosen = best_ranked(Candidates(xi + eta, either, np.zeros(xi.size), rank), every, starts, nothing=nothing)
    weights = _position_weight(rows.ra_err, chosen), _position_weight(rows.dec_err, chosen)
    point = robust_points(xi, eta, weights, starts)
    epoch = _epoch(rows.mjd, np.where(point.used, weights[0] + weights[1], 0.0), starts)
    first, last = run_extremes(rows.mjd, starts)
    found = point.n_used > 0
    ra, dec = at_offset((seed.ra, seed.dec), np.where(found, point.x, 0.0), np.where(found, point.y, 0.0))
    columns = {
        "object_id": object_id, "ra": ra, "dec": dec, "ra_err": point.x_err, "dec_err": point.y_err,
        "epoch": np.where(found, epoch, seed.epoch), "position_chi2": point.chi2,
        "n_measurements": np.diff(starts), "n_position": point.n_used, "mjd_first": first, "mjd_last": last,
        "position_scatter": point.scatter, "flags": _position_flags(chosen.best, nothing),
    }  # fmt: skip
    flags = np.zeros(xi.size, np.uint32)
    mark_rows(flags, every, chosen.weight, point.used, bits=_POSITION_BITS)
    return Means(_table(OBJECTS, columns), flags)


def _grouped(rows: MeasurementRows, band: Ints, n_bands: int) -> tuple[Groups, Ints]:
    """Rows regrouped by object, band and source, and the number (band, then source) of every group that occurs."""
    number = band * len(SOURCES) + _SOURCE_ORDER[rows.source]  # negative where the photcode has no band
    present = occurring(number, n_bands * len(SOURCES))
    dense = np.full(n_bands * len(SOURCES) + len(SOURCES), -1)  # the tail is for numbers below 0
    dense[present] = np.arange(present.size)
    return group_within_runs(run_starts(rows.object_id), dense[number], present.size), present


def _quality(rows: MeasurementRows, poor_mask: NDArray[np.uint32], bad_mask: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Rank of every measurement by its flags and its psf_qf (unknown: good)."""
    rank = np.where(rows.photflags & poor_mask, np.int8(POOR), np.int8(CLEAN))
    rank[rows.psf_qf <= MIN_PSF_QF] = MASKED_PSF
    rank[rows.photflags & bad_mask != 0] = BAD
    return rank


def _mean(rows: Candidates, groups: Groups) -> tuple[Selection, RunMeans]:
    """Choose the best rank of every group and average it; where none has an error they count alike, by their spread."""
    chosen = best_ranked(rows, groups.order, groups.starts, nothing=NOTHING)
    found = robust_means(chosen.value, chosen.weight, groups.starts)
    alike = np.flatnonzero(~chosen.has_errors)
    found.chi2[alike] = np.nan
    found.err[alike] = found.stdev[alike] / np.sqrt(np.maximum(found.n_used[alike], 1))
    return chosen, found


def _position_weight(err: NDArray[Any], chosen: Selection) -> Floats:
    known = np.where(err > 0, err, DEFAULT_POSITION_ERR_MAS).astype(np.float64)
    return np.where(chosen.weight > 0, 1.0 / (known * known), 0.0)


def _epoch(mjd: NDArray[Any], weight: Floats, starts: Ints) -> Floats:
    """Weighted mean Julian epoch of every run."""
    return weighted_means(julian_epoch(mjd), weight, starts).mean


def _position_flags(best: Ints, nothing: int) -> NDArray[np.uint32]:
    flags = np.full(best.size, ObjectFlags.FIT_AVE | ObjectFlags.USE_AVE, np.uint32)
    flags[best // NOTHING == 1] |= np.uint32(ObjectFlags.STACK_FOR_MEAN)
    flags[best == nothing] = ObjectFlags.NO_MEAN_ASTROM
    return flags


def _names(names: tuple[str, ...], index: Ints) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), pa.array(names, pa.string())).cast(pa.string())


def _table(declared: Table, columns: dict[str, Any]) -> pa.Table:
    schema = declared.arrow
    arrays = [
        columns[name] if isinstance(columns.get(name), pa.Array)
        else arrow_column(columns[name], schema.field(name).type) if name in columns
        else pa.nulls(len(columns["object_id"]), schema.field(name).type)
        for name in declared.names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
