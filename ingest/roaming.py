"""Objects on their way from one cell into another while a batch was observed: who they are, and which cells they visit.

Where nothing of a database moves, as its catalog says, nothing is read here, and association is told of no epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import pyarrow.compute as pc

from skydb.calibration.mapped import save_mapped
from skydb.parallel.executor import Executor
from skydb.sky.epochs import julian_epoch
from skydb.sky.partition import cell_of, in_ranges, merge_ranges, near_border, pixel_of
from skydb.store.carried import map_cells
from skydb.store.cells import Cell
from skydb.store.layout import new_name
from skydb.store.motion import stored_bound
from skydb.store.snapshot import Snapshot

from .linking import LinkTask, all_seeds, objects_of_cell, take_seeds
from .reach import Reach, sky_around
from .spill import Spill, open_spill
from .tracks import Images, Seeds, seed_tracks

_SHORT_ARCSEC = 1.0
"""Objects whose way is shorter are looked at only where they are as near to the border: all but a few in a thousand."""


@dataclass(frozen=True)
class Movers:
    """Of one cell: whether any of its objects moves, and those whose way during the batch leaves it."""

    some_move: bool
    roaming: Seeds


def with_motions(
    task: LinkTask, reach: Reach, pixels: np.ndarray, executor: Executor
) -> tuple[LinkTask, Reach]:  # fmt: skip
    """Return task and reach of a batch as they are where objects move: with epochs, visitors, and their cells.

    An object that moves is within the catalog's bound of its association position at any epoch of the batch; so one
    that comes near a new row lies in a cell within that bound of it, and these cells are asked.

    Parameters
    ----------
    task, reach
        As they are where nothing moves; they are returned as they are if that is so.
    pixels
        Pixels (N,) of order `routing.PLAN_ORDER` that hold new rows, ascending.
    """
    bound = stored_bound(task.snapshot.root)
    span = _span_of(task.spills) if bound is not None else None
    if bound is None or span is None:
        return task, reach
    moving = replace(task, images=replace(task.images, span=span))
    around = sky_around(pixels, task.images.largest_radius_arcsec + bound.way_arcsec(span))
    reach = replace(reach, reads=merge_ranges(np.concatenate([reach.reads, around])))
    cells = task.snapshot.cells(around)
    found = list(map_cells(executor, partial(movers_of_cell, task=moving), task.snapshot, cells))
    if not any(each.some_move for each in found):
        return task, reach
    near = sky_around(pixels, task.images.largest_radius_arcsec)
    return _with_visitors(moving, reach, all_seeds([each.roaming for each in found]), near)


def _span_of(spills: Sequence[Spill]) -> tuple[float, float] | None:
    """Return the first and the last epoch of spilled detections; None: there are none."""
    ends = [pc.min_max(open_spill(spill).column("mjd")).as_py() for spill in spills if spill.rows]
    if not ends:
        return None
    first, last = julian_epoch([min(e["min"] for e in ends), max(e["max"] for e in ends)])
    return float(first), float(last)


def movers_of_cell(cell: Cell, *, task: LinkTask) -> Movers:
    """Find the objects of a cell whose way, while the batch was observed, has points outside it."""
    stored = task.snapshot.read_cell("object_seeds", cell, ["assoc_pm_ra", "assoc_pm_dec"])
    if stored["assoc_pm_ra"].null_count == stored.num_rows:
        return Movers(False, all_seeds([]))
    seeds = objects_of_cell(cell, replace(task, survey_images={})).seeds
    leaves = leaving(seeds, task.images, cell)
    if leaves.any():
        seeds = objects_of_cell(cell, task).seeds  # with the surveys of which they hold a row, which takes longer
    return Movers(True, take_seeds(seeds, leaves))


def leaving(seeds: Seeds, images: Images, cell: Cell) -> np.ndarray:
    """Return which objects (N,) have a track point outside a cell."""
    leaves = np.zeros(len(seeds.object_id), dtype=bool)
    if not len(leaves) or images.span is None:
        return leaves
    way = seeds.speed_arcsec * np.maximum(np.abs(images.span[0] - seeds.epoch), np.abs(images.span[1] - seeds.epoch))
    at = pixel_of(seeds.ra, seeds.dec)
    inside = (cell_of(at, cell.norder) == cell.npix) & ~near_border(at, cell.norder, _SHORT_ARCSEC)
    some = np.flatnonzero((seeds.speed_arcsec > 0) & ~(inside & (way < _SHORT_ARCSEC)))
    tracks = seed_tracks(take_seeds(seeds, some), images)
    outside = cell_of(pixel_of(tracks.ra, tracks.dec), cell.norder) != cell.npix
    leaves[some[tracks.seed[outside]]] = True
    return leaves


def _with_visitors(task: LinkTask, reach: Reach, seeds: Seeds, near: np.ndarray) -> tuple[LinkTask, Reach]:
    """Return task and reach with those of some objects whose way comes into the sky near new rows."""
    tracks = seed_tracks(seeds, task.images)
    pixels = pixel_of(tracks.ra, tracks.dec)
    points = np.flatnonzero(in_ranges(pixels, near))
    if not len(points):
        return task, reach
    points = points[np.argsort(pixels[points], kind="stable")]
    who = take_seeds(seeds, tracks.seed[points])
    path = task.folder / f"{new_name()}.arrow"
    columns = {f.name: getattr(who, f.name) for f in fields(Seeds) if len(getattr(who, f.name))}
    save_mapped(path, {"pixel": pixels[points], **columns})
    cells = with_cells_of(task.snapshot, reach.cells, who.object_id)
    return replace(task, visitors=path), replace(reach, cells=cells)


def with_cells_of(snapshot: Snapshot, cells: Sequence[Cell], object_id: np.ndarray) -> tuple[Cell, ...]:
    """Return cells with those in which some objects were founded, in sky order."""
    live = snapshot.cells()
    at = np.unique(np.searchsorted(live.hi, object_id, side="right"))
    at = at[at < len(live)]
    every = {c.key: c for c in (*(live[i] for i in at.tolist()), *cells)}
    return tuple(sorted(every.values(), key=lambda c: c.lo))
