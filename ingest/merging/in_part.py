"""Images that are here in part: a merge brought the measurements of some objects and left the others out.

The log says so of their file: it has measurements that are not here. A later merge brings what is missing: of such an
image every measurement that the other database has and this one has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.mapped import load_mapped
from skydb.checks.keys import among
from skydb.kernels.distinct import is_among
from skydb.parallel.executor import Executor
from skydb.schema.tables import IMAGES, IMAGES_CAL, MEASUREMENTS
from skydb.sky.partition import pixel_of
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.changes import LogEntry
from skydb.store.chosen_images import cells_near
from skydb.store.files import DataFile
from skydb.store.history import digests_of_images, logged_files
from skydb.store.layout import new_name
from skydb.store.parquet import read_file
from skydb.store.scratch import Scratch
from skydb.store.snapshot import Snapshot

from ..spill import Spill, slices_of, write_spill

_KEYS = ("image_id", "det_id")


@dataclass(frozen=True)
class InPart:
    """Images that the base has in part, and of which the source may have more.

    `images`, `images_cal` are the base's rows, `digest` says by image which file it is of.
    """

    images: pa.Table
    images_cal: pa.Table
    digest: dict[int, str]

    @property
    def ids(self) -> np.ndarray:
        """The ids of the images, ascending."""
        return np.array(sorted(self.digest), dtype=np.int64)

    def of(self, image_ids: Iterable[int]) -> InPart:
        """Return those that are among some images."""
        digest = {image: self.digest[image] for image in image_ids if image in self.digest}
        return InPart(_rows_of(self.images, digest), _rows_of(self.images_cal, digest), digest)


def images_in_part(source: Snapshot, base: Snapshot, image_ids: np.ndarray) -> InPart:
    """Return which of some images, which both have, the base has in part, and the source may have more of.

    An image whose file was read otherwise here and there is not among them: it stays as it is.
    """
    digest = _lacking(source, base, image_ids)
    if not digest:
        return InPart(IMAGES.empty(), IMAGES_CAL.empty(), {})
    images, solutions = (_rows_of(base.read_global(name), digest) for name in ("images", "images_cal"))
    return InPart(images, solutions, digest)


def _lacking(source: Snapshot, base: Snapshot, image_ids: np.ndarray) -> dict[int, str]:
    here = digests_of_images(base, image_ids.tolist())
    ours = {d: entry for d, entry in logged_files(base, set(here.values())).items() if entry.n_deleted_measurements}
    theirs = logged_files(source, ours)
    alike = {d for d, entry in theirs.items() if reads_alike(entry, ours[d])}
    there = digests_of_images(source, [image for image, digest in here.items() if digest in alike])
    both = {image: digest for image, digest in there.items() if here[image] == digest}
    n_here, n_there = (counts_of_images(snapshot, both) for snapshot in (base, source))
    return {
        image: digest for image, digest in both.items()
        if theirs[digest].n_deleted_measurements or n_there.get(image, 0) > n_here.get(image, 0)
    }  # fmt: skip


def reads_alike(one: LogEntry, other: LogEntry) -> bool:
    """Say whether a file was read into the same rows and measurements."""
    first, second = ((e.n_images, e.n_in, e.n_rejected, e.n_measurements) for e in (one, other))
    return first == second


def counts_of_images(snapshot: Snapshot, image_ids: Iterable[int]) -> dict[int, int]:
    """Return how many measurements a snapshot has of some images, by image; those without a count are left out."""
    wanted = np.array(sorted(image_ids), dtype=np.int64)
    if not len(wanted):
        return {}
    rows = snapshot.read_global("images_cal", ["image_id", "n_measurements"])
    rows = rows.filter(pa.array(is_among(int_column(rows, "image_id"), wanted))).drop_null()
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def _rows_of(table: pa.Table, images: Iterable[int]) -> pa.Table:
    return table.filter(pc.is_in(table.column("image_id"), pa.array(sorted(images), pa.int64())))


def held_keys(base: Snapshot, in_part: InPart, images: Path, executor: Executor) -> tuple[Spill, ...]:
    """Spill which measurements the base has of images in part, in order of their places.

    They are looked for where the images lie; if `images_cal` counts others, everywhere.

    Parameters
    ----------
    images
        A mapped file of the images (ascending) that come, and of which ones the base has in part.
    """
    if not in_part.digest:
        return ()
    task = partial(_spill_keys, base=base, images=images)
    cells, expected = base.cells(), sum(int_column(in_part.images_cal, "n_measurements").tolist())
    for some in ([cells[i] for i in cells_near(base, in_part.images)], cells):
        spills = tuple(s for s in map_cells(executor, task, base, some) if s.rows)
        if sum(s.rows for s in spills) == expected:
            break
    return spills


def _spill_keys(cell: Cell, *, base: Snapshot, images: Path) -> Spill:
    ids = images_in_file(images)
    parts = []
    for part in base.cell_parts("measurements", cell, [*_KEYS, "ra_raw", "dec_raw"]):
        parts.append(part.filter(pa.array(is_among(int_column(part, "image_id"), ids))))
    rows = pa.concat_tables(parts) if parts else MEASUREMENTS.empty().select([*_KEYS, "ra_raw", "dec_raw"])
    path = images.parent / f"{new_name()}.arrow"  # a second run of the task must not write where others read
    return write_spill(path, rows.select(list(_KEYS)), _places(rows), np.zeros(rows.num_rows, dtype=np.int32))


def _places(rows: pa.Table) -> np.ndarray:
    return pixel_of(float_column(rows, "ra_raw"), float_column(rows, "dec_raw"))


def images_in_file(images: Path) -> np.ndarray:
    """Return which images of a mapped file the base has in part, ascending."""
    columns = load_mapped(images)
    ids: np.ndarray = columns["image_id"][columns["in_part"]]
    return ids


def not_held(rows: pa.Table, in_part: np.ndarray, held: Sequence[Spill]) -> np.ndarray:
    """Say which measurements (N,) are not among those held: of images that are not in part (ascending), every one.

    A measurement lies at one place in every database: raw values never change.
    """
    image, det = (int_column(rows, name) for name in _KEYS)
    asked = np.flatnonzero(is_among(image, in_part))
    missing = np.ones(rows.num_rows, dtype=bool)
    if len(asked):
        places = _places(rows.take(pa.array(asked)))
        near = [piece.rows for piece in slices_of(held, int(places.min()), int(places.max()) + 1)]
        known = [np.concatenate([np.empty(0, np.int64), *(int_column(k, name) for k in near)]) for name in _KEYS]
        missing[asked] = ~among([image[asked], det[asked]], known)
    return missing


def recounted(
    came: Mapping[int, int], base: Snapshot, place: Scratch
) -> tuple[tuple[DataFile, ...], tuple[str, ...]]:  # fmt: skip
    """Write the files of `images_cal` anew that hold images of which more came; what begins and what ends."""
    adds, ends, ids = [], [], np.array(sorted(came), dtype=np.int64)
    for file in base.files("images_cal") if len(ids) else []:
        stored = base.stored(file)
        if is_among(int_column(read_file(stored, ["image_id"]), "image_id"), ids).any():
            rows = read_file(stored).replace_schema_metadata()
            counts = zip(*(rows.column(name).to_pylist() for name in ("image_id", "n_measurements")), strict=True)
            now = pa.array([(n or 0) + came[i] if i in came else n for i, n in counts], pa.int32())
            at = rows.column_names.index("n_measurements")
            adds.append(place.store(base, rows.set_column(at, rows.field(at), now), "images_cal"))
            ends.append(file.name)
    return tuple(adds), tuple(ends)
