"""When an image was taken, from its header: UTC at the start, TAI at mid-exposure, sidereal time, night."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError

from .fits_cards import Header, Value
from .numerals import decimal

SECONDS_PER_DAY = 86400.0
UNIX_ZERO_MJD = 40587.0
JD_ZERO_MJD = 2400000.5
FIRST_MJD, LAST_MJD = 15020.0, 88069.0
"""Years 1900 to 2100: a header's time outside them is taken for an error."""

START_MJD = ("MJD-OBS", "MJD-BEG", "MJD_OBS", "MJD-STR", "FPA.TIME")
START_DATE = ("DATE-OBS", "DATE-BEG")
CLOCK = ("TIME-OBS", "UTC-OBS", "UTSTART", "UT", "UTC")
MID_MJD = ("MJD-AVG", "MJD-MID", "MJD_MID", "MJDMID")
MID_DATE = ("DATE-AVG", "DATE-MID")
TT_MINUS_TAI, GPS_MINUS_TAI = 32.184, -19.0
UTC, TAI = ("UTC", "UT", "UT1", "GMT"), ("TAI", "IAT")
TT = ("TT", "TDT", "ET", "TDB")
"""TDB is within 2 ms of TT; UT1 within 0.9 s of UTC, for which it is taken."""
SCALES = (*UTC, *TAI, *TT, "GPS")
"""What TIMESYS may be; also with the place of the clock, as in UTC(NIST)."""
DAYS_APART = 1.01
"""Two times of one start may differ by a day, and the rounding of a date: DATE-OBS may be the date of the night."""

_DATE = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]\s*(\S+?)\s*Z?)?\s*")
_OLD_DATE = re.compile(r"\s*(\d{1,2})/(\d{1,2})/(\d{2})\s*")
_NO_START = re.compile(r"\b(mid|mean|aver|end\b)", re.I)
"""Comments of keywords that are documented as something else than the start."""
_SEXAGESIMAL = re.compile(r"\s*([+-]?)(\d+)[:\s](\d+)(?:[:\s](\d+(?:\.\d*)?))?\s*")


@dataclass(frozen=True)
class ObservingTime:
    """`utc_start`: modified Julian date, UTC; `mjd`: TAI at mid-exposure."""

    utc_start: float
    mjd: float


@dataclass(frozen=True)
class Moment:
    """A time as a header gives it: modified Julian date and scale."""

    mjd: float
    scale: str

    @property
    def tai(self) -> float:
        """The same instant in TAI."""
        if self.scale in TAI:
            return self.mjd
        if self.scale in TT:
            return self.mjd - TT_MINUS_TAI / SECONDS_PER_DAY
        if self.scale == "GPS":
            return self.mjd - GPS_MINUS_TAI / SECONDS_PER_DAY
        return utc_to_tai(self.mjd)

    @property
    def utc(self) -> float:
        """The same instant in UTC; the header's own digits where it gives UTC, since ids are made of them."""
        return self.mjd if self.scale in UTC else tai_to_utc(self.tai)


