"""Photcodes: where a magnitude comes from, and its tie to a mean band.

SEC is a mean band, DEP the measurements of one detector and filter, REF those of an external catalog, ALT another
colour transformation of a SEC code (same number, looked up by name only, never stored with a measurement).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from skydb.errors import DataError, UsageError, did_you_mean

from .photcode import KINDS, Photcode
from .photcodes_text import photcodes_of_text
from .tables import PHOTCODES

__all__ = ["KINDS", "Photcode", "Photcodes", "read_photcodes_text"]


@dataclass(frozen=True)
class Photcodes:
    """An immutable set of photcodes, looked up by code and by name.

    Raises
    ------
    DataError
        A name, or a code other than of ALT, is there twice; a band or colour names no photcode that can be one.
    """

    rows: tuple[Photcode, ...] = ()

    def __post_init__(self) -> None:
        _refuse_repeats(self.rows)
        for row in self.rows:
            _check_ties(row, self._named, self._coded)

    def __iter__(self) -> Iterator[Photcode]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self._named

    @cached_property
    def _named(self) -> dict[str, Photcode]:
        return {row.name: row for row in self.rows}

    @cached_property
    def _coded(self) -> dict[int, Photcode]:
        return {row.code: row for row in self.rows if row.kind != "ALT"}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in table order."""
        return tuple(row.name for row in self.rows)

    @property
    def bands(self) -> tuple[str, ...]:
        """The mean bands (SEC), in table order."""
        return tuple(row.name for row in self.rows if row.kind == "SEC")

    def by_name(self, name: str) -> Photcode:
        """Return the photcode of a name.

        Raises
        ------
        UsageError
            There is none; the text names the closest, and says how to add one.
        """
        if name not in self._named:
            raise UsageError(f"no photcode named {name!r}", None, self.advice(name))
        return self._named[name]

    def advice(self, name: str) -> str:
        """Say which photcodes there are and how to add one, to whoever named one that is not there."""
        if not self.rows:
            return "there are no photcodes yet: `skydb photcodes DB` adds them, see `skydb photcodes --help`"
        return f"{did_you_mean(name, self._named)} (`skydb photcodes DB` lists all and adds more, see its --help)"

    def by_code(self, code: int) -> Photcode:
        """Return the photcode of a number (never an ALT).

        Raises
        ------
        UsageError
            There is none.
        """
        if code not in self._coded:
            raise UsageError(f"no photcode has the number {code}", None, "import its definition with `skydb photcodes`")
        return self._coded[code]

    def band_of(self, code: int) -> str | None:
        """Return the mean band that a code belongs to: itself for SEC, and for REF unless it names another; or None.

        Raises
        ------
        UsageError
            There is no such code.
        """
        return self.by_code(code).band

    def merge(self, other: Iterable[Photcode]) -> Photcodes:
        """Return this set with the other's photcodes added.

        Raises
        ------
        DataError
            A photcode is defined in both and differently: the text names what differs.
        """
        new = []
        for row in other:
            mine = self._named.get(row.name)
            if mine is None:
                mine = self._coded.get(row.code) if row.kind != "ALT" else None
            if mine is None:
                new.append(row)
            elif mine != row:
                raise DataError(_difference(mine, row), f"photcode {row.name!r}", "give it a new name and number")
        return Photcodes(self.rows + tuple(new))

    def to_arrow(self) -> pa.Table:
        """Return the rows of the `photcodes` table, in its declared schema."""
        rows = [dataclasses.asdict(row) | {"color_terms": list(row.color_terms)} for row in self.rows]
        return pa.Table.from_pylist(rows, schema=PHOTCODES.arrow)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Photcodes:
        """Build the set from rows of the `photcodes` table; columns that are absent or NULL take their defaults."""
        return cls(tuple(Photcode(**_given(row)) for row in table.to_pylist()))


def read_photcodes_text(path: str | Path) -> Photcodes:
    """Read a photcode table in DVO's text form, see `photcodes_text`.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        The file is no text or holds no photcode, or a line cannot be used: its number and what is wrong with it.
    """
    return Photcodes(photcodes_of_text(Path(path)))


def _given(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _refuse_repeats(rows: tuple[Photcode, ...]) -> None:
    names: set[str] = set()
    codes: dict[int, str] = {}
    for row in rows:
        if row.name in names:
            raise DataError("the name is defined twice", f"photcode {row.name!r}", "keep one of them")
        names.add(row.name)
        if row.kind == "ALT":
            continue
        if row.code in codes:
            raise DataError(f"the number {row.code} is that of {codes[row.code]!r} too", f"photcode {row.name!r}",
                            "give it another")
        codes[row.code] = row.name


def _check_ties(row: Photcode, named: dict[str, Photcode], coded: dict[int, Photcode]) -> None:
    """Refuse a band that is no mean band, a colour of unknown bands, an ALT without its SEC."""
    where = f"photcode {row.name!r}"
    if row.kind == "ALT" and (row.code not in coded or coded[row.code].kind != "SEC"):
        raise DataError(f"no SEC photcode has the number {row.code}", where, "define the SEC code that ALT belongs to")
    if row.band is not None and row.band != row.name:
        band = named.get(row.band)
        if band is None or band.kind != "SEC":
            raise DataError(f"the band {row.band!r} is no SEC photcode", where,
                            did_you_mean(row.band, [r.name for r in coded.values() if r.kind == "SEC"]))
    for color in (row.color_1, row.color_2):
        if color is not None and color not in named:
            raise DataError(f"the colour uses an unknown photcode {color!r}", where, did_you_mean(color, named))


def _difference(mine: Photcode, theirs: Photcode) -> str:
    fields = [f.name for f in dataclasses.fields(Photcode) if getattr(mine, f.name) != getattr(theirs, f.name)]
    shown = ", ".join(f"{name} {getattr(mine, name)!r} against {getattr(theirs, name)!r}" for name in fields[:4])
    return f"it is defined differently already ({shown})"
