"""Association: which object each detection belongs to, exactly, whatever the cut of the sky.

Two steps, both of arrays alone: `link` finds for every detection the object from before or the detection that founds
its object; `found_ids` numbers the new objects. Cut the sky with `link_cell`, pool what it exports, and `link` the
pool: together that equals one `link` of everything. docs/explanation/association.md has the rules and the proofs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError, UsageError
from skydb.flags import MeasurementFlags
from skydb.sky.partition import cell_of, near_border, pixel_of, unit_vectors

from . import contest
from .components import Components, linked_components
from .founding import found_ids
from .tracks import RADIANS_PER_ARCSEC, Images, Seeds, Tracks, seed_tracks

_MEAS, _OBJ = MeasurementFlags.BLEND_MEAS, MeasurementFlags.BLEND_OBJ
_BLENDS = np.array([0, _MEAS, _OBJ, _MEAS | _OBJ], dtype=np.uint32)
"""Flags for each combination of the kernel's blend bits."""


@dataclass(frozen=True)
class Detections:
    """Detections to associate, in any order; every array is (N,).

    Attributes
    ----------
    ra, dec : deg
        Where they are associated: positions under the current calibration.
    rank
        Place of the detection's image in the order of association, an index into `Images`. Detections of one rank are
        associated together, one to one.
    det_id
        Number of the detection in its image, each once.
    found_pix29
        Order-29 pixel of the raw position: the id of the object that it may found.
    epoch : yr
        Julian epoch, within the span of the images; empty where that is None.
    """

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    rank: NDArray[np.int64]
    det_id: NDArray[np.int64]
    found_pix29: NDArray[np.int64]
    epoch: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Links:
    """What became of every detection (N,).

    Attributes
    ----------
    seed
        Index of the object from before; -1: not one.
    founder
        Index of the detection that founded its object in this call; -1: not one. Its own index: it is new. Neither
        seed nor founder: it has no object.
    separation_arcsec : arcsec
        Distance from the object's association position; 0 for a founder.
    blend
        BLEND_MEAS and BLEND_OBJ of `skydb.flags.MeasurementFlags`.
    n_simple, n_components
        Components settled by the short way of one shared object, and all components settled.
    """

    seed: NDArray[np.int64]
    founder: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]
    blend: NDArray[np.uint32]
    n_simple: int
    n_components: int


@dataclass(frozen=True)
class CellLinks:
    """One cell's part: links of what stays inside, and masks of the detections and seeds to solve in the pool.

    `links.seed` and `links.founder` are -1 for a detection that the pool must solve.
    """

    links: Links
    pooled_detections: NDArray[np.bool_]
    pooled_seeds: NDArray[np.bool_]


@dataclass(frozen=True)
class Assignment:
    """The object of every detection (N,); the founding detections (F,), in the order of association, and their ids."""

    object_id: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    separation_arcsec: NDArray[np.float64]
    blend: NDArray[np.uint32]
    founders: NDArray[np.int64]
    founded_ids: NDArray[np.int64]


def associate(
    detections: Detections,
    images: Images,
    seeds: Seeds,
    *,
    one_to_many: bool = False,
    taken: NDArray[np.int64] | None = None,
    retired: NDArray[np.int64] | None = None,
) -> Assignment:
    """Associate detections with objects and number the new ones.

    Parameters
    ----------
    detections, images, seeds
        What to associate, by what rules, with what.
    one_to_many
        Let several detections of an image join one object, as DVO does.
    taken
        Ids that no new object may have, besides those of the seeds: of live objects elsewhere, and aliases.
    retired
        Ids that only a detection founding in exactly that pixel may have: it revives the object.

    Returns
    -------
    assignment : Assignment
        Objects, flags, and who founded what.

    Raises
    ------
    DataError
        A position is not on the sky, or a rank names no image.
    """
    links = link(detections, images, seeds, one_to_many=one_to_many)
    founders = founders_in_order(detections, links)
    ids = [seeds.object_id] if taken is None else [seeds.object_id, taken]
    founded = found_ids(detections.found_pix29[founders], taken=np.concatenate(ids), retired=retired)
    object_id = np.empty(len(detections.rank), dtype=np.int64)
    old = links.seed >= 0
    object_id[old] = seeds.object_id[links.seed[old]]
    object_id[founders] = founded
    object_id[~old] = object_id[links.founder[~old]]
    is_new = np.zeros(len(object_id), dtype=bool)
    is_new[founders] = True
    return Assignment(object_id, is_new, links.separation_arcsec, links.blend, founders, founded)


def founders_in_order(detections: Detections, links: Links) -> NDArray[np.int64]:
    """Detections that found an object (F,), in the order in which new objects are numbered: by rank, then det_id."""
    founders = np.flatnonzero(links.founder == np.arange(len(links.founder)))
    return founders[np.lexsort((detections.det_id[founders], detections.rank[founders]))]


