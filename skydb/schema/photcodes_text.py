"""DVO's text table of photcodes, read line by line; every bad line is an error that names it.

Columns: code name type zero airmass offset c1 c2 slope color primary, then optionally three position error terms, a
magnitude error term, two position masks, two magnitude masks; so 11, 14, 15, 17 or 19 fields. `#` starts a comment.
zero, offset and color are in mag, masks may be hexadecimal, c1, c2 and primary are a number, a name, or `-`. A REF
line's zero point, slopes and colour terms are 0, as in DVO; trailing colour terms of 0 are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from skydb.errors import DataError, SkydbError, UsageError

from .photcode import Photcode

FIELD_COUNTS = (11, 14, 15, 17, 19)
KIND_OF_WORD = {"pri": "SEC", "sec": "SEC", "dep": "DEP", "ref": "REF", "alt": "ALT"}
MAX_COLOR_TERMS = 4
_ERRORS = ("astrometry_err_sys", "astrometry_err_scale", "astrometry_err_mag_scale", "photometry_err_sys")
_MASKS = ("astrometry_poor_mask", "astrometry_bad_mask", "photometry_poor_mask", "photometry_bad_mask")


@dataclass(frozen=True)
class _Line:
    """One line: its number, the photcode without its ties, and the ties as written."""

    number: int
    photcode: Photcode
    colors: tuple[str, str]
    primary: str


def photcodes_of_text(path: Path) -> tuple[Photcode, ...]:
    """Return the photcodes of a text table, in file order.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        The file is no text or holds no photcode, or a line cannot be used: its number and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be opened: {error.strerror}", str(path), "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the photcode table cannot be read ({error})", str(path), "give a text file") from error
    lines = []
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split("#", 1)[0].split()
        if words:
            lines.append(_parse_at(path, words, number))
    if not lines:
        raise DataError("there is no photcode in it", str(path), "see `skydb photcodes --help` for the format")
    return _tied(path, lines)


def _parse_at(path: Path, words: list[str], number: int) -> _Line:
    """Parse a line; errors get the file and line as their place."""
    where = f"{path}, line {number}"
    try:
        return _parse(words, number)
    except SkydbError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise DataError(what, where, error.todo) from error
    except ValueError as error:
        raise DataError(str(error), where, "correct the line") from error


def _parse(words: list[str], number: int) -> _Line:
    if len(words) not in FIELD_COUNTS:
        counts = ", ".join(map(str, FIELD_COUNTS))
        raise DataError(f"{len(words)} fields", None, f"a line has {counts} fields")
    kind = KIND_OF_WORD.get(words[2][:3].lower())
    if kind is None:
        raise DataError(f"type {words[2]!r} is not known", None, "known: sec, dep, ref, alt")
    values: dict[str, Any] = {"code": int(words[0]), "name": words[1], "kind": kind}
    calibrated = kind == "REF"
    terms = _color_terms(words[8])
    if not calibrated:
        values |= {
            "zero_point_mmag": _mmag(words[3]), "airmass_slope": float(words[4]),
            "zero_point_offset_mmag": _mmag(words[5]), "color_offset_mmag": _mmag(words[9]), "color_terms": terms,
        }
    values |= {name: float(word) for name, word in zip(_ERRORS, words[11:15], strict=False)}
    values |= {name: int(word, 0) for name, word in zip(_MASKS, words[15:19], strict=False)}
    colors = ("-", "-") if calibrated or "-" in words[6:8] else (words[6], words[7])
    return _Line(number, Photcode(**values), colors, words[10])


def _mmag(word: str) -> int:
    return round(1000.0 * float(word))


def _color_terms(word: str) -> tuple[float, ...]:
    terms = [float(part) for part in word.split(",") if part]
    if len(terms) > MAX_COLOR_TERMS:
        raise DataError(f"{len(terms)} colour terms", None, f"at most {MAX_COLOR_TERMS} are kept")
    while terms and terms[-1] == 0.0:
        terms.pop()
    return tuple(terms)


def _tied(path: Path, lines: list[_Line]) -> tuple[Photcode, ...]:
    """Resolve bands and colours, which may be defined further down, and check line by line."""
    by_code: dict[int, _Line] = {}
    by_name: dict[str, _Line] = {}
    for line in lines:
        code, name = line.photcode.code, line.photcode.name
        if name in by_name:
            _fail(path, line, f"the name {name!r} is defined on line {by_name[name].number} too")
        by_name[name] = line
        if line.photcode.kind != "ALT" and code in by_code:
            _fail(path, line, f"the number {code} is that of line {by_code[code].number} too")
        if line.photcode.kind != "ALT":
            by_code[code] = line
    return tuple(_with_ties(path, line, by_code, by_name) for line in lines)


def _with_ties(path: Path, line: _Line, by_code: dict[int, _Line], by_name: dict[str, _Line]) -> Photcode:
    row = line.photcode

    def name_of(word: str, what: str) -> str | None:
        if word in ("-", "0"):
            return None
        found = by_code.get(int(word)) if word.isdigit() else None
        found = found or by_name.get(word)
        if found is None:
            _fail(path, line, f"{what} {word!r} is no photcode of this table")
        return found.photcode.name

    color_1, color_2 = (name_of(word, "colour") for word in line.colors)
    if color_1 is None or color_2 is None:
        color_1 = color_2 = None
    band = name_of(line.primary, "primary") if row.kind in ("DEP", "REF") else None
    if row.kind == "ALT":
        owner = by_code.get(row.code)
        if owner is None or owner.photcode.kind != "SEC":
            _fail(path, line, f"no SEC photcode has the number {row.code}")
        band = owner.photcode.name
    if band is not None and band != row.name and by_name[band].photcode.kind != "SEC":
        _fail(path, line, f"primary {band!r} is no SEC photcode")
    return replace(row, color_1=color_1, color_2=color_2, band=band if band is not None else row.band)


def _fail(path: Path, line: _Line, what: str) -> NoReturn:
    raise DataError(what, f"{path}, line {line.number}", "correct the line")
