"""Astrometry as data: pixels of a chip → focal plane → tangent plane → sky.

A mosaic's chip (header type WRP) maps its pixels to the focal plane; its exposure (type DIS) maps the focal plane
to the sky. A single-chip image (type TAN, with or without SIP or PV terms, or another projection about a point) maps
its pixels to the sky at once. Header conventions are DVO's and those of FITS, read and written by `wcs_cards`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skydb.errors import DataError

from .planes import Plane
from .wcs_cards import WcsCards, plane_cards, radial_cards, read_cards
from .zenithal import projected_to_sky, sky_to_projected

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ChipMap:
    """Pixels of a chip → focal plane; `origin` is the focal-plane position of pixel `plane.crpix`."""

    plane: Plane
    origin: tuple[float, float] = (0.0, 0.0)

    def to_focal(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Focal-plane position (usually microns) of pixels; NaN for NaN."""
        first, second = self.plane.forward(*_columns(x, y))
        return first + self.origin[0], second + self.origin[1]

    def to_pixel(self, x_focal: ArrayLike, y_focal: ArrayLike) -> tuple[Array, Array]:
        """Pixel at focal-plane positions; NaN where the polynomial has no inverse there."""
        first, second = _columns(x_focal, y_focal)
        return self.plane.inverse(first - self.origin[0], second - self.origin[1])

    def cards(self) -> dict[str, str | int | float]:
        """Header cards, type WRP."""
        return plane_cards(self.plane, "WRP", self.origin)


@dataclass(frozen=True)
class FocalMap:
    """Focal plane (or the pixels of a single chip) → sky, about the tangent point (`ra`, `dec`) in degrees ICRS.

    `projection` is TAN, another of `zenithal.PROJECTIONS` (`radial` holds the coefficients of ZPN), or LIN: then the
    plane's output are offsets in ra and dec themselves.
    """

    plane: Plane
    ra: float
    dec: float
    projection: str = "TAN"
    radial: tuple[float, ...] = ()

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """ra in [0, 360) and dec, deg ICRS, of focal-plane positions; NaN for NaN."""
        first, second = self.plane.forward(*_columns(x, y))
        if self.projection == "LIN":
            return (self.ra + first) % 360.0, self.dec + second
        return projected_to_sky(first, second, self.ra, self.dec, self.projection, self.radial)

    def to_focal(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Array, Array]:
        """Focal-plane positions of the sky; NaN where the projection does not show it, or there is no inverse.

        A tangent plane shows what is nearer than 90° to its point.
        """
        first, second = _columns(ra, dec)
        if self.projection == "LIN":
            return self.plane.inverse((first - self.ra + 180.0) % 360.0 - 180.0, second - self.dec)
        plane = sky_to_projected(first, second, self.ra, self.dec, self.projection, self.radial)
        return self.plane.inverse(*plane)

    def cards(self, kind: str = "DIS") -> dict[str, str | int | float]:
        """Header cards, type DIS for an exposure or TAN for a single chip; else that of the projection."""
        kind = kind if self.projection == "TAN" else self.projection
        return plane_cards(self.plane, kind, (self.ra, self.dec)) | radial_cards(self.radial)

    def to_json(self) -> str:
        """Return the map as JSON text, with every bit of its numbers."""
        return self._json

    @cached_property
    def _json(self) -> str:  # kept: all chips of an exposure repeat it
        radial = {"radial": list(self.radial)} if self.radial else {}
        return _dumps({
            "plane": self.plane.to_dict(), "ra": self.ra, "dec": self.dec, "projection": self.projection, **radial,
        })  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> FocalMap:
        """Build the map from what `to_json` returned."""
        return _focal_from(json.loads(text))


