"""The true sky: stars, variables, clusters, close pairs and galaxies of every patch."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from skydb.calibration.zenithal import tangent_to_sky

from .atmosphere import earth_position
from .presets import SKY, Patch, Preset, stream
from .schedule import patch_extent

Array = NDArray[np.float64]

REFERENCE_MJD = 57388.5
"""TAI day at which true positions hold: J2016.0, to a minute."""

MAG_BRIGHT, MAG_FAINT = 13.0, 23.0
"""Range of r magnitudes."""

STAR_SLOPE, GALAXY_SLOPE = 0.20, 0.38
"""How numbers grow with magnitude, dex/mag."""

GALAXY_FRACTION, VARIABLE_FRACTION, PAIR_FRACTION, CLUSTER_FRACTION = 0.10, 0.01, 0.006, 0.04
PAIR_ARCSEC = (0.3, 3.0)
MAS = np.radians(1.0 / 3_600_000.0)

BAND_SWING = {"g": 1.0, "r": 0.8, "i": 0.65, "z": 0.55, "y": 0.5}
"""How strongly variables vary in each band, relative to g."""


@dataclass(frozen=True)
class Stars:
    """Columns of the truth table `stars`, one row per star or galaxy of one patch or of all.

    `mag` is (N, bands): mean magnitudes of the whole light. `period` (d) is 0 for constant stars, `swing` the peak
    to peak amplitude in g; `pulsating` ones rise fast and fall slowly. `half_light` (arcsec) is 0 for stars.
    """

    star_id: NDArray[np.int64]
    patch: NDArray[np.int16]
    ra: Array
    dec: Array
    pm_ra: Array
    pm_dec: Array
    parallax: Array
    mag: Array
    half_light: Array
    period: Array
    swing: Array
    phase: Array
    pulsating: NDArray[np.bool_]
    pair: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.star_id.size)

    def take(self, rows: NDArray[Any]) -> Stars:
        """Return some rows."""
        return Stars(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def table(self, bands: tuple[str, ...]) -> pa.Table:
        """The truth table: the columns above, `mag` cut into `mag_g` and so on."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "mag"}
        columns |= {f"mag_{band}": self.mag[:, k] for k, band in enumerate(bands)}
        return pa.table(columns)

    @classmethod
    def from_table(cls, table: pa.Table, bands: tuple[str, ...]) -> Stars:
        """Build the columns from the truth table."""
        columns = {n: table.column(n).to_numpy() for n in cls.__dataclass_fields__ if n != "mag"}
        mag = np.column_stack([table.column(f"mag_{band}").to_numpy() for band in bands])
        return cls(**columns, mag=mag)


def draw_sky(
    seed: int, preset: Preset, field_width: float, *, number: int, without: Collection[str] = ()
) -> Stars:
    """Draw so many stars and galaxies, in random order over all patches.

    Close companions directly follow their star, so that any beginning of the list is a fair sample of the whole.
    """
    rng = stream(seed, SKY)
    patch, ra, dec = _draw_positions(seed, rng, preset, field_width=field_width, number=number)
    galaxy = (rng.random(number) < GALAXY_FRACTION * ("galaxies" not in without))
    mag = _draw_magnitudes(rng, galaxy, preset.bands)
    motion = _draw_motions(rng, number) * (~galaxy & ("motions" not in without))
    half_light = np.where(galaxy, np.clip(0.6 * np.exp(0.5 * rng.standard_normal(number)), 0.2, 3.0), 0.0)
    period, swing, phase, pulsating = _draw_variables(rng, ~galaxy & ("variables" not in without))
    pair = (rng.random(number) < PAIR_FRACTION) & ("pairs" not in without)
    _place_companions(rng, pair, patch, ra, dec)
    return Stars(
        np.arange(number), patch, ra, dec, motion[0], motion[1], motion[2], mag, half_light,
        period, swing, phase, pulsating, pair,
    )


