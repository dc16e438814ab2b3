"""The images of one band, as every cell and the solver see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError, UsageError
from skydb.store.mending import RESTORE

Ints = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class BandImages:
    """All images of the band, the same in every cell.

    image_id : (n,)
        Ascending, without repeats.
    mcal : (n,) mag
        The current model: what the solution will correct; from the header, or 0 for the nominal zero point.
    excluded : (n,) bool
        Images that the user took out (PHOTOM_NOCAL, PHOTOM_SKIP).
    faint_limit : (n,) mag
        Measurements fainter than this do not enter; inf for all (see `brightest`).
    from_header : (n,) bool
        Whether `mcal` is the header's, and not the nominal zero point.
    name : (n,) str
        Empty where an image has none.
    """

    image_id: Ints
    mcal: F64
    excluded: NDArray[np.bool_]
    faint_limit: F64
    from_header: NDArray[np.bool_]
    name: NDArray[np.str_]

    def __post_init__(self) -> None:
        if np.any(np.diff(self.image_id) <= 0):
            raise UsageError("the image ids of a band must ascend without repeats")
        wrong = np.flatnonzero(~np.isfinite(self.mcal))
        if wrong.size:
            what = f"{self.called(wrong[0])} has no finite mcal to start from ({wrong.size} such images)"
            raise DataError(what, todo="use 0 for the nominal zero point")

    def __len__(self) -> int:
        return len(self.image_id)

    def called(self, row: int | np.intp) -> str:
        """What people call the image of a row: its id, and its name if it has one."""
        name = str(self.name[row])
        return f"image {self.image_id[row]} ({name})" if name else f"image {self.image_id[row]}"

    def rows_of(self, image_id: Ints) -> NDArray[np.intp]:
        """Row of every image id; raises DataError for one that the band does not have."""
        row = np.searchsorted(self.image_id, image_id)
        known = row < len(self.image_id)
        known[known] = self.image_id[row[known]] == image_id[known]
        if not np.all(known):
            raise DataError(f"image {image_id[~known][0]} is not in the band's image table", todo=RESTORE)
        return row


def band_images(image_id: Ints, mcal: F64) -> BandImages:
    """Images of a band in ascending order of id, none excluded, without faint limits and names; `mcal` from headers."""
    order = np.argsort(image_id, kind="stable")
    free, none = np.full(len(order), np.inf), np.zeros(len(order), dtype=np.bool_)
    return BandImages(
        image_id[order], np.asarray(mcal, dtype=np.float64)[order], none, free, ~none, np.full(len(order), "")
    )
