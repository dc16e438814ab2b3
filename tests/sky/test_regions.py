"""Regions against brute force: what they contain, and that their pixels cover every point."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from astropy.coordinates import angular_separation
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import UsageError
from skydb.sky.arcs import separation
from skydb.sky.partition import in_ranges, pixel_of, unit_vectors
from skydb.sky.regions import AllSky, Box, Cone, Intersection, Polygon, Region

ras = st.one_of(st.floats(0, 360), st.sampled_from([0.0, 90.0, 180.0, 270.0, 360.0, 45.0, 1e-9, 359.999999]))
decs = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 0.0, 90.0, 41.8103148957786, -89.9999999, 89.999]))
radii = st.one_of(
    st.floats(0, 180), st.floats(-9, 2).map(lambda power: 10.0**power), st.sampled_from([0.0, 90.0, 180.0, 179.999])
)
cones = st.builds(Cone, ras, decs, radii)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    ra1, dec1 = draw(ras), draw(decs)
    width, height = draw(radii), draw(radii)
    return Box(ra1, (ra1 + 2 * width) % 360 if width < 180 else ra1 + 360, dec1, min(dec1 + height, 90.0))


@st.composite
def polygons(draw: st.DrawFn) -> Polygon:
    """Star-shaped polygons of any size up to a hemisphere, of either winding, anywhere."""
    ra0, dec0, size = draw(ras), draw(decs), draw(st.floats(-7, math.log10(85)).map(lambda power: 10.0**power))
    n = draw(st.integers(3, 9))
    angles = np.linspace(0, 360, n, endpoint=False) + draw(st.lists(st.floats(0, 300 / n), min_size=n, max_size=n))
    sizes = size * np.array(draw(st.lists(st.floats(0.3, 1), min_size=n, max_size=n)))
    ra, dec = offset(np.full(n, ra0), np.full(n, dec0), angles, sizes)
    vertices = tuple(zip(ra.tolist(), dec.tolist(), strict=True))
    return Polygon(vertices if draw(st.booleans()) else vertices[::-1])


def offset(
    ra: np.ndarray, dec: np.ndarray, angle: np.ndarray | float, away: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions at an angle (degrees, any zero) and a distance (degrees) from others."""
    a, d = np.radians(ra), np.radians(dec)
    up = np.stack((np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)))
    east = np.stack((-np.sin(a), np.cos(a), 0 * a))
    north = np.cross(up, east, axis=0)
    t, s = np.radians(angle), np.radians(away)
    x, y, z = up * np.cos(s) + (east * np.sin(t) + north * np.cos(t)) * np.sin(s)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def probes(region: Region, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points everywhere, about the region's own corners, and at special places."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, 400), np.degrees(np.arcsin(rng.uniform(-1, 1, 400)))
    centres, size = {
        Cone: lambda r: ([(r.ra, r.dec)], r.radius_deg),
        Box: lambda r: ([(r.ra1, r.dec1), (r.ra2, r.dec2), (r.ra1, r.dec2), (r.ra2, r.dec1)], r.dec2 - r.dec1),
        Polygon: lambda r: (r.vertices, float(separation(*r.vertices[0], *r.vertices[1]))),
    }[type(region)](region)
    at = np.array([centres[i % len(centres)] for i in range(800)]).T
    near = offset(at[0], at[1], rng.uniform(0, 360, 800), size * rng.uniform(0, 2, 800))
    rim = offset(at[0], at[1], rng.uniform(0, 360, 800), size * (1 + rng.normal(0, 1e-6, 800)))
    special = np.array([(0, 90), (77, 90), (0, -90), (0, 0), (360, 0), (180, 0), *centres], dtype=float).T
    return np.concatenate((ra, near[0], rim[0], special[0])), np.concatenate((dec, near[1], rim[1], special[1]))


def winding(vertices: tuple[tuple[float, float], ...], ra: float, dec: float) -> int:
    """How many half turns the line makes about a point and, the other way, about its antipode."""
    turn, last = 0.0, None
    for alpha, delta in [*vertices, vertices[0]]:
        d = math.radians(alpha - ra)
        bearing = math.atan2(
            math.sin(d) * math.cos(math.radians(delta)),
            math.cos(math.radians(dec)) * math.sin(math.radians(delta))
            - math.sin(math.radians(dec)) * math.cos(math.radians(delta)) * math.cos(d),
        )
        if last is not None:
            turn += (bearing - last + math.pi) % (2 * math.pi) - math.pi
        last = bearing
    return round(turn / (2 * math.pi))


@given(ras, decs, ras, decs)
@settings(deadline=None, max_examples=300)
def test_separation_agrees_with_an_independent_formula(ra1: float, dec1: float, ra2: float, dec2: float) -> None:
    expected = math.degrees(angular_separation(*(math.radians(v) for v in (ra1, dec1, ra2, dec2))))
    assert separation(ra1, dec1, ra2, dec2) == pytest.approx(expected, abs=1e-12)


def test_separation_keeps_its_digits_at_both_ends() -> None:
    assert separation(10.0, 0.0, 10.0 + 2**-40, 0.0) == pytest.approx(2**-40, rel=1e-14)
    assert 180.0 - separation(0.0, 2**-40, 180.0, 0.0) == pytest.approx(2**-40, abs=6e-14)
    assert separation(0.0, 41.0, 360.0, 41.0) == 0.0
    assert separation(3.0, 41.0, 183.0, -41.0) == 180.0
    assert np.isnan(separation(np.nan, 0.0, 0.0, 0.0))


@given(cones, st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_cone_contains_what_is_within_its_radius(cone: Cone, seed: int) -> None:
    ra, dec = probes(cone, seed)
    expected = np.degrees(angular_separation(*np.radians([ra, dec]), math.radians(cone.ra), math.radians(cone.dec)))
    clear = np.abs(expected - cone.radius_deg) > 1e-11
    assert np.array_equal(cone.contains(ra, dec)[clear], (expected <= cone.radius_deg)[clear])


def test_cone_of_no_radius_contains_its_centre_and_one_of_180_degrees_everything() -> None:
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    for centre in zip(ra[:200].tolist(), dec[:200].tolist(), strict=True):
        assert Cone(*centre, 0.0).contains(*centre)
        assert Cone(*centre, 0.0).contains(ra, dec).sum() == 1
        assert Cone(*centre, 180.0).contains(np.append(ra, centre[0] + 180), np.append(dec, -centre[1])).all()


def test_box_edges_belong_to_the_box() -> None:
    box = Box(350.0, 10.0, -5.0, 5.0)
    assert box.contains([350, 10, 0, 360, -10, 370, 0, 0], [0, 0, 5, -5, 5, -5, 0, 0]).all()
    assert not box.contains([349.999999, 10.000001, 0, 180], [0, 0, 5.000001, 0]).any()
    assert Box(350.0, 360.0, -5.0, 5.0).contains([0.0, 360.0, 350.0], 0.0).all()


def test_box_may_be_a_line_a_point_or_the_full_circle() -> None:
    assert Box(10.0, 10.0, -90.0, 90.0).contains([10.0, 10.1], 3.0).tolist() == [True, False]
    assert Box(10.0, 10.0, 3.0, 3.0).contains([10.0, 10.0], [3.0, 3.1]).tolist() == [True, False]
    assert Box(0.0, 360.0, -1.0, 1.0).contains(np.linspace(-360, 720, 97), 0.0).all()
    assert Box(200.0, 560.0, -1.0, 1.0).contains(np.linspace(-360, 720, 97), 0.0).all()


@given(boxes(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_box_contains_what_lies_between_its_limits(box: Box, seed: int) -> None:
    ra, dec = probes(box, seed)
    east = (ra - box.ra1) % 360
    width = 360.0 if box.ra2 - box.ra1 >= 360 else (box.ra2 - box.ra1) % 360
    clear = (np.abs(east - width) > 1e-9) & (east > 1e-9) & (east < 360 - 1e-9)
    expected = (east <= width) & (box.dec1 <= dec) & (dec <= box.dec2)
    assert np.array_equal(box.contains(ra, dec)[clear], expected[clear])


@given(polygons(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_polygon_contains_what_its_line_turns_about(polygon: Polygon, seed: int) -> None:
    ra, dec = probes(polygon, seed)
    clear = np.abs(polygon.distance(ra, dec)) > 1e-11
    near_side = unit_vectors(ra, dec) @ polygon.pole > 0
    expected = np.array([near and winding(polygon.vertices, a, d) % 2 == 1
                         for near, a, d in zip(near_side.tolist(), ra.tolist(), dec.tolist(), strict=True)])
    assert np.array_equal(polygon.contains(ra, dec)[clear], expected[clear])


@given(polygons(), st.integers(0, 2**32), st.integers(1, 8))
@settings(deadline=None, max_examples=50)
def test_polygon_does_not_depend_on_winding_or_first_vertex(polygon: Polygon, seed: int, roll: int) -> None:
    ra, dec = probes(polygon, seed)
    clear = np.abs(polygon.distance(ra, dec)) > 1e-11
    rolled = polygon.vertices[roll % len(polygon.vertices):] + polygon.vertices[: roll % len(polygon.vertices)]
    for other in (Polygon(rolled), Polygon(rolled[::-1]), Polygon((*rolled, rolled[0]))):
        assert np.array_equal(other.contains(ra, dec)[clear], polygon.contains(ra, dec)[clear])


def test_polygon_runs_across_ra_0_and_around_a_pole() -> None:
    across = Polygon(((350.0, -5.0), (10.0, -5.0), (10.0, 5.0), (350.0, 5.0)))
    assert across.contains([0, 360, 355, 5, 180, 20], [0, 0, 4, -4, 0, 0]).tolist() == [True] * 4 + [False] * 2
    around = Polygon(((0.0, -70.0), (90.0, -70.0), (180.0, -70.0), (270.0, -70.0)))
    assert around.contains([0, 12, 45, 45, 45], [-90, -80, -76, -75, 90]).tolist() == [True] * 3 + [False] * 2


def test_polygon_may_be_concave() -> None:
    arrow = Polygon(((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 2.0), (0.0, 10.0)))
    assert arrow.contains([1, 9, 5, 5], [5, 5, 1, 5]).tolist() == [True, True, True, False]


def test_point_in_line_with_an_edge_is_not_on_it() -> None:
    """The edge along the equator is level on the map, and all these points lie in its line."""
    arrow = Polygon(((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 2.0), (0.0, 10.0)))
    away = np.concatenate((np.arange(10.5, 90, 0.25), np.arange(275, 360, 0.25)))
    for tilt in (0.0, 1e-15, -1e-15, 1e-14, -1e-14):
        assert not arrow.contains(away, tilt).any()


def test_polygon_whose_vertices_crowd_at_one_end_is_understood() -> None:
    crowd = [(float(ra), 2.0) for ra in np.linspace(0, 5, 60)]
    wide = Polygon((*crowd, (170.0, 1.0), (170.0, -1.0), (0.0, -1.0)))
    assert not wide.pole_is_mean
    inside = wide.contains([85.0, 169.0, 1.0, 175.0, 265.0], [0.0, 0.0, 1.0, 0.0, 0.0])
    assert inside.tolist() == [True, True, True, False, False]


@given(st.one_of(cones, boxes(), polygons()), st.sampled_from([0.0, 0.1, 3.0, 600.0, 40_000.0]), st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_ranges_cover_every_point_within_the_pad(region: Region, pad_arcsec: float, seed: int) -> None:
    ra, dec = probes(region, seed)
    inside = region.contains(ra, dec)
    rng = np.random.default_rng(seed)
    away = pad_arcsec / 3600 * rng.choice([0.0, 0.5, 1 - 1e-9], inside.sum())
    ra, dec = offset(ra[inside], dec[inside], rng.uniform(0, 360, inside.sum()), away)
    ranges = region.ranges(pad_arcsec=pad_arcsec)
    assert in_ranges(pixel_of(ra, dec), ranges).all()
    assert len(ranges) <= 1000
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    assert ranges.dtype == np.int64


@given(st.one_of(cones, boxes(), polygons()), st.integers(0, 29))
@settings(deadline=None, max_examples=60)
def test_coarser_cover_holds_the_finer_one(region: Region, order: int) -> None:
    fine, coarse = region.ranges(), region.ranges(order=order)
    assert in_ranges(fine[:, 0], coarse).all()
    assert in_ranges(fine[:, 1] - 1, coarse).all()


@given(st.one_of(cones, boxes(), polygons()), st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_distance_is_never_larger_than_the_way_to_the_other_side(region: Region, seed: int) -> None:
    ra, dec = probes(region, seed)
    away, inside = region.distance(ra, dec), region.contains(ra, dec)
    clear = np.abs(away) > 1e-9
    assert np.array_equal((away < 0)[clear], inside[clear])
    bearing = np.random.default_rng(seed).uniform(0, 360, len(ra))
    ra2, dec2 = offset(ra, dec, bearing, np.maximum(np.minimum(np.abs(away), 180) - 1e-10, 0))
    assert np.array_equal(region.contains(ra2, dec2)[clear], inside[clear])


@pytest.mark.parametrize(
    ("region", "square_degrees", "excess"),
    [
        (Cone(10.0, 20.0, 1.0), math.pi, 1.02),
        (Cone(10.0, 20.0, 1e-4), math.pi * 1e-8, 1.02),
        (Cone(200.0, 89.5, 30.0), 20626.48 * (1 - math.cos(math.radians(30))), 1.03),
        (Box(350.0, 10.0, -5.0, 5.0), 199.75, 1.03),
        (Polygon(((0.0, 80.0), (120.0, 80.0), (240.0, 80.0))), 129.6, 1.05),
        (AllSky(), 41252.96, 1.0001),
    ],
)
def test_cover_is_little_larger_than_the_region(region: Region, square_degrees: float, excess: float) -> None:
    ranges = region.ranges()
    area = (ranges[:, 1] - ranges[:, 0]).sum() / (12 * 4.0**29) * 41252.96
    assert square_degrees * 0.99 <= area <= square_degrees * excess


def test_cone_of_no_radius_takes_a_handful_of_the_finest_pixels() -> None:
    ranges = Cone(10.0, 20.0, 0.0).ranges()
    assert (ranges[:, 1] - ranges[:, 0]).sum() <= 9


def test_intersection_is_what_all_regions_share() -> None:
    cone, box = Cone(10.0, 20.0, 2.0), Box(10.0, 30.0, 0.0, 20.5)
    both = Intersection((cone, box))
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(5, 15, 5000), rng.uniform(15, 25, 5000)
    inside = cone.contains(ra, dec) & box.contains(ra, dec)
    assert np.array_equal(both.contains(ra, dec), inside)
    assert in_ranges(pixel_of(ra[inside], dec[inside]), both.ranges()).all()


@pytest.mark.parametrize(
    "region",
    [AllSky(), Cone(0.0, 0.0, 180.0), Box(0.0, 360.0, -90.0, 90.0), Polygon(((0.0, 0.0), (9.0, 0.0), (0.0, 9.0)))],
)
def test_position_that_is_not_finite_lies_in_no_region(region: Region) -> None:
    ra, dec = [np.nan, 1.0, np.inf, 1.0, 1.0], [1.0, np.nan, 1.0, -np.inf, 1.0]
    assert region.contains(ra, dec).tolist() == [False] * 4 + [True]


def test_contains_broadcasts_and_keeps_the_shape() -> None:
    assert Cone(0.0, 0.0, 1.0).contains(0.0, 0.0).shape == ()
    assert Box(0.0, 1.0, 0.0, 1.0).contains(np.zeros((3, 1)), np.zeros(2)).shape == (3, 2)
    assert Polygon(((0.0, 0.0), (9.0, 0.0), (0.0, 9.0))).contains(np.ones((3, 1)), np.ones(2)).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cone(0.0, 91.0, 1.0), "no place on the sky"),
        (lambda: Cone(math.nan, 0.0, 1.0), "no place on the sky"),
        (lambda: Cone(0.0, 0.0, -1.0), "radius from 0 to 180"),
        (lambda: Cone(0.0, 0.0, math.nan), "radius from 0 to 180"),
        (lambda: Cone(0.0, 0.0, 181.0), "radius from 0 to 180"),
        (lambda: Box(0.0, 1.0, 5.0, -5.0), "swap them"),
        (lambda: Polygon(((0.0, 0.0), (1.0, 1.0))), "3 or more"),
        (lambda: Polygon(((0.0, 0.0), (1.0, 1.0), (0.0, 0.0))), "3 or more"),
        (lambda: Polygon(((0.0, 0.0), (120.0, 0.0), (240.0, 0.0))), "hemisphere"),
        (lambda: Polygon(((0.0, -10.0), (120.0, -10.0), (240.0, -10.0), (0.0, 90.0))), "hemisphere"),
        (lambda: Cone(0.0, 0.0, 1.0).ranges(order=30), "order 30"),
        (lambda: Cone(0.0, 0.0, 1.0).ranges(pad_arcsec=-1), "pad"),
    ],
)
def test_region_that_makes_no_sense_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()
