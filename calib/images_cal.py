"""Rows of `images_cal` under a new solution: solved images get it, all others keep what they have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.calibration.photometric import nominal_zero_point
from skydb.errors import DataError
from skydb.flags import ImageFlags
from skydb.schema.tables import IMAGES_CAL
from skydb.store.mending import RESTORE
from skydb.store.snapshot import Snapshot

from .report import ZeroPointSolution
from .verdict import Outcome

_PHOTOMETRIC = np.uint32(
    ImageFlags.PHOTOM_POOR | ImageFlags.PHOTOM_FEW | ImageFlags.MOSAIC_POOR | ImageFlags.NIGHT_POOR
    | ImageFlags.TGROUP_PHOTCAL | ImageFlags.MOSAIC_PHOTCAL | ImageFlags.IMAGE_PHOTCAL
)  # fmt: skip
"""Bits that a photometric solution decides; the user's own and the astrometric ones stay."""
_FLOATS = ("mcal", "mcal_err", "mcal_slope", "component", "chi2", "zero_point")
"""Columns whose NULL is NaN here; `component` too."""


_SOLVED = ("mcal", "mcal_err", "chi2", "component", "n_used")
"""What the solution of an image says of it, beside its flags."""


def solved_rows(solutions: Iterable[ZeroPointSolution]) -> pa.Table:
    """Return the images of the solutions of some bands, with what `images_cal_rows` needs of them."""
    parts = [
        pa.table({
            "image_id": s.image_id, "is_solved": s.images.outcome == Outcome.SOLVED, "flags": s.images.flags,
            **{name: getattr(s.images, name) for name in _SOLVED},
        })
        for s in solutions
    ]  # fmt: skip
    return pa.concat_tables(parts)


def images_cal_rows(snapshot: Snapshot, solutions: pa.Table) -> pa.Table:
    """Return `images_cal` of a snapshot, all images, with what was solved (`solved_rows`) in it.

    An image that a solution holds but could not solve keeps its zero point and is flagged PHOTOM_FEW; one that no
    solution holds (of another band, or newer than the solution) keeps its row. One that was deleted since it was solved
    is left out.
    """
    rows = snapshot.read_global("images_cal")
    ids = int_column(rows, "image_id")
    columns: dict[str, NDArray[Any]] = {name: float_column(rows, name).copy() for name in _FLOATS}
    columns |= {"n_used": int_column(rows, "n_used").copy(), "flags": int_column(rows, "flags", np.uint32).copy()}
    solved = np.zeros(len(ids), np.bool_)
    _fill(columns, solved, ids, solutions)
    columns["zero_point"] = _zero_points(snapshot, rows, columns["mcal"], solved)
    source = np.where(solved, "image", rows["mcal_source"].to_numpy(zero_copy_only=False))
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    arrays["mcal_source"] = pa.array(source.tolist(), pa.string())
    return IMAGES_CAL.conform(pa.table({name: arrays.get(name, rows[name]) for name in rows.column_names}))


def _places(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row of every image, and whether it is there."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    order = np.argsort(ids, kind="stable")
    places: NDArray[np.int64] = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
    return places, np.asarray(ids[places] == wanted)


def _fill(
    columns: dict[str, NDArray[Any]], solved: NDArray[np.bool_], ids: NDArray[np.int64], solutions: pa.Table
) -> None:
    """Put the solutions into the columns."""
    places, there = _places(ids, solutions["image_id"].to_numpy())
    own = there & solutions["is_solved"].to_numpy()
    row = places[own]
    solved[row] = True
    columns["mcal_slope"][row] = 0.0
    for name in _SOLVED:
        columns[name][row] = solutions[name].to_numpy()[own]
    flags = columns["flags"]
    flags[row] = (flags[row] & ~_PHOTOMETRIC) | solutions["flags"].to_numpy()[own]
    flags[places[there & ~own]] |= np.uint32(ImageFlags.PHOTOM_FEW)


def _zero_points(
    snapshot: Snapshot, rows: pa.Table, mcal: NDArray[np.float64], solved: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Zero points, 0.001 C + K (airmass - 1) - mcal at the image's airmass (1 where it has none) for those solved."""
    images = snapshot.read_global("images", ["image_id", "airmass"])
    places, there = _places(int_column(images, "image_id"), int_column(rows, "image_id"))
    if not there.all():
        raise DataError("images_cal holds images that are not there", "table images", RESTORE)
    airmass = float_column(images, "airmass")[places]
    terms = PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
    nominal = nominal_zero_point(terms, int_column(rows, "code"), np.where(np.isfinite(airmass), airmass, 1.0))
    return np.where(solved, nominal - mcal, float_column(rows, "zero_point"))
