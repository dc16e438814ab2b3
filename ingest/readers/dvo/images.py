"""The images of a DVO database (Images.dat): each row says what the header of an image would.

The exposure (CTYPE -DIS) of a chip of a mosaic (-WRP) starts between the chip's start and end, which is DVO's own rule:
of several, the one that PARENT_ID names, else the first. A PARENT_ID that names another is stale.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError

from ..fits_cards import Header, Value
from ..headers import ImageHeader, ImageSource, read_image_header
from ..interface import ReadRequest
from ..times import SECONDS_PER_DAY, UNIX_ZERO_MJD
from .regions import IMAGE_TABLE
from .tables import Columns, DvoColumn, DvoTable, open_table

NOMINAL_ZERO_POINT = 25.0
"""Mag: what DVO adds to instrumental magnitudes (ZERO_PT), unless the header of the image table says otherwise."""
OFFSET_MAP = -1
"""NPOLYTERMS of an image whose pixels are first moved by a map that is kept elsewhere."""
LARGEST_BYTE = 255

_NUMBER = DvoColumn("E")
COLUMNS: Columns = {
    **dict.fromkeys(("CRVAL1", "CRVAL2"), DvoColumn("D", needed=True)),
    **dict.fromkeys(("CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"),
                    DvoColumn("E", needed=True)),
    "POLYTERMS": DvoColumn("E", 14, needed=True), "CTYPE": DvoColumn("A", needed=True),
    "NPOLYTERMS": DvoColumn("A", needed=True),
    "TZERO": DvoColumn("J", unsigned=True, needed=True), "NSTAR": DvoColumn("J", unsigned=True, needed=True),
    "NX": DvoColumn("I", unsigned=True, needed=True), "NY": DvoColumn("I", unsigned=True, needed=True),
    "PHOTCODE": DvoColumn("I", unsigned=True, needed=True), "EXPTIME": DvoColumn("E", needed=True),
    "NAME": DvoColumn("A", needed=True), "IMAGE_ID": DvoColumn("J", unsigned=True, needed=True),
    "MCAL_PSF": DvoColumn("E", needed=True, also="MCAL"), "DMCAL": _NUMBER, "SECZ": _NUMBER, "ST": _NUMBER,
    "LAT": _NUMBER,
    **dict.fromkeys(("DETECTION_LIMIT", "SATURATION_LIMIT", "CERROR", "TRATE", "CCDNUM"), DvoColumn("B")),
    "PARENT_ID": DvoColumn("J", unsigned=True), "EXTERN_ID": DvoColumn("J", unsigned=True),
    "SOURCE_ID": DvoColumn("I", unsigned=True), "N_FIT_ASTROM": DvoColumn("I"),
}  # fmt: skip

_TERMS = ("X2Y0", "X1Y1", "X0Y2", "X3Y0", "X2Y1", "X1Y2", "X0Y3")


class DvoImages:
    """The image table: rows by DVO's image number, and the headers that they stand for.

    Raises
    ------
    DataError
        The table is missing, damaged or of another format, or two rows have one number.
    """

    def __init__(self, catdir: Path) -> None:
        self.table: DvoTable = open_table(catdir / IMAGE_TABLE, "DVO_IMAGE", COLUMNS)
        primary = self.table.file.hdus[0]
        given = primary.get("ZERO_PT")
        self.zero_point = float(given) if isinstance(given, (int, float)) else NOMINAL_ZERO_POINT
        self.database_id = primary.word("DVO_DBID") or catdir.resolve().name
        numbers = self.table.values("IMAGE_ID")
        self._order = np.argsort(numbers, kind="stable")
        self._numbers = numbers[self._order]
        twice = np.flatnonzero((self._numbers[1:] == self._numbers[:-1]) & (self._numbers[1:] != 0))
        if len(twice):
            what = f"two images have the number {self._numbers[twice[0]]} (IMAGE_ID)"
            raise DataError(what, self.table.where, "repair the image table: their measurements cannot be told apart")

    def __len__(self) -> int:
        return len(self.table)

    def rows_of(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Return the rows of images by number, -1 for one that the table does not have."""
        if not len(self._numbers):
            return np.full(len(numbers), -1, dtype=np.int64)
        at = np.searchsorted(self._numbers, numbers).clip(max=len(self._numbers) - 1)
        return np.where(self._numbers[at] == numbers, self._order[at], -1).astype(np.int64)

    @cached_property
    def is_exposure(self) -> NDArray[np.bool_]:
        """Which rows (N,) are exposures of mosaics: no measurement belongs to one."""
        return np.char.endswith(self.table.values("CTYPE"), b"-DIS")

    def first_start(self) -> float:
        """Return when the first image began, UTC as modified Julian date; NaN where there is none."""
        starts = self.table.values("TZERO")[~self.is_exposure]
        starts = starts[starts > 0]
        return float(UNIX_ZERO_MJD + starts.min() / SECONDS_PER_DAY) if len(starts) else float("nan")

    def needs_more(self, row: int) -> bool:
        """Say whether an image's astrometry needs what the table does not say: a map, or the terms of ZPN."""
        rows = {row, self.exposure_of(row)} - {-1}
        orders = [self.table.small_numbers("NPOLYTERMS", _one(r))[0] for r in rows]
        return OFFSET_MAP in orders or any(self._ctype(r).endswith("-ZPN") for r in rows)

    def header(self, row: int, request: ReadRequest, sibling: ImageHeader | None = None) -> ImageHeader:
        """Return what a row says of its image, as the header of a file would.

        Raises
        ------
        DataError
            Astrometry, time, exposure time, size or photcode are missing or wrong.
        """
        where = f"{self.table.where}, row {row + 1} (image {self._value('IMAGE_ID', row)})"
        file, chip = _name_parts(self._text("NAME", row))
        exposure = None
        if self._ctype(row).endswith("-WRP"):
            parent = self._parent(row)
            if parent < 0:
                raise DataError("its exposure is not in the table", where, "restore the image table")
            exposure = _header(self._astrometry(parent) | {"TZERO": self._id("TZERO", parent), "OBS_ID": file})
        own = self._astrometry(row) | self._cards(row, request) | {"OBS_ID": file}
        n_stars = self._value("NSTAR", row)
        source = ImageSource(_header(own), exposure, self._text("NAME", row), where, n_stars, chip=chip)
        header = read_image_header(source, request, sibling)
        if n_stars >= 2**31:
            header.row["n_detections"] = None
        return header

    def exposure_of(self, row: int) -> int:
        """Return the row of a mosaic chip's exposure, -1 if it is not there; of an image that stands alone, its own."""
        return self._parent(row) if self._ctype(row).endswith("-WRP") else row

    def _parent(self, row: int) -> int:
        starts, rows = self._exposure_starts
        start, exptime = self._value("TZERO", row), self._number("EXPTIME", row) or 0.0
        first, last = np.searchsorted(starts, start), np.searchsorted(starts, start + max(exptime, 0.0), side="right")
        if first == last:
            return -1
        named = self.rows_of(np.array([self._value("PARENT_ID", row)]))[0] if "PARENT_ID" in self.table else -1
        if named in rows[first:last]:
            return int(named)
        alone = first + 1 == last or starts[first + 1] != starts[first]
        return int(rows[first]) if alone else -1  # of two cameras that began in one second, neither is taken

    @cached_property
    def _exposure_starts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = np.flatnonzero(self.is_exposure)
        starts = self.table.values("TZERO").astype(np.int64)[rows]
        order = np.argsort(starts, kind="stable")
        return starts[order], rows[order]

    def _cards(self, row: int, request: ReadRequest) -> dict[str, Value]:
        """What is not astrometry, by the keywords of psphot's headers."""
        code = request.photcodes.by_code(self._value("PHOTCODE", row))
        if code.kind == "REF":
            raise DataError(f"its photcode {code.name!r} is that of a catalog", self.table.where, "correct it")
        byte = {name: self._byte(name, row) for name in ("DETECTION_LIMIT", "SATURATION_LIMIT", "CERROR", "TRATE")}
        sidereal, latitude = self._number("ST", row), self._number("LAT", row)
        located = not (sidereal in (None, 0.0) and latitude in (None, 0.0))
        stars = self._number("N_FIT_ASTROM", row)
        cards: dict[str, Value] = {
            "TZERO": self._id("TZERO", row), "EXPTIME": self._value("EXPTIME", row), "PHOTCODE": code.name,
            "IMNAXIS1": self._value("NX", row), "IMNAXIS2": self._value("NY", row),
            "AIRMASS": self._number("SECZ", row), "ST": sidereal if located else None,
            "LATITUDE": latitude if located else None,
            "FLIMIT": byte["DETECTION_LIMIT"] and byte["DETECTION_LIMIT"] / 10,
            "FSATUR": byte["SATURATION_LIMIT"] and byte["SATURATION_LIMIT"] / 10,
            "CERROR": byte["CERROR"] and byte["CERROR"] / 50, "TRATE": byte["TRATE"] and byte["TRATE"] / 1e4,
            "CCDNUM": self._byte("CCDNUM", row), "NASTRO": int(stars) if stars else None,
            "IMAGEID": self._id("EXTERN_ID", row), "SOURCEID": self._id("SOURCE_ID", row),
        }  # fmt: skip
        return cards | self._zero_point(row, code.zero_point)

    def _zero_point(self, row: int, nominal: float) -> dict[str, Value]:
        """DVO's correction as the header's zero point; none where it is 0 without an error: the nominal one."""
        mcal, error = self._number("MCAL_PSF", row), self._number("DMCAL", row)
        if mcal is None or (mcal == 0.0 and error is None):
            return {}
        return {"ZPT_OBS": nominal - mcal, "ZPT_ERR": error}

    def _astrometry(self, row: int) -> dict[str, Value]:
        ctype = self._ctype(row)
        order = int(self.table.small_numbers("NPOLYTERMS", _one(row))[0])
        cards: dict[str, Value] = {"CTYPE1": f"RA--{ctype[4:]:->4}", "CTYPE2": ctype, "NPLYTERM": max(order, 0)}
        for name in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2"):
            cards[name] = self._value(name, row)
        for i, j in ((1, 1), (1, 2), (2, 1), (2, 2)):
            cards[f"PC00{i}00{j}"] = self._value(f"PC{i}_{j}", row)
        terms = self.table.values("POLYTERMS", _one(row)).reshape(7, 2)
        for term, pair in zip(_TERMS, terms.tolist(), strict=True):
            cards[f"PCA1{term}"], cards[f"PCA2{term}"] = pair
        return cards

    def _ctype(self, row: int) -> str:
        return self._text("CTYPE", row)

    def _text(self, name: str, row: int) -> str:
        return str(self.table.values(name, _one(row))[0].decode("ascii", "backslashreplace").strip())

    def _value(self, name: str, row: int) -> Any:
        return self.table.values(name, _one(row))[0].item()

    def _number(self, name: str, row: int) -> float | None:
        """A finite number, or None."""
        value = float(self.table.numbers(name, _one(row))[0]) if name in self.table else float("nan")
        return value if np.isfinite(value) else None

    def _byte(self, name: str, row: int) -> int | None:
        """A number of one byte, None for 0 (not given) and for 255 (NaN)."""
        value = self._value(name, row) if name in self.table else 0
        return value if 0 < value < LARGEST_BYTE else None

    def _id(self, name: str, row: int) -> int | None:
        """A number, None for 0: not given."""
        return (self._value(name, row) or None) if name in self.table else None


def _header(cards: dict[str, Value]) -> Header:
    return Header.of_values({key: value for key, value in cards.items() if value is not None})


def _one(row: int) -> slice:
    return slice(row, row + 1)


def _name_parts(name: str) -> tuple[str, str | None]:
    """The file of `FILE[EXTHEAD]` without folder and suffix, and the chip; None for a file of one image."""
    file, bracket, head = name.partition("[")
    stem = PurePosixPath(file.strip()).name
    for suffix in (".smf", ".cmf"):
        stem = stem.removesuffix(suffix)
    return stem, head.rstrip("] ").removesuffix(".hdr") or None if bracket else None
