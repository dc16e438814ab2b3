"""Star lists of DAOPHOT II (P. B. Stetson, User's Manual for DAOPHOT II): ALLSTAR, NSTAR, ALLFRAME, and PHOTOMETRY.

Two lines of a head (NL NX NY LOWBAD … AP1 …), a blank one, then a star per line: an id of 7 characters and eight
numbers of 9 (x, y, magnitude, error, sky, iterations, chi, sharp), which may touch. Where NL is 2 a star has two lines:
id, x, y and a magnitude per aperture; sky, its deviation and skewness, and an error per aperture. Counts of 1 are
magnitude 25. Of several apertures the first counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from skydb.errors import DataError

from .star_lists import Line, Star, StarList, identity_of, lines_of, number_of

HEAD = re.compile(rb"\s*NL\s+NX\s+NY\s+LOWBAD\b")
ZERO_POINT = 25.0
NO_MAGNITUDE, NO_ERROR = 90.0, 9.99
"""Magnitudes of ±99.999 (or ±99.9999) and errors of 9.9999 stand for none."""
_WIDTH, _NUMBERS = 9, 9


@dataclass(frozen=True)
class _Daophot:
    """The stars of DAOPHOT II, one or two lines each."""

    path: Path
    paired: bool
    radius: float

    def count(self) -> int:
        """Return how many stars there are, without reading their numbers."""
        return sum(1 for _ in self._lines()) // (2 if self.paired else 1)

    def _lines(self) -> Iterator[Line]:
        return ((number, text) for number, text in islice(lines_of(self.path), 3, None) if text)

    def stars(self) -> Iterator[Star]:
        """Yield the stars, from the first."""
        lines = self._lines()
        for number, text in lines:
            where = f"{self.path}, line {number}"
            yield self._of_two(text, next(lines, None), where) if self.paired else self._of_one(text, where)

    def _of_one(self, text: str, where: str) -> Star:
        words = text.split()
        if len(words) != _NUMBERS:
            words = _of_fixed_width(text)
        if len(words) != _NUMBERS:
            what = f"{len(text.split())} fields, not the {_NUMBERS} of ALLSTAR, NSTAR and ALLFRAME"
            raise DataError(what, where, "give a list of these, or of PHOTOMETRY; mend the line if it is one")
        named = zip(("X", "Y", "magnitude", "error", "sky", "iterations"), words[1:7], strict=True)
        x, y, mag, err, sky, iterations = (number_of(word, name, where) for name, word in named)
        if iterations == iterations and iterations != int(iterations):  # DAOMASTER's lists may have nine numbers too
            what = f"{words[6]} iterations: this is no list of ALLSTAR, NSTAR or ALLFRAME"
            raise DataError(what, where, "give a list of one image, not one that was matched")
        return identity_of(words[0], where), x, y, _magnitude(mag), _error(err), sky, 1.0, np.nan

    def _of_two(self, text: str, second: Line | None, where: str) -> Star:
        if second is None:
            raise DataError("the second line of the star is absent: the file is truncated", where, "copy it again")
        words, more = text.split(), second[1].split()
        if len(words) < 4 or len(more) != len(words):
            what = f"{len(words)} and {len(more)} fields: a star has three more than apertures in each of its lines"
            raise DataError(what, where, "mend the lines, or write the list again")
        x, y, mag = (number_of(w, n, where) for n, w in zip(("X", "Y", "magnitude"), words[1:4], strict=True))
        after = f"{self.path}, line {second[0]}"
        sky, err = number_of(more[0], "sky", after), number_of(more[3], "error", after)
        return identity_of(words[0], where), x, y, _magnitude(mag), _error(err), sky, 1.0, self.radius


def _of_fixed_width(text: str) -> list[str]:
    """Return the fields of a line whose numbers touch: eight of 9 characters, the id before them."""
    first = len(text) - (_NUMBERS - 1) * _WIDTH
    if not 0 < first <= _WIDTH:
        return []
    return [text[:first], *(text[i : i + _WIDTH] for i in range(first, len(text), _WIDTH))]


def _magnitude(value: float) -> float:
    return value if abs(value) < NO_MAGNITUDE else float("nan")


def _error(value: float) -> float:
    return value if value < NO_ERROR else float("nan")


def open_daophot(path: Path) -> StarList:
    """Read the head of a list.

    Raises
    ------
    DataError
        The head is not whole, or cannot be.
    """
    head = list(islice(lines_of(path), 3))
    where = f"{path}, line 2"
    if len(head) < 3 or len(values := head[1][1].split()) < 3:
        raise DataError("the head is not whole: the file is truncated", where, "copy it again")
    kind, nx, ny = (number_of(word, name, where) for name, word in zip(("NL", "NX", "NY"), values, strict=False))
    if kind not in (1.0, 2.0, 3.0) or not (0 < nx < 2**31 and 0 < ny < 2**31):
        raise DataError(f"NL {values[0]}, NX {values[1]} and NY {values[2]} cannot be", where, "correct the head")
    if head[2][1]:
        raise DataError("the third line is not blank", f"{path}, line 3", "write the list again")
    names = head[0][1].split()
    complete = len(values) == len(names) and "AP1" in names
    radius = number_of(values[names.index("AP1")], "AP1", where) if complete else float("nan")
    layout = _Daophot(path, kind == 2.0, radius if radius > 0 else float("nan"))
    return StarList(path, {}, (int(nx), int(ny)), ZERO_POINT, 1.0, layout, aperture=layout.paired)
