"""Stars of DAOPHOT II and of IRAF's apphot and daophot; the header of their image stands beside the list.

The lists hold pixels and instrumental magnitudes, and neither astrometry nor time: those come from the image's header
(`header_files`). Zero points and exposure times that magnitudes were scaled by are taken off: `inst_mag` is
-2.5 log10(counts) of the whole exposure, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS

from . import daophot_lists, iraf_lists
from .detections import Part, arrow_columns, errors_of, flux_of_magnitude, kept_rows, key_columns, repeats
from .fits_cards import CARD, Header
from .fits_tables import reading
from .header_files import FoundHeader, header_beside
from .header_values import airmass_of, number, text
from .headers import FILTER, ImageHeader, ImageSource, read_image_header, start_of
from .interface import CHUNK_ROWS, Chunk, ReadRequest
from .star_lists import STAR, StarList

HEAD_BYTES = 80
FIRST_EDGE = 0.5
"""The first pixel's centre is at 1, as DAOPHOT and IRAF count."""


class DaophotReader:
    """Reader of star lists."""

    format = "daophot"

    def recognises(self, path: Path, head: bytes, request: ReadRequest) -> bool:
        """Say whether the file begins as a list of DAOPHOT II, or of IRAF."""
        return bool(daophot_lists.HEAD.match(head) or iraf_lists.HEAD.match(head))

    def read(self, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        """Yield the stars in chunks of at most `CHUNK_ROWS`.

        Raises
        ------
        DataError
            The list is damaged or holds no magnitudes, or the header of its image is absent or incomplete.
        """
        with reading(path):
            stars = _opened(path)
            image = _measured_image(stars, request)
            seen: NDArray[Any] = np.empty(0)
            for block in _blocks(stars):
                repeated = repeats(block["id"]) | np.isin(block["id"], seen)
                seen = np.union1d(seen, block["id"])
                yield _chunk(image, block, repeated, request)

    def first_start(self, path: Path, request: ReadRequest) -> float:
        """Return when the image began, from its header."""
        with reading(path):
            found = header_beside(path, _opened(path).keywords.get("IMAGE", ""))
            return start_of(_headers(found), found.where)


@dataclass(frozen=True)
class MeasuredImage:
    """An image, and how the magnitudes of its stars are scaled: as `StarList` says, none of them absent."""

    header: ImageHeader
    zero_point: float
    itime: float
    aperture: bool


def _opened(path: Path) -> StarList:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if daophot_lists.HEAD.match(head):
        return daophot_lists.open_daophot(path)
    if iraf_lists.HEAD.match(head):
        return iraf_lists.open_iraf(path)
    raise DataError("no list of DAOPHOT or IRAF", str(path), "a list begins with NL NX NY LOWBAD, or with #K")


def _blocks(stars: StarList) -> Iterator[NDArray[Any]]:
    """Yield the stars; of a list without any one empty block, so that its image is kept."""
    blocks = stars.blocks(CHUNK_ROWS)
    yield next(blocks, np.empty(0, dtype=STAR))
    yield from blocks


def _measured_image(stars: StarList, request: ReadRequest) -> MeasuredImage:
    found = header_beside(stars.path, stars.keywords.get("IMAGE", ""))
    zero_point = _scaled_by(stars, found, "ZMAG", stars.zero_point)
    itime = _scaled_by(stars, found, "ITIME", stars.itime)
    where = f"{stars.path}, header {found.where}"
    header = Header(found.header.text + _cards_of(stars, found))
    image = read_image_header(ImageSource(
        header, found.exposure, stars.path.name, where, stars.count(), edge=FIRST_EDGE,
    ), request)  # fmt: skip
    size = image.row["nx"], image.row["ny"]
    if stars.size not in (None, size):
        what = f"the stars are of an image of {stars.size} pixels, the header is of one of {size}"
        raise DataError(what, where, "give the header of the image that was measured")
    return MeasuredImage(image, zero_point, itime, stars.aperture)


def _headers(found: FoundHeader) -> list[Header]:
    return [header for header in (found.header, found.exposure) if header is not None]


def _scaled_by(stars: StarList, found: FoundHeader, name: str, given: float | None) -> float:
    """Return the zero point, or the exposure time, that magnitudes were scaled by: of the list, else of the header."""
    value = number(_headers(found), (name,)) if given is None else given
    if value is None or (name == "ITIME" and given is None and value <= 0.0):
        what = f"neither the list nor the header says by which {name} the magnitudes were scaled"
        todo = (
            f"add {name} to the header, as the aperture photometry had it: ZMAG is photpars.zmag (25 unless set), ITIME"
            " the exposure time if magnitudes are of one second, else 1"
        )
        raise DataError(what, str(stars.path), todo)
    return value


def _cards_of(stars: StarList, found: FoundHeader) -> str:
    """Return cards with what the list says and the header does not: airmass, filter, size."""
    headers, given = _headers(found), stars.keywords
    cards = []
    if airmass_of(headers) is None and "XAIRMASS" in given:
        cards.append(f"AIRMASS = {given['XAIRMASS']}")
    if text(headers, FILTER) is None and given.get("IFILTER", "INDEF") != "INDEF":
        filter_name = given["IFILTER"].replace("'", "''")[:60]
        cards.append(f"FILTER  = '{filter_name}'")
    if stars.size is not None:
        cards += [f"IMNAXIS{axis}= {size}" for axis, size in enumerate(stars.size, start=1)]
    return "".join(card.ljust(CARD) for card in cards)


def _chunk(image: MeasuredImage, stars: NDArray[Any], repeated: NDArray[np.bool_], request: ReadRequest) -> Chunk:
    part = Part(image.header, stars["x"], stars["y"], repeated)
    values = _values(image, stars)
    kept, rejected = kept_rows([part], request.keep, mag_err=values["inst_mag_err"].astype(float), photflags=None)
    columns = {name: column[kept] for name, column in values.items()}
    table, n_nulled = arrow_columns(key_columns([part], kept) | columns)
    return Chunk(
        pa.Table.from_pylist([image.header.row], schema=IMAGES.arrow),
        pa.Table.from_pylist([image.header.exposure], schema=EXPOSURES.arrow),
        table, len(stars), rejected, n_nulled,
    )  # fmt: skip


@np.errstate(all="ignore")
def _values(image: MeasuredImage, stars: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the columns of `measurements` that a list can give, but for those that come from the image."""
    itime = np.where(stars["itime"] > 0.0, stars["itime"], np.nan) if image.itime == 0.0 else image.itime
    mag = stars["mag"] - image.zero_point - 2.5 * np.log10(itime)
    error = errors_of(stars["err"])
    values: dict[str, NDArray[Any]] = {
        "det_id": stars["id"].astype(np.int64), "x": stars["x"], "y": stars["y"],
        "inst_mag": mag, "inst_mag_err": error, **flux_of_magnitude(mag, error),
    }  # fmt: skip
    if image.aperture:
        values["inst_ap_mag"] = mag
    if np.isfinite(stars["aperture"]).any():
        values["ap_radius"] = stars["aperture"]
    if image.header.exptime > 0.0:
        values["sky"] = stars["sky"] / image.header.exptime
    return {name: column.astype(np.dtype(MEASUREMENTS[name].type), copy=False) for name, column in values.items()}
