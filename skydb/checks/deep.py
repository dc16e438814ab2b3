"""What follows from raw measurements, computed anew and compared: calibrated measurements, objects, their means.

The functions are those that ingest and apply use, so that on one machine equal means equal bit by bit; the mathematical
library of another may differ in a last digit, hence the tolerances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.calibration.apply import RAW_COLUMNS, ImageTerms, calibrate_rows
from skydb.calibration.derive import ROW_COLUMNS, ImageSources, derive_tables
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.schema.tables import TABLES
from skydb.store.cells import Cell
from skydb.store.parquet import read_file
from skydb.store.snapshot import Snapshot

from .findings import Finding

FLOAT32_TOLERANCE = 1e-6
"""Relative, and absolute below 1: of magnitudes, errors, fluxes."""
FLOAT64_TOLERANCE = 1e-12
"""Relative: of positions, 1e-3 mas; of times, 5 ms."""


@dataclass(frozen=True)
class DeepTask:
    """What recomputing needs: the images' terms and kinds, where they are mapped, and the photcodes."""

    images: Path
    sources: Path
    terms: PhotcodeTerms


def deep_findings(cell: Cell, snapshot: Snapshot, task: DeepTask) -> Iterator[Finding]:
    """Yield where stored rows of a sound cell differ from what the raw ones make; a stale cell's means are excused."""
    images, follows = ImageTerms.load(task.images), True
    for raw_file, cal_file in snapshot.measurement_pairs(cell):
        raw = read_file(snapshot.stored(raw_file), list(RAW_COLUMNS)).replace_schema_metadata()
        stored = read_file(snapshot.stored(cal_file)).replace_schema_metadata()
        found = _differing(calibrate_rows(raw, images, task.terms), stored)
        if found is not None:
            follows = False
            yield Finding("calibrated-differ", found.text, "measurements_cal", str(cell), cal_file.path, found.rows)
    if cell.stale or not follows:
        return
    derived = derive_tables(
        snapshot.read_cell("measurements", cell, ROW_COLUMNS), snapshot.read_cell("object_seeds", cell),
        ImageSources.load(task.sources), task.terms,
    )  # fmt: skip
    for name, rows in derived.items():
        keys = [(key, "ascending") for key in TABLES[name].sort]
        found = _differing(rows.sort_by(keys), snapshot.read_cell(name, cell).sort_by(keys))
        if found is not None:
            yield Finding("derived-differ", found.text, name, str(cell), rows=found.rows)


@dataclass(frozen=True)
class _Difference:
    text: str
    rows: int


def _differing(expected: pa.Table, stored: pa.Table) -> _Difference | None:
    """Return in which columns, and in how many rows, two tables differ by more than the tolerance."""
    if expected.num_rows != stored.num_rows:
        lost = abs(expected.num_rows - stored.num_rows)
        return _Difference(f"it has {stored.num_rows} rows of {expected.num_rows}", lost)
    wrong = {name: unequal(expected[name], stored[name]) for name in expected.column_names}
    columns = [name for name, rows in wrong.items() if rows.any()]
    if not columns:
        return None
    rows = int(np.any([wrong[name] for name in columns], axis=0).sum())
    return _Difference(f"{rows} rows have another {', '.join(columns)} than the raw ones make", rows)


def unequal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Say for every row whether two columns differ by more than the tolerance; NULL equals NULL.

    >>> unequal(pa.chunked_array([[1.0, None]]), pa.chunked_array([[1.0 + 1e-13, 2.0]])).tolist()
    [False, True]
    """
    if one.equals(other):
        return np.zeros(len(one), dtype=bool)
    if not pa.types.is_floating(one.type):
        return np.array([a != b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)], dtype=bool)
    first, second = _floats(one), _floats(other)
    single = one.type == pa.float32()
    slack = FLOAT32_TOLERANCE if single else FLOAT64_TOLERANCE
    return np.asarray(~np.isclose(first, second, rtol=slack, atol=slack if single else 0.0, equal_nan=True))


def _floats(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy(), dtype=np.float64)
