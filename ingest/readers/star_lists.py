"""Lists of stars as text: what lists of DAOPHOT II and of IRAF have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError

from .numerals import decimal

STAR = np.dtype([(name, "f8") for name in ("id", "x", "y", "mag", "err", "sky", "itime", "aperture")])
"""A star: its number, position (the first pixel's centre is 1), magnitude, error, sky (counts per pixel), the exposure
time that its counts were divided by, and the radius of its aperture (pixel); NaN: none."""
LARGEST_ID = 2.0**53

Line = tuple[int, str]
Star = tuple[float, ...]
"""The values of a `STAR`."""


class Layout(Protocol):
    """How the stars of a list are written."""

    def stars(self) -> Iterator[Star]:
        """Yield the stars, from the first."""
        ...

    def count(self) -> int:
        """Return how many stars there are, without reading their numbers."""
        ...


@dataclass(frozen=True)
class StarList:
    """An opened list: its keywords as text, the image's size where it gives that, whether its apertures measured.

    `zero_point` and `itime` say how magnitudes are scaled, None where the list does not say: a magnitude is
    zero_point - 2.5 log10(counts / itime). An `itime` of 0: each star has its own.
    """

    path: Path
    keywords: dict[str, str]
    size: tuple[int, int] | None
    zero_point: float | None
    itime: float | None
    layout: Layout
    aperture: bool = False

    def blocks(self, rows: int) -> Iterator[NDArray[np.void]]:
        """Yield the stars, `rows` at a time at most.

        Raises
        ------
        DataError
            A line that cannot be read: which, and what is wrong with it.
        """
        stars = self.layout.stars()
        while block := list(islice(stars, rows)):
            yield np.array(block, dtype=STAR)

    def count(self) -> int:
        """Return how many stars there are."""
        return self.layout.count()


def lines_of(path: Path) -> Iterator[Line]:
    """Yield the lines of a list, numbered from 1, without the blanks at their ends.

    Raises
    ------
    DataError
        The last line has no end: programs write one, so that the file was cut.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                raise DataError("the last line has no end: the file is truncated", f"{path}, line {number}",
                                "copy it again")  # fmt: skip
            yield number, line.decode("latin-1").rstrip()


def number_of(word: str, name: str, where: str) -> float:
    """Return a number; NaN for INDEF (IRAF), and for the asterisks of a number too wide for its field (Fortran).

    Raises
    ------
    DataError
        It is neither.
    """
    word = word.strip()
    if word == "INDEF" or (word and not word.strip("*")):
        return float("nan")
    try:
        return decimal(word)
    except ValueError:
        raise DataError(f"{word!r} is no number ({name})", where, "mend the line, or write the list again") from None


def identity_of(word: str, where: str) -> float:
    """Return the number of a star.

    Raises
    ------
    DataError
        It is no whole number.
    """
    number = number_of(word, "ID", where)
    if not (abs(number) < LARGEST_ID and number == int(number)):
        raise DataError(f"{word.strip()!r} is no whole number (ID)", where, "mend the line, or write the list again")
    return number
