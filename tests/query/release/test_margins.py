"""Every object within the margin of another partition is in it: equal to brute force, poles and RA 0 included."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.query.release.margins import over_border
from skydb.query.release.partitions import PixelTree, plan_tree
from skydb.sky.partition import pixel_of, separation_arcsec

from .skies import Sky, scattered
from .test_partitions import counts_of

PLACES = {
    "north pole": (0.0, 90.0), "south pole": (0.0, -90.0), "RA 0": (0.0, 0.0), "three base pixels": (0.0, 41.810),
    "edge of the polar cap": (45.0, 41.810), "RA 0 in the cap": (0.0, 70.0), "anywhere": (123.4, -12.3),
}  # fmt: skip


def tree_of(sky: Sky, limit: int) -> PixelTree:
    return plan_tree(counts_of((pixel_of(sky.ra, sky.dec) >> 34).tolist()), objects=limit, measurements=1)


def found_pairs(tree: PixelTree, sky: Sky, radius_arcsec: float) -> set[tuple[int, int]]:
    row, target = over_border(tree, sky.ra, sky.dec, radius_arcsec=radius_arcsec)
    assert len(set(zip(row.tolist(), target.tolist(), strict=True))) == len(row)
    return set(zip(row.tolist(), target.tolist(), strict=True))


def pixels_within(tree: PixelTree, sky: Sky, radius_arcsec: float) -> set[tuple[int, int]]:
    """The slow answer: the other pixels that hold one of 4,800 points within the radius of each object."""
    own = tree.index_of(pixel_of(sky.ra, sky.dec))
    centres = SkyCoord(sky.ra, sky.dec, unit="deg")[:, None, None]
    turn, away = np.arange(0, 360, 3.0)[:, None] * u.deg, np.linspace(0.025, 1, 40)[None, :] * radius_arcsec * u.arcsec
    points = centres.directional_offset_by(turn, away)
    held = tree.index_of(pixel_of(points.ra.deg.ravel(), points.dec.deg.ravel())).reshape(len(own), -1)
    return {(row, int(to)) for row in range(len(own)) for to in np.unique(held[row]) if to != own[row]}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("radius_arcsec", [20.0, 400.0])
def test_margin_holds_all_that_is_within_it_and_little_more(place: str, radius_arcsec: float) -> None:
    sky = scattered(150, seed=1, radius_deg=radius_arcsec / 3600 * 6, about=PLACES[place])
    tree = tree_of(sky, limit=15)
    found = found_pairs(tree, sky, radius_arcsec)
    needed = pixels_within(tree, sky, radius_arcsec)
    assert len(needed) > 30
    assert needed <= found
    assert found <= pixels_within(tree, sky, 1.55 * radius_arcsec)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(PLACES)), st.integers(0, 1_000), st.floats(0.5, 2_000.0), st.integers(1, 60),
    st.floats(0.3, 30.0),
)  # fmt: skip
def test_neighbours_across_a_border_are_in_each_others_margins(
    place: str, seed: int, radius_arcsec: float, limit: int, spread: float
) -> None:
    sky = scattered(120, seed, radius_deg=radius_arcsec / 3600 * spread, about=PLACES[place])
    tree = tree_of(sky, limit)
    found, own = found_pairs(tree, sky, radius_arcsec), tree.index_of(pixel_of(sky.ra, sky.dec))
    apart = separation_arcsec(sky.ra[:, None], sky.dec[:, None], sky.ra[None, :], sky.dec[None, :])
    near = np.argwhere((apart <= radius_arcsec) & (own[:, None] != own[None, :]))
    assert {(int(one), int(own[other])) for one, other in near} <= found
    assert not [pair for pair in found if own[pair[0]] == pair[1]]


def test_margin_reaches_into_empty_sky() -> None:
    tree = PixelTree.around([(3, 5)])
    ra, dec = healpy.pix2ang(1 << 13, (7 << 20), nest=True, lonlat=True)
    inside = scattered(300, seed=3, radius_deg=0.02, about=(float(ra), float(dec)))
    own = tree.index_of(pixel_of(inside.ra, inside.dec))
    targets = {tree.pixel(to) for row, to in found_pairs(tree, inside, 60.0) if tree.pixel(own[row]) == (3, 5)}
    assert targets
    assert all(not tree.occupied[tree.index_of(np.array([npix << 2 * (29 - norder)]))[0]] for norder, npix in targets)


def test_no_position_has_no_margin() -> None:
    row, target = over_border(PixelTree.around([(3, 5)]), np.empty(0), np.empty(0), radius_arcsec=10.0)
    assert len(row) == len(target) == 0
