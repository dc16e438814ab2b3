"""Association against truth, cell by cell: the truth of a few exposures is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.parallel.executor import Progress
from skydb.store.mending import RESTORE
from skydb.store.snapshot import Snapshot

from .score import BLEND, SPURIOUS, AssociationScore, AssociationTally

EXPOSURES_KEPT = 256
"""Truths of exposures in memory: 256 of the medium survey's are 70 MB."""

Ints = NDArray[np.int64]


def association_score(snapshot: Snapshot, truth: Path, *, progress: Progress | None = None) -> AssociationScore:
    """Compare the objects of a snapshot with the true stars, cell by cell."""
    names = snapshot.read_global("images", ["image_id", "name"])
    image_of = dict(zip(names.column(0).to_pylist(), names.column(1).to_pylist(), strict=True))
    detections = _DetectionTruth(truth)
    tally = AssociationTally(detections.times())
    cells = snapshot.cells()
    for done, cell in enumerate(cells, 1):
        rows = snapshot.read_cell("measurements", cell, ["object_id", "image_id", "det_id"])
        object_id, image_id, det_id = (rows.column(n).to_numpy() for n in rows.column_names)
        star, flags = np.empty(rows.num_rows, dtype=np.int64), np.empty(rows.num_rows, dtype=np.int32)
        for image, which in _runs(image_id):
            star[which], flags[which] = detections.look_up(image_of[image], det_id[which])
        tally.add(object_id, star, flags)
        if progress:
            progress(done, len(cells))
    return tally.score()


class _DetectionTruth:
    """The truth of the detections of a survey; the exposures looked at last stay in memory."""

    def __init__(self, truth: Path) -> None:
        self.files = {path.stem: path for path in sorted((truth / "detections").glob("*.parquet"))}
        self._seen: dict[str, NDArray[np.bool_]] = {}
        self._exposure = lru_cache(EXPOSURES_KEPT)(self._read)
        chips = pq.read_table(truth / "chips.parquet", columns=["name", "exposure", "chip"])
        self._place = {c["name"]: (c["exposure"], c["chip"]) for c in chips.to_pylist()}
        self._stars = pq.read_metadata(truth / "stars.parquet").num_rows

    def times(self) -> Ints:
        """Count the unblended detections of every star."""
        total = np.zeros(self._stars, dtype=np.int64)
        for path in self.files.values():
            rows = pq.read_table(path, columns=["star_id", "flags"])
            clean = (rows.column("flags").to_numpy() & (SPURIOUS | BLEND)) == 0
            np.add.at(total, rows.column("star_id").to_numpy()[clean], 1)
        return total

    def look_up(self, image: str, det_id: Ints) -> tuple[Ints, NDArray[np.int32]]:
        """Return star and flags of some detections of an image, each of which may be asked for once."""
        if image not in self._place:
            raise DataError(f"image {image} is not in the truth", None, "give the truth of the same survey")
        exposure, chip = self._place[image]
        known = self._exposure(exposure).get(chip)
        at = np.searchsorted(known.det_id, det_id) if known is not None else np.empty(0, dtype=np.int64)
        if known is None or (known.det_id[np.minimum(at, known.det_id.size - 1)] != det_id).any():
            raise DataError("a detection is not in the truth", image, "give the truth of the same survey")
        seen = self._seen.setdefault(image, np.zeros(known.det_id.size, dtype=np.bool_))
        if seen[at].any() or np.unique(at).size != at.size:
            raise DataError("a detection is stored twice", image, RESTORE)
        seen[at] = True
        return known.star[at], known.flags[at]

    def _read(self, exposure: str) -> dict[str, _ChipTruth]:
        rows = pq.read_table(self.files[exposure], columns=["chip", "det_id", "star_id", "flags"])
        chip = rows.column("chip").combine_chunks()
        det_id, star, flags = (rows.column(n).to_numpy() for n in ("det_id", "star_id", "flags"))
        number = chip.indices.to_numpy().astype(np.int64)
        found = {}
        for k, which in _runs(number):
            which = which[np.argsort(det_id[which], kind="stable")]
            found[chip.dictionary[k].as_py()] = _ChipTruth(det_id[which], star[which], flags[which])
        return found


@dataclass(frozen=True)
class _ChipTruth:
    """The detections of one image, by number."""

    det_id: Ints
    star: Ints
    flags: NDArray[np.int32]


def _runs(value: Ints) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield every distinct value with the rows that hold it, ascending."""
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(value[order]) != 0][: value.size])
    for i, j in pairwise([*starts, value.size] if value.size else []):
        yield int(value[order[i]]), order[i:j]
