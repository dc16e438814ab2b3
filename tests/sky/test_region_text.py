"""Regions as texts, and coverage maps against MOCPy."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skydb.errors import DataError, UsageError
from skydb.sky.moc import Moc, read_moc
from skydb.sky.region_text import parse_region, region_text
from skydb.sky.regions import AllSky, Box, Cone, Polygon

TRIANGLE = Polygon(((0.0, 0.0), (10.0, 0.0), (5.0, 8.0)))


@pytest.mark.parametrize(("text", "region"), [
    ("cone 10.5 -20 30arcmin", Cone(10.5, -20.0, 0.5)), ("in_cone(10.5, -20, 0.5)", Cone(10.5, -20.0, 0.5)),
    (" CONE ( 10.5 , -20 ,0.5 ) ", Cone(10.5, -20.0, 0.5)), ("box 350 10 -5 5", Box(350.0, 10.0, -5.0, 5.0)),
    ("in_box(350, 10, -5deg, 300arcmin)", Box(350.0, 10.0, -5.0, 5.0)), ("polygon 0 0 10 0 5 8", TRIANGLE),
    ("in_polygon([[0, 0], [10, 0], [5, 8]])", TRIANGLE), ("cone -1e-3 0 2'", Cone(-1e-3, 0.0, 1 / 30)),
])  # fmt: skip
def test_text_says_a_region_and_the_region_its_text(text: str, region: object) -> None:
    assert parse_region(text) == region
    assert parse_region(region_text(parse_region(text))) == region


@pytest.mark.parametrize(("text", "said"), [
    ("", "is no region"), ("10 20 30", "is no region"), ("circle 1 2 3", "no region; .*box, cone"),
    ("cone 1 2", "2 numbers; write cone RA DEC RADIUS"), ("box 1 2 3 4 5", "5 numbers; write box"),
    ("polygon 1 2 3 4", "4 numbers; write polygon"), ("polygon 1 2 3 4 5 6 7", "7 numbers; write polygon"),
    ("cone a b c", "'a' is not an angle"), ("cone 1 95 1", "no place on the sky"), ("cone 1 2 200", "radius of 200"),
    ("cone nan 1 1", "is not an angle"), ("moc nowhere.fits", "nowhere.fits: there is no such file"),
])  # fmt: skip
def test_what_is_no_region_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_region(text)


def test_other_regions_have_a_text_too() -> None:
    assert region_text(AllSky()) == "AllSky()"


def nuniq(path: Path, numbers: np.ndarray, **cards: object) -> Path:
    """A map as version 1 of the standard has it."""
    table = fits.BinTableHDU.from_columns([fits.Column("UNIQ", "K", array=numbers)])
    table.header.update({"ORDERING": "NUNIQ", "COORDSYS": "C", **cards})
    table.writeto(path, overwrite=True)
    return path


def test_pixels_of_a_map_are_those_of_their_numbers(tmp_path: Path) -> None:
    """uniq = 4**(order + 1) + npix, also of the very last pixel of order 29."""
    pixels = [(0, 11), (3, 5), (29, 12 * 4**29 - 4**29 - 1), (29, 0), (29, 1)]
    moc = read_moc(nuniq(tmp_path / "m.fits", np.array([4 ** (order + 1) + npix for order, npix in pixels])))
    expected = sorted((npix << 2 * (29 - order), (npix + 1) << 2 * (29 - order)) for order, npix in pixels)
    joined = [(0, 2), expected[2], (expected[3][0], expected[4][1])]
    assert moc.pixel_ranges.tolist() == [list(pair) for pair in joined]
    last = read_moc(nuniq(tmp_path / "m.fits", np.array([16 * 4**29 - 1])))
    assert last.pixel_ranges.tolist() == [[12 * 4**29 - 1, 12 * 4**29]]
    assert not read_moc(nuniq(tmp_path / "m.fits", np.empty(0, np.int64))).contains([1.0], [2.0]).any()


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 10.0), (350.0, -89.0), (120.0, 90.0)])
def test_map_of_mocpy_contains_what_mocpy_says(tmp_path: Path, ra: float, dec: float) -> None:
    mocpy, units = pytest.importorskip("mocpy"), pytest.importorskip("astropy.units")
    theirs = mocpy.MOC.from_cone(ra * units.deg, dec * units.deg, radius=3 * units.deg, max_depth=11)
    theirs.save(str(tmp_path / "m.fits"), format="fits")
    ours = parse_region(f"moc '{tmp_path / 'm.fits'}'")
    rng = np.random.default_rng(3)
    lon = (ra + rng.uniform(-180, 180, 20_000) * (1 if abs(dec) > 80 else 0.03)) % 360
    lat = np.clip(dec + rng.uniform(-5, 5, 20_000), -90, 90)
    inside = ours.contains(lon, lat)
    assert inside.tolist() == theirs.contains_lonlat(lon * units.deg, lat * units.deg).tolist()
    assert 0.05 < inside.mean() < 0.95
    assert pickle.loads(pickle.dumps(ours)).contains(lon, lat).tolist() == inside.tolist()
    assert ours.contains([np.nan, 1.0, np.inf], [1.0, np.nan, 0.0]).tolist() == [False] * 3
    assert ours.contains(lon[0] - 360, lat[0]) == inside[0]
    assert isinstance(ours, Moc)
    assert region_text(ours) == f"moc {tmp_path / 'm.fits'}"


def test_files_that_are_no_map_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.fits").write_text("no FITS")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    bad = {
        "text.fits": "cannot be read as FITS", "empty.fits": "no spatial MOC",
        nuniq(tmp_path / "time.fits", np.array([4]), MOCDIM="TIME").name: "no spatial MOC",
        nuniq(tmp_path / "gal.fits", np.array([4]), COORDSYS="G").name: "coordinates are G",
        nuniq(tmp_path / "low.fits", np.array([3])).name: "no pixels",
        nuniq(tmp_path / "high.fits", np.array([2**62])).name: "no pixels",
        nuniq(tmp_path / "odd.fits", np.array([5]), ORDERING="RANGE").name: "no pixels",
    }
    for name, said in bad.items():
        with pytest.raises(DataError, match=said):
            read_moc(tmp_path / name)
