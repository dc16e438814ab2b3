"""The tasks of a release: one writes a partition and spills what lies near its border, one writes a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skydb.kernels.distinct import distinct

from .columns import LIGHT_CURVE
from .hats_files import write_leaf
from .margins import over_border
from .partitions import PixelTree, Source
from .rows import PartitionReader


@dataclass(frozen=True)
class Folders:
    """Where a release is being written: its two catalogs, and the spilled rows of margins."""

    catalog: Path
    margin: Path
    spill: Path


@dataclass(frozen=True)
class Written:
    """What was written of one partition; `targets` are the pixels whose margins take rows of it, in spilled order."""

    index: int
    objects: int
    measurements: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class PartitionTask:
    """Writes partitions; a margin of 0 arcsec is none."""

    reader: PartitionReader
    tree: PixelTree
    folders: Folders
    margin_arcsec: float

    def __call__(self, job: tuple[int, Sequence[Source]]) -> Written:
        """Write one partition, given its place in the tree and its sources."""
        index, sources = job
        rows = self.reader.read(self.tree.pixel(index), sources)
        write_leaf(self.folders.catalog, self.tree.pixel(index), rows)
        points = pc.sum(pc.list_value_length(pc.struct_field(rows[LIGHT_CURVE], 0))).as_py()
        return Written(index, rows.num_rows, points or 0, self._spill_margins(index, rows))

    def _spill_margins(self, index: int, rows: pa.Table) -> tuple[int, ...]:
        """Write the rows that lie in margins of other pixels to a file of one row group per pixel."""
        if not self.margin_arcsec:
            return ()
        ra, dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
        row, target = over_border(self.tree, ra, dec, radius_arcsec=self.margin_arcsec)
        if not len(row):
            return ()
        targets = tuple(distinct(target).tolist())
        with pq.ParquetWriter(_spill_path(self.folders.spill, index), rows.schema, compression="lz4") as writer:
            for wanted in targets:
                taken = rows.take(pa.array(row[target == wanted]))
                writer.write_table(taken, row_group_size=taken.num_rows)
        return targets


@dataclass(frozen=True)
class MarginTask:
    """Writes margins."""

    tree: PixelTree
    folders: Folders

    def __call__(self, job: tuple[int, Sequence[tuple[int, int]]]) -> int:
        """Write one margin, given its pixel's place in the tree and (partition, row group) of what was spilled."""
        target, spilled = job
        parts = []
        for index, group in spilled:
            with pq.ParquetFile(_spill_path(self.folders.spill, index)) as file:
                parts.append(file.read_row_group(group))
        rows = pa.concat_tables(parts)
        order = np.lexsort([rows["object_id"].to_numpy(), rows["_healpix_29"].to_numpy()])
        write_leaf(self.folders.margin, self.tree.pixel(target), rows.take(pa.array(order)).combine_chunks())
        return int(rows.num_rows)


def margin_jobs(written: Sequence[Written]) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return the margins to write: each pixel's place, and where its rows were spilled."""
    jobs: dict[int, list[tuple[int, int]]] = {}
    for part in written:
        for group, target in enumerate(part.targets):
            jobs.setdefault(target, []).append((part.index, group))
    return sorted(jobs.items())


def _spill_path(folder: Path, index: int) -> Path:
    return folder / f"{index}.parquet"
