"""One table of a DVO database: which HDU holds it, whether its columns are the known ones, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError

from ..fits_tables import FitsFile, Hdu, column_values, open_fits, reading

CONVERT = "convert the database with DVO's dvoconvert to format PS1_V6, mode SPLIT"
ALL_ROWS = slice(None)


@dataclass(frozen=True)
class DvoColumn:
    """What a column must be: TFORM's letter, how many values a row has, and whether they are unsigned.

    `also` is its name in PS1_V5. One that is not needed may be absent; none may be of another form.
    """

    form: str
    repeat: int = 1
    unsigned: bool = False
    needed: bool = False
    also: str = ""


Columns = Mapping[str, DvoColumn]


@dataclass(frozen=True)
class DvoTable:
    """The rows of a table, and the columns that it has, by the names of PS1_V6."""

    file: FitsFile
    hdu: Hdu
    records: NDArray[Any]
    columns: dict[str, tuple[str, DvoColumn]]

    def __len__(self) -> int:
        return len(self.records)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return self.hdu.where

    def values(self, name: str, rows: slice = ALL_ROWS) -> NDArray[Any]:
        """Return a column of some rows: unsigned numbers from their raw bits, text up to its first NUL."""
        stored, column = self.columns[name]
        values, _ = column_values([self.records[rows]], self.hdu.layout, stored)
        if column.form == "A":
            return np.array([text.split(b"\0")[0].rstrip() for text in values.tolist()], dtype=values.dtype)
        if column.unsigned and values.dtype.kind == "i":
            values = values.view(f"u{values.dtype.itemsize}")
        return values

    def numbers(self, name: str, rows: slice = ALL_ROWS) -> NDArray[np.float64]:
        """Return a column as float64, the integer that means NaN as NaN."""
        values = self.values(name, rows)
        numbers = values.astype(np.float64)
        if values.dtype.kind in "iu":
            numbers[values == np.iinfo(values.dtype).max] = np.nan
        return numbers

    def small_numbers(self, name: str, rows: slice = ALL_ROWS) -> NDArray[np.int8]:
        """Return a column of single bytes as signed numbers; DVO declares them as text."""
        stored, _ = self.columns[name]
        return np.ascontiguousarray(self.records[rows][stored]).view(np.int8)


def open_table(path: Path, extname: str, columns: Columns) -> DvoTable:
    """Open the table of a file whose EXTNAME is the given one, or that and the name of a format.

    Raises
    ------
    DataError
        The file is damaged, holds no such table or two, or a column is missing or of another form than is known.
    """
    with reading(path):
        file = open_fits(path)
        hdu = _only(file, extname)
        found = {name: _found(hdu, name, column) for name, column in columns.items()}
        there = {name: (stored, columns[name]) for name, stored in found.items() if stored is not None}
        return DvoTable(file, hdu, file.records(hdu), there)


def count_rows(path: Path, extname: str) -> int:
    """Return the rows of a table without reading them."""
    with reading(path):
        rows = _only(open_fits(path), extname).get("NAXIS2")
    return rows if isinstance(rows, int) else -1


def _only(file: FitsFile, extname: str) -> Hdu:
    tables = [h for h in file.hdus if h.word("EXTNAME") == extname or h.word("EXTNAME").startswith(f"{extname}_")]
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(h.word("EXTNAME") for h in file.hdus if h.word("EXTNAME")) or "none"
    raise DataError(f"{len(tables)} tables are named {extname} (EXTNAME: {names})", str(file.path), CONVERT)


def _found(hdu: Hdu, name: str, column: DvoColumn) -> str | None:
    """The name under which a table has a column; None where it has not, and it is not needed."""
    there = hdu.layout.columns
    stored = next((n for n in (name, column.also) if n in there), None)
    format_name = hdu.word("EXTNAME")
    if stored is None:
        if not column.needed:
            return None
        raise DataError(f"format {format_name} has no column {name}: it is not known", hdu.where, CONVERT)
    own = there[stored]
    if own.letter != column.form or (column.form != "A" and own.repeat != column.repeat):
        what = f"format {format_name} is not known: its column {name} is {own.repeat}{own.letter}"
        raise DataError(f"{what}, not {column.repeat}{column.form}", hdu.where, CONVERT)
    return stored