def _place_companions(rng: np.random.Generator, pair: NDArray[np.bool_], *places: NDArray[Any]) -> None:
    """Move the marked stars next to the star before them, in place; a companion's companion stays where it is."""
    patch, ra, dec = places
    pair[0] = False
    pair[1:] &= ~pair[:-1]
    rows = np.flatnonzero(pair)
    separation = rng.uniform(*PAIR_ARCSEC, rows.size) / 3600.0
    angle = rng.uniform(0.0, 2.0 * np.pi, rows.size)
    patch[rows] = patch[rows - 1]
    dec[rows] = np.clip(dec[rows - 1] + separation * np.cos(angle), -90.0, 90.0)
    ra[rows] = (ra[rows - 1] + separation * np.sin(angle) / np.cos(np.radians(dec[rows - 1]))) % 360.0


def _draw_positions(
    seed: int, rng: np.random.Generator, preset: Preset, *, field_width: float, number: int
) -> tuple[NDArray[np.int16], Array, Array]:
    extents = [patch_extent(p, field_width) for p in preset.patches]
    plans = list(zip(preset.patches, extents, strict=True))
    weight = np.array([4.0 * w * h * p.density * _strip_excess(p, h) for p, (w, h) in plans])
    patch = rng.choice(len(extents), size=number, p=weight / weight.sum()).astype(np.int16)
    ra, dec = np.empty(number), np.empty(number)
    for k, (plan, extent) in enumerate(plans):
        rows = np.flatnonzero(patch == k)
        own = stream(seed, SKY, k)
        clusters = own.uniform(-0.8, 0.8, (2, plan.clusters)), own.uniform(0.02, 0.08, plan.clusters)
        xi, eta = _draw_plane(rng, plan, extent, number=rows.size, clusters=clusters)
        ra[rows], dec[rows] = tangent_to_sky(xi, eta, plan.ra, plan.dec)
    return patch, ra, dec


def _strip_excess(patch: Patch, half_height: float) -> float:
    """Mean density of a patch with a strip, relative to the density far from the strip."""
    if patch.strip_sigma is None:
        return 1.0
    return 1.0 + 4.0 * math.sqrt(2.0 * math.pi) * patch.strip_sigma / (2.0 * half_height)