def observing_time(headers: Sequence[Header], exptime: float, where: str) -> ObservingTime:
    """Find the time of an image in its headers, the image's own first.

    MJD-OBS, DATE-OBS (with TIME-OBS where it has no clock), TZERO (unix seconds) and JD give the start, MJD-AVG and
    the like, and a JD whose comment says so, the middle. TIMESYS is honoured, of the first header that has it; UTC
    without it.

    Raises
    ------
    DataError
        No keyword gives a time between 1900 and 2100, or the exposure would not end by then; TIMESYS is none of
        `SCALES`; keywords of the start, in one header or in several, are more than a day apart.
    """
    scale = time_scale(headers, where)
    _refuse_contradictions(headers, where)
    mid = _first(headers, _mid, scale)
    start = _first(headers, _start, scale)
    if start is None and mid is None:
        tried = {key: h.values[key] for h in headers for key in (*START_MJD, *START_DATE, "JD") if key in h.values}
        shown = ", ".join(f"{key} = {value!r}" for key, value in tried.items()) or "no keyword"
        what = f"the time of observation is missing or wrong ({shown})"
        raise DataError(what, where, "give MJD-OBS or DATE-OBS, in UTC")
    half = 0.5 * exptime / SECONDS_PER_DAY
    given = start or mid
    assert given is not None  # one of the two is known here
    if not (given.mjd - half >= FIRST_MJD and given.mjd + 2 * half <= LAST_MJD):
        raise DataError(f"no exposure takes {exptime:g} s: it would not lie between 1900 and 2100", where,
                        "correct EXPTIME, in seconds")
    if start is None:
        return ObservingTime(tai_to_utc(given.tai - half), given.tai)
    return ObservingTime(start.utc, mid.tai if mid is not None else start.tai + half)


def time_scale(headers: Sequence[Header], where: str) -> str:
    """Return the time scale that TIMESYS names.

    Raises
    ------
    DataError
        It is none of `SCALES`.
    """
    given = next((str(h.values["TIMESYS"]).strip() for h in headers if h.values.get("TIMESYS") not in (None, "")), "")
    scale = given.upper().partition("(")[0].strip() or "UTC"
    if scale not in SCALES:
        raise DataError(f"TIMESYS = {given!r} is no time scale that is known", where,
                        f"give times in UTC, or in one of {', '.join(SCALES)}")
    return scale


def finite(value: Value) -> float | None:
    """Return a keyword's number; None where it is absent, no number, or NaN (also as text)."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = decimal(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def sexagesimal(value: Value) -> float | None:
    """Return hours or degrees of `12:34:56.7` or of a plain number; None where it is neither.

    >>> sexagesimal("-00:30:00"), sexagesimal("10 30"), sexagesimal("NaN")
    (-0.5, 10.5, None)
    """
    match = _SEXAGESIMAL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return finite(value)
    size = int(match[2]) + int(match[3]) / 60 + float(match[4] or 0) / 3600
    return -size if match[1] == "-" else size


def utc_to_tai(mjd: float) -> float:
    """Return TAI of a UTC date, both as modified Julian dates; before 1972 to the nearest step of UTC."""
    return mjd + _tai_minus_utc(mjd) / SECONDS_PER_DAY


def tai_to_utc(mjd: float) -> float:
    """Return UTC of a TAI date, both as modified Julian dates."""
    return mjd - _tai_minus_utc(mjd - _tai_minus_utc(mjd) / SECONDS_PER_DAY) / SECONDS_PER_DAY


def sidereal_time(utc: float, longitude: float) -> float:
    """Mean sidereal time, hours, at a UTC date and an east longitude in degrees (Meeus 1998, eq. 12.4; UT1 = UTC).

    >>> round(sidereal_time(46895.806250, 0.0), 4)  # 1987 April 10, 19:21:00: 8h 34m 57.0896s
    8.5825
    """
    days = utc - 51544.5
    century = days / 36525.0
    turn = 280.46061837 + 360.98564736629 * days + century * century * (0.000387933 - century / 38710000.0)
    return ((turn + longitude) % 360.0) / 15.0


def longitude_of(utc: float, sidereal_hours: float) -> float:
    """East longitude, deg in -180 … 180, at which the sidereal time is the given one."""
    return (15.0 * (sidereal_hours - sidereal_time(utc, 0.0)) + 180.0) % 360.0 - 180.0


def night_of(utc_start: float, longitude: float) -> int:
    """Modified Julian day, UTC, of local noon before a time.

    >>> night_of(56900.33, -110.0), night_of(56900.9, -110.0), night_of(56900.33, 155.0)  # 0:40, 14:20, 18:20 there
    (56899, 56900, 56900)
    """
    return math.floor(utc_start + longitude / 360.0 - 0.5)


@lru_cache(maxsize=1)
def _leap_seconds() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Dates (MJD, UTC) from which TAI - UTC (s) has a value."""
    import erfa

    table = erfa.leap_seconds.get()
    days = [_day(int(row["year"]), int(row["month"]), 1) for row in table]
    return np.array(days, dtype=np.float64), np.array(table["tai_utc"], dtype=np.float64)


