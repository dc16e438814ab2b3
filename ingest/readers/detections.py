"""What a file's detections need whatever its format: which are kept, where and when they are, at what airmass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.tables import MEASUREMENTS
from skydb.sky.airmass import airmass

from .headers import ImageHeader
from .interface import DetectionFilter
from .times import SECONDS_PER_DAY

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

AIRMASS_TOLERANCE = 0.1
"""A sidereal time that disagrees with the header's airmass by more than this fraction is not believed."""


CHIP_MARGIN = 0.5
"""How far beyond the chip, in its own width and height, a row may lie.

psphot fits stars that are centred a few pixels off the edge, and a header's size may be that of the trimmed image: tens
or hundreds of pixels, and never half a chip. Astrometry says nothing there, and a wild fit may lie anywhere on the sky.
"""


@dataclass(frozen=True)
class Part:
    """Consecutive rows of one image: pixel positions, and which rows repeat an earlier detection number.

    `placed`: sky positions, deg, that stand for those of the header's astrometry, where a format knows better.
    """

    image: ImageHeader
    x: Floats
    y: Floats
    repeated: Mask
    placed: tuple[Floats, Floats] | None = None

    @cached_property
    def sky(self) -> tuple[Floats, Floats]:
        """Sky positions, deg, from the header's astrometry."""
        return self.image.model.pixel_to_sky(self.x, self.y) if self.placed is None else self.placed

    @property
    def lost(self) -> Mask:
        """Rows without a place on the sky."""
        ra, dec = self.sky
        return ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))

    @property
    def off_chip(self) -> Mask:
        """Rows further beyond the chip's edges than `CHIP_MARGIN`."""
        size = self.image.row
        return outside(self.x, _with_margin(size["nx"])) | outside(self.y, _with_margin(size["ny"]))


def _with_margin(size: int) -> tuple[float, float]:
    return -CHIP_MARGIN * size, (1.0 + CHIP_MARGIN) * size


def repeats(det_id: NDArray[Any]) -> Mask:
    """Return which numbers are there before; psphot numbers upwards, so usually none is looked up."""
    mask = np.zeros(len(det_id), dtype=bool)
    if len(det_id) > 1 and not (det_id[1:] > det_id[:-1]).all():
        mask[:] = True
        mask[np.unique(det_id, return_index=True)[1]] = False
    return mask


def kept_rows(
    parts: Sequence[Part], keep: DetectionFilter, *, mag_err: Floats | None, photflags: NDArray[Any] | None
) -> tuple[Mask, dict[str, int]]:
    """Say which rows are kept, and count the others by the first reason that applies.

    Parameters
    ----------
    parts : the rows, image by image
    keep : the filters that the caller asks for
    mag_err : (N,) mag, of all parts; NaN passes
    photflags : (N,) of all parts

    Returns
    -------
    kept : (N,)
    rejected : reason → rows
    """
    x, y = (np.concatenate([getattr(part, axis) for part in parts]) for axis in "xy")
    tests = {
        "duplicate": np.concatenate([part.repeated for part in parts]),
        "no_position": np.concatenate([part.lost for part in parts]),
        "off_chip": np.concatenate([part.off_chip for part in parts]),
    }
    if keep.max_mag_err and mag_err is not None:
        tests["magnitude_error"] = mag_err > keep.max_mag_err
    if keep.exclude_photflags and photflags is not None:
        tests["photflags"] = (photflags & keep.exclude_photflags) != 0
    tests["window"] = outside(x, keep.x_range) | outside(y, keep.y_range)
    kept, rejected = np.ones(len(x), dtype=bool), {}
    for reason, failed in tests.items():
        count = int(np.count_nonzero(kept & failed))
        if count:
            rejected[reason] = count
            kept &= ~failed
    return kept, rejected


def outside(values: Floats, limits: tuple[float | None, float | None]) -> Mask:
    """Return which values lie beyond a bound; None is no bound, and NaN passes."""
    low, high = limits
    mask = np.zeros(len(values), dtype=bool)
    if low is not None:
        mask |= values < low
    if high is not None:
        mask |= values > high
    return mask


def key_columns(parts: Sequence[Part], kept: Mask) -> dict[str, NDArray[Any]]:
    """Return the columns that come from the image: ids, code, time, sky position, airmass; of the kept rows."""
    columns = [_of_image(part) for part in parts]
    joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    return joined if kept.all() else {name: values[kept] for name, values in joined.items()}


