"""What the means read of measurements: the columns, the sources, and where objects were founded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.errors import DataError, UsageError, did_you_mean
from skydb.store.mending import RESTORE

from .columns import float_column, int_column

SOURCES = ("chip", "stack", "warp", "reference", "diff")
"""What a measurement comes from: the kinds of image, in the order of their indices."""

_INTEGERS: dict[str, type[np.integer[Any]]] = {"object_id": np.int64, "code": np.int32, "photflags": np.uint32}


def source_codes(kinds: Sequence[str]) -> NDArray[np.int8]:
    """Return the places in `SOURCES` of image kinds: look them up per image, then spread them over its rows.

    Raises
    ------
    UsageError
        A kind that is not a source.
    """
    unknown = sorted(set(kinds) - set(SOURCES))
    if unknown:
        todo = did_you_mean(unknown[0], SOURCES)
        raise UsageError(f"no source is named {unknown[0]!r}", "column kind of images", todo)
    place = {name: i for i, name in enumerate(SOURCES)}
    return np.array([place[kind] for kind in kinds], np.int8)


@dataclass(frozen=True)
class MeasurementRows:
    """Columns of N measurements, sorted as table `measurements` is: whole objects, each in order of time.

    Named and in the units of `measurements_cal`, but for `photflags` and `psf_qf` (of `measurements`) and `source`,
    the place in `SOURCES` of the kind of each row's image. NaN is missing.
    """

    object_id: NDArray[np.int64]
    code: NDArray[np.int32]
    source: NDArray[Any]
    mjd: NDArray[Any]
    ra: NDArray[Any]
    dec: NDArray[Any]
    ra_err: NDArray[Any]
    dec_err: NDArray[Any]
    mag: NDArray[Any]
    mag_err: NDArray[Any]
    flux: NDArray[Any]
    flux_err: NDArray[Any]
    ap_mag: NDArray[Any]
    ap_mag_err: NDArray[Any]
    kron_mag: NDArray[Any]
    kron_mag_err: NDArray[Any]
    photflags: NDArray[np.uint32]
    psf_qf: NDArray[Any]

    def __post_init__(self) -> None:
        if (self.object_id[1:] < self.object_id[:-1]).any():
            raise UsageError("measurements are not sorted by object_id", None, "sort them as table measurements is")

    @classmethod
    def names(cls) -> list[str]:
        """Return the declared columns that are read."""
        return [field.name for field in fields(cls) if field.name != "source"]

    @classmethod
    def from_table(cls, measurements: pa.Table, source: NDArray[Any]) -> MeasurementRows:
        """Return the columns of a table that holds raw and calibrated columns side by side.

        Parameters
        ----------
        measurements : pa.Table
            NULL becomes NaN, and so does a float column that is absent; NULL `photflags` become 0.
        source : (N,)
            As `source_codes` gives it.
        """
        columns: dict[str, NDArray[Any]] = {
            name: int_column(measurements, name, _INTEGERS[name]) if name in _INTEGERS
            else float_column(measurements, name, np.float64 if name in ("mjd", "ra", "dec") else np.float32)
            for name in cls.names()
        }
        return cls(source=source, **columns)


@dataclass(frozen=True)
class Seeds:
    """Association positions of K objects, sorted by `object_id`: what the means read of table `object_seeds`."""

    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    epoch: NDArray[np.float64]

    @classmethod
    def from_table(cls, object_seeds: pa.Table) -> Seeds:
        """Return the columns of an `object_seeds` table, in any order of rows."""
        columns = (float_column(object_seeds, f"assoc_{name}") for name in ("ra", "dec", "epoch"))
        object_id = int_column(object_seeds, "object_id")
        order = np.argsort(object_id, kind="stable")
        return cls(object_id[order], *(column[order] for column in columns))

    def of(self, object_id: NDArray[np.int64]) -> Seeds:
        """Return the seeds of the given objects.

        Raises
        ------
        DataError
            An object without a seed.
        """
        found = np.searchsorted(self.object_id, object_id).clip(max=max(self.object_id.size - 1, 0))
        missing = object_id[self.object_id[found] != object_id] if self.object_id.size else object_id
        if missing.size:
            raise DataError(f"object {missing[0]} has measurements but no seed", "table object_seeds", RESTORE)
        return Seeds(object_id, self.ra[found], self.dec[found], self.epoch[found])