def link(
    detections: Detections, images: Images, seeds: Seeds, *, one_to_many: bool = False, founds: bool = True
) -> Links:  # fmt: skip
    """Find the object of every detection, exactly.

    Images are taken by rank. The candidates of an image's detection are the objects from before and those founded by
    earlier images, nearer than (not at) the image's radius. Pairs ranked by separation, det_id, object_id are taken one
    to one; a detection left over founds an object at its position. Where separations tie to the last bit, the id of an
    object founded in this call is the one that its component alone would give it.

    BLEND_MEAS marks a detection that has more than one candidate. BLEND_OBJ marks it if another detection of its image
    lies within the radius of the object that it gets or founds, or if it lost its nearest candidate to another.

    Parameters
    ----------
    detections, images, seeds, one_to_many
        See `associate`.
    founds
        A detection that is left over founds an object; else it has none: it is linked to no seed and no founder.

    Returns
    -------
    links : Links
        Goals, separations and flags.

    Raises
    ------
    DataError
        A position is not on the sky, or a rank names no image.
    """
    _check(detections, images)
    tracks = seed_tracks(seeds, images)
    components = _components(detections, tracks)
    wanted = np.ones(len(components.starts) - 1, dtype=bool)
    how = {"one_to_many": one_to_many, "founds": founds}
    return _settle(detections, images, seeds, tracks, components, wanted=wanted, **how)


def link_cell(
    detections: Detections,
    images: Images,
    seeds: Seeds,
    *,
    cell: tuple[int, int],
    pix29: NDArray[np.int64] | None = None,
    one_to_many: bool = False,
    founds: bool = True,
) -> CellLinks:
    """Find the objects of those detections of one cell that nothing outside it can influence; name the others.

    A component with a point near the border, or an object of another cell, is left for the pool whole. Two points of
    different cells within the linking length are both near a border, so a chain of links that leaves a cell has such a
    point in every cell where it runs, and all of it meets in the pool; a component without one has no link to the
    outside.

    Parameters
    ----------
    detections
        All those whose association position lies in the cell.
    images
        Those of the whole batch: the largest radius must be the same for all cells.
    seeds
        All objects that were founded in the cell, and those of others that have a track point (`seed_tracks`) in it.
    cell : (norder, npix)
        The cell.
    pix29 : (N,)
        Order-29 pixels of the association positions of the detections, if at hand.
    one_to_many, founds
        See `associate` and `link`.

    Returns
    -------
    cell_links : CellLinks
        Links, and what to bring to the pool; an object that comes from several cells counts once there.

    Raises
    ------
    DataError
        A detection lies outside the cell; or see `link`.
    """
    _check(detections, images)
    tracks = seed_tracks(seeds, images)
    components = _components(detections, tracks)
    pix29 = pixel_of(detections.ra, detections.dec) if pix29 is None else pix29
    if (outside := cell_of(pix29, cell[0]) != cell[1]).any():
        where = f"cell {cell}, detection {int(outside.argmax())}"
        raise DataError("a detection outside its cell", where, "give each cell what lies in it")
    pix29 = np.concatenate((pixel_of(tracks.ra, tracks.dec), pix29))
    pooled = components_touching_border(components, pix29, cell, link_arcsec=tracks.link_arcsec)
    if images.span is not None:
        pooled |= components.touching(_roaming(seeds, tracks, pix29, cell))
    how = {"one_to_many": one_to_many, "founds": founds}
    links = _settle(detections, images, seeds, tracks, components, wanted=~pooled, **how)
    points = components.points_of(pooled)
    pooled_seeds = np.zeros(len(seeds.object_id), dtype=bool)
    pooled_seeds[tracks.seed[points[: len(tracks.seed)]]] = True
    return CellLinks(links, points[len(tracks.seed) :], pooled_seeds)


def _roaming(
    seeds: Seeds, tracks: Tracks, pix29: NDArray[np.int64], cell: tuple[int, int]
) -> NDArray[np.bool_]:  # fmt: skip
    """Mark the points (N,) of objects that were founded in another cell, which has their rows, or that go to one."""
    away = cell_of(seeds.object_id, cell[0]) != cell[1]
    away[tracks.seed[cell_of(pix29[: len(tracks.seed)], cell[0]) != cell[1]]] = True
    return np.concatenate((away[tracks.seed], np.zeros(len(pix29) - len(tracks.seed), dtype=bool)))


def components_touching_border(
    components: Components, pix29: NDArray[np.int64], cell: tuple[int, int], *, link_arcsec: float
) -> NDArray[np.bool_]:
    """Components (K,) that have a point within the linking length of the cell's border, or outside the cell.

    `pix29` (N,) are the order-29 pixels of the points.
    """
    norder, npix = cell
    return components.touching(near_border(pix29, norder, link_arcsec) | (cell_of(pix29, norder) != npix))


