"""Astropy tables as FITS binary tables, UCDs in TUCDn and meanings in TCOMMn, and as VOTables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from skydb.errors import UsageError

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

_FORMATS = {
    "b1": "L", "i2": "I", "i4": "J", "i8": "K", "u1": "B", "u2": "I", "u4": "J", "u8": "K", "f4": "E", "f8": "D",
}  # fmt: skip
_WIDER = {"i1": "i2", "u1": "i2", "u2": "i4", "u4": "i8", "u8": "f8", "f2": "f4"}


def write_fits(table: Table, sink: BinaryIO) -> None:
    """Write a table as the first extension of a FITS file.

    NULL is NaN in floating-point columns, empty text, and the smallest number (TNULL) in integer ones; a logical or
    unsigned column with NULLs becomes the next larger signed integer. Lists of one length are array cells, others
    variable-length arrays.

    Raises
    ------
    UsageError
        Text outside ASCII, which FITS cannot hold.
    """
    from astropy.io import fits

    columns = [_column(table[name]) for name in table.colnames]
    extension = fits.BinTableHDU.from_columns(columns)
    for number, name in enumerate(table.colnames, 1):
        source = table[name]
        if source.info.meta and "ucd" in source.info.meta:
            extension.header[f"TUCD{number}"] = source.info.meta["ucd"]
        if source.info.description:
            extension.header[f"TCOMM{number}"] = source.info.description.encode("ascii", "replace").decode()
    fits.HDUList([fits.PrimaryHDU(), extension]).writeto(sink)


def _column(source: Any) -> fits.Column:
    from astropy.io import fits

    mask = np.asarray(getattr(source, "mask", np.zeros(len(source), dtype=bool)))
    data = np.asarray(source)
    unit = source.unit.to_string("fits") if source.unit is not None else None
    name = source.info.name
    if data.dtype == object:
        return fits.Column(name, f"P{_FORMATS[_kind(data[0].dtype)]}()", unit=unit, array=data)
    if data.dtype.kind == "U":
        text = _ascii(name, np.where(mask, "", data))
        return fits.Column(name, f"{max(text.dtype.itemsize, 1)}A", unit=unit, array=text)
    if mask.any() and data.dtype.kind in "bu":
        data = data.astype("i2" if data.dtype.kind == "b" else _WIDER[_kind(data.dtype)])
    elif _kind(data.dtype) in ("i1", "f2"):
        data = data.astype(_WIDER[_kind(data.dtype)])
    null = None
    if mask.any():
        null = int(np.iinfo(data.dtype).min) if data.dtype.kind == "i" else None
        data = np.where(mask, np.nan if null is None else null, data).astype(data.dtype)
    repeat = str(data.shape[1]) if data.ndim == 2 else ""
    zero = 2 ** (8 * data.dtype.itemsize - 1) if _kind(data.dtype) in ("u2", "u4", "u8") else None
    return fits.Column(name, repeat + _FORMATS[_kind(data.dtype)], unit=unit, null=null, bzero=zero, array=data)


def _kind(dtype: np.dtype[Any]) -> str:
    """Return kind and size of a type, as 'i8'."""
    return f"{dtype.kind}{dtype.itemsize}"


def _ascii(name: str, data: NDArray[Any]) -> NDArray[np.bytes_]:
    try:
        return np.char.encode(data, "ascii")
    except UnicodeEncodeError as error:
        where = f"column {name}"
        raise UsageError(f"FITS cannot hold {error.object!r}", where, "write votable, ecsv or parquet") from error


def write_votable(table: Table, sink: BinaryIO) -> None:
    """Write a table as a VOTable.

    Unsigned columns become the next larger signed ones, which is all that VOTable has, and so do truth values with
    NULLs; text is `char` where it is ASCII.
    """
    made = table.copy(copy_data=False)
    for name in table.colnames:
        kind = _kind(table[name].dtype)
        if kind in _WIDER or (kind == "b1" and np.any(getattr(table[name], "mask", False))):
            made.replace_column(name, table[name].astype(_WIDER.get(kind, "i2")))
        elif table[name].dtype.kind == "U":
            plain = all(text.isascii() for text in np.asarray(table[name]).tolist())
            made[name].meta |= {"_votable_string_dtype": "char" if plain else "unicodeChar", "_votable_arraysize": "*"}
    made.write(sink, format="votable")
