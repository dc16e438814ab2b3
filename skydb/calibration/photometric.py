"""DVO's PhotRel on arrays: from instrumental to calibrated magnitudes and fluxes.

    mag  = inst_mag + 2.5 log10(exptime) + zero_point - mcal - mflat + color term
    flux = counts / exptime * 10 ** (-0.4 (zero_point - mcal - mflat + color term - 31.4))        nJy

with zero_point = 0.001 C + K (airmass - 1), mcal = z + k (airmass - 1), airmass of the row. AB magnitudes are
-2.5 log10(F / (erg/s/cm²/Hz)) - 48.6, so 1 Jy = 1e-23 of that unit has 57.5 - 48.6 = 8.9 mag, and 1 nJy has 31.4.
Reference photcodes hold calibrated magnitudes (and fluxes in nJy): nothing is added to them.

`docs/explanation/photometry.md` derives this, works an example and lists what differs from DVO.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .columns import float_column, int_column
from .photcode_terms import PhotcodeTerms

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

AB_NJY = 31.4
"""AB magnitude of a source of 1 nJy."""
POGSON = 2.5 / np.log(10.0)
"""Magnitudes per relative error: 1.0857."""


@dataclass(frozen=True)
class RawPhotometry:
    """Raw columns of N measurements, named and in the units of table `measurements`; NaN where missing."""

    code: NDArray[Any]
    exptime: NDArray[Any]
    airmass: NDArray[Any]
    inst_mag: NDArray[Any]
    inst_mag_err: NDArray[Any]
    inst_flux: NDArray[Any]
    inst_flux_err: NDArray[Any]
    inst_ap_mag: NDArray[Any]
    inst_ap_flux: NDArray[Any]
    inst_ap_flux_err: NDArray[Any]
    inst_kron_flux: NDArray[Any]
    inst_kron_flux_err: NDArray[Any]

    @classmethod
    def from_table(cls, measurements: pa.Table, exptime: NDArray[Any]) -> RawPhotometry:
        """Return the columns of raw measurements; those absent are NaN.

        Parameters
        ----------
        measurements : rows of table `measurements`
        exptime : (N,) s
            Exposure time of each row's image.
        """
        names = [field.name for field in fields(cls) if field.name not in ("code", "exptime")]
        columns = {name: float_column(measurements, name) for name in names}
        return cls(code=int_column(measurements, "code"), exptime=exptime, **columns)


@dataclass(frozen=True)
class Corrections:
    """What a calibration adds to N measurements; all in mag, subtracted except `color_term`.

    `mcal` is that of the image at `image_airmass` (table `images_cal`), `mcal_slope` its change per airmass: a row's
    own is mcal + mcal_slope (airmass - image_airmass). Give z and k with an `image_airmass` of 1. A row without
    airmass (or an image without) has the image's mcal. NaN in `mflat` and `color_term` counts as 0, as in DVO.
    """

    mcal: NDArray[Any]
    mcal_slope: NDArray[Any] | float = 0.0
    image_airmass: NDArray[Any] | float = 1.0
    mflat: NDArray[Any] | float = 0.0
    color_term: NDArray[Any] | float = 0.0


@dataclass(frozen=True)
class CalibratedPhotometry:
    """Calibrated columns of N measurements, named, typed and in the units of table `measurements_cal`; NaN: missing."""

    mag: Floats32
    mag_err: Floats32
    flux: Floats32
    flux_err: Floats32
    ap_mag: Floats32
    ap_mag_err: Floats32
    kron_mag: Floats32
    kron_mag_err: Floats32
    mcal: Floats32
    mflat: Floats32

    def columns(self) -> dict[str, Floats32]:
        """Return the arrays by column name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def nominal_zero_point(terms: PhotcodeTerms, code: NDArray[Any], airmass: NDArray[Any]) -> Floats:
    """Nominal zero point, 0.001 C + K (airmass - 1): DVO's PhotZeroPoint.

    Parameters
    ----------
    code : (N,)
    airmass : (N,)
        Not needed where K is 0.

    Returns
    -------
    zero_point : (N,) mag
        Counts per second to magnitude; 0 for reference photcodes; NaN where the airmass is needed and NaN.
    """
    return _nominal(terms, terms.rows_of(code), airmass)


def color_term(terms: PhotcodeTerms, code: NDArray[Any], color: NDArray[Any]) -> Floats:
    """Colour term: sum over i of X[i] (color - dX) ** (i + 1).

    Parameters
    ----------
    code : (N,)
    color : (N,) mag
        The object's magnitude in the photcode's first colour band less that in its second; NaN: unknown.

    Returns
    -------
    color_term : (N,) mag
        0 where the colour is unknown (as DVO has it), where the photcode has no colour bands, and for references.
    """
    rows = terms.rows_of(code)
    given = np.isfinite(color) & (terms.color_bands[rows] >= 0).all(axis=1) & ~terms.is_reference[rows]
    excess = np.where(given, color - terms.color_offset[rows], 0.0)
    total = np.zeros(rows.size)
    for order in reversed(range(terms.color_terms.shape[1])):
        total = excess * (terms.color_terms[rows, order] + total)
    return total


