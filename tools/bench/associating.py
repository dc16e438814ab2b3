"""Association by itself: every detection of the survey finds its object, in memory, beside what a kd-tree does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

from skydb.ingest.associate import Detections, founders_in_order, link, link_cell
from skydb.ingest.batch import DEFAULT_RADIUS_ARCSEC
from skydb.ingest.founding import found_ids
from skydb.ingest.linking import some_of
from skydb.ingest.tracks import RADIANS_PER_ARCSEC, Images, Seeds
from skydb.sky.partition import pixel_of, unit_vectors
from skydb.store.cells import Cell

from .case import OURS, Case
from .scene import Scene

GROUP = "associating"
NAMES = ("associate",)
KD_TREE = "scipy kd-tree"
BATCHES = 14
CORES = 2


@dataclass(frozen=True)
class _Sky:
    """Every detection (N,) of the survey, in order of their images and of the sky, and the cells of its database."""

    by_image: Detections
    in_sky_order: Detections
    n_images: int
    cells: tuple[Cell, ...]


def cases(scene: Scene) -> Iterator[Case]:
    """Yield the case."""
    scene.say("reading the positions of all detections")
    sky, objects = _sky(scene), dict[str, float]()
    yield Case(
        "associate", GROUP, f"detections to objects, in memory, {CORES} threads",
        {OURS: lambda: _ours(sky, objects), KD_TREE: lambda: _with_trees(sky, objects)}, goal="4 s", repeat=3,
        peer_does=f"{BATCHES} batches against the nearest object, no order of images, not one to one",
        numbers=lambda: objects,
    )  # fmt: skip


def _sky(scene: Scene) -> _Sky:
    snapshot = scene.db.snapshot()
    images = snapshot.read_global("images", ["image_id", "mjd"])
    ids: np.ndarray = images.sort_by([("mjd", "ascending"), ("image_id", "ascending")]).column("image_id").to_numpy()
    by_id: np.ndarray = np.argsort(ids)
    columns = ["image_id", "det_id", "ra_raw", "dec_raw"]
    parts = [[snapshot.read_cell("measurements", c, columns)[name].to_numpy() for name in columns] for c in
             snapshot.cells()]  # fmt: skip
    image, det_id, ra, dec = (np.concatenate(column) for column in zip(*parts, strict=True))
    rows = Detections(ra, dec, by_id[np.searchsorted(ids[by_id], image)], det_id, pixel_of(ra, dec))
    by_image, by_place = np.lexsort((rows.det_id, rows.rank)), np.argsort(rows.found_pix29)
    return _Sky(_some(rows, by_image), _some(rows, by_place), len(ids), tuple(snapshot.cells()))


def _ours(sky: _Sky, objects: dict[str, float]) -> int:
    """Link cell by cell, then what crosses borders, as an ingest does; number the new objects."""
    images = Images(np.full(sky.n_images, DEFAULT_RADIUS_ARCSEC))
    nothing = Seeds(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))

    def solve(cell: Cell) -> tuple[Detections, np.ndarray]:
        first, last = np.searchsorted(sky.in_sky_order.found_pix29, [cell.lo, cell.hi])
        mine = _some(sky.in_sky_order, np.arange(first, last))
        solved = link_cell(mine, images, nothing, cell=cell.key, pix29=mine.found_pix29)
        founders = np.flatnonzero(solved.links.founder == np.arange(last - first))
        return _some(mine, solved.pooled_detections), mine.found_pix29[founders]

    with ThreadPoolExecutor(CORES) as threads:
        pools, wishes = zip(*threads.map(solve, sky.cells), strict=True)
    pool = Detections(*(np.concatenate([getattr(p, f.name) for p in pools]) for f in fields(Detections)))
    border = founders_in_order(pool, link(pool, images, nothing))
    ids = found_ids(np.concatenate([*wishes, pool.found_pix29[border]]), taken=nothing.object_id)
    objects["objects"] = len(ids)
    return len(sky.in_sky_order.rank)


def _some(rows: Detections, which: np.ndarray) -> Detections:
    return Detections(*(some_of(getattr(rows, f.name), which) for f in fields(Detections)))


def _with_trees(sky: _Sky, objects: dict[str, float]) -> int:
    """Match batch by batch with the objects so far; what is left founds objects, in groups of friends of friends."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    every = unit_vectors(sky.by_image.ra, sky.by_image.dec)
    reach = 2.0 * np.sin(DEFAULT_RADIUS_ARCSEC * RADIANS_PER_ARCSEC / 2.0)
    known, object_id = np.empty((0, 3)), np.empty(len(every), dtype=np.int64)
    for first, last in _batches(sky.by_image.rank, sky.n_images):
        points = every[first:last]
        left = np.ones(len(points), dtype=bool)
        if len(known):
            distance, nearest = cKDTree(known).query(points, distance_upper_bound=reach, workers=CORES)
            left = ~np.isfinite(distance)
            object_id[first:last][~left] = np.asarray(nearest)[~left]
        fresh = points[left]
        pairs = cKDTree(fresh).query_pairs(reach, output_type="ndarray")
        graph = coo_matrix((np.ones(len(pairs), dtype=bool), tuple(pairs.T)), shape=(len(fresh), len(fresh)))
        n, group = connected_components(graph, directed=False)
        object_id[first:last][left] = np.asarray(group) + len(known)
        founders = np.zeros((n, 3))
        founders[np.asarray(group)[::-1]] = fresh[::-1]
        known = np.concatenate([known, founders])
    objects["objects of the kd-tree"] = len(known)
    return len(object_id)


def _batches(rank: np.ndarray, n_images: int) -> Iterator[tuple[int, int]]:
    ends = np.searchsorted(rank, np.linspace(0, n_images, BATCHES + 1).astype(np.int64))
    yield from zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
