"""Binary tables that fpack, or DVO, has compressed: their plain header, and their rows, tile by tile.

Such a table (FITS standard 4.0, section 10.3) has a row for each tile of ZTILELEN rows, and in it for each column the
place of the compressed values of these rows in the heap. GZIP_1 holds the bytes of the values, GZIP_2 all first bytes,
then all second ones …, RICE_1 whole numbers. Columns whose values vary in length are refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError
from skydb.kernels.rice import rice_decoded

from .fits_cards import CARD, Header, Value, card_value

if TYPE_CHECKING:
    from .fits_tables import TableColumn, TableLayout

_RENAMED = {"ZHECKSUM": "CHECKSUM", "ZDATASUM": "DATASUM", "ZTHEAP": "THEAP"}
_DROPPED = re.compile(r"(ZTABLE|ZTILELEN|ZNAXIS[12]|ZPCOUNT|ZFORM\d+|ZCTYP\d+|THEAP|CHECKSUM|DATASUM)$")
_ELEMENT = {"L": 1, "X": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 4, "M": 8}
"""Bytes of what GZIP_2 takes apart: of a complex number, one half."""
_RICE_BYTES = {"B": 1, "I": 2, "J": 4}
_GZIP_OR_ZLIB = 47
_TODO = "expand it with funpack first"


@dataclass(frozen=True)
class PackedTable:
    """A compressed table: a row of places in the heap for each tile, the heap, and how each column is coded."""

    tiles: NDArray[Any]
    heap: memoryview
    codecs: Sequence[str]
    tile_rows: int
    where: str


def is_packed(header: Header) -> bool:
    """Say whether a header is that of a compressed table."""
    return card_value(header.text, "ZTABLE") is True  # every header is asked: the other cards are not parsed


def plain_header(header: Header) -> Header:
    """Return the header that a compressed table had before."""
    values = header.values
    plain: dict[str, Value] = {"PCOUNT": values.get("ZPCOUNT", 0)}
    plain |= {key: values.get(f"Z{key}") for key in ("NAXIS1", "NAXIS2")}
    fields = values.get("TFIELDS")
    for number in range(1, fields + 1 if isinstance(fields, int) else 1):
        plain[f"TFORM{number}"] = values.get(f"ZFORM{number}")
    cards = [header.text[start:start + CARD] for start in range(0, len(header.text), CARD)]
    return Header("".join(_plain_card(card, card[:8].rstrip(), plain) for card in cards))


def _plain_card(card: str, key: str, plain: dict[str, Value]) -> str:
    if key in plain:
        value = plain[key]
        return (f"{key:<8}= '{value:<8}'" if isinstance(value, str) else f"{key:<8}= {value!s:>20}").ljust(CARD)
    if key in _RENAMED:
        return f"{_RENAMED[key]:<8}" + card[8:]
    return "" if _DROPPED.match(key) else card


def codecs_of(header: Header, columns: int) -> list[str]:
    """Return how each column is coded; GZIP_2 where the header does not say."""
    return [str(header.values.get(f"ZCTYP{number}", "GZIP_2")).strip() for number in range(1, columns + 1)]


def expanded(packed: PackedTable, layout: TableLayout, n_rows: int) -> Iterator[NDArray[Any]]:
    """Yield the rows of a compressed table, tile by tile, as big-endian structured arrays of its plain layout.

    Raises
    ------
    DataError
        What is stored is not what the header says, or a column cannot be expanded here.
    """
    if packed.tile_rows <= 0 or len(packed.tiles) != -(-n_rows // packed.tile_rows):
        what = f"{len(packed.tiles)} tiles of {packed.tile_rows} rows do not make {n_rows} rows"
        raise DataError(what, packed.where, "write the file again")
    for number, tile in enumerate(packed.tiles):
        rows = np.zeros(min(packed.tile_rows, n_rows - number * packed.tile_rows), dtype=layout.dtype)
        for (name, column), place, codec in zip(layout.columns.items(), tile, packed.codecs, strict=True):
            where = f"{packed.where}, tile {number + 1}, column {name}"
            width = layout.dtype[name].itemsize
            plain = _plain_bytes(_coded(packed.heap, place, where), len(rows) * width, column, codec, where)
            _cells(rows, name, width)[...] = np.frombuffer(plain, np.uint8).reshape(len(rows), width)
        yield rows


def _cells(rows: NDArray[Any], name: str, width: int) -> NDArray[np.uint8]:
    """Return a column's bytes (n, width), as a view of the rows."""
    offset = rows.dtype.fields[name][1] if rows.dtype.fields else 0
    return rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)[:, offset:offset + width]


def _coded(heap: memoryview, place: NDArray[Any], where: str) -> memoryview:
    n, offset = (int(value) for value in place)
    if n < 0 or offset < 0 or offset + n > len(heap):
        raise DataError(f"its {n} bytes at {offset} are not in the heap of {len(heap)}", where, "copy the file again")
    return heap[offset:offset + n]


def _plain_bytes(coded: memoryview, size: int, column: TableColumn, codec: str, where: str) -> bytes | NDArray[Any]:
    """Return the values of a column as they are stored in plain tables, one after the other."""
    if column.letter in "PQ":
        raise DataError("its values vary in length", where, _TODO)
    if size == 0:
        return b""
    if codec == "NOCOMPRESS":
        plain: bytes | NDArray[Any] = bytes(coded)
    elif codec in ("GZIP_1", "GZIP_2"):
        plain = _inflated(coded, size, where)
        element = _ELEMENT[column.letter]
        if codec == "GZIP_2" and element > 1 and len(plain) == size:
            plain = np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(element, -1).T).ravel()
    elif codec == "RICE_1" and column.letter in _RICE_BYTES:
        n_bytes = _RICE_BYTES[column.letter]
        values = rice_decoded(bytes(coded), size // n_bytes, n_bytes)
        plain = b"" if values is None else values.astype(values.dtype.newbyteorder(">")).view(np.uint8)
    else:
        raise DataError(f"it is compressed by {codec}, of type {column.letter}", where, _TODO)
    if len(plain) != size:
        raise DataError(f"it expands to {len(plain)} bytes, not {size}", where, "copy the file again")
    return plain


def _inflated(coded: memoryview, size: int, where: str) -> bytes:
    """Return what is compressed, no more than one byte beyond its size."""
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(coded, size + 1)
    except zlib.error as error:
        raise DataError(f"it cannot be expanded ({error})", where, "copy the file again") from error
