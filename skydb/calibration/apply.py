"""Apply a calibration: raw measurements and their images' solutions in, `measurements_cal` out.

A pure function of its arguments (promise 4): ingest, `relcal` and any reader of another calibration call this one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.tables import MEASUREMENTS_CAL
from skydb.store.mending import RESTORE

from .columns import arrow_column, float_column, int_column
from .mapped import load_mapped, save_mapped
from .measurement_rows import source_codes
from .photcode_terms import PhotcodeTerms
from .photometric import Corrections, RawPhotometry, calibrate
from .positions import position_errors

RAW_COLUMNS = tuple(dict.fromkeys([
    "object_id", "image_id", "det_id", "code", "mjd", "airmass", "ra_raw", "dec_raw", "link_flags",
    *(f.name for f in fields(RawPhotometry) if f.name != "exptime"),
    "x_err", "y_err", "pltscale", "ra_raw_err", "dec_raw_err",
]))  # fmt: skip
"""The raw columns that the calibrated ones follow from."""


@dataclass(frozen=True)
class ImageTerms:
    """What the measurements of some images need of them; every array is (N,), sorted by image_id.

    `source` is a place in `measurement_rows.SOURCES`; `mcal` belongs to the image's `airmass`.
    """

    image_id: NDArray[np.int64]
    source: NDArray[np.int8]
    exptime: NDArray[np.float64]
    airmass: NDArray[np.float64]
    mcal: NDArray[np.float64]
    mcal_slope: NDArray[np.float64]

    @classmethod
    def of(cls, images: pa.Table, images_cal: pa.Table) -> ImageTerms:
        """Return the terms of images and their solutions, which must hold the same images."""
        first = np.argsort(images["image_id"].to_numpy())
        second = np.argsort(images_cal["image_id"].to_numpy())
        ids = images["image_id"].to_numpy()[first]
        if not np.array_equal(ids, images_cal["image_id"].to_numpy()[second]):
            raise DataError("images and images_cal do not hold the same images", None, RESTORE)
        source = source_codes(images["kind"].to_pylist())
        return cls(
            ids, source[first], float_column(images, "exptime")[first], float_column(images, "airmass")[first],
            float_column(images_cal, "mcal")[second], float_column(images_cal, "mcal_slope")[second],
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the terms where worker processes map them."""
        save_mapped(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> ImageTerms:
        """Map the terms that `save` wrote."""
        return cls(**load_mapped(path))

    def agrees(self, earlier: ImageTerms) -> bool:
        """Say whether every image that both have has the same terms; others came since, or were deleted."""
        _, here, there = np.intersect1d(self.image_id, earlier.image_id, assume_unique=True, return_indices=True)
        return all(
            np.array_equal(getattr(self, f.name)[here], getattr(earlier, f.name)[there], equal_nan=True)
            for f in fields(self)
        )

    def rows_of(self, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where each row's image stands.

        Raises
        ------
        DataError
            A measurement names an image that is not there.
        """
        if not len(image_ids):
            return np.empty(0, dtype=np.int64)
        found = np.searchsorted(self.image_id, image_ids).clip(max=max(len(self.image_id) - 1, 0))
        unknown = image_ids[self.image_id[found] != image_ids] if len(self.image_id) else image_ids
        if len(unknown):
            raise DataError(f"no image has the id {unknown[0]}", "table measurements", RESTORE)
        return found


def calibrate_rows(raw: pa.Table, images: ImageTerms, terms: PhotcodeTerms) -> pa.Table:
    """Return the rows of `measurements_cal` that lie beside raw measurements, in their order.

    Raises
    ------
    DataError
        A row names an unknown image or photcode.
    """
    image = images.rows_of(int_column(raw, "image_id"))
    exptime = images.exptime[image]
    found = calibrate(
        RawPhotometry.from_table(raw, exptime), terms,
        Corrections(images.mcal[image], images.mcal_slope[image], images.airmass[image]),
    )  # fmt: skip
    ra_err, dec_err = position_errors(raw, terms)
    floats: dict[str, NDArray[Any]] = {**found.columns(), "exptime": exptime, "ra_err": ra_err, "dec_err": dec_err}
    keys = ("object_id", "image_id", "det_id", "code", "mjd", "airmass")
    columns = {name: raw[name] for name in keys}
    columns |= {"ra": raw["ra_raw"], "dec": raw["dec_raw"], "db_flags": raw["link_flags"]}
    columns |= {name: arrow_column(values, pa.float32()) for name, values in floats.items()}
    return MEASUREMENTS_CAL.conform(pa.table(columns))
