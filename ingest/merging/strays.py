"""Rows of declared tables about measurements that another object has here: both databases ingested their image.

Most often the objects of one measurement pair with each other, and its rows are stored with them. Where stars are
crowded they may not; then the measurement is looked for in the whole base.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skydb.calibration.columns import int_column
from skydb.parallel.executor import Executor
from skydb.schema.declaration import KEYS
from skydb.schema.model import Table
from skydb.store.carried import map_cells
from skydb.store.layout import new_name
from skydb.store.scratch import Scratch
from skydb.store.snapshot import Snapshot

from ..rows.matching import FINE, NO_MEASUREMENT, Matched, objects_of_measurements
from ..rows.reading import RowBlock
from ..rows.storing import RowsTask, Spilled, store_cell
from ..writing import WrittenCell

_IMAGE_AND_DET = KEYS["measurement"][1:]


def spill_strays(rows: pa.Table, folder: Path) -> Path:
    """Put rows aside, under a fresh name."""
    path = folder / f"{new_name()}.strays"
    pq.write_table(rows, path, compression="zstd")
    return path


def store_strays(
    spilled: Iterable[tuple[str, Path]], base: Snapshot, place: Scratch, executor: Executor
) -> list[WrittenCell]:  # fmt: skip
    """Store what was put aside with the objects of its measurements, where these are here and the rows are not.

    The keys of a table's rows are held in memory, 40 bytes a row; every cell is read once.
    """
    paths: dict[str, list[Path]] = {}
    for name, path in spilled:
        paths.setdefault(name, []).append(path)
    return [cell for name, mine in paths.items() for cell in _stored(mine, base.table(name), base, place, executor)]


def _stored(
    paths: list[Path], table: Table, base: Snapshot, place: Scratch, executor: Executor
) -> list[WrittenCell]:  # fmt: skip
    image, det = (
        np.concatenate([int_column(pq.read_table(p, columns=[key]), key) for p in paths]) for key in _IMAGE_AND_DET
    )
    objects = objects_of_measurements(image, det, base, executor, place.path)
    spilled, first = Spilled(base.cells(), [], Counter(), set()), 0
    for path in paths:
        rows = pq.read_table(path)
        its = slice(first, first + rows.num_rows)
        reason = np.where(objects[its] < 0, NO_MEASUREMENT, FINE).astype(np.int8)
        keys = dict(zip(_IMAGE_AND_DET, (image[its], det[its]), strict=True))
        spilled.add(RowBlock(first, rows, rows, 0), Matched(objects[its], reason, keys), table, place.path)
        first += rows.num_rows
    task = partial(store_cell, task=RowsTask(base, place, table.name, tuple(spilled.paths)))
    cells = spilled.touched_cells
    stored = zip(cells, map_cells(executor, task, base, cells), strict=True)
    return [WrittenCell(cell, (rows.file,), ()) for cell, rows in stored if rows.file is not None]
