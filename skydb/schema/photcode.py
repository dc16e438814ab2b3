"""One photcode: where a magnitude comes from, and its tie to a mean band."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from skydb.errors import DataError, did_you_mean

from .tables import PHOTCODES

KINDS = ("SEC", "DEP", "REF", "ALT")
FIRST_NAMED_CODE = 65_536
"""Numbers made of names start here: beyond those of DVO's tables."""

FLOAT32 = tuple(c.name for c in PHOTCODES if c.type == "float32")
MASKS = tuple(c.name for c in PHOTCODES if c.type == "uint32")


@dataclass(frozen=True)
class Photcode:
    """One photcode; the fields are the columns of the `photcodes` table, with their units.

    Values of float32 columns are rounded to float32 at once, so that a photcode equals what a database returns.
    """

    code: int
    name: str
    kind: str
    band: str | None = None
    zero_point_mmag: int = 0
    airmass_slope: float = 0.0
    color_offset_mmag: int = 0
    zero_point_offset_mmag: int = 0
    color_1: str | None = None
    color_2: str | None = None
    color_terms: tuple[float, ...] = ()
    radius_arcsec: float | None = None
    system: str = "AB"
    astrometry_err_sys: float = 0.0
    astrometry_err_scale: float = 0.0
    astrometry_err_mag_scale: float = 0.0
    photometry_err_sys: float = 0.0
    astrometry_poor_mask: int = 0
    astrometry_bad_mask: int = 0
    photometry_poor_mask: int = 0
    photometry_bad_mask: int = 0

    def __post_init__(self) -> None:
        where = f"photcode {self.name!r}"
        if self.kind not in KINDS:
            raise DataError(f"{self.kind!r} is no kind of photcode", where, did_you_mean(self.kind, KINDS))
        if not 0 < self.code < 2**31:
            raise DataError(f"{self.code} is no photcode number", where, "numbers start at 1")
        if not self.name or self.name.upper() == "MAG":
            raise DataError(f"{self.name!r} is no photcode name", f"photcode {self.code}", "choose another name")
        for mask in MASKS:
            if not 0 <= getattr(self, mask) < 2**32:
                raise DataError(f"{mask} {getattr(self, mask)} has more than 32 bits", where, "correct the mask")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(f"{field.name} is {value}", where, "give a finite number")
        for name in FLOAT32:
            object.__setattr__(self, name, float(np.float32(getattr(self, name))))
        object.__setattr__(self, "color_terms", tuple(self.color_terms))
        if self.band is None and self.kind in ("SEC", "REF"):
            object.__setattr__(self, "band", self.name)

    @property
    def zero_point(self) -> float:
        """Nominal zero point C, mag: counts per second to magnitude at airmass 1."""
        return 0.001 * self.zero_point_mmag


def code_of_name(name: str) -> int:
    """Return the number of a photcode that was given none: made of its name, so that it is the same everywhere.

    Examples
    --------
    >>> code_of_name("CAM.r") == code_of_name("CAM.r") >= FIRST_NAMED_CODE
    True
    """
    return FIRST_NAMED_CODE + (int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") >> 2)
