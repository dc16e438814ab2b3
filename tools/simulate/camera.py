"""The camera: chips in their grid, distortion, flat-field structure, nominal and true zero points, photcodes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydb.calibration.astrometric import AstrometricModel, ChipMap, FocalMap
from skydb.calibration.planes import Plane, Term
from skydb.flags import PhotFlags

from .presets import CAMERA, stream

Array = NDArray[np.float64]

NAME = "SIMCAM"
CHIP_PIXELS = 3_600
GAP_PIXELS = 54
PIXEL_ARCSEC, PIXEL_MICRON = 0.25, 10.0
DEG_PER_MICRON = PIXEL_ARCSEC / PIXEL_MICRON / 3600.0
MICRON_PER_MAS = PIXEL_MICRON / (PIXEL_ARCSEC * 1000.0)

BAND_NUMBERS = {"g": 1, "r": 2, "i": 3, "z": 4, "y": 5}
ZERO_POINTS = {"g": 24.563, "r": 24.750, "i": 24.611, "z": 24.240, "y": 23.320}
SLOPES = {"g": -0.147, "r": -0.085, "i": -0.044, "z": -0.033, "y": -0.041}
"""Nominal K: mag per airmass."""

CHIP_ERROR = np.array((30.0 * MICRON_PER_MAS, 30.0 * MICRON_PER_MAS, 1e-5))
"""Lasting errors of a chip's place in the headers: micron, micron, radian."""

CHIP_SIGMA, FLAT_SIGMA = 0.008, 0.010
FLOOR_MAG, FLOOR_ARCSEC = 0.015, 0.010
POOR_BITS = int(PhotFlags.EXT_LIMIT | PhotFlags.POOR)
"""Galaxies: their PSF magnitudes follow the seeing."""
BAD_BITS = int(PhotFlags.SATSTAR | PhotFlags.SATURATED | PhotFlags.CR_LIMIT | PhotFlags.DEFECT | PhotFlags.FAIL)

FLAT_ORDERS = tuple((i, j) for total in (1, 2, 3) for i in range(total, -1, -1) for j in (total - i,))
"""Legendre orders in x and y of the flat-field structure; no constant, so that every flat has mean 0."""

_CAMERA_TERMS = (
    Term(2, 0, 3e-4, 1e-4), Term(1, 1, 2e-4, 2e-4), Term(0, 2, 1e-4, 3e-4),
    Term(3, 0, 0.02, 0.0), Term(2, 1, 0.0, 0.02), Term(1, 2, 0.02, 0.0), Term(0, 3, 0.0, 0.02),
)
_CHIP_ORDERS = ((2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))


@dataclass(frozen=True)
class Chip:
    """One chip: its map to the focal plane as headers give it, and what it is in truth.

    `error` is the lasting part of the header's astrometric error: shift in x and y (micron), turn (radian).
    Per band: `code` and `zero_point` of its photcode, `offset` (mag, part of mcal) by which it misses that, and
    `flat`, Legendre coefficients (mag, in the order of `FLAT_ORDERS`) of what is to be subtracted.
    """

    name: str
    map: ChipMap
    error: tuple[float, float, float]
    code: tuple[int, ...]
    zero_point: tuple[float, ...]
    offset: tuple[float, ...]
    flat: tuple[tuple[float, ...], ...]

    def photcode(self, band: str) -> str:
        """The name of its photcode in a band."""
        return f"{NAME}.{band}.{self.name}"


@dataclass(frozen=True)
class Camera:
    """All chips, and the distortion that they share."""

    bands: tuple[str, ...]
    chips: tuple[Chip, ...]
    terms: tuple[Term, ...]
    chips_across: int

    @property
    def pixels_across(self) -> int:
        """Width and height of the focal plane in pixels."""
        return self.chips_across * CHIP_PIXELS + (self.chips_across - 1) * GAP_PIXELS

    @property
    def width(self) -> float:
        """Width and height of the field of view, deg."""
        return self.pixels_across * PIXEL_ARCSEC / 3600.0

    def pointed(self, ra: float, dec: float, angle: float) -> FocalMap:
        """The map of the focal plane to the sky when the camera looks at (ra, dec), turned by an angle (deg)."""
        upright = Plane((35.0, -20.0), (DEG_PER_MICRON, DEG_PER_MICRON), terms=self.terms).rotated(angle)
        # Seen from below, x runs to the west.
        a, b, c, d = upright.pc
        terms = tuple(Term(t.i, t.j, -t.first, t.second) for t in upright.terms)
        return FocalMap(Plane(upright.crpix, upright.cdelt, (-a, -b, c, d), terms), ra, dec)


def true_model(chip: Chip, focal: FocalMap, error: Array) -> AstrometricModel:
    """The sky as the light falls on a chip; headers give `AstrometricModel(focal, chip.map)`.

    Parameters
    ----------
    error : (2,) micron
        This exposure's part of the header's error, in the focal plane.
    """
    origin = (chip.map.origin[0] + chip.error[0] + error[0], chip.map.origin[1] + chip.error[1] + error[1])
    if not any(chip.error) and not error.any():
        return AstrometricModel(focal, chip.map)
    return AstrometricModel(focal, ChipMap(chip.map.plane.rotated(np.degrees(chip.error[2])), origin))


