"""Blocks of rows: what every kind of table file is read as."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, did_you_mean

ELEMENT = re.compile(r"(.+)\[(\d+)\]")
"""`name[2]`: one element of a column of arrays."""


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of a file.

    `rows` has the columns asked for; `number` (N,) is each row's place in the file, from 0, refused rows included;
    `line` (N,) its line where the file is text, `packet` (N,) the packet that it came in. `n_in` counts all rows,
    `refused` those left out, by reason.
    """

    rows: pa.Table
    number: np.ndarray
    n_in: int
    line: np.ndarray | None = None
    refused: dict[str, int] | None = None
    packet: Sequence[str] | None = None

    def place(self, row: int) -> str:
        """Say where a row of the block stands in the file."""
        if self.packet is not None:
            return f"{self.packet[row]} (row {self.number[row]})"
        return f"row {self.number[row]}" if self.line is None else f"line {self.line[row]}"


@dataclass(frozen=True)
class TableFile:
    """An opened table: the units that it gives to its columns, and its rows, read when asked for."""

    units: dict[str, str]
    blocks: Iterator[Block]


def bare(name: str) -> str:
    """Return the name of a column without the number of an element."""
    match = ELEMENT.fullmatch(name)
    return match[1] if match else name


def found_columns(
    path: Path, wanted: Iterable[str], names: Iterable[str], *, optional: Iterable[str] = ()
) -> dict[str, str]:  # fmt: skip
    """Return what the file calls each wanted column: its very name, else the only one that differs in case alone.

    Archives change the case of the names from one export to the next: SOURCE_ID is source_id. Of those that are
    `optional`, what the file lacks is left out.

    Raises
    ------
    DataError
        A column is absent, or two have its name.
    """
    present = list(names)
    folded = {p.casefold() for p in present}
    absent = {name for name in optional if name.casefold() not in folded}
    return {name: _found(path, name, present) for name in wanted if name not in absent}


def _found(path: Path, name: str, present: list[str]) -> str:
    alike = [p for p in present if p == name] or [p for p in present if p.casefold() == name.casefold()]
    if not alike:
        raise DataError(f"no column {name!r}", str(path), f"{did_you_mean(name, present)} (in the mapping)")
    if len(alike) > 1:
        todo = "give the columns names of your own (file.names), or rename one"
        raise DataError(f"{len(alike)} columns are called {name!r}", str(path), todo)
    return alike[0]


def units_of(units: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """Return the units that a file gives, by the names that the mapping uses for its columns."""
    return {name: units[actual] for name, actual in found.items() if actual in units}
