"""Images and exposures of a mapped table: one row of each per distinct start, photcode, chip and exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from skydb.schema.identity import exposure_id, image_id, image_key, key_parts
from skydb.schema.photcodes import Photcode
from skydb.schema.tables import EXPOSURES, IMAGES

from .table_columns import BlockColumns, codes_of, floats, wrapped

MILLISECONDS_PER_DAY = 86_400_000


@dataclass(frozen=True)
class Moments:
    """When rows were measured: TAI at mid-exposure, UTC at the start (MJD), exposure time in seconds (NaN: none)."""

    mjd: np.ndarray
    utc_start: np.ndarray
    exptime: np.ndarray

    def take(self, rows: np.ndarray) -> Moments:
        """Return the moments of some rows."""
        return Moments(self.mjd[rows], self.utc_start[rows], self.exptime[rows])

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Return the moments of several sets of rows, one after another."""
        return cls(
            np.concatenate([p.mjd for p in parts]),
            np.concatenate([p.utc_start for p in parts]),
            np.concatenate([p.exptime for p in parts]),
        )


@dataclass(frozen=True)
class ImageColumns:
    """The mapped columns of `images` and `exposures`, converted, one row per row of the block."""

    images: dict[str, pa.Array]
    exposures: dict[str, pa.Array]

    @classmethod
    def of(cls, block: BlockColumns) -> ImageColumns:
        """Convert the mapped columns of a block."""
        images = {name: block.value(IMAGES[name], rule) for name, rule in block.mapping.images.items()}
        exposures = {name: block.value(EXPOSURES[name], rule) for name, rule in block.mapping.exposures.items()}
        for columns in (images, exposures):
            if "ra" in columns:
                columns["ra"] = _nullable(wrapped(floats(columns["ra"])))
        return cls(images, exposures)

    def take(self, rows: np.ndarray) -> ImageColumns:
        """Return some rows."""
        at = pa.array(rows)
        return ImageColumns({n: a.take(at) for n, a in self.images.items()},
                            {n: a.take(at) for n, a in self.exposures.items()})  # fmt: skip

    def key_columns(self, moments: Moments, photcode: np.ndarray) -> list[pa.Array]:
        """Return what makes an image: start to the millisecond, photcode, chip, exposure."""
        day = np.floor(moments.utc_start)
        milliseconds = day * MILLISECONDS_PER_DAY + np.rint((moments.utc_start - day) * MILLISECONDS_PER_DAY)
        parts = [pa.array(milliseconds.astype(np.int64)), pa.array(photcode)]
        parts += [self.images["chip"]] if "chip" in self.images else []
        return parts + ([self.exposures["name"]] if "name" in self.exposures else [])


def first_rows(images: ImageColumns, moments: Moments, photcode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of every image, in order of appearance, and the image (its place there) of every row."""
    _, first, image = np.unique(
        codes_of(images.key_columns(moments, photcode)), return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[image]


def image_tables(
    columns: ImageColumns, moments: Moments, photcodes: list[Photcode], *, kind: str, file: str
) -> tuple[pa.Table, pa.Table]:
    """Return the rows of `images` and of `exposures`, one of each per row of the columns."""
    n = len(photcodes)
    chips = columns.images["chip"].to_pylist() if "chip" in columns.images else [None] * n
    names = columns.exposures["name"].to_pylist() if "name" in columns.exposures else [None] * n
    starts = moments.utc_start.tolist()
    keys = [
        image_key(kind=kind, utc_start=start, photcode=code.name, chip=chip, exposure=name)
        for start, code, chip, name in zip(starts, photcodes, chips, names, strict=True)
    ]
    exposures = [exposure_id(kind=kind, utc_start=s, name=name) for s, name in zip(starts, names, strict=True)]
    common = _common(moments, exposures, kind)
    images: dict[str, Any] = {
        "image_id": pa.array([image_id(key) for key in keys], pa.int64()), "image_key": pa.array(keys),
        "name": pa.array([f"{file}[{' '.join(filter(None, key_parts(key)[1:]))}]" for key in keys]),
        "code": pa.array([code.code for code in photcodes], pa.int32()),
        **common, **_with_circle(columns.images),
    }  # fmt: skip
    longitude = floats(columns.exposures["longitude"]) if "longitude" in columns.exposures else np.zeros(n)
    rows = {**common, "night": nights(moments.utc_start, longitude), **columns.exposures}
    return IMAGES.conform(pa.table(images)), EXPOSURES.conform(pa.table(rows))


def _common(moments: Moments, exposures: list[int], kind: str) -> dict[str, Any]:
    return {
        "exposure_id": pa.array(exposures, pa.int64()),
        "kind": pa.array([kind] * len(exposures)),
        "mjd": pa.array(moments.mjd, mask=np.isnan(moments.mjd)),
        "utc_start": pa.array(moments.utc_start, mask=np.isnan(moments.utc_start)),
        "exptime": pa.array(moments.exptime, mask=np.isnan(moments.exptime)),
    }


def nights(utc_start: np.ndarray, longitude: np.ndarray) -> pa.Array:
    """Return the modified Julian day (UTC) of the local noon before each start.

    Parameters
    ----------
    utc_start : (N,) d
    longitude : (N,) deg
        East positive; NaN: unknown, taken as 0.

    Examples
    --------
    >>> nights(np.array([59356.357]), np.array([-70.8])).to_pylist()
    [59355]
    """
    turn = np.nan_to_num(longitude) / 360.0
    noon = np.floor(utc_start + turn - 0.5) + 0.5 - turn
    return pa.array(np.floor(noon).astype(np.int32))


def _with_circle(images: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Add the circle about the centre that holds all corners, where corners are mapped and the circle is not."""
    if not {"corner_ra", "corner_dec"} <= images.keys():
        return images
    corners = _unit_vectors(_matrix(images["corner_ra"]), _matrix(images["corner_dec"]))
    if {"ra", "dec"} <= images.keys():
        centre = _unit_vectors(floats(images["ra"]), floats(images["dec"]))
        added = {}
    else:
        centre = corners.sum(axis=1)
        centre /= np.linalg.norm(centre, axis=-1, keepdims=True)
        ra = wrapped(np.degrees(np.arctan2(centre[:, 1], centre[:, 0])))
        dec = np.degrees(np.arcsin(np.clip(centre[:, 2], -1, 1)))
        added = {"ra": _nullable(ra), "dec": _nullable(dec)}
    if "radius" not in images:
        chord = np.linalg.norm(corners - centre[:, None, :], axis=-1)
        added["radius"] = _nullable(np.degrees(2 * np.arcsin(np.clip(chord.max(axis=1) / 2, 0, 1))))
    return {**images, **added}


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _matrix(lists: pa.Array) -> np.ndarray:
    """Return lists of four numbers as (N, 4); a list of another length, or NULL, as NaN."""
    rows = [row if row is not None and len(row) == 4 else [None] * 4 for row in lists.to_pylist()]
    return np.array(rows, dtype=float).reshape(-1, 4)


def _unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
