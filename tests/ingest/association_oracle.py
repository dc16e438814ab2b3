"""The rules of association, spelled out slowly, and awkward skies to try them on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skydb.flags import MeasurementFlags
from skydb.ingest.associate import Detections
from skydb.ingest.tracks import RADIANS_PER_ARCSEC, Images, Seeds
from skydb.sky.partition import pixel_of, unit_vectors

TRANSITION = float(np.degrees(np.arcsin(2 / 3)))
PLACES = [
    (0.0, 90.0), (77.0, -90.0), (0.0, 0.0), (45.0, 0.0), (0.0, TRANSITION), (45.0, TRANSITION), (360.0, -41.0),
    (123.4, 56.7), (179.99999, 89.9997),
]  # fmt: skip


@dataclass
class Answer:
    """What the oracle finds for every detection, and the objects alive at the end."""

    object_id: np.ndarray
    is_new: np.ndarray
    blend: np.ndarray


def place_at(seeds: Seeds, m: int, epoch: float) -> tuple[float, float, float]:
    vector = unit_vectors(seeds.ra, seeds.dec)[m]
    if seeds.speed_arcsec[m] == 0 or np.isnan(epoch):
        return tuple(vector)
    moved = [float(p + (epoch - seeds.epoch[m]) * v) for p, v in zip(vector, seeds.velocities()[m], strict=True)]
    length = np.sqrt(moved[0] * moved[0] + moved[1] * moved[1] + moved[2] * moved[2])
    return moved[0] / length, moved[1] / length, moved[2] / length


def epoch_of(detections: Detections, images: Images, d: int) -> float:
    return float(detections.epoch[d]) if images.span is not None else np.nan


def chord2(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    x, y, z = one[0] - other[0], one[1] - other[1], one[2] - other[2]
    return float(x * x + y * y + z * z)


def next_free(pixel: int, used: set[int]) -> int:
    area = pixel >> 30 << 30
    while pixel in used:
        pixel = area | ((pixel + 1) & (2**30 - 1))
    return pixel


def associate_slowly(
    detections: Detections, images: Images, seeds: Seeds, *, one_to_many: bool = False, founds: bool = True,
    taken: tuple[int, ...] = (), retired: tuple[int, ...] = (),
) -> Answer:  # fmt: skip
    """Take image after image, list all pairs, sort them, take them one by one; where none founds, -1 is no object."""
    n = len(detections.rank)
    answer = Answer(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), np.zeros(n, dtype=np.uint32))
    vectors = [tuple(v) for v in unit_vectors(detections.ra, detections.dec)]
    held = {int(i): int(seeds.held[m]) if len(seeds.held) else 0 for m, i in enumerate(seeds.object_id)}
    founded: dict[int, tuple[float, float, float]] = {}
    used, revivable = {*held, *taken}, set(retired)
    for rank in sorted(set(detections.rank.tolist())):
        limit = float((2.0 * np.sin(images.radius_arcsec[rank] * (RADIANS_PER_ARCSEC / 2.0))) ** 2)
        survey = int(images.survey[rank]) if len(images.survey) else 0
        mine = sorted(np.flatnonzero(detections.rank == rank).tolist(), key=lambda d: detections.det_id[d])
        places = {
            d: {int(i): place_at(seeds, m, epoch_of(detections, images, d)) for m, i in enumerate(seeds.object_id)}
            | founded for d in mine
        }  # fmt: skip
        pairs = sorted(
            (chord2(place, vectors[d]), int(detections.det_id[d]), i, d)
            for d in mine for i, place in places[d].items()
            if chord2(place, vectors[d]) < limit and not held[i] & survey
        )  # fmt: skip
        chosen: dict[int, int] = {}
        for _, _, i, d in pairs:
            if d not in chosen and (one_to_many or i not in chosen.values()):
                chosen[d] = i
        if not founds:
            answer.object_id[[d for d in mine if d not in chosen]] = -1
            mine = [d for d in mine if d in chosen]
        for d in mine:
            if d not in chosen:
                wish = int(detections.found_pix29[d])
                new = wish if wish in revivable - used else next_free(wish, used | revivable)
                used.add(new)
                chosen[d], held[new], founded[new] = new, 0, vectors[d]
                for place in places.values():
                    place[new] = vectors[d]
                answer.is_new[d] = True
        for d in mine:
            near = [i for _, _, i, e in pairs if e == d]
            answer.object_id[d] = chosen[d]
            others = np.flatnonzero(detections.rank == rank).tolist()
            is_shared = any(chord2(places[e][chosen[d]], vectors[e]) < limit for e in others if e != d)
            answer.blend[d] |= MeasurementFlags.BLEND_MEAS if len(near) > 1 else 0
            answer.blend[d] |= MeasurementFlags.BLEND_OBJ if is_shared or (near and near[0] != chosen[d]) else 0
        for d in mine:
            held[chosen[d]] |= survey
    return answer


def near(
    rng: np.random.Generator, n: int, *, place: tuple[float, float], width_arcsec: float, grid: bool
) -> np.ndarray:
    """Positions (n, 2) in a box about a place, from the tangent plane; on a coarse lattice, full of ties, or not."""
    offsets = rng.uniform(-0.5, 0.5, (n, 2)) * width_arcsec
    if grid:
        offsets = np.round(offsets / 0.25) * 0.25
    at = unit_vectors(place[0], place[1])[0]
    east = np.cross([0.0, 0.0, 1.0] if abs(at[2]) < 0.9 else [1.0, 0.0, 0.0], at)
    east /= np.linalg.norm(east)
    to = at + (offsets[:, :1] * east + offsets[:, 1:] * np.cross(at, east)) * RADIANS_PER_ARCSEC
    ra, dec = np.degrees(np.arctan2(to[:, 1], to[:, 0])), np.degrees(np.arctan2(to[:, 2], np.hypot(to[:, 0], to[:, 1])))
    return np.stack((np.where(rng.integers(2, size=n) == 1, ra % 360.0, ra), dec), axis=1)


@dataclass
class Sky:
    """One case to associate."""

    detections: Detections
    images: Images
    seeds: Seeds


def random_sky(rng: np.random.Generator, *, n_images: int = 5, per_image: int = 10, n_seeds: int = 6) -> Sky:
    """Detections and objects about an awkward place, clustered or spread, in shuffled order."""
    place = PLACES[rng.integers(len(PLACES))]
    width = float(rng.choice([1.0, 4.0, 12.0, 40.0]))
    rank = np.repeat(np.arange(n_images), rng.integers(0, per_image + 1, n_images))
    n = len(rank)
    at = near(rng, n + n_seeds, place=place, width_arcsec=width, grid=bool(rng.integers(2)))
    if n and rng.integers(3) == 0:  # repeated looks at the same stars, and exact copies
        at[:n] = at[rng.integers(0, max(n // 3, 1), n)]
    det_id = np.concatenate([rng.permutation(1000)[:k] for k in np.bincount(rank, minlength=n_images)] or [rank])
    order = rng.permutation(n)
    ra, dec = at[:n][order].T
    detections = Detections(ra, dec, rank[order], det_id[order].astype(np.int64), pixel_of(ra, dec))
    radius = rng.choice([0.5, 1.0, 1.0, 2.0], n_images)
    ids, first = np.unique(pixel_of(at[n:, 0], at[n:, 1]), return_index=True)
    seeds = Seeds(ids, at[n:, 0][first], at[n:, 1][first])
    return Sky(detections, Images(radius), seeds)


def with_motion(sky: Sky, rng: np.random.Generator) -> Sky:
    """The same with epochs over ten years, some of one image, and objects that move, some far."""
    n = len(sky.seeds.object_id)
    speed = rng.choice([0.0, np.nan, 20.0, 3000.0], n)
    angle = rng.uniform(0, 2 * np.pi, n)
    seeds = replace(sky.seeds, epoch=np.full(n, 2012.0), pm_ra=speed * np.cos(angle), pm_dec=speed * np.sin(angle))
    epoch = rng.uniform(2010, 2020, len(sky.images.radius_arcsec))[sky.detections.rank]
    epoch = np.clip(epoch + rng.choice([0.0, 1.5]) * rng.normal(size=len(epoch)), 2010, 2020)
    return Sky(replace(sky.detections, epoch=epoch), replace(sky.images, span=(2010.0, 2020.0)), seeds)


def with_surveys(sky: Sky, rng: np.random.Generator) -> Sky:
    """The same with images of two reference surveys, of which some objects hold a row."""
    survey = rng.choice(np.array([0, 1, 2], dtype=np.uint64), len(sky.images.radius_arcsec))
    held = rng.choice(np.array([0, 1, 2, 3], dtype=np.uint64), len(sky.seeds.object_id))
    return Sky(sky.detections, replace(sky.images, survey=survey), replace(sky.seeds, held=held))
