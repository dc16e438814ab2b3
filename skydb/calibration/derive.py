"""Derived tables of a cell: the same for ingest, refresh and apply.

`objects` and `object_bands` are a pure function of the cell's measurements, seeds and photcodes (promise 4); whoever
changes measurements derives them anew. The bits of `db_flags` that depend on an object's other measurements are part of
the answer of `means.derive`, but are not stored: every ingest would have to rewrite all rows of the objects it touches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.kernels.runs import run_starts
from skydb.schema.tables import MEASUREMENTS
from skydb.sky.partition import centre_of, separation_arcsec
from skydb.store.snapshot import Snapshot

from .apply import ImageTerms
from .columns import float_column, int_column, order_of_measurements
from .mapped import load_mapped, save_mapped
from .means import derive
from .measurement_rows import MeasurementRows, Seeds, source_codes
from .photcode_terms import PhotcodeTerms

ROW_COLUMNS = (*dict.fromkeys([*MEASUREMENTS.sort, *MeasurementRows.names()]),)
"""What the means read of measurements, and what sorts them."""


@dataclass(frozen=True)
class ImageSources:
    """The kind of every image: `image_id` (N,) sorted, `source` (N,) its place in `measurement_rows.SOURCES`."""

    image_id: NDArray[np.int64]
    source: NDArray[np.int8]

    @classmethod
    def stored(cls, snapshot: Snapshot, new: ImageTerms | None = None) -> ImageSources:
        """Return the kinds of a snapshot's images, and of new ones."""
        images = snapshot.read_global("images", ["image_id", "kind"])
        ids, source = images["image_id"].to_numpy(), _sources_of(images["kind"].combine_chunks())
        if new is not None:
            ids, source = np.concatenate([ids, new.image_id]), np.concatenate([source, new.source])
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], source[order])

    def save(self, path: Path) -> None:
        """Write the kinds where worker processes map them."""
        save_mapped(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> ImageSources:
        """Map the kinds that `save` wrote."""
        return cls(**load_mapped(path))

    def of(self, image_id: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the source of every row's image."""
        if not len(image_id):
            return np.empty(0, dtype=np.int8)
        found: NDArray[np.int8] = self.source[np.searchsorted(self.image_id, image_id)]
        return found


def _sources_of(kinds: pa.Array) -> NDArray[np.int8]:
    """Return the places of kinds in `SOURCES`, each distinct kind looked up once."""
    encoded = kinds.dictionary_encode()
    codes: NDArray[np.int8] = source_codes(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]
    return codes


def derive_tables(
    measured: pa.Table, seeds: pa.Table, sources: ImageSources, terms: PhotcodeTerms
) -> dict[str, pa.Table]:  # fmt: skip
    """Return `objects` and `object_bands` of whole objects.

    Parameters
    ----------
    measured
        `ROW_COLUMNS` of all measurements of the objects, in any order.
    seeds
        Rows of `object_seeds`, in any order.

    Raises
    ------
    DataError
        An object has no seed, or a measurement an unknown photcode.
    """
    rows = _sorted(measured)
    measurements = MeasurementRows.from_table(rows, sources.of(int_column(rows, "image_id")))
    tables = derive(measurements, Seeds.from_table(seeds), terms)
    return {"objects": tables.objects, "object_bands": tables.object_bands}


def side_by_side(raw: pa.Table, cal: pa.Table) -> pa.Table:
    """Return `ROW_COLUMNS` of raw measurements and the calibrated ones that lie beside them."""
    return pa.table({name: (cal if name in cal.column_names else raw)[name] for name in ROW_COLUMNS})


def _sorted(rows: pa.Table) -> pa.Table:
    order = order_of_measurements(rows)
    return rows if order is None else rows.take(pa.array(order))


def drift_arcsec(rows: pa.Table, *, ra: str = "ra", dec: str = "dec") -> float:
    """Return the largest distance of rows, sorted by object, from where their objects were founded; 0 for no rows."""
    if not rows.num_rows:
        return 0.0
    ids = int_column(rows, "object_id")
    starts = run_starts(ids)
    centre_ra, centre_dec = centre_of(ids[starts[:-1]])
    counts = np.diff(starts)
    far = separation_arcsec(
        np.repeat(centre_ra, counts), np.repeat(centre_dec, counts), float_column(rows, ra), float_column(rows, dec)
    )
    return float(np.nanmax(far, initial=0.0))
