"""Pixels in plain NumPy are those of healpy, and questions load neither healpy nor numba."""

from __future__ import annotations

import healpy
import numpy as np
import pytest

from skydb.sky.arcs import FEW, separation, separation_from, within_cone
from skydb.sky.pixels import centres, largest_radius_deg


@pytest.mark.parametrize("order", range(30))
def test_centres_and_radii_are_healpys(order: int) -> None:
    count, rng = 12 << (2 * order), np.random.default_rng(order)
    ends = np.concatenate((np.arange(12) << (2 * order), (np.arange(1, 13) << (2 * order)) - 1))
    pixels = np.concatenate((ends, rng.integers(0, count, 5000), np.arange(min(count, 500))))
    ra, dec = centres(pixels, order)
    away = separation(ra, dec, *healpy.pix2ang(1 << order, pixels, nest=True, lonlat=True))
    assert away.max() < 2e-13
    assert np.abs(dec - healpy.pix2ang(1 << order, pixels, nest=True, lonlat=True)[1]).max() < 1e-13
    assert largest_radius_deg(order) == pytest.approx(np.degrees(healpy.max_pixrad(1 << order)), rel=1e-12, abs=2e-14)


def test_separation_by_numpy_is_as_good() -> None:
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    for ra0, dec0 in [(0.0, 0.0), (359.9, 89.9), (10.0, -90.0), (180.0, 45.0)]:
        assert np.abs(separation_from(ra, dec, ra0, dec0) - separation(ra, dec, ra0, dec0)).max() < 1e-12


def test_few_points_and_many_get_the_same_answer() -> None:
    """Radii are separations of points, so that some lie on the border to the last bit."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 4 * FEW) % 360, rng.uniform(-90, 90, 4 * FEW)
    ra[:3], dec[3:5] = [np.nan, np.inf, -np.inf], [np.nan, 91.0]
    for radius in separation(ra[10:40], dec[10:40], 30.0, 40.0):
        many = within_cone(ra, dec, 30.0, 40.0, radius)
        pieces = [slice(i, i + 99) for i in range(0, 4 * FEW, 99)]
        few = np.concatenate([within_cone(ra[s], dec[s], 30.0, 40.0, radius) for s in pieces])
        assert np.array_equal(many, few)
        assert np.array_equal(many, separation(ra, dec, 30.0, 40.0) <= radius)
