"""The seeds of objects: what `object_seeds` says of one that a measurement founds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from skydb.schema.tables import OBJECT_SEEDS
from skydb.sky.epochs import julian_epoch

from .motion import FASTEST_ARCSEC

FOUNDING = ("object_id", "image_id", "det_id", "mjd", "ra_raw", "dec_raw", "pm_ra", "pm_dec")
"""What a seed is made of: columns of `measurements`."""


def founded_seeds(founders: pa.Table) -> pa.Table:
    """Return the seeds that founding measurements (`FOUNDING`, one for each object) make.

    The association position is the raw position at its own epoch; the motion is the measurement's own, if it has one
    in both directions that a star can have.
    """
    pm_ra, pm_dec = (founders[name].to_numpy() for name in ("pm_ra", "pm_dec"))
    unknown = ~(np.hypot(pm_ra.astype(np.float64), pm_dec) <= 1000.0 * FASTEST_ARCSEC)
    return OBJECT_SEEDS.conform(pa.table({
        "object_id": founders["object_id"], "assoc_ra": founders["ra_raw"], "assoc_dec": founders["dec_raw"],
        "assoc_epoch": pa.array(julian_epoch(founders["mjd"].to_numpy())),
        "assoc_pm_ra": pa.array(pm_ra.astype(np.float32), mask=unknown),
        "assoc_pm_dec": pa.array(pm_dec.astype(np.float32), mask=unknown),
        "founder_image_id": founders["image_id"], "founder_det_id": founders["det_id"],
        "retired": pa.array(np.zeros(founders.num_rows, dtype=np.bool_)),
    }))  # fmt: skip
