"""What a plotted light curve shows: the points of every band, which of them the mean uses, and that mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.means import object_bands
from skydb.calibration.measurement_rows import SOURCES, MeasurementRows
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.errors import UsageError
from skydb.flags import MeasurementFlags
from skydb.kernels.robust import weighted_means

from .connection import Connection
from .derived_flags import measurement_rows

Floats = NDArray[np.float64]

BAND_ORDER = "uUBgVGrRiIzyYJHK"
"""From blue to red; other bands follow by name."""


@dataclass(frozen=True)
class BandPoints:
    """The measurements of one band and source, by time, and their mean.

    mjd : (N,) d
    mag, mag_err : (N,) mag
        Calibrated; an error of 0 is unknown.
    raw : (N,) mag
        Under the nominal zero point: neither `mcal` nor `mflat` applied.
    used : (N,)
        Whether the mean uses the measurement: flags, `psf_qf`, or being an outlier leave it out.
    mean, stdev : mag
        As in `object_bands`, with the reduced `chi2`; NaN where there is none.
    raw_stdev : mag
        That of `raw`, of the same measurements with the same weights.
    """

    band: str
    source: str
    mjd: Floats
    mag: Floats
    mag_err: Floats
    raw: Floats
    used: NDArray[np.bool_]
    mean: float
    stdev: float
    chi2: float
    raw_stdev: float

    def __len__(self) -> int:
        return len(self.mjd)


@dataclass(frozen=True)
class LightCurve:
    """One object: its mean position in degrees (None before its means are made), its points from blue to red.

    `n_without_mag` measurements have no magnitude and are no points.
    """

    object_id: int
    position: tuple[float, float] | None
    bands: tuple[BandPoints, ...]
    n_without_mag: int


def light_curve(connection: Connection, object_id: int) -> LightCurve:
    """Read the points of an object.

    Raises
    ------
    UsageError
        No such object, or one without any magnitude.
    """
    names = ["image_id", "photcode", "band", "mcal", "mflat", *MeasurementRows.names()]
    rows = connection.lightcurve(object_id, columns=names).arrow()
    known = np.isfinite(float_column(rows, "mag"))
    if not known.any():
        where = connection.snapshot.home
        raise UsageError(f"no measurement of object {object_id} has a magnitude", where, "there is nothing to draw")
    bands = sorted(_bands_of(connection, rows, known), key=lambda b: (_place(b.band), b.band, b.source))
    return LightCurve(object_id, _position(connection, object_id), tuple(bands), int((~known).sum()))


def _bands_of(connection: Connection, rows: pa.Table, known: NDArray[np.bool_]) -> Iterator[BandPoints]:
    """Yield the points of every band and source; a photcode without a band stands for itself, and has no mean."""
    terms = PhotcodeTerms.from_table(connection.snapshot.read_global("photcodes"))
    measurements = measurement_rows(connection.snapshot, rows)
    means, kinds = object_bands(measurements, terms), [SOURCES[place] for place in measurements.source]
    mean_of = {(row["band"], row["source"]): row for row in means.table.to_pylist()}
    photcodes, bands = rows["photcode"].to_pylist(), rows["band"].to_pylist()
    keys = [(band or photcode, kind) for band, photcode, kind in zip(bands, photcodes, kinds, strict=True)]
    mag, mag_err = float_column(rows, "mag"), np.nan_to_num(float_column(rows, "mag_err"))
    raw = mag + np.nan_to_num(float_column(rows, "mcal")) + np.nan_to_num(float_column(rows, "mflat"))
    err_sys = terms.photometry_err_sys[terms.rows_of(int_column(rows, "code"))]
    used = means.db_flags & np.uint32(MeasurementFlags.PHOTOM_PSF) > 0
    for key in dict.fromkeys(key for key, is_known in zip(keys, known, strict=True) if is_known):
        here = np.flatnonzero(known & np.array([k == key for k in keys]))
        mean = mean_of.get(key, {})
        yield BandPoints(
            *key, float_column(rows, "mjd")[here], mag[here], mag_err[here], raw[here], used[here],
            mean=_number(mean.get("mag")), stdev=_number(mean.get("mag_stdev")), chi2=_number(mean.get("chi2")),
            raw_stdev=_stdev(raw[here][used[here]], np.hypot(mag_err, err_sys)[here][used[here]]),
        )  # fmt: skip


def _stdev(values: Floats, errors: Floats) -> float:
    """Standard deviation as the means have it; all values count alike where no error is known."""
    with np.errstate(divide="ignore"):
        weight = np.where(errors > 0, errors**-2, 0.0) if errors.any() else np.ones(len(errors))
    return float(weighted_means(values, weight, np.array([0, len(values)])).stdev[0])


def _position(connection: Connection, object_id: int) -> tuple[float, float] | None:
    rows = connection.sql(f"SELECT ra, dec FROM objects WHERE object_id = {object_id}").arrow().to_pylist()
    return (rows[0]["ra"], rows[0]["dec"]) if rows else None


def _place(band: str) -> int:
    return BAND_ORDER.index(band) if len(band) == 1 and band in BAND_ORDER else len(BAND_ORDER)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
