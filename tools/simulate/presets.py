"""What a simulated survey is made of: presets, switches, and how a survey grows with its number of detections."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from skydb.errors import UsageError, did_you_mean

SWITCHES: dict[str, str] = {
    "noise": "photon, sky and centroid noise, saturation, errors of the header's zero points",
    "floor": "15 mmag and 10 mas that no photon count explains",
    "flats": "10 mmag of smooth flat-field structure per chip and band",
    "chips": "8 mmag by which each chip and band misses its nominal zero point",
    "clouds": "up to 0.3 mag of cloud on 30% of the nights",
    "nights": "zero points and extinction that differ from night to night",
    "outliers": "2% of detections with a wrong magnitude",
    "variables": "1% of stars that vary",
    "spurious": "1% of detections that are no star, and a few forced measurements of faint stars",
    "motions": "proper motions and parallaxes",
    "galaxies": "extended sources",
    "pairs": "stars with a companion at 0.3 to 3 arcsec",
    "distortion": "third-order distortion of the camera, and polynomials of the chips",
    "astrometry": "50 mas by which header astrometry misses the sky",
}
"""What `without` can switch off."""

MJD_BEGIN = 56900
"""The first night: 2014-08-31, UTC."""


@dataclass(frozen=True)
class Patch:
    """One rectangle of sky about (`ra`, `dec`), in a grid of pointings.

    `density` multiplies the stars per area; `strip_sigma` (deg) heaps them about the rectangle's long axis, five
    times denser there than far from it; `clusters` is the number of star clusters.
    """

    name: str
    ra: float
    dec: float
    columns: int
    rows: int
    density: float = 1.0
    strip_sigma: float | None = None
    clusters: int = 0


@dataclass(frozen=True)
class Preset:
    """A survey before its random numbers are drawn."""

    name: str
    detections: int
    chips_across: int
    bands: tuple[str, ...]
    layers: int
    nights: int
    span_days: int
    patches: tuple[Patch, ...]

    @property
    def exposures(self) -> int:
        """The number of exposures: every pointing of every patch, in each band and layer."""
        return sum(p.columns * p.rows for p in self.patches) * len(self.bands) * self.layers


_SMALL = Preset(
    "small", 100_000, 2, ("g", "r"), 4, 10, 500,
    (
        Patch("meridian", 0.0, 20.0, 3, 2, clusters=2),
        Patch("strip", 290.0, 15.0, 3, 1, strip_sigma=0.15),
        Patch("pole", 0.0, 90.0, 2, 1),
    ),
)
_MEDIUM = Preset(
    "medium", 12_500_000, 4, ("g", "r", "i", "z", "y"), 3, 54, 1_100,
    (
        Patch("meridian", 0.0, 20.0, 5, 5, clusters=8),
        Patch("equator", 150.0, 2.0, 4, 4),
        Patch("strip", 290.0, 15.0, 7, 2, strip_sigma=0.4, clusters=4),
        Patch("pole", 0.0, 90.0, 4, 4),
    ),
)


def _grown(preset: Preset, factor: float) -> Preset:
    """Return the preset with so many times the sky, exposures and nights; at least one pointing a patch."""
    side = math.sqrt(factor)
    patches = tuple(
        replace(
            p, columns=max(1, round(p.columns * side)), rows=max(1, round(p.rows * side)),
            clusters=math.ceil(p.clusters * min(factor, 1e6)),
        )
        for p in preset.patches
    )
    span = int(np.clip(preset.span_days * factor, preset.span_days, 1_400))
    nights = int(np.clip(round(preset.nights * factor), 6, span // 2))
    return replace(preset, patches=patches, nights=nights, span_days=span)


PRESETS: dict[str, Preset] = {
    "small": _SMALL,
    "medium": _MEDIUM,
    "large": replace(_grown(_MEDIUM, 4.0), name="large", detections=50_000_000),
}


def preset_for(name: str, detections: int | None = None) -> Preset:
    """Return a preset, grown or shrunk to a number of detections.

    Raises
    ------
    UsageError
        The preset is not known, or the number of detections is not positive.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset named {name!r}", "--preset", did_you_mean(name, PRESETS))
    preset = PRESETS[name]
    if detections is None:
        return preset
    if detections < 1:
        raise UsageError(f"{detections} detections cannot be simulated", "--detections", "give a positive number")
    return replace(_grown(preset, detections / preset.detections), detections=detections)


def checked_switches(without: Collection[str]) -> frozenset[str]:
    """Return the switches as a set.

    Raises
    ------
    UsageError
        A name is not one of `SWITCHES`.
    """
    for name in without:
        if name not in SWITCHES:
            raise UsageError(f"nothing named {name!r} can be switched off", "--without", did_you_mean(name, SWITCHES))
    return frozenset(without)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random numbers of one part of the survey; parts do not depend on each other.

    Parameters
    ----------
    seed : the survey's seed
    key : which part: one of the constants below, then numbers within it
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


SKY, CAMERA, SCHEDULE, NIGHTS, EXPOSURE = range(5)
