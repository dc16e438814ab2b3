"""The seeds of a cell mended: each object one, founded by a measurement that is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import float_column, int_column
from skydb.kernels.distinct import is_among
from skydb.kernels.runs import run_starts
from skydb.schema.tables import OBJECT_SEEDS
from skydb.sky.partition import pixel_of
from skydb.store.parquet import sort_rows
from skydb.store.seeds import founded_seeds

from .keys import Ints, among, repeated


@dataclass(frozen=True)
class MendedSeeds:
    """Seeds as they are to be; how many are new, have another founder, retired or live again; `guessed` of the new."""

    rows: pa.Table
    made: int
    guessed: int
    refounded: int
    retired: int

    @property
    def changed(self) -> bool:
        """Whether anything is otherwise than it was."""
        return bool(self.made or self.refounded or self.retired)


def mended_seeds(seeds: pa.Table, measured: pa.Table, images: Ints) -> MendedSeeds:
    """Return a cell's seeds with what its measurements need.

    An object's founder is the measurement that lies in its pixel; where none does (the pixel was taken, or the founder
    is lost) its first one. The association position of a seed that is there stays.

    Parameters
    ----------
    seeds
        Rows of `object_seeds`; of several of one object the first counts.
    measured
        `FOUNDING` of all measurements of the cell.
    images : (N,)
        Ids of the images that are there, ascending.
    """
    extra = repeated(int_column(seeds, "object_id"))
    keep = np.ones(seeds.num_rows, dtype=bool)
    keep[extra] = False
    seeds = OBJECT_SEEDS.conform(seeds.filter(pa.array(keep)))
    founders, exact = _founders(measured)
    ids, held = int_column(seeds, "object_id"), int_column(founders, "object_id")
    new = ~is_among(held, np.sort(ids))
    seeds, refounded = _refounded(seeds, measured, founders, images)
    seeds, retired = _retired(seeds, held)
    rows = pa.concat_tables([seeds, founded_seeds(founders.filter(pa.array(new)))])
    made = int(new.sum())
    return MendedSeeds(
        sort_rows(rows, "object_seeds"), made + len(extra), int((new & ~exact).sum()), refounded, retired
    )


def _founders(measured: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Return the founder of every object, in their order, and whether it lies in the object's pixel."""
    ids, mjd = int_column(measured, "object_id"), float_column(measured, "mjd")
    ra, dec = float_column(measured, "ra_raw"), float_column(measured, "dec_raw")
    exact = (pixel_of(ra, dec) == ids) if len(ids) else np.zeros(0, dtype=bool)
    keys = int_column(measured, "det_id"), int_column(measured, "image_id"), mjd, ~exact, ids
    order = np.lexsort(keys)
    first = order[run_starts(ids[order])[:-1]]
    return measured.take(pa.array(first)), exact[first]


def _refounded(seeds: pa.Table, measured: pa.Table, founders: pa.Table, images: Ints) -> tuple[pa.Table, int]:
    """Give seeds whose founder is not among their measurements, though its image is there, another one."""
    columns = [int_column(seeds, name) for name in ("object_id", "founder_image_id", "founder_det_id")]
    there = among(columns, [int_column(measured, name) for name in ("object_id", "image_id", "det_id")])
    held = int_column(founders, "object_id")
    lost = ~there & is_among(columns[1], images) & is_among(columns[0], held)
    if lost.any():
        place = np.searchsorted(held, columns[0][lost])
        for name in ("image_id", "det_id"):
            values = int_column(seeds, f"founder_{name}").copy()
            values[lost] = int_column(founders, name)[place]
            at = seeds.column_names.index(f"founder_{name}")
            seeds = seeds.set_column(at, OBJECT_SEEDS[f"founder_{name}"].arrow, pa.array(values))
    return seeds, int(lost.sum())


def _retired(seeds: pa.Table, held: Ints) -> tuple[pa.Table, int]:
    """Retire the objects that have no measurements, and no others."""
    was = seeds["retired"].fill_null(False).to_numpy(zero_copy_only=False)
    now = ~is_among(int_column(seeds, "object_id"), held)
    if (now == was).all():
        return seeds, 0
    at, column = seeds.column_names.index("retired"), pa.array(now)
    return seeds.set_column(at, OBJECT_SEEDS["retired"].arrow, column), int((now != was).sum())
