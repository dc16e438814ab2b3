"""Rows of the regions' measurements, block by block: those that are kept, as detections of their images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydb.errors import DataError, SkydbError, UsageError
from skydb.schema.photcodes import Photcode
from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS

from ..assemble import joined_detections
from ..detections import Part, arrow_columns, kept_rows, key_columns
from ..headers import ImageHeader
from ..interface import CHUNK_ROWS, LARGEST_AIRMASS, MOST_SURVEYS, Chunk, ReadRequest
from .images import DvoImages
from .measures import COLUMNS, image_columns, reference_columns
from .references import Reference, reference_numbers, reference_times
from .regions import RegionTables, region_tables
from .repeats import Repeats, measurement_keys
from .tables import DvoTable, open_table

IMAGES_AT_HAND = 20_000
"""Images whose headers are kept: those of a region come again and again."""
IMAGES_AT_ONCE = 5_000

FINE = ""
REASONS = (FINE, "no_object", "no_photcode", "no_image", "unknown_image", "bad_image", "other_photcode", "duplicate",
           "no_position")  # fmt: skip
"""Why a row is rejected, in the order in which it is asked; `kept_rows` knows more."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """A chunk, and the object (N,) of DVO that each of its detections belongs to: region and place, in one number."""

    chunk: Chunk
    groups: Ints


@dataclass(frozen=True)
class _Rows:
    """Rows of one table on their way: DVO's numbers, and what is wrong with each (its place in `REASONS`)."""

    tables: RegionTables
    table: DvoTable
    rows: slice
    images: Ints
    codes: Ints
    objects: Ints
    wrong: NDArray[np.int8]

    def reject(self, which: NDArray[np.bool_], reason: str) -> None:
        """Note a reason at rows that have none yet."""
        self.wrong[which & (self.wrong == 0)] = REASONS.index(reason)

    @property
    def external(self) -> NDArray[np.bool_]:
        """Which rows name no image."""
        return np.asarray(self.images == 0)

    def groups(self, order: Ints) -> Ints:
        """DVO's objects of some rows."""
        return np.int64(self.tables.region.index) << 32 | self.objects[order]


