"""What the report of a batch counts, against counting file by file."""

from __future__ import annotations

import numpy as np

from skydb.ingest.batch import ImageBatch
from skydb.ingest.linking import Linked
from skydb.ingest.storing import rows_by_file
from skydb.schema.tables import EXPOSURES, IMAGES


def test_stored_rows_of_files_are_the_sums_over_their_images() -> None:
    rng = np.random.default_rng(5)
    file, rows = rng.choice([0, 3, 4, 9], size=200), rng.integers(0, 10**9, 200)
    images = ImageBatch(IMAGES.empty(), EXPOSURES.empty(), np.empty(0), np.empty(0), file)
    linked = Linked((), rows, np.zeros(11, dtype=np.int64), {})
    found = rows_by_file(linked, images, 11)
    assert found.tolist() == [sum(int(r) for r, f in zip(rows, file, strict=True) if f == n) for n in range(11)]


def test_no_rows_are_stored_of_files_that_were_not_linked() -> None:
    images = ImageBatch(IMAGES.empty(), EXPOSURES.empty(), np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    assert rows_by_file(None, images, 2).tolist() == [0, 0]
