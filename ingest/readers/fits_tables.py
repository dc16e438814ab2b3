"""The HDUs of a FITS file and the columns of its binary tables, straight from a memory map.

A table that is compressed looks like the table that it was: its header is that of the plain one, and its rows are
expanded when they are asked for. Sizes are checked against the file before anything is read: a damaged or truncated
file is a DataError here, not a surprise later.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError, SkydbError, clear_disk_errors, disk_error

from .fits_cards import CARD, Header, Value, card_value, find_card
from .fits_compression import PackedTable, codecs_of, expanded, is_packed, plain_header

BLOCK = 2880
_END = b"END".ljust(CARD)
_FORM = re.compile(r"\s*(\d*)\s*([LXBIJKAEDCMPQ])")
_SIZES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_NUMPY = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16",
          "P": ">i4", "Q": ">i8"}
_UNSIGNED = {"I": (2.0**15, np.uint16), "J": (2.0**31, np.uint32), "K": (2.0**63, np.uint64)}
_VARIES = ("NAXIS2", "EXTNAME", "EXTHEAD")


@dataclass(frozen=True)
class Hdu:
    """One header and the place of its data; `where` names it in messages.

    Of a compressed table, `header` is that of the plain one, and `packed` the HDU as it is in the file.
    """

    header: Header
    start: int
    size: int
    where: str
    packed: Hdu | None = None

    @cached_property
    def layout(self) -> TableLayout:
        """How the columns of a binary table are stored, see `table_layout`."""
        return table_layout(self)

    def get(self, key: str) -> Value:
        """Return one keyword's value; None where it is absent."""
        return card_value(self.header.text, key)

    def word(self, key: str) -> str:
        """Return one keyword's text, without the blanks around it; empty where it is absent."""
        value = self.get(key)
        return "" if value is None else str(value).strip()