def _check(detections: Detections, images: Images) -> None:
    if len(detections.rank) and not 0 <= detections.rank.min() <= detections.rank.max() < len(images.radius_arcsec):
        span = f"ranks {detections.rank.min()} to {detections.rank.max()}"
        raise DataError(f"{len(images.radius_arcsec)} images cannot have {span}", "association", "rank images from 0")
    if not np.all((images.radius_arcsec >= 0) & (images.radius_arcsec < 90 * 3600)):
        raise UsageError("a radius is not from 0 to 90 degrees", "association", "give arcseconds")
    if images.span is not None and len(detections.rank):
        first, last = detections.epoch.min(initial=np.inf), detections.epoch.max(initial=-np.inf)
        if len(detections.epoch) != len(detections.rank) or not images.span[0] <= first <= last <= images.span[1]:
            what = f"epochs from {first} to {last} do not lie in the span of the images"
            raise DataError(what, "association", "give the span of all detections of the batch")
    for name, values in (("ra", detections.ra), ("dec", detections.dec)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"no {name}", f"detection {row}", "reject detections without a position")
    if len(detections.dec) and np.abs(detections.dec).max() > 90.0:
        raise DataError("a declination beyond a pole", f"detection {np.abs(detections.dec).argmax()}", "give degrees")


def _components(detections: Detections, tracks: Tracks) -> Components:
    ra, dec = np.concatenate((tracks.ra, detections.ra)), np.concatenate((tracks.dec, detections.dec))
    return linked_components(ra, dec, tracks.link_arcsec)


def _settle(
    detections: Detections,
    images: Images,
    seeds: Seeds,
    tracks: Tracks,
    components: Components,
    *,
    wanted: NDArray[np.bool_],
    one_to_many: bool,
    founds: bool,
) -> Links:
    n = len(detections.rank)
    found = contest.Found(np.full(n, -1), np.full(n, -1), np.zeros(n), np.zeros(n, dtype=np.uint8))
    sky, known = _sky(detections), _known(seeds, images, tracks)
    rules = _rules(images, tracks, one_to_many=one_to_many, founds=founds)
    begins = contest.sort_members(components.starts, components.members, len(tracks.seed), sky.rank, sky.det_id)
    bounds = (components.starts, begins)
    simple = contest.settle_simple(bounds, components.members, wanted, sky, known, rules, found)
    contest.settle_contests(bounds, components.members, wanted & ~simple, sky, known, rules, found)
    separation = 2.0 * np.arcsin(np.sqrt(found.chord2) / 2.0) / RADIANS_PER_ARCSEC
    return Links(found.seed, found.founder, separation, _BLENDS[found.blend], int(simple.sum()), int(wanted.sum()))


def _sky(detections: Detections) -> contest.Detections:
    epoch = detections.epoch if len(detections.epoch) else np.zeros(len(detections.rank))
    return contest.Detections(
        _reals(detections.ra), _reals(detections.dec), _integers(detections.rank), _integers(detections.det_id),
        _integers(detections.found_pix29), _reals(epoch),
    )  # fmt: skip


def _known(seeds: Seeds, images: Images, tracks: Tracks) -> contest.Known:
    n = len(seeds.object_id)
    epoch = seeds.epoch if len(seeds.epoch) else np.zeros(n)
    held = seeds.held if len(seeds.held) else np.zeros(n, dtype=np.uint64)
    moves = (seeds.speed_arcsec > 0) & (images.span is not None)
    return contest.Known(
        _integers(tracks.seed), _integers(seeds.object_id), unit_vectors(seeds.ra, seeds.dec), seeds.velocities(),
        _reals(epoch), moves, np.bincount(tracks.seed, minlength=n) > 1, np.ascontiguousarray(held, dtype=np.uint64),
    )  # fmt: skip


def _rules(images: Images, tracks: Tracks, *, one_to_many: bool, founds: bool) -> contest.Rules:
    n = len(images.radius_arcsec)
    half = _reals(images.radius_arcsec) * (RADIANS_PER_ARCSEC / 2.0)
    begin, end = images.span or (0.0, 0.0)
    survey = images.survey if len(images.survey) else np.zeros(n, dtype=np.uint64)
    return contest.Rules(
        (2.0 * np.sin(half)) ** 2, np.ascontiguousarray(survey, dtype=np.uint64),
        float(2.0 * np.sin(tracks.link_arcsec * RADIANS_PER_ARCSEC / 2.0)), (begin + end) / 2.0, one_to_many, founds,
    )  # fmt: skip


def _reals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def _integers(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.ascontiguousarray(values, dtype=np.int64)