def _draw_plane(
    rng: np.random.Generator, patch: Patch, extent: tuple[float, float], *, number: int, clusters: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Draw points of the tangent plane: uniform on the sky, heaped in the strip and in clusters.

    `clusters` are the middles (2, K), as fractions of the extent, and the radii (K,) in degrees.
    """
    xi, eta = rng.uniform(-extent[0], extent[0], number), rng.uniform(-extent[1], extent[1], number)
    far = rng.random(number) > (1.0 + np.radians(xi) ** 2 + np.radians(eta) ** 2) ** -1.5
    while far.any():  # the plane's area grows away from its centre; the sky's does not
        xi[far], eta[far] = rng.uniform(-extent[0], extent[0], far.sum()), rng.uniform(-extent[1], extent[1], far.sum())
        far &= rng.random(number) > (1.0 + np.radians(xi) ** 2 + np.radians(eta) ** 2) ** -1.5
    if patch.strip_sigma is not None:
        heaped = rng.random(number) > 1.0 / _strip_excess(patch, extent[1])
        offset = patch.strip_sigma * rng.standard_normal(number)
        eta = np.where(heaped & (np.abs(offset) < extent[1]), offset, eta)
    if patch.clusters:
        middle, radius = clusters
        middle = middle * np.array(extent)[:, None]
        rows = np.flatnonzero(rng.random(number) < CLUSTER_FRACTION)
        member = rng.integers(patch.clusters, size=rows.size)
        xi[rows] = middle[0, member] + radius[member] * rng.standard_normal(rows.size)
        eta[rows] = middle[1, member] + radius[member] * rng.standard_normal(rows.size)
    return xi, eta


def _draw_magnitudes(rng: np.random.Generator, galaxy: NDArray[np.bool_], bands: tuple[str, ...]) -> Array:
    """Draw mean magnitudes (N, bands): exponential counts in r, colours along a stellar locus."""
    number = galaxy.size
    slope = np.where(galaxy, GALAXY_SLOPE, STAR_SLOPE)
    span = 10.0 ** (slope * (MAG_FAINT - MAG_BRIGHT)) - 1.0
    r = MAG_BRIGHT + np.log10(1.0 + rng.random(number) * span) / slope
    kind = rng.random(number)
    gr = np.where(kind < 0.55, 0.5 + 0.2 * rng.standard_normal(number), 1.35 + 0.13 * rng.standard_normal(number))
    gr = np.where(kind > 0.93, rng.uniform(-0.3, 1.5, number), gr)
    ri = 0.35 * gr + np.where(gr > 1.15, rng.uniform(0.0, 1.2, number), 0.0) + 0.03 * rng.standard_normal(number)
    iz = 0.45 * ri + 0.02 * rng.standard_normal(number)
    zy = 0.5 * iz + 0.02 * rng.standard_normal(number)
    by_band = {"g": r + gr, "r": r, "i": r - ri, "z": r - ri - iz, "y": r - ri - iz - zy}
    return np.column_stack([by_band[band] for band in bands])


def _draw_motions(rng: np.random.Generator, number: int) -> Array:
    """Draw (3, N): motions in RA cos(dec) and Dec, mas/yr, and parallaxes, mas, that go with them."""
    kind = rng.random(number)
    scale = np.select([kind < 0.0005, kind < 0.01, kind < 0.10], [300.0, 50.0, 15.0], 4.0)
    motion = scale * rng.standard_normal((2, number))
    speed = 40.0 * np.exp(0.4 * rng.standard_normal(number))
    return np.asarray(np.vstack([motion, 4.74 * np.hypot(*motion)[None] / speed]))


def _draw_variables(
    rng: np.random.Generator, may_vary: NDArray[np.bool_]
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    number = may_vary.size
    varies = (rng.random(number) < VARIABLE_FRACTION) & may_vary
    pulsating = varies & (rng.random(number) < 0.3)
    period = np.where(pulsating, rng.uniform(0.4, 0.75, number), 10.0 ** rng.uniform(-1.0, 2.5, number))
    swing = np.where(pulsating, rng.uniform(0.4, 1.2, number), 10.0 ** rng.uniform(-1.3, -0.2, number))
    return np.where(varies, period, 0.0), np.where(varies, swing, 0.0), rng.random(number), pulsating


def positions_at(stars: Stars, mjd_tai: float) -> tuple[Array, Array]:
    """True directions at a time: motion along the tangent, and parallax.

    Returns
    -------
    ra, dec : (N,) deg ICRS
        Seen from the Earth, without aberration (the header's astrometry absorbs it).
    """
    a, d = np.radians(stars.ra), np.radians(stars.dec)
    east = np.array([-np.sin(a), np.cos(a), np.zeros(len(stars))])
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    direction = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    years = (mjd_tai - REFERENCE_MJD) / 365.25
    direction += MAS * years * (stars.pm_ra * east + stars.pm_dec * north)
    direction -= MAS * stars.parallax * earth_position(mjd_tai)[:, None]
    ra = np.degrees(np.arctan2(direction[1], direction[0])) % 360.0
    return ra, np.degrees(np.arctan2(direction[2], np.hypot(direction[0], direction[1])))


def brightness_at(stars: Stars, mjd_tai: float, band: str, mean: ArrayLike) -> Array:
    """Magnitudes at a time: the means plus what variables do, whose mean over a period is 0."""
    mean = np.asarray(mean, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        phase = (stars.phase + np.where(stars.period > 0, mjd_tai / stars.period, 0.0)) % 1.0
    saw = np.where(phase < 0.85, phase / 0.85, (1.0 - phase) / 0.15) - 0.5
    shape = np.where(stars.pulsating, saw, 0.5 * np.sin(2.0 * np.pi * phase))
    return np.asarray(mean + BAND_SWING[band] * stars.swing * shape)