def _of_image(part: Part) -> dict[str, NDArray[Any]]:
    image, n = part.image, len(part.x)
    ra, dec = part.sky
    mjd = np.full(n, image.time.mjd)
    if image.row_time:
        mjd += image.row_time * part.y / SECONDS_PER_DAY
    return {
        "image_id": np.full(n, image.image_id, dtype=np.int64),
        "code": np.full(n, image.photcode.code, dtype=np.int32),
        "mjd": mjd, "ra_raw": ra, "dec_raw": dec,
        "airmass": _airmass(image, ra, dec).astype(np.float32),
    }  # fmt: skip


def _airmass(image: ImageHeader, ra: Floats, dec: Floats) -> Floats:
    """Airmass at each detection where site and sidereal time are known and agree with the header, else the image's."""
    n = len(ra)
    if np.isnan(image.sidereal_time) or np.isnan(image.latitude):
        return np.full(n, image.airmass)
    centre = airmass(image.row["ra"], image.row["dec"], image.sidereal_time, image.latitude)
    given = image.airmass if np.isfinite(image.airmass) else float(centre)
    if not abs(float(centre) - given) <= AIRMASS_TOLERANCE * given:
        return np.full(n, image.airmass)
    values = airmass(ra, dec, image.sidereal_time, image.latitude)
    return np.where(np.isnan(values), image.airmass, values)


def whole_numbers(values: NDArray[Any], dtype: np.dtype[Any], name: str) -> tuple[NDArray[Any], Mask | None]:
    """Return integers in another integer type, and which do not fit it.

    Raises
    ------
    DataError
        The values are no integers.
    """
    if values.dtype.kind not in "iu":
        raise DataError(f"the values of {name} are no whole numbers", None, "write the file again")
    there, wanted = np.iinfo(values.dtype), np.iinfo(dtype)
    beyond: Mask | None = None
    if there.max > wanted.max:
        beyond = values > wanted.max
    if there.min < wanted.min:
        beyond = (values < wanted.min) if beyond is None else beyond | (values < wanted.min)
    return values.astype(dtype, copy=False), beyond


def errors_of(values: NDArray[Any]) -> NDArray[Any]:
    """Return one-sigma errors with NaN for those below 0, which are no errors but a mark that there is none.

    0 stays: psphot and DVO do not mark with it, and a file that rounds has it in its best rows. It gives no weight.
    """
    with np.errstate(invalid="ignore"):
        below = values < 0
    return np.where(below, np.asarray(np.nan, values.dtype), values) if below.any() else values


def flux_of_magnitude(mag: NDArray[Any], mag_err: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """Return `inst_flux` and its error, in counts, of instrumental magnitudes; NaN for NaN."""
    flux = np.power(10.0, -0.4 * mag.astype(np.float64))
    columns = {"inst_flux": flux.astype(np.float32)}
    if mag_err is not None:
        columns["inst_flux_err"] = (flux * mag_err * (0.4 * np.log(10.0))).astype(np.float32)
    return columns


def arrow_columns(
    columns: dict[str, NDArray[Any]], nulls: dict[str, Mask] | None = None
) -> tuple[pa.Table, int]:
    """Return columns of `measurements` as Arrow, and how many of the file's values became NULL.

    Parameters
    ----------
    columns : name → (N,)
        NaN and infinite values become NULL.
    nulls : name → (N,), optional
        Further values that mean none.
    """
    names = [name for name in MEASUREMENTS.names if name in columns]
    arrays = [_arrow(columns[name], MEASUREMENTS.arrow.field(name).type, (nulls or {}).get(name)) for name in names]
    n_nulled = sum(array.null_count for name, array in zip(names, arrays, strict=True) if name != "airmass")
    return pa.Table.from_arrays(arrays, schema=pa.schema([MEASUREMENTS.arrow.field(name) for name in names])), n_nulled


def _arrow(values: NDArray[Any], type_: pa.DataType, null: Mask | None) -> pa.Array[Any]:
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            null = ~finite if null is None else null | ~finite
    if null is not None and not null.any():
        null = None
    return pa.array(values, type=type_, mask=null)
