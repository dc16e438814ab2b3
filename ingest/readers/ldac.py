"""FITS_LDAC: SExtractor's catalogs, an image header as text and a table of sources for every image.

Columns vary with the user's parameter file and are found by name. SExtractor's own zero point (SEXMGZPT) is taken off
its magnitudes: `inst_mag` is -2.5 log10(counts) of the whole exposure, so that inst_mag + 2.5 log10(exptime) plus the
photcode's zero point is a magnitude, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.schema.tables import MEASUREMENTS

from .assemble import Detections, ImageTable, Rows, chunks
from .detections import (
    Part,
    arrow_columns,
    errors_of,
    flux_of_magnitude,
    kept_rows,
    key_columns,
    repeats,
    whole_numbers,
)
from .fits_cards import Header
from .fits_tables import FitsFile, Hdu, column_values, is_fits_with, open_fits, reading
from .header_values import number
from .headers import ImageSource, read_image_header, start_of
from .interface import Chunk, ReadRequest

IMHEAD, OBJECTS = "LDAC_IMHEAD", "LDAC_OBJECTS"
SUFFIXES = (".ldac", ".fcat")
SEARCHED_BYTES = 64 * 1024
MAGNITUDES = ("PSF", "AUTO", "ISO", "APER")
"""Which magnitude (or flux) becomes `inst_mag`: the first that the table has."""
POSITIONS = ("WIN_IMAGE", "PSF_IMAGE", "_IMAGE")
"""Which pixel position is used: windowed, of the PSF fit, isophotal."""
NO_MAGNITUDE = 99.0
FIRST_EDGE = 0.5
"""The first pixel's centre is at 1, as SExtractor counts."""

Floats = NDArray[np.float64]


