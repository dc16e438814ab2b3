"""Multi-order coverage maps (MOC, IVOA 2022): any part of the sky as a list of HEALPix pixels, read from FITS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydb.errors import DataError, UsageError

from .partition import FINEST_ORDER, merge_ranges, pixel_of

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU

_HOW = "give a spatial MOC in FITS, in ICRS, as Aladin, MOCPy or CDS write it"


@dataclass(frozen=True, eq=False)
class Moc:
    """A union of HEALPix pixels: `pixel_ranges` (K, 2), half-open, of nested order-29 pixels, sorted and disjoint.

    `name` is the file from which it came.
    """

    pixel_ranges: NDArray[np.int64]
    name: str = ""

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position in one of the pixels; one that is not finite lies in none."""
        ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
        inside = np.zeros(ra.shape, dtype=bool)
        known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
        pixel = pixel_of(ra[known] % 360, dec[known])
        edge = np.searchsorted(self.pixel_ranges.ravel(), pixel, side="right")
        inside[known] = edge % 2 == 1
        return inside


def read_moc(path: str | Path) -> Moc:
    """Read a spatial MOC from a FITS file (versions 1 and 2 of the standard).

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        It is no FITS file, no spatial MOC, or not in ICRS.
    """
    from astropy.io import fits

    if not Path(path).is_file():
        raise UsageError("there is no such file", str(path), _HOW)
    try:
        with fits.open(path) as hdus:
            return Moc(_pixels_of(_table_of(hdus), str(path)), str(path))
    except (OSError, TypeError) as error:
        raise DataError(f"it cannot be read as FITS: {error}", str(path), _HOW) from error


def _table_of(hdus: Any) -> BinTableHDU | None:
    return next((hdu for hdu in hdus if hdu.header.get("XTENSION") == "BINTABLE"), None)


def _pixels_of(hdu: BinTableHDU | None, path: str) -> NDArray[np.int64]:
    header = {} if hdu is None else hdu.header
    ordering, system = str(header.get("ORDERING", "")).upper(), str(header.get("COORDSYS", "C")).upper()
    if hdu is None or ordering not in ("NUNIQ", "RANGE") or str(header.get("MOCDIM", "SPACE")).upper() != "SPACE":
        raise DataError("it is no spatial MOC", path, _HOW)
    if system not in ("C", "ICRS", "EQUATORIAL"):
        raise DataError(f"its coordinates are {system}, not ICRS", path, _HOW)
    values = np.asarray(hdu.data.field(0)).astype(np.int64).ravel() if len(hdu.data) else np.empty(0, np.int64)
    ranges = _of_uniq(values) if ordering == "NUNIQ" else values.reshape(-1, 2) if len(values) % 2 == 0 else None
    if ranges is None or (len(ranges) and (ranges.min() < 0 or ranges.max() > 12 << 2 * FINEST_ORDER)):
        raise DataError("its numbers are no pixels", path, _HOW)
    return merge_ranges(ranges)


def _of_uniq(uniq: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the pixels whose numbers are 4**(order + 1) + npix; None where some are none."""
    if len(uniq) and uniq.min() < 4:
        return None
    order = np.searchsorted(np.int64(4) << 2 * np.arange(FINEST_ORDER + 2), uniq, side="right") - 1
    npix = uniq - (np.int64(4) << 2 * order)
    if (npix >= np.int64(12) << 2 * order).any():
        return None
    shift = 2 * (FINEST_ORDER - order)
    return np.stack([npix << shift, (npix + 1) << shift], axis=1).astype(np.int64).reshape(-1, 2)
