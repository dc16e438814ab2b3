"""The layout of psphot's detection table (EXTTYPE PS1_V4): column order, FITS format, unit.

Facts from psphot's CMF template and DVO's cmf-ps1-v4 definition; 53 columns, 216 bytes a row. Readers go by
name, so that the other versions (PS1_V1 … V5, SV) need no layout of their own; the simulator writes this one.
"""

from __future__ import annotations

import numpy as np

from .tables import MEASUREMENTS

PS1_V4: tuple[tuple[str, str, str], ...] = (
    ("IPP_IDET", "J", ""), ("X_PSF", "E", "pixels"), ("Y_PSF", "E", "pixels"), ("X_PSF_SIG", "E", "pixels"),
    ("Y_PSF_SIG", "E", "pixels"), ("POSANGLE", "E", "degrees"), ("PLTSCALE", "E", "arcsec/pixel"),
    ("PSF_INST_MAG", "E", "mag"), ("PSF_INST_MAG_SIG", "E", "mag"), ("PSF_INST_FLUX", "E", "counts"),
    ("PSF_INST_FLUX_SIG", "E", "counts"), ("AP_MAG", "E", "mag"), ("AP_MAG_RAW", "E", "mag"),
    ("AP_MAG_RADIUS", "E", "pixels"), ("AP_FLUX", "E", "counts"), ("AP_FLUX_SIG", "E", "counts"),
    ("CAL_PSF_MAG", "E", "mag"), ("CAL_PSF_MAG_SIG", "E", "mag"), ("RA_PSF", "D", "degrees"),
    ("DEC_PSF", "D", "degrees"), ("PEAK_FLUX_AS_MAG", "E", "mag"), ("SKY", "E", "counts/s"),
    ("SKY_SIGMA", "E", "counts/s"), ("PSF_CHISQ", "E", ""), ("CR_NSIGMA", "E", "sigma"), ("EXT_NSIGMA", "E", "sigma"),
    ("PSF_MAJOR", "E", "pixels"), ("PSF_MINOR", "E", "pixels"), ("PSF_THETA", "E", "degrees"), ("PSF_QF", "E", ""),
    ("PSF_QF_PERFECT", "E", ""), ("PSF_NDOF", "J", ""), ("PSF_NPIX", "J", ""), ("MOMENTS_XX", "E", "pixels^2"),
    ("MOMENTS_XY", "E", "pixels^2"), ("MOMENTS_YY", "E", "pixels^2"), ("MOMENTS_M3C", "E", "pixels^3"),
    ("MOMENTS_M3S", "E", "pixels^3"), ("MOMENTS_M4C", "E", "pixels^4"), ("MOMENTS_M4S", "E", "pixels^4"),
    ("MOMENTS_R1", "E", "pixels"), ("MOMENTS_RH", "E", "pixels^0.5"), ("KRON_FLUX", "E", "counts"),
    ("KRON_FLUX_ERR", "E", "counts"), ("KRON_FLUX_INNER", "E", "counts"), ("KRON_FLUX_OUTER", "E", "counts"),
    ("SKY_LIMIT_RAD", "E", "pixels"), ("SKY_LIMIT_FLUX", "E", "counts/pixel"), ("SKY_LIMIT_SLOPE", "E", "counts/pixel^2"),
    ("FLAGS", "J", ""), ("FLAGS2", "J", ""), ("N_FRAMES", "I", ""), ("PADDING", "I", ""),
)

UNSIGNED = {"FLAGS": 2**31, "FLAGS2": 2**31, "N_FRAMES": 2**15}
"""Unsigned columns and the TZERO that marks them; a file without TZERO holds the raw bits."""

COLUMN_OF_TTYPE = {c.psphot: c.name for c in MEASUREMENTS if c.psphot}
"""The skydb column that keeps each psphot column."""

_NEEDED = (
    "IPP_IDET", "X_PSF", "Y_PSF", "X_PSF_SIG", "Y_PSF_SIG", "PSF_INST_MAG", "PSF_INST_MAG_SIG", "PSF_QF", "FLAGS",
)  # fmt: skip
_FLUX = ("PSF_INST_FLUX", "PSF_INST_FLUX_SIG")
WITHOUT_FLUX = ("PS1_V1", "PS1_V2")
"""The versions that give magnitudes only."""

_NUMPY = {"J": ">i4", "E": ">f4", "D": ">f8", "I": ">i2"}


def needed_columns(exttype: str) -> tuple[str, ...]:
    """Return the columns that every table of an EXTTYPE has, and without which answers would be wrong or empty.

    >>> needed_columns("PS1_V2")[-1]
    'FLAGS'
    """
    return _NEEDED if exttype in WITHOUT_FLUX else (*_NEEDED, *_FLUX)


def ps1_v4_dtype() -> np.dtype[np.void]:
    """Return the packed big-endian dtype of one PS1_V4 row.

    >>> ps1_v4_dtype().itemsize
    216
    """
    return np.dtype([(name, _NUMPY[form]) for name, form, _ in PS1_V4])
