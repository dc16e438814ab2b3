"""Rows of DVO's Measure → columns of `measurements`.

Instrumental magnitudes are those of the file that DVO ingested: its zero point and exposure time are undone. Fluxes
are counts per second there. Integers hold pixels in hundredths, angles in 65535ths of a turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.schema.tables import MEASUREMENTS

from ..detections import Mask, errors_of
from .tables import Columns, DvoColumn, DvoTable

Values = NDArray[Any]
Floats = NDArray[np.float64]

PIXELS = 0.01
DEGREES = 360.0 / 65535.0

_NUMBER, _SMALL, _FLAGS = DvoColumn("E"), DvoColumn("I"), DvoColumn("J", unsigned=True)
_NEEDED = DvoColumn("J", unsigned=True, needed=True)
_EXACT = {
    "x": "X_CCD", "y": "Y_CCD", "inst_mag_err": "MAG_ERR", "psf_qf": "PSF_QF", "psf_qf_perfect": "PSF_QF_PEFECT",
    "file_psf_mag_err": "MAG_CAL_ERR", "pltscale": "PLTSCALE", "sky": "SKY_FLUX", "sky_err": "SKY_FLUX_ERR",
    "psf_chisq": "PSF_CHISQ", "ext_nsigma": "EXT_NSIGMA",
}  # fmt: skip
_SCALED = {
    "x_err": ("X_CCD_ERR", PIXELS), "y_err": ("Y_CCD_ERR", PIXELS), "posangle": ("POSANGLE", DEGREES),
    "psf_major": ("FWHM_MAJOR", PIXELS), "psf_minor": ("FWHM_MINOR", PIXELS), "psf_theta": ("PSF_THETA", DEGREES),
    "moments_xx": ("MXX", PIXELS), "moments_xy": ("MXY", PIXELS), "moments_yy": ("MYY", PIXELS),
}  # fmt: skip
_WHOLE = {"psf_ndof": "PSF_NDOF", "psf_npix": "PSF_NPIX"}
_BITS = {"photflags": "PHOT_FLAGS", "photflags2": "PHOT_FLAGS2"}
_FLUXES = {
    "inst_flux": ("FLUX_PSF", "FLUX_PSF_ERR", "MAG", "MAG_ERR"),
    "inst_ap_flux": ("FLUX_AP", "FLUX_AP_ERR", "M_APER", "M_APER_ERR"),
    "inst_kron_flux": ("FLUX_KRON", "FLUX_KRON_ERR", "M_KRON", "M_KRON_ERR"),
}  # fmt: skip

COLUMNS: Columns = {
    "RA": DvoColumn("D", needed=True), "DEC": DvoColumn("D", needed=True),
    "AIRMASS": _NUMBER, **dict.fromkeys((name for names in _FLUXES.values() for name in names), _NUMBER),
    **dict.fromkeys(_EXACT.values(), _NUMBER),
    **dict.fromkeys(("MAG", "M_TIME", "X_CCD", "Y_CCD"), DvoColumn("E", needed=True)),
    **dict.fromkeys(("IMAGE_ID", "DET_ID", "AVE_REF"), _NEEDED),
    "PHOTCODE": DvoColumn("I", unsigned=True, needed=True), "TIME": DvoColumn("J", needed=True),
    **{name: _SMALL for name, _ in _SCALED.values()},
    "FWHM_MAJOR": DvoColumn("I", also="FWHM_MAJ"), "FWHM_MINOR": DvoColumn("I", also="FWHM_MIN"),
    **dict.fromkeys(_WHOLE.values(), DvoColumn("J")), **dict.fromkeys(_BITS.values(), _FLAGS),
}  # fmt: skip


def image_columns(
    table: DvoTable, rows: slice, order: NDArray[np.int64], zero_point: float, exptime: Floats
) -> tuple[dict[str, Values], dict[str, Mask]]:
    """Return columns of `measurements` for rows that belong to images, and which values are none.

    Parameters
    ----------
    table, rows : some rows of a table
    order : (N,) which of these, in which order
    zero_point : mag
        What DVO added to instrumental magnitudes.
    exptime : (N,) s
        Of the image of each row; 0 says that counts are per second.
    """
    exptime = np.where(exptime > 0, exptime, 1.0)  # as in DVO, and wherever a magnitude is calibrated
    exposed = table.numbers("M_TIME", rows)[order]
    offset = zero_point + np.where(np.isfinite(exposed), exposed, 2.5 * np.log10(exptime))
    columns: dict[str, Values] = {"det_id": table.values("DET_ID", rows)[order].astype(np.int64)}
    columns |= _common(table, rows, order)
    columns["inst_mag"] = table.numbers("MAG", rows)[order] - offset
    if "M_APER" in table:
        columns["inst_ap_mag"] = table.numbers("M_APER", rows)[order] - offset
    for name, stored in _FLUXES.items():
        given = [_optional(table, column, rows, order) for column in stored]
        columns |= _counts(name, given, offset, exptime)
    return _narrow(columns), _nulls(table, rows, order)


def reference_columns(
    table: DvoTable, rows: slice, order: NDArray[np.int64]
) -> tuple[dict[str, Values], dict[str, Mask]]:
    """Return columns of `measurements` for rows of catalogs: their magnitudes are calibrated, and stay as they are."""
    columns = {name: values for name, values in _common(table, rows, order).items() if name not in ("x", "y")}
    columns["inst_mag"] = table.numbers("MAG", rows)[order]
    if "M_APER" in table:
        columns["inst_ap_mag"] = table.numbers("M_APER", rows)[order]
    return _narrow(columns), _nulls(table, rows, order)


def _common(table: DvoTable, rows: slice, order: NDArray[np.int64]) -> dict[str, Values]:
    columns: dict[str, Values] = {name: table.numbers(s, rows)[order] for name, s in _EXACT.items() if s in table}
    columns |= {name: table.numbers(s, rows)[order] * unit for name, (s, unit) in _SCALED.items() if s in table}
    columns |= {name: table.values(s, rows)[order] for name, s in (_WHOLE | _BITS).items() if s in table}
    columns["file_ra"], columns["file_dec"] = (table.numbers(s, rows)[order] for s in ("RA", "DEC"))
    return columns


def _nulls(table: DvoTable, rows: slice, order: NDArray[np.int64]) -> dict[str, Mask]:
    return {name: np.isnan(table.numbers(s, rows)[order]) for name, s in _WHOLE.items() if s in table}


def _optional(table: DvoTable, name: str, rows: slice, order: NDArray[np.int64]) -> Floats:
    return table.numbers(name, rows)[order] if name in table else np.full(len(order), np.nan)


def _counts(name: str, given: list[Floats], offset: Floats, exptime: Floats) -> dict[str, Values]:
    """Counts and their error, from counts per second; from the magnitude where DVO has no flux.

    The error that DVO keeps beside a magnitude is that of the flux over the flux, without the factor 1.0857; beside
    the PSF's it is one in magnitudes.
    """
    flux, flux_err, mag, mag_err = given
    relative = mag_err * (0.4 * np.log(10.0)) if name == "inst_flux" else mag_err
    counts = np.where(np.isfinite(flux), flux * exptime, 10.0 ** (-0.4 * (mag - offset)))
    errors = np.where(np.isfinite(flux_err), flux_err * exptime, np.abs(relative * counts))
    return {name: counts, f"{name}_err": errors}


def _narrow(columns: dict[str, Values]) -> dict[str, Values]:
    """Floats as they are stored; errors below 0 are none."""
    for name, values in columns.items():
        if values.dtype.kind == "f":
            values = values.astype(MEASUREMENTS[name].type, copy=False)
            columns[name] = errors_of(values) if MEASUREMENTS[name].is_error else values
    return columns
