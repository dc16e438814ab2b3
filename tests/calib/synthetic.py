"""A made-up survey of one band: stars on a square of sky, seen by chips whose pointings wander."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skydb.calib.bandimages import BandImages, band_images
from skydb.calib.select import Candidates, PhotcodeTraits, Selection, SelectionRules, select

PLAIN = PhotcodeTraits(
    np.array([1], np.int32), np.array([0.0]), np.array([0], np.uint32), np.array([0], np.uint32)
)
OPEN = SelectionRules(max_mag_err=1.0)


@dataclass(frozen=True)
class Layout:
    """`side` x `side` chips of sky, `islands` such squares apart, `epochs` exposures of `stars` stars a chip."""

    side: int = 5
    epochs: int = 8
    stars: int = 60
    islands: int = 1
    seen: float = 0.9
    seed: int = 1


@dataclass(frozen=True)
class Survey:
    rows: Candidates
    images: BandImages
    truth: NDArray[np.float64]
    """True mcal by row of `images`."""
    outlier: NDArray[np.bool_]


def survey(layout: Layout = Layout(), *, noise_seed: int = 1, outliers: float = 0.0, prior: bool = False) -> Survey:
    """Geometry and truth come from `layout.seed`, noise and outliers from `noise_seed`."""
    rng = np.random.default_rng(layout.seed)
    star, image = _footprints(layout, rng)
    names, local = np.unique(image, return_inverse=True)
    image_id = rng.choice(2**62, len(names), replace=False).astype(np.int64)
    truth = rng.normal(0.05, 0.1, len(names))
    magnitude = rng.uniform(15.0, 18.0, star.max() + 1)
    error = np.clip(0.01 * 10 ** (0.4 * (magnitude - 16.0)), 0.005, 0.05)[star]
    noise = np.random.default_rng((noise_seed, 77))
    bad = noise.random(len(star)) < outliers
    mag = magnitude[star] + truth[local] + error * noise.standard_normal(len(star))
    mag[bad] += noise.normal(0.0, 0.5, bad.sum())
    n = len(star)
    rows = Candidates(
        star.astype(np.int64) * 1009, image_id[local], np.arange(n), np.ones(n, np.int32), mag, error,
        np.ones(n, np.float32), np.zeros(n, np.uint32), np.ones(n, np.float32),
    )
    start = truth + rng.normal(0, 0.02, len(truth)) if prior else np.zeros(len(truth))
    return Survey(rows, band_images(image_id, start), truth[np.argsort(image_id)], bad)


def _footprints(layout: Layout, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Star and image of every measurement, in random order."""
    n, width = layout.side**2 * layout.stars, layout.side + 1
    pieces = []
    for island in range(layout.islands):
        x, y = rng.uniform(0, layout.side, (2, n))
        along_the_sky = np.lexsort((np.floor(x), np.floor(y)))
        x, y = x[along_the_sky], y[along_the_sky]
        for epoch in range(layout.epochs):
            dx, dy = rng.uniform(0, 1, 2)
            chip = np.floor(y + dy) * width + np.floor(x + dx)
            seen = np.flatnonzero(rng.random(n) < layout.seen)
            exposure = island * layout.epochs + epoch
            pieces.append((seen + island * n, chip[seen].astype(np.int64) + exposure * width**2))
    star, image = (np.concatenate(p) for p in zip(*pieces, strict=True))
    order = rng.permutation(len(star))
    return star[order], image[order]


def cut(made: Survey, n_cells: int, seed: int = 0) -> list[Selection]:
    """Selections of `n_cells` cells, the stars dealt out at random, the rows of each cell in random order."""
    rng = np.random.default_rng(seed)
    stars = np.unique(made.rows.object_id)
    cell = rng.integers(n_cells, size=len(stars))[np.searchsorted(stars, made.rows.object_id)]
    return [select(_taken(made.rows, rng.permutation(np.flatnonzero(cell == c))), made.images, PLAIN, OPEN)
            for c in range(n_cells)]


def whole(made: Survey) -> list[Selection]:
    """The survey as a single cell."""
    return [select(made.rows, made.images, PLAIN, OPEN)]


def _taken(rows: Candidates, which: NDArray[np.intp]) -> Candidates:
    return Candidates(**{name: getattr(rows, name)[which] for name in rows.__dataclass_fields__})


def with_rows(rows: Candidates, **columns: NDArray[np.generic]) -> Candidates:
    """The same rows with some columns replaced."""
    return replace(rows, **columns)  # type: ignore[arg-type]  # a test gives what it likes
