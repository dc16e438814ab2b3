"""Header keywords → rows of `images` and `exposures`.

Keywords are looked up in the image's own header first, then in its exposure's. Values that are no number ('NaN' as
text, an empty card) or cannot be true (`header_values`) count as absent; a missing one is NULL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skydb.calibration.astrometric import AstrometricModel, FocalMap
from skydb.errors import DataError, SkydbError
from skydb.schema.identity import exposure_id, image_id, image_key
from skydb.schema.photcodes import Photcode
from skydb.sky.airmass import airmass

from .fits_cards import Header, Value
from .header_values import (
    LARGEST_NUMBER,
    airmass_of,
    east_longitude_of,
    error,
    exposure_time,
    latitude_of,
    number,
    row_time,
    sidereal_of,
    text,
    whole,
)
from .interface import LARGEST_AIRMASS, MissingError, ReadRequest
from .times import ObservingTime, finite, night_of, observing_time

EXPOSURE_NAME = ("OBS_ID", "OBS-ID", "OBSID", "EXPNAME", "EXPID", "EXPNUM")
CHIP_NAME = ("CHIPNAME", "CHIPID", "CCDNAME", "CCDNUM", "CCDID", "DETECTOR", "DET-ID", "EXTNAME")
FILTER = ("FILTERID", "FILTER", "FILTNAM")
DETECTION_LIMIT = ("DETEFF.MAGREF", "FLIMIT")
FIRST_STACK_CODE, LAST_STACK_CODE = 11000, 11400


@dataclass(frozen=True)
class ImageHeader:
    """What one image's header says: its row of `images`, and what its detections need of it.

    `row_time` (s/pixel) is 0 where rows start together; `sidereal_time` (h), `latitude` (deg) and `airmass` are NaN
    where they are not known.
    """

    row: dict[str, Any]
    exposure: dict[str, Any]
    model: AstrometricModel
    photcode: Photcode
    time: ObservingTime
    exptime: float
    row_time: float
    sidereal_time: float
    latitude: float
    airmass: float

    @property
    def image_id(self) -> int:
        """The image's id."""
        return int(self.row["image_id"])


@dataclass(frozen=True)
class ImageSource:
    """Where one image's header stands.

    `exposure` is the header of the mosaic, None for an image that stands alone; `chip` the chip's name where the
    file's structure gives it; `edge` the pixel coordinate of the first pixel's outer edge; `kind` what the file's
    format says that the image is.
    """

    header: Header
    exposure: Header | None
    name: str
    where: str
    n_rows: int
    chip: str | None = None
    edge: float = 0.0
    kind: str | None = None

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers in which keywords are looked up, in order."""
        return (self.header,) if self.exposure is None else (self.header, self.exposure)


def read_image_header(
    source: ImageSource, request: ReadRequest, sibling: ImageHeader | None = None
) -> ImageHeader:
    """Read all that the headers of an image say.

    Parameters
    ----------
    source : the image's headers
    request : photcodes, and the one that the caller asks for
    sibling : an image of the same exposure that was read before, so that both share its row and astrometry

    Raises
    ------
    DataError
        Astrometry, time, exposure time, size or photcode are missing or wrong: which, and where.
    """
    headers = source.headers
    photcode = _photcode(source, request)
    exptime = exposure_time(headers, source.where)
    time = observing_time(headers, exptime, source.where)
    model = _model(source, sibling)
    kind = source.kind or ("stack" if FIRST_STACK_CODE <= photcode.code <= LAST_STACK_CODE else "chip")
    footprint = _footprint(model, _size(source), source.edge)
    if sibling is None:
        pointing = (footprint["ra"], footprint["dec"]) if model.chip is None else (model.focal.ra, model.focal.dec)
        exposure = _exposure_row(source, model, kind, pointing)
    else:
        exposure = sibling.exposure
    chip = source.chip or text(headers[:1], CHIP_NAME)
    sidereal, latitude = sidereal_of(headers, time), latitude_of(headers)
    key = image_key(
        kind=kind, utc_start=time.utc_start, photcode=photcode.name, chip=chip, exposure=exposure["name"]
    )
    row = {
        "image_id": image_id(key), "image_key": key, "exposure_id": exposure["exposure_id"], "name": source.name,
        "chip": chip, "ccdnum": _ccdnum(source.header, chip), "kind": kind, "code": photcode.code, "mjd": time.mjd,
        "utc_start": time.utc_start, "exptime": exptime, "airmass": _airmass(headers, footprint, sidereal, latitude),
        "sidereal_time": sidereal, "latitude": latitude, "row_time": row_time(headers, footprint["ny"], source.where),
        "n_detections": source.n_rows, "astrometry": model.to_json(),
        **footprint, **_quality(headers, exptime),
    }  # fmt: skip
    return ImageHeader(
        row, exposure, model, photcode, time, exptime, row["row_time"] or 0.0,
        _or_nan(row["sidereal_time"]), _or_nan(row["latitude"]), _or_nan(row["airmass"]),
    )  # fmt: skip


def start_of(headers: Sequence[Header], where: str) -> float:
    """Return when an image began, UTC as modified Julian date.

    Raises
    ------
    DataError
        The headers do not give its time or exposure time.
    """
    return observing_time(headers, exposure_time(headers, where), where).utc_start


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _photcode(source: ImageSource, request: ReadRequest) -> Photcode:
    """The photcode that the caller asks for, else the header's."""
    known = request.photcodes
    if request.photcode is not None:
        found = known.by_name(request.photcode)
    else:
        name = text(source.headers, ("PHOTCODE",))
        if name is None:
            todo = "give one with --photcode: one that `skydb photcodes DB` lists, or that it adds (see its --help)"
            raise MissingError("the header names no PHOTCODE", source.where, todo)
        if name not in known:
            raise MissingError(f"no photcode named {name!r}", source.where, known.advice(name))
        found = known.by_name(name)
    if found.kind == "ALT":
        raise DataError(f"photcode {found.name!r} is an ALT code, which no measurement has", source.where,
                        "give the SEC or DEP code")
    return found


