"""Cones on the real sky: 1.87 million stars of Tycho-2, against brute force over the file that they came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from skydb.database import Database
from skydb.query.connection import Connection, connect
from skydb.sky.arcs import separation
from skydb.sky.partition import unit_vectors
from skydb.sky.regions import Cone

pytestmark = pytest.mark.data

POLES = [(0.0, 90.0), (77.0, -90.0), (10.0, 89.99), (359.999, -89.5)]

BIT = 4e-16
"""Two or three units in the last place."""


@dataclass(frozen=True)
class Stars:
    """The rows of the file by declination: number, position, unit vector, and the object that each became."""

    row: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    vector: np.ndarray
    object_id: np.ndarray

    def within(self, ra: float, dec: float, radius: float) -> np.ndarray:
        """Places of the stars in a cone; near its border, where a cosine is too coarse, by the haversine."""
        first, last = np.searchsorted(self.dec, [dec - radius - 1e-6, dec + radius + 1e-6])
        cosine = self.vector[first:last] @ unit_vectors(ra, dec)[0]
        low, high = np.cos(np.radians([min(radius + 1e-4, 180.0), max(radius - 1e-4, 0.0)]))
        inside = cosine > high
        near = np.flatnonzero((cosine >= low - 1e-12) & ~inside)
        inside[near] = separation(self.ra[first:last][near], self.dec[first:last][near], ra, dec) <= radius
        return first + np.flatnonzero(inside)


@pytest.fixture(scope="module")
def con(tycho2: Database) -> Iterator[Connection]:
    with connect(tycho2) as connection:
        yield connection


@pytest.fixture(scope="module")
def stars(con: Connection, data_dir: Path) -> Stars:
    file = pq.read_table(data_dir / "tycho2" / "tycho2.parquet", columns=["ra", "dec"])
    ra, dec = file["ra"].to_numpy(), file["dec"].to_numpy()
    rows = con.sql("SELECT det_id, object_id FROM measurements ORDER BY det_id").arrow()
    assert np.array_equal(rows["det_id"].to_numpy(), np.arange(len(ra)))
    order = np.argsort(dec, kind="stable")
    return Stars(order, ra[order], dec[order], unit_vectors(ra, dec)[order], rows["object_id"].to_numpy()[order])


def test_every_star_is_an_object(con: Connection, stars: Stars) -> None:
    assert len(np.unique(stars.object_id)) == len(stars.ra)
    assert con.sql("SELECT count(*) AS n FROM objects").arrow()["n"].to_pylist() == [len(stars.ra)]


def test_a_thousand_cones_equal_brute_force(con: Connection, stars: Stars) -> None:
    rng = np.random.default_rng(21)
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    ra[::7] = rng.uniform(-0.1, 0.1, len(ra[::7])) % 360
    places = list(zip(ra.tolist(), dec.tolist(), strict=True))
    places[::50] = [POLES[i % 4] for i in range(20)]
    radii = 10 ** rng.uniform(-3.6, 0.7, 1000)
    radii[:8] = [180.0, 179.9, 120.0, 90.0, 45.0, 30.0, 20.0, 0.0]
    found, empty = 0, 0
    for number, ((ra0, dec0), radius) in enumerate(zip(places, radii.tolist(), strict=True)):
        expected = stars.within(ra0, dec0, radius)
        cone = Cone(ra0, dec0, radius)
        if number % 2:
            ids = con.within(cone, columns=["object_id"]).arrow()["object_id"].to_numpy()
            assert np.array_equal(np.sort(ids), np.sort(stars.object_id[expected])), (ra0, dec0, radius)
        else:
            rows = con.within(cone, table="measurements", columns=["det_id"]).arrow()["det_id"].to_numpy()
            assert np.array_equal(np.sort(rows), np.sort(stars.row[expected])), (ra0, dec0, radius)
        found, empty = found + len(expected), empty + (not len(expected))
    assert found > 4_000_000
    assert 200 < empty < 800


def test_border_of_a_cone_belongs_to_it(con: Connection, stars: Stars) -> None:
    """Measurements lie where the file says, to the last bit; a mean position may be off in its last digits."""
    rng = np.random.default_rng(23)
    for row in rng.integers(0, len(stars.ra), 100).tolist():
        ra, dec = float(stars.ra[row]), float(stars.dec[row])
        ra0, dec0 = (ra + rng.normal(0, 0.02)) % 360, float(np.clip(dec + rng.normal(0, 0.02), -90, 90))
        reach = float(separation(ra, dec, ra0, dec0))
        for radius, is_inside in ((reach * (1 + BIT), True), (reach * (1 - BIT), False)):
            rows = con.within(Cone(ra0, dec0, radius), table="measurements", columns=["det_id"]).arrow()["det_id"]
            assert np.array_equal(np.sort(rows), np.sort(stars.row[stars.within(ra0, dec0, radius)]))
            assert (stars.row[row] in rows.to_pylist()) == is_inside


def test_every_star_is_found_where_it_is(con: Connection, stars: Stars) -> None:
    for row in np.random.default_rng(22).integers(0, len(stars.ra), 200).tolist():
        near = con.cone(stars.ra[row], stars.dec[row], 1e-9, columns=["object_id"]).arrow()["object_id"].to_pylist()
        point = Cone(float(stars.ra[row]), float(stars.dec[row]), 0.0)
        there = con.within(point, table="measurements", columns=["det_id"]).arrow()
        assert stars.object_id[row] in near
        assert stars.row[row] in there["det_id"].to_pylist()


def test_sql_counts_like_brute_force(con: Connection, stars: Stars) -> None:
    for ra0, dec0, radius in ((266.4, -29.0, 2.0), (0.0, 90.0, 5.0), (0.02, -0.01, 1.0), (180.0, 0.0, 90.0)):
        query = f"SELECT count(*) AS n FROM objects WHERE in_cone(ra, dec, {ra0}, {dec0}, {radius})"
        assert con.sql(query).arrow()["n"].to_pylist() == [len(stars.within(ra0, dec0, radius))]
