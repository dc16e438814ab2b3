"""Tables of the user's own in a release: a catalog each, beside that of the objects, with their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.schema.model import Column, Table
from skydb.schema.tables import OBJECTS
from skydb.sky.partition import cell_range, in_ranges, merge_ranges, pixel_of
from skydb.store.arrays import numbers_of
from skydb.store.cells import Cell
from skydb.store.snapshot import Snapshot

from .columns import SPATIAL_INDEX
from .hats_files import write_leaf
from .partitions import PixelTree, Source


@dataclass(frozen=True)
class DeclaredColumns:
    """The columns of a declared table in a release: index, object, its position, then what was declared.

    The position is called `ra`, `dec`, or `object_ra`, `object_dec` where the table has a column of such a name.
    """

    table: Table

    @cached_property
    def position(self) -> tuple[Column, Column]:
        """The columns of the object's current position."""
        prefix = "object_" if "ra" in self.table or "dec" in self.table else ""
        ra, dec = (replace(OBJECTS[name], name=f"{prefix}{name}") for name in ("ra", "dec"))
        return ra, dec

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a partition."""
        first, *others = self.table.columns
        return pa.schema([c.arrow for c in (SPATIAL_INDEX, first, *self.position, *others)])

    @property
    def has_one_row_per_object(self) -> bool:
        """Whether an object has one row at most."""
        return self.table.sort == ("object_id",)


@dataclass(frozen=True)
class DeclaredTask:
    """Writes the partitions of one declared table; those without rows are left out."""

    snapshot: Snapshot
    columns: DeclaredColumns
    tree: PixelTree
    catalog: Path

    def __call__(self, job: tuple[int, Sequence[Source]]) -> int:
        """Write one partition, given its place in the tree and its sources, and return its rows."""
        index, sources = job
        pixel = self.tree.pixel(index)
        rows = pa.concat_tables([self._of_source(pixel, *source) for source in sources])
        if not rows.num_rows:
            return 0
        order = [(name, "ascending") for name in (SPATIAL_INDEX.name, *self.columns.table.sort)]
        write_leaf(self.catalog, pixel, rows.sort_by(order).combine_chunks())
        return int(rows.num_rows)

    def _of_source(self, pixel: tuple[int, int], cell: Cell, whole: bool) -> pa.Table:
        """Return what a cell has of a partition; rows of an object that has retired are left out."""
        objects = self.snapshot.read_cell("objects", cell, ["object_id", "ra", "dec"]).sort_by("object_id")
        ids, ra, dec = (numbers_of(objects.column(name)) for name in ("object_id", "ra", "dec"))
        place = pixel_of(ra, dec)
        inside = np.flatnonzero(in_ranges(place, np.array([cell_range(*pixel)], dtype=np.int64)))
        ids, ra, dec, place = (values[inside] for values in (ids, ra, dec, place))
        ranges = None if whole else merge_ranges(np.stack([ids, ids + 1], axis=1))
        rows = self.snapshot.read_cell(self.columns.table.name, cell, ranges=ranges)
        own = numbers_of(rows.column("object_id"))
        at = np.searchsorted(ids, own).clip(max=max(len(ids) - 1, 0))
        known = np.flatnonzero(ids[at] == own) if len(ids) else np.empty(0, np.int64)
        rows, at = rows.take(pa.array(known)), at[known]
        joined = {SPATIAL_INDEX.name: place[at], self.columns.position[0].name: ra[at],
                  self.columns.position[1].name: dec[at]}  # fmt: skip
        columns = [rows.column(f.name) if f.name in rows.column_names else pa.array(joined[f.name])
                   for f in self.columns.schema]  # fmt: skip
        return pa.Table.from_arrays(columns, schema=self.columns.schema)
