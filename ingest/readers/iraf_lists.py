"""Star lists of IRAF's apphot and daophot: text databases of phot, peak, nstar and allstar.

`#K` keywords, then names (`#N`), units and formats (`#F`) of the fields, line by line; a line that ends in a backslash
goes on (L. E. Davis, A Reference Guide to the IRAF/DAOPHOT Package). Widths are those of the formats: fields may touch.
Of several apertures the first counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skydb.errors import DataError, did_you_mean

from .star_lists import Star, StarList, identity_of, lines_of, number_of

HEAD = re.compile(rb"#K\s+\w+\s*=")
NEEDED = ("ID", "XCENTER", "YCENTER", "MAG", "MERR", "MSKY")


@dataclass(frozen=True)
class _Field:
    """Where a column stands: line of the star, first character, last (None: to the end)."""

    line: int
    start: int
    stop: int | None


@dataclass(frozen=True)
class _Iraf:
    """The stars of IRAF: some lines each, with fields of the widths that the head gives."""

    path: Path
    names: tuple[tuple[str, ...], ...]
    fields: dict[str, _Field]
    scale: float = 1.0
    fixed: dict[str, str] = field(default_factory=dict)

    def count(self) -> int:
        """Return how many stars there are, without reading their numbers."""
        return sum(1 for _ in self.records())

    def stars(self) -> Iterator[Star]:
        """Yield the stars, from the first."""
        image = None
        for where, lines in self.records():
            image = self._same_image(image, lines, where)
            words = {name: self.word(name, lines, where) for name in NEEDED}
            x, y, mag, err, sky = (number_of(words[n], n, where) for n in ("XCENTER", "YCENTER", "MAG", "MERR", "MSKY"))
            itime, radius = (self._given(name, lines, where) for name in ("ITIME", "RAPERT"))
            yield identity_of(words["ID"], where), x, y, mag, err, sky, itime, radius / self.scale

    def _same_image(self, image: str | None, lines: Sequence[str], where: str) -> str | None:
        if "IMAGE" not in self.fields:
            return None
        own = self.word("IMAGE", lines, where)
        if image not in (None, own):
            todo = "give the lists of different images in files of their own"
            raise DataError(f"the star is of {own}, those before of {image}", where, todo)
        return own

    def _given(self, name: str, lines: Sequence[str], where: str) -> float:
        return number_of(self.word(name, lines, where), name, where) if name in self.fields else float("nan")

    def records(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the lines of each star, without their backslashes, and where the first of them is."""
        lines: list[str] = []
        first = 0
        for number, text in lines_of(self.path):
            if text.startswith("#"):
                self._check_keyword(text, f"{self.path}, line {number}")
                continue
            if not text and not lines:
                continue
            first = first if lines else number
            lines.append(text.removesuffix("\\"))
            if not text.endswith("\\"):
                yield self._checked(lines, f"{self.path}, line {first}")
                lines = []
        if lines:
            what = "the last star is not whole: the file is truncated"
            raise DataError(what, f"{self.path}, line {first}", "copy it again")

    def word(self, name: str, lines: Sequence[str], where: str) -> str:
        """Return the field of a column: by its width, or, where it holds a blank inside, by counting words."""
        place = self.fields[name]
        text = lines[place.line][place.start : place.stop].strip()
        if len(text.split()) == 1 or name in ("IMAGE", "IFILTER"):
            return text
        words, names = lines[place.line].split(), self.names[place.line]
        if len(words) == len(names):
            return words[names.index(name)]
        raise DataError(f"no value stands where {name} should be", where, "mend the line, or write the list again")

    def _checked(self, lines: list[str], where: str) -> tuple[str, list[str]]:
        most = None if "RAPERT" in self.names[-1] else len(self.names)  # a line for each further aperture
        if len(lines) < len(self.names) or (most is not None and len(lines) > most):
            what = f"the star has {len(lines)} lines, not {len(self.names)}"
            raise DataError(what, where, "mend them, or write the list again")
        return where, lines

    def _check_keyword(self, text: str, where: str) -> None:
        """Refuse a list that was joined of several: of other images, or scaled otherwise."""
        if not text.startswith("#K"):
            return
        name, value = _keyword(text)
        if name in self.fixed and self.fixed[name] != value:
            what = f"{name} is {value} from here on, and {self.fixed[name]} before"
            raise DataError(what, where, "give the lists of different images in files of their own")


def _keyword(text: str) -> tuple[str, str]:
    """Return name and value of a `#K` line; unit and format follow the value."""
    name, _, rest = text[2:].partition("=")
    return name.strip(), " ".join(rest.split()[:-2])


def open_iraf(path: Path) -> StarList:
    """Read the head of a list.

    Raises
    ------
    DataError
        The head is not whole, or names no magnitudes.
    """
    keywords: dict[str, str] = {}
    names: list[tuple[str, ...]] = []
    widths: list[list[int]] = []
    for _, text in lines_of(path):
        if text and not text.startswith("#"):
            break
        if text.startswith("#K"):
            name, value = _keyword(text)
            keywords.setdefault(name, value)
        elif text.startswith("#N"):
            names.append(tuple(text[2:].removesuffix("\\").split()))
        elif text.startswith("#F"):
            widths.append([int(width) for width in re.findall(r"%-?(\d+)", text)])
    fields = _fields(path, names, widths)
    fixed = {name: value for name, value in keywords.items() if name in ("IMAGE", "ZMAG", "SCALE")}
    layout = _Iraf(path, tuple(names), fields, _scale(path, keywords), fixed)
    return StarList(
        path, {**_of_first_star(layout), **keywords}, None, _keyword_number(path, keywords, "ZMAG"),
        0.0 if "ITIME" in fields else None, layout, aperture="RAPERT" in fields,
    )  # fmt: skip


def _fields(path: Path, names: Sequence[tuple[str, ...]], widths: Sequence[list[int]]) -> dict[str, _Field]:
    if [len(line) for line in names] != [len(line) for line in widths] or not names:
        what = "names (#N) and formats (#F) of the columns do not go together: the head is damaged, or ends early"
        raise DataError(what, str(path), "copy the file again")
    found: dict[str, _Field] = {}
    for line, (columns, sizes) in enumerate(zip(names, widths, strict=True)):
        stops = np.cumsum(sizes).tolist()
        for name, start, stop in zip(columns, [0, *stops], [*stops[:-1], None], strict=False):
            found.setdefault(name, _Field(line, start, stop))
    for name in NEEDED:
        if name not in found:
            todo = f"{did_you_mean(name, found)}; give a list of phot, peak, nstar or allstar"
            raise DataError(f"no column {name!r}", str(path), todo)
    return found


def _scale(path: Path, keywords: dict[str, str]) -> float:
    """Return by what radii are to be divided to be pixels (`scale`, units per pixel)."""
    given = _keyword_number(path, keywords, "SCALE")
    return given if given is not None and given > 0 else 1.0


def _keyword_number(path: Path, keywords: dict[str, str], name: str) -> float | None:
    if name not in keywords:
        return None
    given = number_of(keywords[name], name, f"{path}, keyword {name}")
    return None if np.isnan(given) else given


def _of_first_star(layout: _Iraf) -> dict[str, str]:
    """Return what a list of phot says star by star, and others as keywords: image, airmass and filter."""
    first = next(layout.records(), None)
    if first is None:
        return {}
    where, lines = first
    return {name: layout.word(name, lines, where) for name in ("IMAGE", "XAIRMASS", "IFILTER") if name in layout.fields}
