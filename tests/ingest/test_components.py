"""Linked components against a kd-tree: nothing within the linking length is ever apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from skydb.ingest.components import Components, linked_components
from skydb.sky.partition import unit_vectors


def labels_of(components: Components) -> np.ndarray:
    labels = np.empty(len(components.members), dtype=np.int64)
    labels[components.members] = np.repeat(np.arange(len(components.starts) - 1), np.diff(components.starts))
    return labels


def close_pairs(ra: np.ndarray, dec: np.ndarray, arcsec: float) -> np.ndarray:
    chord = 2 * np.sin(np.radians(arcsec / 3600) / 2)
    return cKDTree(unit_vectors(ra, dec)).query_pairs(chord, output_type="ndarray")


def scattered(rng: np.random.Generator, where: str, *, n: int, arcsec: float) -> tuple[np.ndarray, np.ndarray]:
    """Points over some 30 linking lengths at a place where spherical coordinates are awkward, or over all the sky."""
    east, north = rng.normal(0, 10 * arcsec / 3600, (2, n))
    if where == "all sky":
        return rng.uniform(-360, 720, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    if where == "pole":
        return rng.uniform(0, 360, n), np.clip((90 - np.hypot(east, north)) * rng.choice([-1, 1]), -90, 90)
    if where == "ra 0":
        return east % 360, np.clip(north, -90, 90)
    return east + rng.choice([0.0, 90.0, 180.0], n), np.clip(60 + north, -90, 90)


@pytest.mark.parametrize("where", ["all sky", "pole", "ra 0", "three spots"])
@given(seed=st.integers(0, 2**32 - 1), exponent=st.floats(-3.5, 5.4))
@example(seed=1, exponent=5.51)
@settings(deadline=None, max_examples=60)
def test_points_within_the_linking_length_share_a_component(where: str, seed: int, exponent: float) -> None:
    rng, arcsec = np.random.default_rng(seed), 10.0**exponent
    ra, dec = scattered(rng, where, n=int(rng.integers(1, 400)), arcsec=arcsec)
    components = linked_components(ra, dec, arcsec)
    labels, pairs = labels_of(components), close_pairs(ra, dec, arcsec)
    np.testing.assert_array_equal(np.sort(components.members), np.arange(len(ra)))
    np.testing.assert_array_equal(labels[pairs[:, 0]], labels[pairs[:, 1]])


def test_components_are_hardly_larger_than_friends_of_friends() -> None:
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(359.5, 360.5, 20_000), rng.uniform(-0.5, 0.5, 20_000)
    pairs = close_pairs(ra, dec, 1.0)
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(ra), len(ra)))
    exact, _ = connected_components(links, directed=False)
    assert 0.998 * exact < len(linked_components(ra, dec, 1.0).starts) - 1 <= exact


def test_members_ascend_in_every_component() -> None:
    rng = np.random.default_rng(4)
    components = linked_components(rng.uniform(0, 0.01, 3000), rng.uniform(0, 0.01, 3000), 1.0)
    inside = np.diff(labels_of(components)[components.members]) == 0
    assert (np.diff(components.members)[inside] > 0).all()


def test_components_touching_marked_points_are_found_with_all_their_points() -> None:
    components = linked_components(np.array([10.0, 50.0, 10.0, 90.0]), np.zeros(4), 1.0)
    touching = components.touching(np.array([False, False, True, True]))
    np.testing.assert_array_equal(components.points_of(touching), [True, False, True, True])
    assert not len(linked_components(np.zeros(0), np.zeros(0), 1.0).touching(np.zeros(0, dtype=bool)))
