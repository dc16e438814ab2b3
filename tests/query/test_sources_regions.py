"""Every spatial answer is complete: cones, boxes and polygons equal brute force over all rows of the sky.

Separations are computed here from unit vectors, in another way than the code under test; a position within 1e-7 arcsec
of a border may fall on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from skydb.database import Database
from skydb.query.atlas import Atlas
from skydb.query.connection import Connection, connect
from skydb.query.sources import CellRows, CellStream
from skydb.sky.partition import cell_of, pixel_of, unit_vectors
from skydb.sky.regions import Box, Cone, Polygon, Region
from tests.query.databases import visible_rows

TABLES = ("objects", "measurements")
POLES = ((0.0, 90.0), (123.0, -90.0), (0.0, 89.95), (359.99, -89.9))
BORDER_DEG = 1e-7 / 3600


@dataclass(frozen=True)
class Rows:
    """All positions of one table: a key of each row, and its coordinates."""

    key: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    def separation(self, ra: float, dec: float) -> np.ndarray:
        there, here = unit_vectors(self.ra, self.dec), unit_vectors(ra, dec)[0]
        chord = np.sqrt(((there - here) ** 2).sum(axis=1))
        far = np.sqrt(((there + here) ** 2).sum(axis=1))
        return np.degrees(2 * np.arctan2(chord, far))


KEYS = {"objects": ["object_id"], "measurements": ["object_id", "image_id", "det_id"]}


def key_of(rows: object, table: str) -> np.ndarray:
    columns = [rows[name].to_numpy() for name in KEYS[table]]  # type: ignore[index]  # an Arrow table
    packed = np.stack(columns, axis=1)
    return np.ascontiguousarray(packed).view([("", np.int64)] * packed.shape[1]).ravel()


@pytest.fixture(scope="module")
def brute(whole_sky: Database) -> dict[str, Rows]:
    found = {}
    for table in TABLES:
        rows = visible_rows(whole_sky.snapshot(), table)
        found[table] = Rows(key_of(rows, table), rows["ra"].to_numpy(), rows["dec"].to_numpy())
    return found


@pytest.fixture(scope="module")
def sky(whole_sky: Database) -> Iterator[Connection]:
    with connect(whole_sky) as connection:
        yield connection


def directions(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Places all over the sky, at the poles, and about RA 0."""
    ra, dec = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    ra[1::5] = rng.uniform(-0.3, 0.3, len(ra[1::5])) % 360
    places = list(zip(ra.tolist(), dec.tolist(), strict=True))
    places[::9] = [POLES[i % 4] for i in range(len(places[::9]))]
    return places


def radii(rng: np.random.Generator, count: int) -> np.ndarray:
    """From arcseconds to the whole sky, 0 and 180 among them."""
    chosen = 10 ** rng.uniform(-4, np.log10(180), count)
    chosen[::25], chosen[::40] = 0.0, 180.0
    return chosen


def test_stars_lie_far_from_where_they_were_founded(whole_sky: Database, brute: dict[str, Rows]) -> None:
    """Or the tests below would show nothing: some lie in other cells than their own."""
    for table in TABLES:
        cells = {c.key: 0 for c in whole_sky.snapshot().cells()}
        strayed = 0
        for norder, npix in cells:
            own = cell_of(brute[table].key["f0"], norder) == npix
            strayed += int((cell_of(pixel_of(brute[table].ra[own], brute[table].dec[own]), norder) != npix).sum())
        assert strayed >= 20


MANY = pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])


@MANY
@pytest.mark.parametrize("table", TABLES)
def test_cones_equal_brute_force(sky: Connection, brute: dict[str, Rows], table: str, count: int) -> None:
    rng = np.random.default_rng(count)
    rows = brute[table]
    for (ra, dec), radius in zip(directions(rng, count), radii(rng, count).tolist(), strict=True):
        found = key_of(sky.within(Cone(ra, dec, radius), table=table, columns=KEYS[table]).arrow(), table)
        away = rows.separation(ra, dec)
        assert len(np.unique(found)) == len(found)
        wrong = np.isin(rows.key, found) != (away <= radius)
        assert not (wrong & (np.abs(away - radius) > BORDER_DEG)).any(), (ra, dec, radius)


@pytest.mark.parametrize("table", TABLES)
def test_cone_of_radius_zero_finds_what_lies_there(sky: Connection, brute: dict[str, Rows], table: str) -> None:
    rows = brute[table]
    for i in np.random.default_rng(5).integers(0, len(rows.key), 100).tolist():
        found = key_of(sky.within(Cone(rows.ra[i], rows.dec[i], 0.0), table=table, columns=KEYS[table]).arrow(), table)
        assert rows.key[i] in found


def random_box(rng: np.random.Generator, place: tuple[float, float], size: float) -> Box:
    ra, dec = place
    width = 360.0 if rng.random() < 0.05 else min(359.0, size / max(np.cos(np.radians(dec)), 0.01))
    low = float(np.clip(dec - size * rng.random(), -90, 90))
    return Box(
        float((ra - width / 2) % 360) if width < 360 else 0.0, float((ra + width / 2) % 360) if width < 360 else 360.0,
        low, float(np.clip(low + size, -90, 90)),
    )  # fmt: skip