def _tai_minus_utc(utc: float) -> float:
    days, seconds = _leap_seconds()
    step = int(np.searchsorted(days, utc, side="right")) - 1
    return float(seconds[step]) if step >= 0 else 0.0


def _first(headers: Sequence[Header], find: Callable[[Header], float | None], scale: str) -> Moment | None:
    return next((Moment(found, scale) for found in map(find, headers) if found is not None), None)


def _refuse_contradictions(headers: Sequence[Header], where: str) -> None:
    """Refuse MJD-OBS, DATE-OBS and the like of all headers that cannot be of one start; those of the middle may."""
    given = [(key, header.values[key], mjd) for header in headers for key, mjd in _starts(header)]
    for key, value, mjd in given[1:]:
        if abs(mjd - given[0][2]) > DAYS_APART:
            what = f"{given[0][0]} = {given[0][1]!r} and {key} = {value!r} are more than a day apart"
            raise DataError(what, where, "correct the one that is wrong, in the image's header and its exposure's")


def _starts(header: Header) -> list[tuple[str, float]]:
    """The keywords of the start with a time that can be, as modified Julian dates."""
    values = header.values
    found = [(key, finite(values.get(key))) for key in START_MJD if key in values]
    found += [(key, _date(values, key)) for key in START_DATE if key in values]
    return [
        (key, mjd) for key, mjd in found
        if mjd is not None and FIRST_MJD <= mjd <= LAST_MJD and not _NO_START.search(header.comment(key))
    ]  # fmt: skip


def _start(header: Header) -> float | None:
    values = header.values
    found = [finite(values.get(key)) for key in START_MJD]
    found += [_date(values, key) for key in START_DATE]
    unix = finite(values.get("TZERO"))
    found.append(None if unix is None else UNIX_ZERO_MJD + unix / SECONDS_PER_DAY)
    julian = finite(values.get("JD"))
    found.append(None if julian is None or _jd_is_mid(header) else julian - JD_ZERO_MJD)
    return _first_in_range(found)


def _mid(header: Header) -> float | None:
    values = header.values
    found = [finite(values.get(key)) for key in MID_MJD] + [_date(values, key) for key in MID_DATE]
    julian = finite(values.get("JD")) if "JD" in values and _jd_is_mid(header) else None
    found.append(None if julian is None else julian - JD_ZERO_MJD)
    return _first_in_range(found)


def _jd_is_mid(header: Header) -> bool:
    return "mid" in header.comment("JD").lower()


def _first_in_range(found: Sequence[float | None]) -> float | None:
    return next((mjd for mjd in found if mjd is not None and FIRST_MJD <= mjd <= LAST_MJD), None)


def _date(values: Mapping[str, Value], key: str) -> float | None:
    """Modified Julian date of a date keyword; None where it is no date, or has no clock anywhere."""
    text = values.get(key)
    if not isinstance(text, str):
        return None
    match, old = _DATE.fullmatch(text), _OLD_DATE.fullmatch(text)
    if match is None and old is None:
        return None
    clock = match[4] if match else None
    if clock is None:
        clock = next((str(values[name]) for name in CLOCK if name in values), None)
    hours = None if clock is None else sexagesimal(clock)
    if hours is None or not 0.0 <= hours < 24.1:
        return None
    try:
        day = _day(int(match[1]), int(match[2]), int(match[3])) if match else _day(
            1900 + int(old[3]), int(old[2]), int(old[1])) if old else None
    except ValueError:
        return None
    return None if day is None else day + hours / 24.0


def _day(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal() - 678576
