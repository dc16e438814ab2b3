"""Whether objects hold the same measurements here as in the DVO database that they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skydb.parallel.executor import Executor
from skydb.store.scratch import scratch
from skydb.store.snapshot import Snapshot

from .readers.dvo.blocks import DvoMeasurements
from .readers.interface import ReadRequest
from .rows.matching import objects_of_measurements


@dataclass(frozen=True)
class Grouping:
    """How many objects DVO has (with measurements that were kept), and how many of them hold the same ones here."""

    n_objects: int
    n_same: int


def grouping_of(catdir: Path, request: ReadRequest, snapshot: Snapshot, executor: Executor) -> Grouping:
    """Compare the objects of a DVO database with those that its measurements have in a snapshot.

    Measurements of other files do not count. All keys are held in memory, 50 bytes a measurement.
    """
    images, dets, groups = [], [], []
    for block in DvoMeasurements(catdir, request).blocks():
        images.append(block.chunk.detections.column("image_id").to_numpy())
        dets.append(block.chunk.detections.column("det_id").to_numpy())
        groups.append(block.groups)
    none = np.empty(0, dtype=np.int64)
    image, det, group = (np.concatenate([none, *parts]) for parts in (images, dets, groups))
    with scratch(snapshot.root) as place:
        found = objects_of_measurements(image, det, snapshot, executor, place.path)
    pairs = np.unique(np.column_stack([group, found]), axis=0)
    _, in_group, n_objects = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    _, in_object, n_groups = np.unique(pairs[:, 1], return_inverse=True, return_counts=True)
    same = (n_objects[in_group] == 1) & (n_groups[in_object] == 1) & (pairs[:, 1] >= 0)
    return Grouping(len(n_objects), int(same.sum()))