def in_box(rows: Rows, box: Box) -> np.ndarray:
    east, west = rows.ra >= box.ra1, rows.ra <= box.ra2
    ra = east & west if box.ra1 <= box.ra2 else east | west
    return ra & (rows.dec >= box.dec1) & (rows.dec <= box.dec2)


def random_triangle(rng: np.random.Generator, place: tuple[float, float], size: float) -> tuple[Polygon, np.ndarray]:
    """A triangle of great circles about a place, and its corners as unit vectors, counterclockwise."""
    centre = unit_vectors(*place)[0]
    side = np.cross(centre, [0.0, 0.0, 1.0] if abs(centre[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    up = np.cross(centre, side)
    angles = np.sort(rng.uniform(0, 2 * np.pi / 3, 3) + np.array([0, 2, 4]) * np.pi / 3)
    away = np.radians(min(size, 60.0)) * rng.uniform(0.3, 1, 3)
    corners = [np.cos(r) * centre + np.sin(r) * (np.cos(t) * side + np.sin(t) * up)
               for r, t in zip(away, angles, strict=True)]
    sky = [(float(np.degrees(np.arctan2(y, x))) % 360, float(np.degrees(np.arctan2(z, np.hypot(x, y)))))
           for x, y, z in corners]  # fmt: skip
    return Polygon(tuple(sky)), np.array(corners)


@MANY
def test_boxes_and_triangles_equal_brute_force(sky: Connection, brute: dict[str, Rows], count: int) -> None:
    rng = np.random.default_rng(count)
    for number, (place, size) in enumerate(zip(directions(rng, count), radii(rng, count).tolist(), strict=True)):
        table = TABLES[number % 2]
        rows, size = brute[table], max(size, 1e-4)
        box = random_box(rng, place, min(size, 90.0))
        assert np.array_equal(np.isin(rows.key, found_by(sky, table, box)), in_box(rows, box)), box
        triangle, corners = random_triangle(rng, place, size)
        turn = np.sign(np.dot(np.cross(corners[0], corners[1]), corners[2]))
        normals = turn * np.cross(corners, np.roll(corners, -1, axis=0))
        height = unit_vectors(rows.ra, rows.dec) @ (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T
        wrong = np.isin(rows.key, found_by(sky, table, triangle)) != (height >= 0).all(axis=1)
        assert not (wrong & (np.abs(height).min(axis=1) > np.radians(BORDER_DEG))).any(), triangle


def found_by(sky: Connection, table: str, region: Region) -> np.ndarray:
    return key_of(sky.within(region, table=table, columns=KEYS[table]).arrow(), table)


def test_sql_finds_what_the_region_does(sky: Connection) -> None:
    rng = np.random.default_rng(13)
    for number, (place, size) in enumerate(zip(directions(rng, 60), radii(rng, 60).tolist(), strict=True)):
        table = TABLES[number % 2]
        box = random_box(rng, place, min(max(size, 0.01), 60.0))
        for region, call in (
            (Cone(*place, size), f"in_cone(ra, dec, {place[0]!r}, {place[1]!r}, {size!r})"),
            (box, f"in_box(ra, dec, {box.ra1!r}, {box.ra2!r}, {box.dec1!r}, {box.dec2!r})"),
        ):
            keys = ", ".join(KEYS[table])
            asked = key_of(sky.sql(f"SELECT {keys} FROM {table} WHERE {call}").arrow(), table)
            assert np.array_equal(np.sort(asked), np.sort(found_by(sky, table, region))), call


def test_sql_polygons_find_what_the_region_does(sky: Connection) -> None:
    rng = np.random.default_rng(14)
    for number, (place, size) in enumerate(zip(directions(rng, 8), (0.1, 1, 5, 10, 20, 30, 40, 60), strict=True)):
        triangle, _ = random_triangle(rng, place, size)
        table, vertices = TABLES[number % 2], [list(vertex) for vertex in triangle.vertices]
        query = f"SELECT {', '.join(KEYS[table])} FROM {table} WHERE in_polygon(ra, dec, {vertices})"
        assert np.array_equal(np.sort(key_of(sky.sql(query).arrow(), table)), np.sort(found_by(sky, table, triangle)))


def test_small_cones_read_few_cells(sky: Connection) -> None:
    """Completeness is not bought by reading everything."""
    atlas, total = Atlas(sky.snapshot), len(sky.snapshot.cells())
    rng = np.random.default_rng(15)
    read = [len(atlas.parts_of_region(Cone(ra, dec, 0.1))) for ra, dec in directions(rng, 200)]
    assert np.mean(read) < total / 10
    parts = atlas.parts_of_region(Cone(10.0, 10.0, 0.1))
    rows = CellStream(CellRows(sky.snapshot, "measurements", ("object_id",)), tuple(parts)).read()
    assert rows.num_rows < 200