@dataclass(frozen=True)
class FitsFile:
    """A mapped FITS file and its HDUs; the map lives as long as any array made from it."""

    path: Path
    content: mmap.mmap
    hdus: tuple[Hdu, ...]

    def records(self, hdu: Hdu) -> NDArray[Any]:
        """Return the rows of a binary table as a big-endian structured array that views the file.

        Of a compressed table, one that views a temporary file into which it is expanded.
        """
        if hdu.packed is not None:
            return self._expanded(hdu)
        layout = hdu.layout
        n_rows = _size(hdu.get("NAXIS2"), "NAXIS2", hdu.where)
        if n_rows * layout.dtype.itemsize > hdu.size:
            raise DataError("the rows take more bytes than the table has", hdu.where, "write the file again")
        self._check_sum(hdu)
        return np.frombuffer(self.content, dtype=layout.dtype, count=n_rows, offset=hdu.start)

    def _expanded(self, hdu: Hdu) -> NDArray[Any]:
        n_rows = _size(hdu.get("NAXIS2"), "NAXIS2", hdu.where)
        if n_rows == 0:
            return np.empty(0, hdu.layout.dtype)
        with clear_disk_errors(gettempdir()), TemporaryFile() as file:
            for part in self.data(hdu):
                file.write(part)
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(content, dtype=hdu.layout.dtype, count=n_rows)

    def data(self, hdu: Hdu) -> Iterator[bytes | memoryview]:
        """Yield the bytes of an HDU's data: of a compressed table its rows, tile by tile."""
        packed = hdu.packed
        if packed is None:
            yield self.content[hdu.start:hdu.start + hdu.size]
            return
        tiles, n_rows = self.records(packed), _size(hdu.get("NAXIS2"), "NAXIS2", hdu.where)
        heap = _size(packed.get("THEAP") or tiles.nbytes, "THEAP", packed.where)
        with memoryview(self.content) as content:
            table = PackedTable(
                tiles, content[packed.start + heap:packed.start + packed.size],
                codecs_of(packed.header, len(hdu.layout.columns)),
                _size(packed.get("ZTILELEN") or n_rows, "ZTILELEN", packed.where), hdu.where,
            )  # fmt: skip
            with table.heap:
                for rows in expanded(table, hdu.layout, n_rows):
                    yield rows.view(np.uint8).data

    def _check_sum(self, hdu: Hdu) -> None:
        """Compare the data with the table's DATASUM, where it has one: the ones' complement sum of 4-byte words."""
        wanted = hdu.word("DATASUM")
        if not wanted.isdigit():
            return
        words = np.frombuffer(self.content, dtype=">u4", count=-(-hdu.size // BLOCK) * BLOCK // 4, offset=hdu.start)
        total = int(words.sum(dtype=np.uint64))
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        if total != int(wanted):
            raise DataError(f"the data do not have the sum {wanted} that DATASUM gives", hdu.where, "copy it again")


@dataclass(frozen=True)
class TableColumn:
    """How one column of a binary table is stored."""

    name: str
    letter: str
    repeat: int
    scale: float
    zero: float
    null: int | None

    @property
    def unsigned(self) -> bool:
        """Whether TZERO marks the column as unsigned."""
        return self.letter in _UNSIGNED and self.scale == 1.0 and self.zero == _UNSIGNED[self.letter][0]


@dataclass(frozen=True)
class TableLayout:
    """The columns of a binary table, by name, and the dtype of a row."""

    columns: dict[str, TableColumn]
    dtype: np.dtype[Any]


def is_fits_with(words: Iterable[str], suffixes: Sequence[str], path: Path, head: bytes, *, n_bytes: int) -> bool:
    """Say whether a file is FITS and has one of the suffixes, or one of the words among its first `n_bytes`."""
    if not head.startswith(b"SIMPLE  ="):
        return False
    if path.suffix.lower() in suffixes:
        return True
    with path.open("rb") as file:
        start = file.read(n_bytes)
    return any(word.encode() in start for word in words)


def open_fits(path: Path) -> FitsFile:
    """Map a FITS file and find its HDUs.

    Raises
    ------
    DataError
        The file is not FITS, a header is damaged, or the file is shorter than its headers say.
    """
    with path.open("rb") as file:
        if file.read(10) != b"SIMPLE  = ":
            raise DataError("the file is not FITS", str(path), "it must begin with SIMPLE =")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    hdus: list[Hdu] = []
    position = 0
    while position < len(content):
        if hdus and content[position:position + 8] != b"XTENSION":
            if content[position:].strip(b"\0 "):
                raise DataError("bytes follow that are no HDU", f"{path}, byte {position}", "write the file again")
            break
        hdus.append(_read_hdu(path, content, position, len(hdus)))
        position = hdus[-1].start + -(-hdus[-1].size // BLOCK) * BLOCK
    if position > len(content):
        raise DataError(f"the file ends {position - len(content)} bytes early", hdus[-1].where, "copy the file again")
    return FitsFile(path, content, tuple(hdus))


def write_expanded(path: Path, sink: IO[bytes]) -> None:
    """Write a FITS file with its compressed tables expanded, one part of a table in memory at a time.

    Raises
    ------
    DataError
        The file is damaged, or a table cannot be expanded.
    """
    file = open_fits(path)
    for hdu in file.hdus:
        header = (hdu.header.text + _END.decode()).encode("ascii")
        sink.write(header.ljust(-(-len(header) // BLOCK) * BLOCK))
        size = 0
        for part in file.data(hdu):
            size += sink.write(part)
        sink.write(bytes(-size % BLOCK))


def _read_hdu(path: Path, content: mmap.mmap, start: int, index: int) -> Hdu:
    where = f"{path}, HDU {index}"
    end = content.find(_END, start)
    while end >= 0 and (end - start) % CARD:
        end = content.find(_END, end + 1)
    if end < 0:
        raise DataError("the header has no END: the file is truncated or damaged", where, "copy the file again")
    try:
        header = Header(content[start:end].decode("ascii"))
    except UnicodeDecodeError as error:
        raise DataError("the header holds bytes that are no text", where, "write the file again") from error
    name = card_value(header.text, "EXTNAME")
    where += f" ({name})" if name else ""
    data = start + -(-(end + CARD - start) // BLOCK) * BLOCK
    size = _data_size(header, where)
    if data + size > len(content):
        short = data + size - len(content)
        raise DataError(f"the file ends {short} bytes before the end of the data", where, "copy the file again")
    hdu = Hdu(header, data, size, where)
    return Hdu(plain_header(header), data, size, where, packed=hdu) if is_packed(header) else hdu


def _data_size(header: Header, where: str) -> int:
    bits = card_value(header.text, "BITPIX")
    if bits not in (8, 16, 32, 64, -32, -64):
        raise DataError(f"BITPIX is {bits!r}", where, "write the file again")
    n_axes = _size(card_value(header.text, "NAXIS"), "NAXIS", where)
    if n_axes == 0:
        return 0
    if n_axes > 999:
        raise DataError(f"NAXIS is {n_axes}", where, "write the file again")
    cells = 1
    for axis in range(1, n_axes + 1):
        cells *= _size(card_value(header.text, f"NAXIS{axis}"), f"NAXIS{axis}", where)
    heap = _size(card_value(header.text, "PCOUNT") or 0, "PCOUNT", where)
    groups = _size(card_value(header.text, "GCOUNT") or 1, "GCOUNT", where)
    return abs(int(bits)) // 8 * groups * (heap + cells)


def _size(value: Value, key: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"{key} is {value!r}, not a size", where, "write the file again")
    return value


def table_layout(hdu: Hdu) -> TableLayout:
    """Return the layout of a binary table; tables alike in all but name and length share one.

    Raises
    ------
    DataError
        The columns are not those that the header's widths say.
    """
    if hdu.word("XTENSION") != "BINTABLE" or (hdu.get("BITPIX"), hdu.get("NAXIS")) != (8, 2):
        raise DataError("the HDU is no binary table", hdu.where, "write the file again")
    text = hdu.header.text
    for key in _VARIES:
        place = find_card(text, key)
        if place >= 0:
            text = text[:place] + text[place + CARD:]
    try:
        return _layout(text)
    except DataError as error:
        raise DataError(error.what, hdu.where, error.todo) from error


@lru_cache(maxsize=64)
def _layout(text: str) -> TableLayout:
    header = Header(text).values
    columns: dict[str, TableColumn] = {}
    formats: list[str] = []
    offsets: list[int] = []
    width = 0
    for number in range(1, _size(header.get("TFIELDS"), "TFIELDS", "") + 1):
        column, form, size = _column(header, number)
        if column.name in columns:
            raise DataError(f"two columns are named {column.name!r}", None, "rename one of them")
        columns[column.name] = column
        formats.append(form)
        offsets.append(width)
        width += size
    if width != header.get("NAXIS1"):
        raise DataError(f"the columns take {width} bytes, NAXIS1 is {header.get('NAXIS1')!r}", None, "write it again")
    fields: Any = {"names": list(columns), "formats": formats, "offsets": offsets, "itemsize": width}
    return TableLayout(columns, np.dtype(fields))


def _column(header: dict[str, Value], number: int) -> tuple[TableColumn, str, int]:
    """One column, its numpy format and its bytes."""
    form = _FORM.match(str(header.get(f"TFORM{number}", "")))
    if form is None:
        raise DataError(f"TFORM{number} is {header.get(f'TFORM{number}')!r}", None, "write the file again")
    repeat, letter = int(form.group(1) or 1), form.group(2)
    name = str(header.get(f"TTYPE{number}", f"column {number}")).strip()
    null = header.get(f"TNULL{number}")
    column = TableColumn(
        name, letter, repeat, _float(header, f"TSCAL{number}", 1.0), _float(header, f"TZERO{number}", 0.0),
        null if isinstance(null, int) else None,
    )
    if letter == "X":
        return column, f"({-(-repeat // 8)},)u1", -(-repeat // 8)
    if letter == "A":
        return column, f"S{repeat}" if repeat else "V0", repeat
    if letter in "PQ":
        return column, f"({2 * repeat},){_NUMPY[letter]}", repeat * _SIZES[letter]
    return column, _NUMPY[letter] if repeat == 1 else f"({repeat},){_NUMPY[letter]}", repeat * _SIZES[letter]


def _float(header: dict[str, Value], key: str, default: float) -> float:
    value = header.get(key, default)
    if isinstance(value, (int, float)):
        return float(value)
    raise DataError(f"{key} is {value!r}, no number", None, "write the file again")


def column_values(
    records: Sequence[NDArray[Any]], layout: TableLayout, name: str
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return one column of one or several tables in native order, TSCAL and TZERO applied.

    Parameters
    ----------
    records : rows as `FitsFile.records` gives them, N in all
    layout : the layout of all of them
    name : TTYPE

    Returns
    -------
    values : (N,) or (N, repeat)
        Unsigned integers where TZERO says so; float64 where a column is scaled otherwise; text without trailing
        blanks and NULs; vectors of 1 as scalars.
    null : (N,) or None
        Rows that hold TNULL; None where the column declares none.
    """
    column = layout.columns[name]
    if column.letter == "A":
        return np.char.rstrip(np.concatenate([part[name] for part in records]), b" \0"), None
    values = _native(records, name)
    null = values == column.null if column.null is not None and values.dtype.kind == "i" else None
    if column.unsigned:
        unsigned = _UNSIGNED[column.letter][1]
        return values.view(unsigned) ^ unsigned(1 << (8 * values.dtype.itemsize - 1)), null
    if column.scale != 1.0 or column.zero != 0.0:
        return values * column.scale + column.zero, null
    return values, null


def _native(records: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    """One column, copied once: joining whole rows first and then taking columns costs 3 times as much."""
    first = records[0][name]
    values = np.empty((sum(map(len, records)), *first.shape[1:]), dtype=first.dtype.newbyteorder("="))
    start = 0
    for part in records:
        values[start:start + len(part)] = part[name]
        start += len(part)
    return values


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into a DataError that names the file: damaged files find many ways to fail.

    What a disk refuses is raised as the error of skydb that it is.
    """
    try:
        yield
    except SkydbError:
        raise
    except FileNotFoundError as error:
        raise DataError("no such file", str(path), "correct its path") from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        refused = disk_error(error, path) if isinstance(error, OSError) else None
        what = f"the file cannot be read ({type(error).__name__}: {error})"
        raise refused or DataError(what, str(path), "write or copy it again") from error