def _model(source: ImageSource, sibling: ImageHeader | None) -> AstrometricModel:
    exposure: dict[str, Value] | FocalMap | None = None if source.exposure is None else source.exposure.values
    if sibling is not None and sibling.model.chip is not None:
        exposure = sibling.model.focal
    try:
        return AstrometricModel.from_headers(source.header.values, exposure)
    except SkydbError as error:
        raise DataError(f"astrometry: {error.what}", f"{source.where}, {error.where}", error.todo) from error


def _size(source: ImageSource) -> tuple[int, int]:
    """NAXIS1, NAXIS2 of an image, else IMNAXIS (NAXIS of a table or an empty HDU says nothing), else ZNAXIS."""
    values = source.header.values
    image = values.get("XTENSION", "IMAGE") == "IMAGE" and values.get("NAXIS") == 2
    for prefix in ("NAXIS", "IMNAXIS", "ZNAXIS") if image else ("IMNAXIS", "ZNAXIS"):
        nx, ny = (finite(values.get(f"{prefix}{axis}")) for axis in (1, 2))
        if nx is not None and ny is not None and 0 < nx < 2**31 and 0 < ny < 2**31:
            return int(nx), int(ny)
    raise DataError("the size of the image is missing", source.where, "add IMNAXIS1 and IMNAXIS2")


def _footprint(model: AstrometricModel, size: tuple[int, int], edge: float) -> dict[str, Any]:
    """Centre, corners in order around the image, and the circle about the centre that holds them."""
    nx, ny = size
    x = edge + np.array([nx / 2, 0.0, nx, nx, 0.0])
    y = edge + np.array([ny / 2, 0.0, 0.0, ny, ny])
    ra, dec = model.pixel_to_sky(x, y)
    a, d = np.radians(ra), np.radians(dec)
    haversine = np.sin((d[1:] - d[0]) / 2) ** 2 + np.cos(d[0]) * np.cos(d[1:]) * np.sin((a[1:] - a[0]) / 2) ** 2
    return {
        "nx": nx, "ny": ny, "ra": float(ra[0]), "dec": float(dec[0]),
        "radius": math.degrees(2.0 * math.asin(math.sqrt(min(1.0, float(haversine.max()))))),
        "corner_ra": ra[1:].tolist(), "corner_dec": dec[1:].tolist(),
    }  # fmt: skip


def _airmass(
    headers: Sequence[Header], footprint: dict[str, Any], sidereal: float | None, latitude: float | None
) -> float | None:
    """The header's airmass, else that of the image's centre where site and time are known and it is up."""
    given = airmass_of(headers)
    if given is not None or sidereal is None or latitude is None:
        return given
    made = float(airmass(footprint["ra"], footprint["dec"], sidereal, latitude))
    return made if made <= LARGEST_AIRMASS else None


def _quality(headers: Sequence[Header], exptime: float) -> dict[str, Any]:
    """Zero point, seeing, limits, and the numbers that others gave the image."""
    sky = number(headers[:1], ("SEXBKGND",), low=-LARGEST_NUMBER * exptime, high=LARGEST_NUMBER * exptime)
    return {
        "zpt_obs": number(headers, ("ZPT_OBS",)), "zpt_err": error(headers, "ZPT_ERR"),
        "fwhm_major": number(headers[:1], ("FWHM_MAJ", "FWHM_X")),
        "fwhm_minor": number(headers[:1], ("FWHM_MIN", "FWHM_Y")),
        "sky": None if sky is None or exptime <= 0.0 else sky / exptime,
        "detection_limit": number(headers[:1], DETECTION_LIMIT),
        "saturation_limit": number(headers[:1], ("FSATUR",)),
        "astrometry_err": error(headers[:1], "CERROR"),
        "n_astrometry": whole(headers[:1], "NASTRO", 31),
        "external_id": whole(headers[:1], "IMAGEID", 63), "source_id": whole(headers[:1], "SOURCEID", 31),
    }  # fmt: skip


def _ccdnum(header: Header, chip: str | None) -> int | None:
    """The chip's number: CCDNUM, else the first run of digits in its name, else NULL."""
    given = whole((header,), "CCDNUM", 31)
    digits = re.search(r"\d{1,9}", chip or "")
    return given if given is not None else int(digits.group()) if digits else None


def _exposure_row(
    source: ImageSource, model: AstrometricModel, kind: str, pointing: tuple[float, float]
) -> dict[str, Any]:
    """The row of `exposures`: from the mosaic's header first, so that all chips of a file agree."""
    headers = tuple(reversed(source.headers))
    exptime = exposure_time(headers, source.where)
    time = observing_time(headers, exptime, source.where)
    name = text(headers, EXPOSURE_NAME)
    longitude = east_longitude_of(headers, time)
    return {
        "exposure_id": exposure_id(kind=kind, utc_start=time.utc_start, name=name), "name": name, "kind": kind,
        "mjd": time.mjd, "utc_start": time.utc_start,
        "night": None if longitude is None else night_of(time.utc_start, longitude),
        "exptime": exptime, "airmass": airmass_of(headers), "filter": text(headers, FILTER),
        "telescope": text(headers, ("TELESCOP",)), "instrument": text(headers, ("INSTRUME",)),
        "latitude": latitude_of(headers), "longitude": longitude,
        "ra": pointing[0], "dec": pointing[1], "astrometry": model.focal.to_json(),
    }  # fmt: skip
