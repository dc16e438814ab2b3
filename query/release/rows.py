"""The rows of one partition: objects by current position, their means side by side, their light curves nested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.tables import MEASUREMENTS
from skydb.sky.partition import cell_range, in_ranges, merge_ranges, pixel_of
from skydb.store.cells import Cell
from skydb.store.mending import DERIVE
from skydb.store.snapshot import Snapshot

from ..derived_flags import NEEDED, SEED_COLUMNS, with_derived_flags
from .columns import LIGHT_CURVE, MEANS, SPATIAL_INDEX, BandMeans, ReleaseColumns
from .partitions import Ints, Source


@dataclass(frozen=True)
class PhotcodeNames:
    """Name and band of every photcode: `code` (N,) sorted, `photcode` and `band` beside it."""

    code: pa.Array
    photcode: pa.Array
    band: pa.Array

    @classmethod
    def stored(cls, snapshot: Snapshot) -> PhotcodeNames:
        """Return the names of a snapshot's photcodes; ALT codes never stand with a measurement."""
        rows = snapshot.read_global("photcodes", ["code", "name", "band", "kind"])
        rows = rows.filter(pc.not_equal(rows["kind"], "ALT")).combine_chunks()
        code, name, band = (rows[column].combine_chunks() for column in ("code", "name", "band"))
        return cls(code, name, band)

    def of(self, what: str, code: pa.ChunkedArray) -> pa.Array:
        """Return the name (`what` is "photcode") or band of every code."""
        names: pa.Array = {"photcode": self.photcode, "band": self.band}[what]
        return names.take(pc.index_in(code.combine_chunks(), value_set=self.code))


@dataclass(frozen=True)
class PartitionReader:
    """Reads a snapshot's rows as a release shows them."""

    snapshot: Snapshot
    columns: ReleaseColumns
    names: PhotcodeNames

    def read(self, partition: tuple[int, int], sources: Sequence[Source]) -> pa.Table:
        """Return the rows of one partition, sorted by position.

        Parameters
        ----------
        partition : (norder, npix)
            The pixel.
        sources
            The cells that hold objects in it, and whether all of a cell's objects are.

        Raises
        ------
        DataError
            A measurement or mean whose object is not there.
        """
        parts = [self._read_source(partition, *source) for source in sources]
        objects, bands, measured = (pa.concat_tables(tables) for tables in zip(*parts, strict=True))
        objects = objects.sort_by([(SPATIAL_INDEX.name, "ascending"), ("object_id", "ascending")])
        places = _Places.of(objects["object_id"].to_numpy())
        columns = {name: objects[name] for name in objects.column_names}
        for means in self.columns.bands:
            columns |= _beside(bands, means, places)
        columns[LIGHT_CURVE] = self._light_curves(measured, places)
        arrays = [columns[name] for name in self.columns.schema.names]
        return pa.Table.from_arrays(arrays, schema=self.columns.schema).combine_chunks()

    def _read_source(self, partition: tuple[int, int], cell: Cell, whole: bool) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Read what a cell has of a partition: objects with their index, means, measurements."""
        snapshot, ranges = self.snapshot, None
        objects = snapshot.read_cell("objects", cell)
        index = pixel_of(objects["ra"].to_numpy(), objects["dec"].to_numpy())
        if not whole:
            inside = np.flatnonzero(in_ranges(index, np.array([cell_range(*partition)], dtype=np.int64)))
            objects, index = objects.take(pa.array(inside)), index[inside]
            ids = np.sort(objects["object_id"].to_numpy())
            ranges = merge_ranges(np.stack([ids, ids + 1], axis=1))
        objects = objects.add_column(0, SPATIAL_INDEX.name, pa.array(index))
        bands = snapshot.read_cell("object_bands", cell, ["object_id", "band", "source", *MEANS], ranges=ranges)
        return objects, bands, self._measured(cell, ranges)

    def _measured(self, cell: Cell, ranges: Ints | None) -> pa.Table:
        """Read the measurements of whole objects of a cell; `db_flags`, where released, with its derived bits."""
        snapshot, wanted = self.snapshot, self._stored_columns
        if "db_flags" not in wanted:
            return snapshot.read_cell("measurements", cell, wanted, ranges=ranges)
        rows = snapshot.read_cell("measurements", cell, list(dict.fromkeys([*wanted, *NEEDED])), ranges=ranges)
        rows = rows.sort_by([(name, "ascending") for name in MEASUREMENTS.sort])
        seeds = snapshot.read_cell("object_seeds", cell, SEED_COLUMNS, ranges=ranges)
        return with_derived_flags(snapshot, rows, seeds).select(wanted)

    @property
    def _stored_columns(self) -> list[str]:
        wanted = [c.name for c in self.columns.light_curve if c.name not in ("photcode", "band")]
        return list(dict.fromkeys([*MEASUREMENTS.sort, "code", *wanted]))

    def _light_curves(self, measured: pa.Table, places: _Places) -> pa.StructArray:
        """Nest the measurements below their objects, each in order of time."""
        place = places.find(measured["object_id"].to_numpy(), "measurement")
        keys = [measured[name].to_numpy() for name in ("det_id", "image_id", "mjd")]
        measured = measured.take(pa.array(np.lexsort([*keys, place])))
        counts = np.bincount(place, minlength=len(places.order))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        nested = self.columns.schema.field(LIGHT_CURVE).type
        lists = [
            pa.ListArray.from_arrays(offsets, self._values(measured, field.name), type=field.type) for field in nested
        ]
        return pa.StructArray.from_arrays(lists, fields=list(nested))

    def _values(self, measured: pa.Table, name: str) -> pa.Array:
        if name in ("photcode", "band"):
            return self.names.of(name, measured["code"])
        return measured[name].combine_chunks()


@dataclass(frozen=True)
class _Places:
    """Where each object stands among the sorted rows: `ids` (N,) sorted, `order` (N,) their rows."""

    ids: Ints
    order: Ints

    @classmethod
    def of(cls, object_id: Ints) -> _Places:
        order = np.argsort(object_id, kind="stable")
        return cls(object_id[order], order)

    def find(self, object_id: Ints, what: str) -> Ints:
        """Return the row of every object.

        Raises
        ------
        DataError
            An object that is not there.
        """
        at = np.searchsorted(self.ids, object_id).clip(max=len(self.ids) - 1)
        lost = np.flatnonzero(self.ids[at] != object_id)
        if len(lost):
            raise DataError(f"a {what} of object {object_id[lost[0]]}, which is not there", None, DERIVE)
        return np.asarray(self.order[at])


def _beside(bands: pa.Table, means: BandMeans, places: _Places) -> dict[str, pa.ChunkedArray]:
    """Return the means of one band and source as columns beside the objects, NULL where an object has none."""
    both = pc.and_(pc.equal(bands["band"], means.band), pc.equal(bands["source"], means.source))
    rows = bands.filter(both)
    row: NDArray[np.int64] = np.full(len(places.order), -1, dtype=np.int64)
    row[places.find(rows["object_id"].to_numpy(), "mean")] = np.arange(rows.num_rows)
    take = pa.array(row, mask=row < 0)
    return {column.name: rows[name].take(take) for column, name in zip(means.columns, MEANS, strict=True)}
