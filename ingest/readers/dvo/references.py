"""Measurements of catalogs in a DVO database: rows of a REF photcode that belong to no image.

DVO does not say which photcodes are of one catalog. So each is a reference survey of its own, with one image, and a row
is named by its table and its place there. A row without a time has the epoch J2000.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.schema.identity import exposure_id, image_id, image_key
from skydb.schema.photcodes import Photcode

from ..table_times import tai_and_utc_start
from ..times import SECONDS_PER_DAY, TT_MINUS_TAI, UNIX_ZERO_MJD

J2000 = 51544.5
FIRST_BIT = 32
"""A row's number is its place in the table; above this bit is that of the table."""


@dataclass(frozen=True)
class Reference:
    """One photcode of a catalog: its rows of `images` and `exposures`."""

    image: dict[str, Any]
    exposure: dict[str, Any]

    @classmethod
    def of(cls, photcode: Photcode, database_id: str) -> Reference:
        """Return the image and the survey of a photcode in one DVO database: another may have the same stars."""
        survey = f"{photcode.name} of DVO {database_id}"
        key = image_key(
            kind="reference", utc_start=J2000, photcode=photcode.name, chip=database_id, exposure=survey
        )
        common = {"exposure_id": exposure_id(kind="reference", utc_start=J2000, name=survey), "kind": "reference",
                  "mjd": J2000 - TT_MINUS_TAI / SECONDS_PER_DAY, "utc_start": J2000}  # fmt: skip
        image = {"image_id": image_id(key), "image_key": key, "name": survey, "chip": database_id,
                 "code": photcode.code}  # fmt: skip
        return cls(common | image, common | {"name": survey})

    @property
    def image_id(self) -> int:
        """The image's id."""
        return int(self.image["image_id"])


def reference_times(seconds: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the times (N,) of rows, TAI as modified Julian dates, from DVO's unix seconds; J2000.0 for 0."""
    days = UNIX_ZERO_MJD + seconds / SECONDS_PER_DAY
    times, _ = tai_and_utc_start(days, np.zeros(len(days)), scale="utc", at="start")
    return np.where(seconds == 0, J2000 - TT_MINUS_TAI / SECONDS_PER_DAY, times)


def reference_numbers(region: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the detection numbers of rows (N,) of a region's table."""
    return np.int64(region) << FIRST_BIT | rows