def flat_at(coefficients: ArrayLike, x: ArrayLike, y: ArrayLike) -> Array:
    """Flat-field structure (mag, to be subtracted) at pixels of a chip.

    Parameters
    ----------
    coefficients : (9,) mag
        In the order of `FLAT_ORDERS`.
    x, y : (N,) pixel
    """
    grid = np.zeros((4, 4))
    for (i, j), value in zip(FLAT_ORDERS, np.asarray(coefficients), strict=True):
        grid[i, j] = value
    scale = 2.0 / CHIP_PIXELS
    return np.asarray(np.polynomial.legendre.legval2d(np.asarray(x) * scale - 1.0, np.asarray(y) * scale - 1.0, grid))


def build_camera(seed: int, bands: tuple[str, ...], *, chips_across: int, without: Collection[str] = ()) -> Camera:
    """Draw a camera: places and polynomials of chips, zero points, flats."""
    chips = tuple(
        _draw_chip(stream(seed, CAMERA, column, row), bands, (column, row), chips_across, without=without)
        for row in range(chips_across)
        for column in range(chips_across)
    )
    return Camera(bands, chips, () if "distortion" in without else _CAMERA_TERMS, chips_across)


def _draw_chip(
    rng: np.random.Generator, bands: tuple[str, ...], place: tuple[int, int], across: int, *, without: Collection[str]
) -> Chip:
    column, row = place
    chip_map = _draw_map(rng, place, across, bent="distortion" not in without)
    error = CHIP_ERROR * rng.standard_normal(3) * ("astrometry" not in without)
    draws = 0.015 * rng.standard_normal(len(bands))
    zero = tuple(round(ZERO_POINTS[b] + float(draw), 3) for b, draw in zip(bands, draws, strict=True))
    offset = CHIP_SIGMA * rng.standard_normal(len(bands)) * ("chips" not in without)
    flat = _draw_flats(rng, len(bands)) * ("flats" not in without)
    number = row * across + column + 1
    return Chip(
        f"XY{column}{row}", chip_map, (float(error[0]), float(error[1]), float(error[2])),
        tuple(10_000 + 100 * (BAND_NUMBERS[b] - 1) + number for b in bands),
        zero, tuple(float(v) for v in offset), tuple(tuple(float(v) for v in f) for f in flat),
    )


def _draw_map(rng: np.random.Generator, place: tuple[int, int], across: int, *, bent: bool) -> ChipMap:
    """Place a chip in its grid, to 100 micron and 0.5 mrad, with polynomials of some hundredths of a pixel."""
    pitch = (CHIP_PIXELS + GAP_PIXELS) * PIXEL_MICRON
    edge = -(across * pitch - GAP_PIXELS * PIXEL_MICRON) / 2.0
    shift, turn = 100.0 * rng.standard_normal(2), np.degrees(5e-4 * rng.standard_normal())
    size = np.where(np.sum(_CHIP_ORDERS, axis=1) == 2, 5e-10, 2e-14)
    values = size * rng.standard_normal((2, len(_CHIP_ORDERS))) * bent
    terms = tuple(Term(i, j, float(a), float(b)) for (i, j), a, b in zip(_CHIP_ORDERS, *values, strict=True))
    plane = Plane((0.0, 0.0), (PIXEL_MICRON, PIXEL_MICRON), terms=terms if bent else ()).rotated(float(turn))
    return ChipMap(plane, (edge + place[0] * pitch + float(shift[0]), edge + place[1] * pitch + float(shift[1])))


def _draw_flats(rng: np.random.Generator, bands: int) -> Array:
    """Coefficients (bands, 9), each band's structure scaled to rms `FLAT_SIGMA` over the chip."""
    orders = np.array(FLAT_ORDERS)
    norm = 1.0 / ((2 * orders[:, 0] + 1) * (2 * orders[:, 1] + 1))
    draws = rng.standard_normal((bands, len(orders))) / orders.sum(axis=1)
    rms = np.sqrt((draws**2 * norm).sum(axis=1, keepdims=True))
    return np.asarray(FLAT_SIGMA * draws / rms)


def photcode_text(camera: Camera, *, floor: bool) -> str:
    """Return the photcode table in DVO's text format.

    Parameters
    ----------
    floor : whether measurements have the systematic errors that the table then states
    """
    sys_arcsec, sys_mag = (FLOOR_ARCSEC, FLOOR_MAG) if floor else (0.0, 0.0)
    head = "code name type zero airmass offset c1 c2 slope color primary"
    lines = [f"# {head} astErrSys astErrScale astErrMagScale photErrSys astPoor astBad photPoor photBad"]
    lines += [f"{BAND_NUMBERS[b]} {b} sec 0.0 0.0 0.0 - - 0.0 0.0 -" for b in camera.bands]
    for k, band in enumerate(camera.bands):
        lines += [
            f"{c.code[k]} {c.photcode(band)} dep {c.zero_point[k]:.3f} {SLOPES[band]:.3f} 0.0 - - 0.0 0.0 {band}"
            f" {sys_arcsec:.3f} 1.0 0.0 {sys_mag:.3f} {POOR_BITS:#x} {BAD_BITS:#x} {POOR_BITS:#x} {BAD_BITS:#x}"
            for c in camera.chips
        ]
    return "\n".join(lines) + "\n"
