"""Objects that have retired: deletion took all their measurements. Their ids stay taken, until one is founded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.kernels.distinct import distinct, is_among
from skydb.sky.partition import pixel_of


@dataclass(frozen=True)
class Retired:
    """Retired objects; every array is (R,).

    `pixel` is where each was founded, `image_id`, `det_id` say by which detection.
    """

    object_id: NDArray[np.int64]
    pixel: NDArray[np.int64]
    image_id: NDArray[np.int64]
    det_id: NDArray[np.int64]

    COLUMNS: ClassVar = ("object_id", "assoc_ra", "assoc_dec", "founder_image_id", "founder_det_id", "retired")
    """What is read of `object_seeds` to tell them apart."""

    @classmethod
    def apart(cls, seeds: pa.Table) -> tuple[pa.Table, Retired]:
        """Return the seeds of the objects that live, and those that have retired."""
        retired = pc.fill_null(seeds.column("retired"), False)
        old = seeds.filter(retired)
        ids, ra, dec, image_id, det_id = (old.column(name).to_numpy() for name in cls.COLUMNS[:-1])
        live = seeds.filter(pc.invert(retired)) if len(ids) else seeds
        return live, cls(ids, pixel_of(ra, dec), image_id, det_id)

    @staticmethod
    def concat(parts: Sequence[Retired]) -> Retired:
        """Return the objects of several parts."""
        none = np.empty(0, dtype=np.int64)
        return Retired(*(np.concatenate([none, *(getattr(p, f.name) for p in parts)]) for f in fields(Retired)))

    def take(self, which: NDArray[np.bool_]) -> Retired:
        """Return some of the objects."""
        return Retired(*(getattr(self, f.name)[which] for f in fields(self)))

    def wishes(
        self, pixel: NDArray[np.int64], image_id: NDArray[np.int64], det_id: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the id that each founding detection (F,) asks for: mostly its founding pixel.

        One that comes back to the place where it founded an object asks for that object's id, which is another pixel
        if its own was taken then.
        """
        near = np.flatnonzero(is_among(pixel, distinct(self.pixel)))
        keys = zip(self.pixel.tolist(), self.image_id.tolist(), self.det_id.tolist(), strict=True)
        ids = dict(zip(keys, self.object_id.tolist(), strict=True)) if len(near) else {}
        wished = pixel.copy()
        coming = zip(pixel[near].tolist(), image_id[near].tolist(), det_id[near].tolist(), strict=True)
        wished[near] = [ids.get(key, key[0]) for key in coming]
        return wished
