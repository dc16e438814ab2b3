"""Regions as people write them, on the command line and in the log.

A region is its shape and its numbers, with or without brackets and commas: `cone 10.68 41.27 30arcmin`,
`box(350, 10, -5, 5)`, `polygon 0 0 10 0 5 8`, `moc footprint.fits`. The order is that of the SQL functions `in_cone`,
`in_box` and `in_polygon`, whose names are understood too.
"""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydb.errors import UsageError, did_you_mean

from .angles import parse_angle
from .moc import Moc, read_moc
from .regions import Box, Cone, Polygon


class Area(Protocol):
    """What can say whether a position lies in it: a region or a coverage map."""

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Return True for every position inside, in the shape that the coordinates broadcast to."""


SHAPES = {
    "cone": "cone RA DEC RADIUS",
    "box": "box RA1 RA2 DEC1 DEC2",
    "polygon": "polygon RA1 DEC1 RA2 DEC2 RA3 DEC3 …",
    "moc": "moc FILE",
}
"""How each region is written; degrees, or angles with a unit such as 5arcmin."""

_CALL = re.compile(r"\s*(?:in_)?([A-Za-z]+)\s*[\s(]\s*(.*?)\s*\)?\s*", re.DOTALL)


def parse_region(text: str) -> Area:
    """Return the region that a text describes.

    Raises
    ------
    UsageError
        An unknown shape, numbers that are too few, too many or no angles, or a region that cannot be.

    Examples
    --------
    >>> parse_region("cone 10 -20 30arcmin")
    Cone(ra=10.0, dec=-20.0, radius_deg=0.5)
    >>> parse_region("box(350, 10, -5, 5)")
    Box(ra1=350.0, ra2=10.0, dec1=-5.0, dec2=5.0)
    """
    match = _CALL.fullmatch(text)
    shape = match[1].lower() if match else ""
    if match is None or shape not in SHAPES:
        advice = did_you_mean(shape, SHAPES) if shape else "; ".join(SHAPES.values())
        raise UsageError(f"{text!r} is no region", "region", f"{advice}: such as 'cone 10.68 41.27 30arcmin'")
    if shape == "moc":
        return read_moc(match[2].strip("'\""))
    numbers = [parse_angle(word) for word in re.split(r"[\s,;()\[\]]+", match[2]) if word]
    if not _right_number(shape, len(numbers)):
        raise UsageError(f"{text!r} has {len(numbers)} numbers", "region", f"write {SHAPES[shape]}, in degrees")
    if shape == "polygon":
        return Polygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))
    return Cone(*numbers) if shape == "cone" else Box(*numbers)


def _right_number(shape: str, count: int) -> bool:
    return count >= 6 and count % 2 == 0 if shape == "polygon" else count == {"cone": 3, "box": 4}[shape]


def region_text(region: Area) -> str:
    """Return a text for people, and for the log, that says what a region is.

    >>> region_text(Cone(10, -20, 0.5))
    'cone 10 -20 0.5'
    """
    if isinstance(region, Cone):
        return _written("cone", region.ra, region.dec, region.radius_deg)
    if isinstance(region, Box):
        return _written("box", region.ra1, region.ra2, region.dec1, region.dec2)
    if isinstance(region, Polygon):
        return _written("polygon", *(number for vertex in region.vertices for number in vertex))
    return f"moc {region.name}" if isinstance(region, Moc) else repr(region)


def _written(shape: str, *numbers: float) -> str:
    """Write numbers in full, 10 and not 10.0."""
    return " ".join([shape, *(repr(float(number)).removesuffix(".0") for number in numbers)])