@dataclass(frozen=True)
class AstrometricModel:
    """Pixels of one image → sky, through the focal plane where the image is a chip of a mosaic."""

    focal: FocalMap
    chip: ChipMap | None = None

    @classmethod
    def from_headers(
        cls, chip_header: Mapping[str, Any], exposure_header: Mapping[str, Any] | FocalMap | None = None
    ) -> AstrometricModel:
        """Build the model from header keywords.

        Parameters
        ----------
        chip_header : keyword → value
            Header of the image: type WRP, DIS, TAN (with or without SIP), TPV, SIN, STG, ARC, ZEA, ZPN, PLY or LIN.
        exposure_header : keyword → value, optional
            Header of the mosaic, type DIS, or what was read of it already; used, and required, only for a chip of
            type WRP.

        Raises
        ------
        DataError
            A keyword is absent or no number, the projection is not known, or a WRP chip has no DIS parent.
        """
        chip = read_cards(chip_header)
        if chip.kind != "WRP":
            return cls(_focal_map(chip))
        parent = "give the exposure's header, of type DIS"
        if exposure_header is None:
            raise DataError("a chip of type WRP needs its exposure's astrometry", "CTYPE2", parent)
        if isinstance(exposure_header, FocalMap):
            return cls(exposure_header, ChipMap(chip.plane, chip.crval))
        exposure = read_cards(exposure_header)
        if exposure.kind == "WRP":
            raise DataError("the exposure's astrometry has type WRP", "CTYPE2", parent)
        return cls(_focal_map(exposure), ChipMap(chip.plane, chip.crval))

    def pixel_to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Sky positions of pixels.

        Parameters
        ----------
        x, y : (N,) pixel
            In the convention of the file that the model comes from.

        Returns
        -------
        ra, dec : (N,) deg
            ICRS, ra in [0, 360); NaN where x or y is NaN.
        """
        if self.chip is not None:
            x, y = self.chip.to_focal(x, y)
        return self.focal.to_sky(x, y)

    def sky_to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Array, Array]:
        """Pixels of sky positions.

        Parameters
        ----------
        ra, dec : (N,) deg

        Returns
        -------
        x, y : (N,) pixel
            NaN behind the tangent plane (90° and more from the tangent point) and where the polynomials have
            no inverse near the linear solution.
        """
        x, y = self.focal.to_focal(ra, dec)
        return (x, y) if self.chip is None else self.chip.to_pixel(x, y)

    def chip_cards(self) -> dict[str, str | int | float]:
        """Header cards of the image: type WRP for a chip of a mosaic, TAN otherwise."""
        return self.focal.cards("TAN") if self.chip is None else self.chip.cards()

    def exposure_cards(self) -> dict[str, str | int | float]:
        """Header cards of the exposure, type DIS; none for a single-chip image."""
        return {} if self.chip is None else self.focal.cards("DIS")

    def to_json(self) -> str:
        """Return the model as JSON text, with every bit of its numbers."""
        chip = None if self.chip is None else {"plane": self.chip.plane.to_dict(), "origin": list(self.chip.origin)}
        return f'{{"focal":{self.focal.to_json()},"chip":{_dumps(chip)}}}'

    @classmethod
    def from_json(cls, text: str) -> AstrometricModel:
        """Build the model from what `to_json` returned."""
        data = json.loads(text)
        chip = data["chip"]
        return cls(
            _focal_from(data["focal"]),
            None if chip is None else ChipMap(Plane.from_dict(chip["plane"]), tuple(chip["origin"])),
        )


def _focal_map(cards: WcsCards) -> FocalMap:
    return FocalMap(cards.plane, *cards.crval, "TAN" if cards.kind == "DIS" else cards.kind, cards.radial)


def _dumps(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def _focal_from(data: dict[str, Any]) -> FocalMap:
    radial = tuple(data.get("radial", ()))
    return FocalMap(Plane.from_dict(data["plane"]), data["ra"], data["dec"], data["projection"], radial)


def _columns(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Two contiguous float64 columns of one length."""
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        first, second = np.broadcast_arrays(first, second)
    return np.ascontiguousarray(np.atleast_1d(first)), np.ascontiguousarray(np.atleast_1d(second))