class LdacReader:
    """Reader of FITS_LDAC files."""

    format = "ldac"

    def recognises(self, path: Path, head: bytes, request: ReadRequest) -> bool:
        """Say whether the file is FITS and holds the text header of an image."""
        return is_fits_with([f"'{IMHEAD}"], SUFFIXES, path, head, n_bytes=SEARCHED_BYTES)

    def read(self, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        """Yield the file, images in file order; small images share a chunk.

        Raises
        ------
        DataError
            The file is damaged, holds no pair of header and sources, or a header is incomplete.
        """
        with reading(path):
            file = open_fits(path)
            conversions: dict[int, Conversion] = {}
            images = _images(file, request, conversions)
            read = partial(_detections, request=request, conversions=conversions)
            yield from chunks(images, read, together=lambda rows: id(rows.source))

    def first_start(self, path: Path, request: ReadRequest) -> float:
        """Return the earliest start of the images, from their text headers."""
        with reading(path):
            file = open_fits(path)
            return min(start_of([_text_header(file, head)], head.where) for head, _ in _pairs(file))


@dataclass(frozen=True)
class Conversion:
    """What turns SExtractor's numbers into skydb's: its zero point (None: not given), exposure time, aperture."""

    zero_point: float | None
    exptime: float
    aperture: float | None


def _images(file: FitsFile, request: ReadRequest, conversions: dict[int, Conversion]) -> list[ImageTable]:
    """All images of the file; what converts their numbers goes to `conversions`, by image id."""
    pairs = _pairs(file)
    images: list[ImageTable] = []
    seen: dict[int, str] = {}
    for place, (head, table) in enumerate(pairs, start=1):
        records = file.records(table)
        header = _text_header(file, head)
        many = len(pairs) > 1
        name = f"{file.path.name}[{place}]" if many else file.path.name
        chip = str(header.values.get("EXTNAME") or header.values.get("CCDNUM") or place).strip() if many else None
        source = ImageSource(header, None, name, head.where, len(records), chip=chip, edge=FIRST_EDGE)
        image = read_image_header(source, request)
        if image.image_id in seen:
            raise DataError(f"it is the same image as {seen[image.image_id]}", head.where, "write the file again")
        seen[image.image_id] = head.where
        conversion = Conversion(number([header], ("SEXMGZPT",)), image.exptime, number([header], ("SEXAPED1",)))
        _check_columns(table, conversion)
        conversions[image.image_id] = conversion
        numbers = Columns(records, table).numbers
        repeated = np.zeros(len(records), dtype=bool) if numbers is None else repeats(numbers)
        images.append(ImageTable(image, table, records, repeated))
    return images


def _pairs(file: FitsFile) -> list[tuple[Hdu, Hdu]]:
    """Header and sources of every image: tables of sources each follow their header."""
    pairs: list[tuple[Hdu, Hdu]] = []
    head: Hdu | None = None
    for hdu in file.hdus:
        name = hdu.word("EXTNAME")
        if name == IMHEAD:
            if head is not None:
                raise DataError(f"no table {OBJECTS} follows", head.where, "copy the file again")
            head = hdu
        elif name == OBJECTS:
            if head is None:
                raise DataError(f"no table {IMHEAD} comes before it", hdu.where, "write the file as FITS_LDAC")
            pairs.append((head, hdu))
            head = None
    if head is not None:
        raise DataError(f"no table {OBJECTS} follows: the file is truncated", head.where, "copy the file again")
    if not pairs:
        raise DataError(f"no tables {IMHEAD} and {OBJECTS}", str(file.path), "write the file as FITS_LDAC")
    return pairs


def _text_header(file: FitsFile, head: Hdu) -> Header:
    """The image's header: cards as text, blanks for the NULs that some writers leave."""
    return Header.of_text(b"".join(file.data(head)).replace(b"\0", b" ").decode("latin-1"))


@dataclass(frozen=True)
class Columns:
    """The columns of one table of sources, by name; of a vector column (several apertures) the first element."""

    records: NDArray[Any]
    table: Hdu

    def __contains__(self, name: object) -> bool:
        return name in self.table.layout.columns

    def __getitem__(self, name: str) -> Floats:
        return self._raw(name).astype(np.float64)

    def first(self, *names: str) -> Floats | None:
        """Return the first column that is there."""
        return next((self[name] for name in names if name in self), None)

    def magnitudes(self, name: str) -> Floats:
        """Return a column of magnitudes; NaN for SExtractor's 99."""
        values = self[name]
        return np.where(values >= NO_MAGNITUDE, np.nan, values)

    @property
    def numbers(self) -> NDArray[Any] | None:
        """The sources' own numbers."""
        return self._whole("NUMBER", np.dtype(np.int64))

    @property
    def flags(self) -> NDArray[Any] | None:
        """SExtractor's extraction flags."""
        return self._whole("FLAGS", np.dtype(np.uint32))

    @property
    def positions(self) -> tuple[str, str] | None:
        """The columns of the best pixel position."""
        names = ((f"X{end}", f"Y{end}") for end in POSITIONS)
        return next((pair for pair in names if pair[0] in self and pair[1] in self), None)

    @property
    def magnitude(self) -> str | None:
        """The kind of magnitude that becomes `inst_mag`."""
        return next((kind for kind in MAGNITUDES if f"MAG_{kind}" in self or f"FLUX_{kind}" in self), None)

    def _whole(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any] | None:
        return whole_numbers(self._raw(name), dtype, name)[0] if name in self else None

    def _raw(self, name: str) -> NDArray[Any]:
        values = column_values([self.records], self.table.layout, name)[0]
        return values if values.ndim == 1 else values.reshape(len(values), -1)[:, 0]


def _check_columns(table: Hdu, conversion: Conversion) -> None:
    """Refuse, before any row is read, a table without positions, or with magnitudes whose zero point is not known."""
    columns = Columns(np.empty(0), table)
    if columns.positions is None:
        raise DataError("the table has no pixel positions", table.where, "add X_IMAGE and Y_IMAGE")
    if columns.magnitude is None:
        wanted = ", ".join(f"MAG_{name}" for name in MAGNITUDES)
        raise DataError("the table has no magnitudes", table.where, f"add one of {wanted}")
    if f"FLUX_{columns.magnitude}" not in columns and conversion.zero_point is None:
        raise DataError("the header does not give the zero point of the magnitudes", table.where, "add SEXMGZPT")


@np.errstate(all="ignore")
def _detections(batch: Sequence[Rows], request: ReadRequest, conversions: dict[int, Conversion]) -> Detections:
    """Detections of rows of one image."""
    rows = batch[0]
    image = rows.source.image
    columns = Columns(rows.records, rows.source.table)
    names = columns.positions
    assert names is not None  # checked when the header was read
    part = Part(image, columns[names[0]], columns[names[1]], rows.source.repeated[rows.rows])
    values = _measured(columns, conversions[image.image_id]) | {"x": part.x, "y": part.y}
    values = {name: _as_declared(name, column) for name, column in values.items()}
    numbers = columns.numbers
    values["det_id"] = np.arange(rows.rows.start, rows.rows.stop, dtype=np.int64) if numbers is None else numbers
    kept, rejected = kept_rows([part], request.keep, mag_err=values.get("inst_mag_err"), photflags=columns.flags)
    if not kept.all():
        values = {name: column[kept] for name, column in values.items()}
    table, n_nulled = arrow_columns(key_columns([part], kept) | values)
    return Detections(table, rejected, n_nulled)


def _as_declared(name: str, values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.dtype(MEASUREMENTS[name].type), copy=False)


def _measured(columns: Columns, conversion: Conversion) -> dict[str, NDArray[Any]]:
    """All columns of `measurements` that the table can give, except position and number."""
    kind = columns.magnitude
    assert kind is not None  # checked when the header was read
    values: dict[str, NDArray[Any]] = _photometry(columns, kind, conversion.zero_point)
    aperture = _photometry(columns, "APER", conversion.zero_point)
    renamed = {"inst_mag": "inst_ap_mag", "inst_flux": "inst_ap_flux", "inst_flux_err": "inst_ap_flux_err"}
    values |= {new: aperture[old] for old, new in renamed.items() if old in aperture}
    if aperture and conversion.aperture:
        values["ap_radius"] = np.full(len(columns.records), 0.5 * conversion.aperture)
    kron = _photometry(columns, "AUTO", conversion.zero_point)
    renamed = {"inst_flux": "inst_kron_flux", "inst_flux_err": "inst_kron_flux_err"}
    values |= {new: kron[old] for old, new in renamed.items() if old in kron}
    if "BACKGROUND" in columns and conversion.exptime > 0.0:
        values["sky"] = columns["BACKGROUND"] / conversion.exptime
    flags = columns.flags
    if flags is not None:
        values["photflags"] = flags
    return values | _shape(columns)


def _photometry(columns: Columns, kind: str, zero_point: float | None) -> dict[str, NDArray[Any]]:
    """Instrumental magnitude and flux of one kind; each is made of the other where the table lacks it."""
    values: dict[str, NDArray[Any]] = {}
    mag, flux = f"MAG_{kind}", f"FLUX_{kind}"
    if mag in columns and zero_point is not None:
        values["inst_mag"] = columns.magnitudes(mag) - zero_point
    elif flux in columns:
        values["inst_mag"] = -2.5 * np.log10(columns[flux])
    else:
        return {}
    if f"MAGERR_{kind}" in columns:
        values["inst_mag_err"] = errors_of(columns.magnitudes(f"MAGERR_{kind}"))
    if flux not in columns:
        return values | flux_of_magnitude(values["inst_mag"], values.get("inst_mag_err"))
    values["inst_flux"] = columns[flux]
    if f"FLUXERR_{kind}" in columns:
        values["inst_flux_err"] = errors_of(columns[f"FLUXERR_{kind}"])
        if "inst_mag_err" not in values:
            values["inst_mag_err"] = 2.5 / np.log(10.0) * np.abs(values["inst_flux_err"] / columns[flux])
    return values


def _shape(columns: Columns) -> dict[str, NDArray[Any]]:
    """Positions that the file itself gives, position errors, moments and fit quality."""
    found = {
        "file_ra": columns.first("ALPHA_J2000", "ALPHAWIN_J2000", "ALPHAPSF_J2000"),
        "file_dec": columns.first("DELTA_J2000", "DELTAWIN_J2000", "DELTAPSF_J2000"),
        "x_err": columns.first("ERRX2WIN_IMAGE", "ERRX2PSF_IMAGE", "ERRX2_IMAGE"),
        "y_err": columns.first("ERRY2WIN_IMAGE", "ERRY2PSF_IMAGE", "ERRY2_IMAGE"),
        "moments_xx": columns.first("X2WIN_IMAGE", "X2_IMAGE"),
        "moments_xy": columns.first("XYWIN_IMAGE", "XY_IMAGE"),
        "moments_yy": columns.first("Y2WIN_IMAGE", "Y2_IMAGE"),
        "psf_chisq": columns.first("CHI2_PSF"),
    }
    values: dict[str, NDArray[Any]] = {name: column for name, column in found.items() if column is not None}
    for name in ("x_err", "y_err"):  # SExtractor gives variances; of one below 0 the root is NaN: none
        if name in values:
            values[name] = np.sqrt(values[name])
    return values