def calibrate(raw: RawPhotometry, terms: PhotcodeTerms, corrections: Corrections) -> CalibratedPhotometry:
    """Calibrate measurements: a pure function of raw values, photcodes and one calibration.

    Returns
    -------
    CalibratedPhotometry
        `flux` and `flux_err` follow from the magnitude where the counts are missing. A source of no counts has no
        magnitude of that kind. Errors are one sigma, in mag 1.0857 times the relative error; photcode systematics
        are not in them. An aperture magnitude without counts has the PSF's error. Fluxes are NaN where the
        photcode's system is not AB, but for counts of a reference, which are nJy already.

    Raises
    ------
    DataError
        A code that the photcode table does not hold.
    """
    rows = terms.rows_of(raw.code)
    reference = terms.is_reference[rows]
    mcal, mflat = _offsets(raw.airmass, corrections, reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        zero_point = _nominal(terms, rows, raw.airmass) - mcal - mflat + np.nan_to_num(corrections.color_term)
        offset = np.where(reference, 0.0, zero_point + _exposure_mag(raw.exptime))
        counts_mag = np.where(reference, np.where(terms.is_ab[rows], AB_NJY, np.nan), offset)
        mag, mag_err = raw.inst_mag + offset, np.asarray(raw.inst_mag_err, np.float64)
        flux, flux_err = _fluxes(raw, np.where(reference, AB_NJY, offset), terms.is_ab[rows] | reference)
        _fill_fluxes(flux, flux_err, np.where(terms.is_ab[rows], mag, np.nan), mag_err)
        ap_mag, ap_mag_err = raw.inst_ap_mag + offset, _mag_err(raw.inst_ap_flux, raw.inst_ap_flux_err)
        ap_mag_err = np.where(np.isnan(raw.inst_ap_flux) & np.isfinite(ap_mag), mag_err, ap_mag_err)
        kron_flux = np.where(raw.inst_kron_flux > 0, raw.inst_kron_flux, np.nan)
        kron_mag = counts_mag - 2.5 * np.log10(kron_flux)
    kron_mag_err = _mag_err(raw.inst_kron_flux, raw.inst_kron_flux_err)
    found = (mag, mag_err, flux, flux_err, ap_mag, ap_mag_err, kron_mag, kron_mag_err, mcal, mflat)
    return CalibratedPhotometry(*map(_stored, found))


def _stored(column: Floats) -> NDArray[np.float32]:
    """Return a column as it is stored; what no float32 can hold, such as an error over a flux near 0, is NaN."""
    with np.errstate(over="ignore"):
        narrow = column.astype(np.float32)
    narrow[np.isinf(narrow)] = np.nan
    return narrow


def _nominal(terms: PhotcodeTerms, rows: NDArray[np.int64], airmass: NDArray[Any]) -> Floats:
    slope = terms.airmass_slope[rows]
    nominal = terms.zero_point[rows] + np.where(slope == 0.0, 0.0, slope * (airmass - 1.0))
    return np.where(terms.is_reference[rows], 0.0, nominal)


def _offsets(airmass: NDArray[Any], given: Corrections, reference: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mcal and mflat of every row, 0 for references."""
    change = np.nan_to_num(given.mcal_slope * (airmass - given.image_airmass))
    mcal = np.where(reference, 0.0, given.mcal + change)
    return mcal, np.where(reference, 0.0, np.nan_to_num(given.mflat))


def _exposure_mag(exptime: NDArray[Any]) -> Floats:
    """2.5 log10(exptime); 0 for an exposure time of 0 or less, which says that the counts are per second (DVO)."""
    return 2.5 * np.log10(np.where(exptime <= 0.0, 1.0, np.asarray(exptime, np.float64)))


def _fluxes(raw: RawPhotometry, offset: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Fluxes in nJy from counts."""
    njy_per_count = np.where(known, 10.0 ** (-0.4 * (offset - AB_NJY)), np.nan)
    return raw.inst_flux * njy_per_count, raw.inst_flux_err * njy_per_count


def _fill_fluxes(flux: Floats, flux_err: Floats, mag: Floats, mag_err: Floats) -> None:
    """Put fluxes and errors that follow from the magnitude where the counts gave none."""
    no_flux = np.flatnonzero(np.isnan(flux))
    flux[no_flux] = 10.0 ** (-0.4 * (mag[no_flux] - AB_NJY))
    no_error = np.flatnonzero(np.isnan(flux_err))
    flux_err[no_error] = mag_err[no_error] / POGSON * np.abs(flux[no_error])


def _mag_err(flux: NDArray[Any], flux_err: NDArray[Any]) -> Floats:
    """Magnitude error of a flux; NaN for no flux."""
    return np.asarray(POGSON * flux_err / np.where(flux > 0, flux, np.nan), np.float64)
