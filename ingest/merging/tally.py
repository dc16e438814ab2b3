"""What came to the cells and what stayed out, counted where it is written, and added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.calibration.columns import int_column
from skydb.calibration.mapped import load_mapped
from skydb.kernels.distinct import by_value, is_among


@dataclass(frozen=True)
class Tally:
    """Counts of a cell, or of several.

    `came` and `no_match` count measurements by image: those that came, and those of the `n_no_match` objects that were
    to found none. `rows` counts, by number of their file, rows that made several measurements; `n_objects` all objects.
    """

    came: Counter[int]
    no_match: Counter[int]
    rows: Counter[int]
    n_no_match: int
    n_objects: int

    @staticmethod
    def total(parts: Iterable[Tally]) -> Tally:
        """Add up the counts of several cells."""
        came, no_match, rows = Counter[int](), Counter[int](), Counter[int]()
        n_no_match = n_objects = 0
        for part in parts:
            for total, more in ((came, part.came), (no_match, part.no_match), (rows, part.rows)):
                total.update(more)
            n_no_match, n_objects = n_no_match + part.n_no_match, n_objects + part.n_objects
        return Tally(came, no_match, rows, n_no_match, n_objects)


def rows_by_file(raw: pa.Table, several: Path) -> Counter[int]:
    """Count the rows that made measurements, by number of their file.

    `several` is a mapped file of images (ascending) of files whose rows make several measurements, each with the file's
    number. A row makes all of them of one object.
    """
    files = load_mapped(several)
    image, det = (int_column(raw, name) for name in ("image_id", "det_id"))
    mine = np.flatnonzero(is_among(image, files["image_id"]))
    file = files["file"][np.searchsorted(files["image_id"], image[mine])]
    return by_value(np.unique(np.stack([file, det[mine]], axis=1), axis=0)[:, 0])
