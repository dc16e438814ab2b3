"""CMF and SMF: psphot's catalogs, one chip or all chips of a mosaic exposure.

Every table of a known EXTTYPE belongs to the header that its EXTHEAD names; columns are found by name, so that all
versions (PS1_V1 … V5, SV1 … SV4, DV1 … DV5) read alike. Positions come from the header's astrometry at X_PSF, Y_PSF;
RA_PSF and DEC_PSF are kept and not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError, did_you_mean
from skydb.schema.psphot import COLUMN_OF_TTYPE, UNSIGNED, needed_columns
from skydb.schema.tables import MEASUREMENTS

from .assemble import Detections, ImageTable, Rows, chunks
from .companions import Companions, joined, own_companions, sibling_companions, siblings_of
from .detections import (
    Mask,
    Part,
    arrow_columns,
    errors_of,
    flux_of_magnitude,
    kept_rows,
    key_columns,
    repeats,
    whole_numbers,
)
from .fits_tables import FitsFile, Hdu, TableLayout, column_values, is_fits_with, open_fits, reading
from .headers import ImageHeader, ImageSource, read_image_header, start_of
from .interface import Chunk, ReadRequest

_VERSIONS = {"V": 5, "SV": 4, "DV": 5}
_KINDS = {"SV": "stack", "DV": "diff"}
EXTTYPES = tuple(f"PS1_{letters}{n}" for letters, last in _VERSIONS.items() for n in range(1, last + 1))
OTHER_EXTTYPES = ("DETEFF", "IMAGE", "PSF_MODEL")
SUFFIXES = (".smf", ".cmf")
SEARCHED_BYTES = 256 * 1024
MISLABELLED_WIDTH = 20
"""A table of EXTTYPE PS1_V2 with rows of 20 bytes is a DETEFF table with a wrong name."""

Records = Sequence[NDArray[Any]]

_UNSIGNED = (*UNSIGNED, "IPP_IDET")
_DTYPES = {name: np.dtype(MEASUREMENTS[name].type) for name in COLUMN_OF_TTYPE.values()}


class SmfReader:
    """Reader of CMF and SMF files."""

    format = "smf"

    def recognises(self, path: Path, head: bytes, request: ReadRequest) -> bool:
        """Say whether the file is FITS with psphot's suffix, or has a table of a known EXTTYPE early on."""
        words = [f"EXTTYPE = '{name:<8}'" for name in EXTTYPES]
        return is_fits_with(words, SUFFIXES, path, head, n_bytes=SEARCHED_BYTES)

    def read(self, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        """Yield the file, chips in file order; small chips share a chunk.

        Raises
        ------
        DataError
            The file is damaged, holds no known table, or a chip's header is missing or wrong.
        """
        with reading(path):
            chips, refused = _chips(open_fits(path), request)
            yield from chunks(
                chips, partial(_detections, request=request),
                together=lambda rows: id(rows.source.table.layout), refused=refused,
            )  # fmt: skip

    def first_start(self, path: Path, request: ReadRequest) -> float:
        """Return the earliest start of the chips, from their headers."""
        with reading(path):
            file = open_fits(path)
            tables = _tables(file)
            heads = _heads_of(file, tables)
            sources = [_source(file, head, table, 0) for head, table in zip(heads, tables, strict=True)]
            return min(start_of(source.headers, source.where) for source in sources)


def _chips(file: FitsFile, request: ReadRequest) -> tuple[list[ImageTable], int]:
    """All chips with usable astrometry, headers read, and the number of rows of the others."""
    tables = _tables(file)
    heads = _heads_of(file, tables)
    named = _by_name(file) if request.tables else {}
    chips: list[ImageTable] = []
    seen: dict[int, str] = {}
    sibling: ImageHeader | None = None
    refused = 0
    for head, table in zip(heads, tables, strict=True):
        records = file.records(table)
        image = sibling = read_image_header(_source(file, head, table, len(records)), request, sibling)
        if image.image_id in seen:
            raise DataError(f"it is the same image as {seen[image.image_id]}", table.where, "write the file again")
        seen[image.image_id] = table.where
        if image.row["n_astrometry"] is not None and image.row["n_astrometry"] <= 0:
            refused += len(records)
            continue
        siblings = {kind: (hdu, file.records(hdu)) for kind, hdu in siblings_of(named, table, request.tables).items()}
        numbers, _ = _value([records], table.layout, "IPP_IDET")
        chips.append(ImageTable(image, table, records, repeats(numbers), siblings))
    if not chips:
        raise DataError("no chip has usable astrometry (NASTRO is 0)", str(file.path), "solve its astrometry first")
    return chips, refused


def _tables(file: FitsFile) -> list[Hdu]:
    """The tables of a known EXTTYPE; every head that announces a table must have it."""
    _refuse_cut(file)
    tables = [hdu for hdu in file.hdus if hdu.word("EXTTYPE") in EXTTYPES]
    tables = [t for t in tables if not (t.word("EXTTYPE") == "PS1_V2" and t.get("NAXIS1") == MISLABELLED_WIDTH)]
    if not tables:
        types = sorted({hdu.word("EXTTYPE") for hdu in file.hdus} - {"", *OTHER_EXTTYPES})
        advice = did_you_mean(types[0], EXTTYPES) if types else f"known EXTTYPEs: {', '.join(EXTTYPES)}"
        found = ", ".join(types) or "absent"
        raise DataError(f"no table of psphot detections (EXTTYPE {found})", str(file.path), advice)
    names = {"", *(hdu.word("EXTNAME") for hdu in file.hdus)}
    for hdu in file.hdus:
        if hdu.word("EXTTYPE") == "IMAGE" and hdu.word("EXTDATA") not in names:
            raise DataError(f"its table {hdu.word('EXTDATA')!r} is missing: the file is truncated", hdu.where,
                            "copy the file again")
    for table in tables:
        exttype = table.word("EXTTYPE")
        missing = [name for name in needed_columns(exttype) if name not in table.layout.columns]
        if missing:
            todo = "write the file again, with all columns of its EXTTYPE"
            raise DataError(f"the table ({exttype}) has no column {', '.join(missing)}", table.where, todo)
    return tables


def _refuse_cut(file: FitsFile) -> None:
    """Refuse a mosaic with fewer extensions than NEXTEND says; more are no fault, for it may be the raw image's."""
    primary, n_found = file.hdus[0], len(file.hdus) - 1
    announced = primary.get("NEXTEND")
    if primary.word("CTYPE2").endswith("-DIS") and isinstance(announced, int) and announced > n_found:
        what = f"NEXTEND announces {announced} extensions, the file has {n_found}: it is truncated"
        raise DataError(what, primary.where, "copy the file again; or, if it has all its chips, correct NEXTEND")


def _heads_of(file: FitsFile, tables: Sequence[Hdu]) -> list[Hdu]:
    """The header of every table: EXTHEAD and EXTDATA must say the same, and no two heads or tables share a name.

    A pairing that contradicts itself is not guessed at: rows would get another chip's place, time and zero point.
    """
    announcing = [hdu for hdu in file.hdus if hdu.word("EXTTYPE") == "IMAGE"]
    _refuse_shared_names([*announcing, *tables])
    named = _by_name(file)
    heads = [_head_of(file.hdus[0], table, named, alone=len(tables) == 1) for table in tables]
    owner = {table.word("EXTNAME"): head for head, table in zip(heads, tables, strict=True)}
    for head, table in zip(heads, tables, strict=True):
        if head.word("EXTDATA") not in ("", table.word("EXTNAME")):
            _refuse_pair(table, head)
    for head in announcing:
        if head.word("EXTDATA") and owner.get(head.word("EXTDATA"), head) is not head:
            _refuse_pair(next(t for t in tables if t.word("EXTNAME") == head.word("EXTDATA")), head)
    return heads


def _refuse_shared_names(hdus: Sequence[Hdu]) -> None:
    first: dict[str, Hdu] = {}
    for hdu in hdus:
        name = hdu.word("EXTNAME")
        if name and first.setdefault(name, hdu) is not hdu:
            what = f"its EXTNAME is that of {_place(first[name])} too"
            raise DataError(what, hdu.where, "write the file again, with a name of its own for every HDU")


def _refuse_pair(table: Hdu, head: Hdu) -> None:
    said, announced = table.word("EXTHEAD"), head.word("EXTDATA")
    what = f"its EXTHEAD is {said!r}, but the EXTDATA of {_place(head)} is {announced!r}"
    raise DataError(what, table.where, "write the file again: a table and its header must name each other")


def _place(hdu: Hdu) -> str:
    """Which HDU of the file, without the file's name."""
    return hdu.where.rpartition(", ")[2]


def _by_name(file: FitsFile) -> dict[str, list[Hdu]]:
    named: dict[str, list[Hdu]] = {}
    for hdu in file.hdus:
        named.setdefault(hdu.word("EXTNAME"), []).append(hdu)
    return named


def _head_of(primary: Hdu, table: Hdu, named: dict[str, list[Hdu]], *, alone: bool) -> Hdu:
    """The header that a table belongs to: the HDU that EXTHEAD names; the primary one of a single-chip file."""
    wanted = table.word("EXTHEAD")
    found = named.get(wanted, []) if wanted else []
    if len(found) == 1:
        return found[0]
    single = alone and not primary.word("CTYPE2").endswith("-DIS") and primary.get("CTYPE2") is not None
    if not found and (single or primary.word("EXTDATA") == table.word("EXTNAME") != ""):
        return primary
    what = f"{len(found)} HDUs are named {wanted!r}" if found else f"its header {wanted!r} is missing"
    raise DataError(what, table.where, "one HDU must have the EXTNAME that the table's EXTHEAD gives")


def _source(file: FitsFile, head: Hdu, table: Hdu, n_rows: int) -> ImageSource:
    primary = file.hdus[0]
    kind = _KINDS.get(table.word("EXTTYPE").removeprefix("PS1_").rstrip("0123456789"))
    if head is primary:
        return ImageSource(head.header, None, file.path.name, head.where, n_rows, kind=kind)
    name = head.word("EXTNAME")
    return ImageSource(
        head.header, primary.header, f"{file.path.name}[{name}]", head.where, n_rows,
        chip=name.removesuffix(".hdr"), kind=kind,
    )  # fmt: skip


@np.errstate(all="ignore")
def _detections(batch: Sequence[Rows], request: ReadRequest) -> Detections:
    """Detections of images whose tables have one layout."""
    layout = batch[0].source.table.layout
    records = [rows.records for rows in batch]
    x, y = (column_values(records, layout, name)[0].astype(np.float64) for name in ("X_PSF", "Y_PSF"))
    edges = np.cumsum([0, *map(len, records)])
    parts = [
        Part(rows.source.image, x[a:b], y[a:b], rows.source.repeated[rows.rows])
        for rows, a, b in zip(batch, edges[:-1], edges[1:], strict=True)
    ]
    kept, rejected = kept_rows(
        parts, request.keep, mag_err=_value(records, layout, "PSF_INST_MAG_SIG")[0],
        photflags=_value(records, layout, "FLAGS")[0],
    )  # fmt: skip
    columns, nulls = _file_columns(records, layout, kept)
    table, n_nulled = arrow_columns(key_columns(parts, kept) | columns, nulls)
    return Detections(table, rejected, n_nulled, _companions(batch, records, kept, columns["det_id"], request))


def _companions(
    batch: Sequence[Rows], records: Records, kept: Mask, det_id: NDArray[Any], request: ReadRequest
) -> dict[str, Companions]:
    """Rows of declared tables that go with the kept rows, whose numbers `det_id` are."""
    if not request.tables:
        return {}
    own = own_companions(records, batch[0].source.table, kept, request.tables)
    parts: list[tuple[int, dict[str, Companions]]] = [(0, own)]
    first = start = 0
    for rows, stored in zip(batch, records, strict=True):
        n_kept = int(np.count_nonzero(kept[start:start + len(stored)]))
        mine = det_id[first:first + n_kept].astype(np.int64)
        found = {
            table.name: sibling_companions(*rows.source.siblings[table.psphot], table, mine, count=not rows.rows.start)
            for table in request.tables if table.psphot and table.psphot in rows.source.siblings
        }  # fmt: skip
        parts.append((first, found))
        first, start = first + n_kept, start + len(stored)
    return joined(parts)


def _file_columns(
    records: Records, layout: TableLayout, kept: Mask
) -> tuple[dict[str, NDArray[Any]], dict[str, Mask]]:
    """Columns of `measurements` that the tables hold, and which values are none; of the kept rows."""
    columns: dict[str, NDArray[Any]] = {}
    nulls: dict[str, Mask] = {}
    whole = bool(kept.all())
    for ttype, name in COLUMN_OF_TTYPE.items():
        if ttype not in layout.columns:
            continue
        values, null = _value(records, layout, ttype)
        if not whole:
            values, null = values[kept], null if null is None else null[kept]
        if _DTYPES[name].kind == "f":
            values = values.astype(_DTYPES[name], copy=False)
            columns[name] = errors_of(values) if MEASUREMENTS[name].is_error else values
        else:
            columns[name], beyond = whole_numbers(values, _DTYPES[name], ttype)
            null = beyond if null is None else null if beyond is None else null | beyond
        if null is not None and name != "det_id":
            nulls[name] = null
    columns["inst_mag"] = _magnitudes(columns["inst_mag"])
    if "inst_flux" not in columns:  # PS1_V1 and V2 give magnitudes only
        columns |= flux_of_magnitude(columns["inst_mag"], columns["inst_mag_err"])
    return columns, nulls


def _magnitudes(inst_mag: NDArray[Any]) -> NDArray[Any]:
    """Return PSF_INST_MAG with NaN for none: psphot's is 0 or more where the fit gave a count or less."""
    return np.where(inst_mag < 0.0, inst_mag, np.float32(np.nan))


def _value(records: Records, layout: TableLayout, ttype: str) -> tuple[NDArray[Any], Mask | None]:
    """One column; psphot's unsigned numbers without TZERO are raw bits."""
    values, null = column_values(records, layout, ttype)
    if ttype in _UNSIGNED and values.dtype.kind == "i" and layout.columns[ttype].letter in "IJ":
        values = values.view(f"u{values.dtype.itemsize}")
    return values, null