class DvoMeasurements:
    """Reads all measurements of a DVO database once, in the order of its regions.

    Raises
    ------
    DataError
        A table is missing, damaged, or of a format that is not known.
    """

    def __init__(self, catdir: Path, request: ReadRequest) -> None:
        self.images = DvoImages(catdir)
        self.regions = region_tables(catdir)
        self.request = request
        self._shown = np.zeros(len(self.images), dtype=bool)
        self._rows_of_id: dict[int, int] = {}
        self._siblings: dict[int, ImageHeader] = {}
        self._references: dict[int, Reference] = {}
        self._header = lru_cache(maxsize=IMAGES_AT_HAND)(self._read_header)

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks, and at last the images without measurements."""
        repeats = Repeats.of(keys for tables in self.regions for keys in _keys_of(tables))
        for tables in self.regions:
            table = open_table(tables.measures, "DVO_MEASURE", COLUMNS)
            for start in range(0, len(table), CHUNK_ROWS):
                yield self._block(self._rows(tables, table, slice(start, min(start + CHUNK_ROWS, len(table))), repeats))
        yield from self._empty_images()

    def _rows(self, tables: RegionTables, table: DvoTable, rows: slice, repeats: Repeats) -> _Rows:
        """Look at what rows refer to."""
        numbers, dets, codes, objects = (table.values(n, rows) for n in ("IMAGE_ID", "DET_ID", "PHOTCODE", "AVE_REF"))
        found = _Rows(tables, table, rows, numbers.astype(np.int64), codes.astype(np.int64), objects.astype(np.int64),
                      np.zeros(len(numbers), dtype=np.int8))  # fmt: skip
        found.reject(found.objects >= tables.n_objects, "no_object")
        kinds = {code: self._photcode(code) for code in np.unique(codes).tolist()}
        found.reject(_among(codes, [c for c, p in kinds.items() if p is None]), "no_photcode")
        references = _among(codes, [c for c, p in kinds.items() if p is not None and p.kind == "REF"])
        found.reject(found.external & ~references, "no_image")
        self._check_images(found)
        later = np.zeros(len(numbers), dtype=bool)
        own = (found.wrong == 0) & ~found.external
        later[own] = repeats.later(measurement_keys(numbers[own], dets[own]))
        found.reject(later, "duplicate")
        return found

    def _check_images(self, found: _Rows) -> None:
        numbers, place = np.unique(found.images[~found.external], return_inverse=True)
        rows = self.images.rows_of(numbers)
        headers = [self._header(int(row)) if row >= 0 else None for row in rows]
        code = np.array([-1 if h is None else h.photcode.code for h in headers], dtype=np.int64)
        for bad, reason in ((rows < 0, "unknown_image"), (code < 0, "bad_image")):
            which = np.zeros(len(found.images), dtype=bool)
            which[~found.external] = bad[place]
            found.reject(which, reason)
        other = np.zeros(len(found.images), dtype=bool)
        other[~found.external] = code[place] != found.codes[~found.external]
        found.reject(other, "other_photcode")

    def _photcode(self, code: int) -> Photcode | None:
        try:
            return self.request.photcodes.by_code(code)
        except UsageError:
            return None

    @np.errstate(all="ignore")
    def _read_header(self, row: int) -> ImageHeader | None:
        """What a row of the image table says; None where it cannot be used, or is the same image as another."""
        exposure = self.images.exposure_of(row)
        try:
            header = self.images.header(row, self.request, self._siblings.get(exposure))
        except SkydbError:
            return None
        if self.images.needs_more(row):
            header.row["astrometry"] = None  # half of it would mislead
        if len(self._siblings) > IMAGES_AT_HAND:
            self._siblings.clear()
        self._siblings.setdefault(exposure, header)
        return header if self._rows_of_id.setdefault(header.image_id, row) == row else None

    @np.errstate(all="ignore")
    def _block(self, found: _Rows) -> Block:
        fine = found.wrong == 0
        rejected = {REASONS[k]: int(n) for k, n in enumerate(np.bincount(found.wrong)) if k and n}
        parts = [self._of_images(found, np.flatnonzero(fine & ~found.external)),
                 self._of_catalogs(found, np.flatnonzero(fine & found.external))]  # fmt: skip
        for part in parts:
            for reason, count in part.rejected.items():
                rejected[reason] = rejected.get(reason, 0) + count
        images = [image for part in parts for image in part.images]
        exposures = [exposure for part in parts for exposure in part.exposures]
        chunk = Chunk(
            pa.Table.from_pylist(images, schema=IMAGES.arrow), pa.Table.from_pylist(exposures, schema=EXPOSURES.arrow),
            joined_detections([p.table for p in parts if p.table.num_rows] or [_NO_DETECTIONS]),
            len(found.images), rejected, sum(p.n_nulled for p in parts),
        )  # fmt: skip
        return Block(chunk, np.concatenate([part.groups for part in parts]))

    def _of_images(self, found: _Rows, which: Ints) -> _Part:
        """Detections of images, image by image."""
        if not len(which):
            return _NO_PART
        rows = self.images.rows_of(found.images[which])
        by_image = np.argsort(rows, kind="stable")
        order, rows = which[by_image], rows[by_image]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        edges = [*starts.tolist(), len(rows)]
        sky = [found.table.numbers(name, found.rows)[order] for name in ("RA", "DEC")]
        pixels = [found.table.numbers(name, found.rows)[order] for name in ("X_CCD", "Y_CCD")]
        parts = [
            self._part(int(rows[a]), *(v[a:b] for v in (*pixels, *sky)))
            for a, b in pairwise(edges)
        ]
        exptime = np.concatenate([np.full(len(part.x), part.image.exptime) for part in parts])
        columns, nulls = image_columns(found.table, found.rows, order, self.images.zero_point, exptime)
        kept, rejected = kept_rows(
            parts, self.request.keep, mag_err=columns.get("inst_mag_err"), photflags=columns.get("photflags")
        )
        columns = key_columns(parts, kept) | {name: values[kept] for name, values in columns.items()}
        columns["airmass"] = _airmass(found, order[kept], columns["airmass"])
        table, n_nulled = arrow_columns(columns, {name: mask[kept] for name, mask in nulls.items()})
        new = [part.image for part, a in zip(parts, starts, strict=True) if not self._shown[rows[a]]]
        self._shown[rows[starts]] = True
        images, exposures = [image.row for image in new], [image.exposure for image in new]
        return _Part(table, images, exposures, found.groups(order[kept]), rejected, n_nulled)

    def _part(self, row: int, x: Any, y: Any, ra: Any, dec: Any) -> Part:
        """Rows of one image at their places: X_CCD, Y_CCD through its astrometry, else as DVO has them."""
        header = self._header(row)
        assert header is not None  # rows of other images were rejected
        own = header.model.pixel_to_sky(x, y)
        stored = np.isnan(own[0]) | self.images.needs_more(row)
        placed = np.where(stored, ra % 360.0, own[0]), np.where(stored, dec, own[1])
        return Part(header, x, y, np.zeros(len(x), dtype=bool), placed)

    def _of_catalogs(self, found: _Rows, which: Ints) -> _Part:
        """Detections of catalogs, which have no image in DVO."""
        if not len(which):
            return _NO_PART
        ra, dec = (found.table.numbers(name, found.rows)[which] for name in ("RA", "DEC"))
        placed = np.isfinite(ra) & (np.abs(dec) <= 90.0)
        order = which[placed]
        codes, place = np.unique(found.codes[order], return_inverse=True)
        new = [self._reference(code) for code in codes.tolist() if code not in self._references]
        ids = np.array([self._reference(code).image_id for code in codes.tolist()], dtype=np.int64)
        numbers = reference_numbers(found.tables.region.index, order + found.rows.start)
        columns, nulls = reference_columns(found.table, found.rows, order)
        columns |= {
            "image_id": ids[place], "det_id": numbers, "code": found.codes[order].astype(np.int32),
            "mjd": reference_times(found.table.values("TIME", found.rows)[order]), "ra_raw": ra[placed] % 360.0,
            "dec_raw": dec[placed],
        }  # fmt: skip
        table, n_nulled = arrow_columns(columns, nulls)
        n_lost = len(which) - len(order)
        return _Part(table, [r.image for r in new], [r.exposure for r in new], found.groups(order),
                     {"no_position": n_lost} if n_lost else {}, n_nulled)  # fmt: skip

    def _reference(self, code: int) -> Reference:
        if code not in self._references:
            if len(self._references) == MOST_SURVEYS:
                what = f"its measurements have more than {MOST_SURVEYS} photcodes of catalogs (REF)"
                where = str(self.images.table.file.path.parent)
                raise DataError(what, where, "leave some out of it: no more are associated at once")
            photcode = self.request.photcodes.by_code(code)
            self._references[code] = Reference.of(photcode, self.images.database_id)
        return self._references[code]

    def _empty_images(self) -> Iterator[Block]:
        """Yield the images that no measurement names; what cannot be read of them is left out."""
        left = np.flatnonzero(~self._shown & ~self.images.is_exposure)
        for start in range(0, len(left), IMAGES_AT_ONCE):
            read = [self._header(int(row)) for row in left[start:start + IMAGES_AT_ONCE]]
            headers = [header for header in read if header is not None]
            images = pa.Table.from_pylist([h.row for h in headers], schema=IMAGES.arrow)
            exposures = pa.Table.from_pylist([h.exposure for h in headers], schema=EXPOSURES.arrow)
            yield Block(Chunk(images, exposures, _NO_DETECTIONS, 0, {}), np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class _Part:
    """Detections of one kind, the images and exposures that are new with them, and what was rejected."""

    table: pa.Table
    images: list[dict[str, Any]]
    exposures: list[dict[str, Any]]
    groups: Ints
    rejected: dict[str, int]
    n_nulled: int


_KEYS = ("image_id", "det_id", "code", "mjd", "ra_raw", "dec_raw")
_NO_DETECTIONS = pa.schema([MEASUREMENTS.arrow.field(name) for name in _KEYS]).empty_table()
_NO_PART = _Part(_NO_DETECTIONS, [], [], np.empty(0, dtype=np.int64), {}, 0)


def _keys_of(tables: RegionTables) -> Iterator[NDArray[np.uint64]]:
    table = open_table(tables.measures, "DVO_MEASURE", COLUMNS)
    for start in range(0, len(table), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        images = table.values("IMAGE_ID", rows)
        own = images != 0
        yield measurement_keys(images[own], table.values("DET_ID", rows)[own])


def _among(codes: NDArray[Any], wanted: list[int]) -> NDArray[np.bool_]:
    return np.isin(codes, np.array(wanted, dtype=np.int64))


def _airmass(found: _Rows, order: Ints, of_image: NDArray[Any]) -> NDArray[Any]:
    """DVO's airmass of each detection where it is one, else that of the image."""
    if "AIRMASS" not in found.table:
        return of_image
    own = found.table.values("AIRMASS", found.rows)[order]
    with np.errstate(invalid="ignore"):
        return np.where((own >= 1.0) & (own <= LARGEST_AIRMASS), own, of_image)
