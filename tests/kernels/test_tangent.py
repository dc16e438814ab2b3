"""Small offsets about many tangent points: equal to astropy, exact at the poles and across RA 0."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from skydb.kernels.tangent import at_offset, run_offsets


@pytest.mark.parametrize(("ra0", "dec0"), [(0.0, 0.0), (359.99999, 45.0), (123.0, 90.0), (10.0, -90.0), (7.0, 89.9999)])
@pytest.mark.parametrize("size_mas", [1.0, 1e3, 1e6, 1e8])
def test_offsets_return_to_their_positions(ra0: float, dec0: float, size_mas: float) -> None:
    rng = np.random.default_rng(2)
    xi, eta = rng.normal(size=(2, 50)) * size_mas
    centre = np.full(50, ra0), np.full(50, dec0)
    ra, dec = at_offset(centre, xi, eta)
    assert ((ra >= 0) & (ra < 360)).all()
    found = run_offsets(ra, dec, (centre[0][:1], centre[1][:1]), np.array([0, 50]))
    np.testing.assert_allclose(found, (xi, eta), atol=3e-7, rtol=1e-12)


def test_small_offsets_equal_astropy() -> None:
    rng = np.random.default_rng(5)
    centre = SkyCoord(rng.uniform(0, 360, 100) * u.deg, np.degrees(np.arcsin(rng.uniform(-1, 1, 100))) * u.deg)
    point = centre.directional_offset_by(rng.uniform(0, 360, 100) * u.deg, 3 * u.arcsec)
    xi, eta = run_offsets(point.ra.deg, point.dec.deg, (centre.ra.deg, centre.dec.deg), np.arange(101))
    np.testing.assert_allclose(np.hypot(xi, eta), 3000.0, atol=1e-6)
    angle = centre.position_angle(point).rad
    np.testing.assert_allclose(np.sin(np.arctan2(xi, eta) - angle), 0.0, atol=1e-8)


def test_the_far_hemisphere_has_no_offset() -> None:
    xi, eta = run_offsets(np.array([100.0, np.nan]), np.zeros(2), (np.zeros(1), np.zeros(1)), np.array([0, 2]))
    assert np.isnan([*xi, *eta]).all()
