"""The bits of `db_flags` that no row has, since they depend on an object's other measurements: found when asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import int_column
from skydb.calibration.derive import ImageSources
from skydb.calibration.means import derive
from skydb.calibration.measurement_rows import MeasurementRows, Seeds
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.store.snapshot import Snapshot

NEEDED = ("image_id", "db_flags", *MeasurementRows.names())
"""Columns of measurements that the derived bits follow from, `db_flags` itself among them."""
SEED_COLUMNS = ("object_id", "assoc_ra", "assoc_dec", "assoc_epoch")


def measurement_rows(snapshot: Snapshot, rows: pa.Table) -> MeasurementRows:
    """Return measurements, in the order of their table, as the means read them."""
    return MeasurementRows.from_table(rows, ImageSources.stored(snapshot).of(int_column(rows, "image_id")))


def with_derived_flags(snapshot: Snapshot, rows: pa.Table, seeds: pa.Table) -> pa.Table:
    """Return measurements whose `db_flags` has all bits.

    The bits follow from the rows as they are, not from stored means, which may wait for a refresh.

    Parameters
    ----------
    rows
        All measurements of some objects in the order of their table, with the columns `NEEDED`.
    seeds
        `SEED_COLUMNS` of these objects, and of others, in any order.
    """
    terms = PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
    found = derive(measurement_rows(snapshot, rows), Seeds.from_table(seeds), terms)
    flags = int_column(rows, "db_flags", np.uint32) | found.db_flags
    return rows.set_column(rows.column_names.index("db_flags"), rows.schema.field("db_flags"), pa.array(flags))
