"""Numbers, texts and angles of header keywords: the first that can be true, header by header.

A value that cannot be what its keyword means (an airmass of 0, a latitude of -999, a zero point of 1e300) counts as
absent, as one that is no number does. A time or an exposure time that cannot be is an error: nothing may stand in for
it, since every magnitude is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from skydb.errors import DataError

from .fits_cards import Header, Value
from .interface import LARGEST_AIRMASS
from .numerals import decimal
from .times import ObservingTime, finite, longitude_of, sexagesimal, sidereal_time

EXPTIME = ("EXPTIME", "FPA.EXPOSURE", "EXPOSURE")
AIRMASS = ("AIRMASS", "FPA.AIRMASS", "SECZ")
SIDEREAL = ("ST", "LST", "LST-OBS", "LST_OBS")
LATITUDE = ("LATITUDE", "LAT-OBS", "SITELAT", "OBSGEO-B", "GEOLAT")
LONGITUDE = ("LONGITUD", "LONG-OBS", "SITELONG", "OBSGEO-L", "GEOLON")

LARGEST_NUMBER = 1e6
"""No zero point, seeing, limit, or sky (counts/s) is as large."""
SECONDS_PER_DAY = 86400.0
LONGEST_EXPOSURE = 1e7
"""No exposure takes as many seconds (116 days)."""


def number(
    headers: Sequence[Header], keys: Sequence[str], *, low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER
) -> float | None:
    """Return the first number of some keywords that lies in a range, header by header; None where there is none."""
    found = (finite(header.values.get(key)) for header in headers for key in keys)
    return next((value for value in found if value is not None and low <= value <= high), None)


def text(headers: Sequence[Header], keys: Sequence[str]) -> str | None:
    """Return the first text of some keywords, header by header; None where there is none."""
    found = (_text(header.values.get(key)) for header in headers for key in keys)
    return next((value for value in found if value), None)


def error(headers: Sequence[Header], key: str) -> float | None:
    """Return an error (one sigma); one below 0 means that there is none."""
    return number(headers, (key,), low=0.0)


def whole(headers: Sequence[Header], key: str, bits: int) -> int | None:
    """Return a number without its fraction; None where it does not fit so many bits and a sign."""
    given = number(headers, (key,), low=-(2.0**bits), high=2.0**bits)
    return None if given is None or abs(given) >= 2.0**bits else int(given)


def exposure_time(headers: Sequence[Header], where: str) -> float:
    """Return the exposure time, s: the first that a header states, NaN included.

    Raises
    ------
    DataError
        It is missing, 0, negative, NaN or longer than any, whatever a header further on says.
    """
    stated = ((key, _stated(header.values.get(key))) for header in headers for key in EXPTIME)
    key, exptime = next(((key, value) for key, value in stated if value is not None), ("EXPTIME", None))
    if exptime is None or math.isnan(exptime):
        raise DataError("the exposure time is missing or no number", where, f"give {key}, in seconds")
    todo = f"correct {key}, in seconds: of counts per second it is 1"
    if exptime <= 0.0:
        raise DataError(f"the exposure time is {'negative' if exptime else 'zero'} ({exptime:g} s)", where, todo)
    if exptime > LONGEST_EXPOSURE:
        raise DataError(f"no exposure takes {exptime:g} s", where, todo)
    return exptime


def row_time(headers: Sequence[Header], n_rows: int, where: str) -> float | None:
    """Return by how much later each row of a drift scan starts, s (TRATE).

    Raises
    ------
    DataError
        The last row would start more than a day from the first.
    """
    given = number(headers, ("TRATE",), low=-float("inf"), high=float("inf"))
    if given is not None and abs(given) * n_rows > SECONDS_PER_DAY:
        what = f"with {given:g} s per row the last row starts more than a day from the first"
        raise DataError(what, where, "correct TRATE")
    return given


def airmass_of(headers: Sequence[Header]) -> float | None:
    """Return the airmass; None where it is missing, below 1 or above that of the horizon."""
    return number(headers, AIRMASS, low=1.0, high=LARGEST_AIRMASS)


def latitude_of(headers: Sequence[Header]) -> float | None:
    """Return the latitude of the site, deg."""
    return _angle(headers, LATITUDE, largest=90.0)


def sidereal_of(headers: Sequence[Header], time: ObservingTime) -> float | None:
    """Return the header's sidereal time, h, else that of the longitude at the start."""
    given = _angle(headers, SIDEREAL, largest=24.0)
    if given is not None:
        return given % 24.0
    longitude = _angle(headers, LONGITUDE, largest=360.0)
    return None if longitude is None else sidereal_time(time.utc_start, longitude)


def east_longitude_of(headers: Sequence[Header], time: ObservingTime) -> float | None:
    """Return the header's longitude, deg in -180 … 180, else the one at which the sidereal time is the header's."""
    given = _angle(headers, LONGITUDE, largest=360.0)
    if given is not None:
        return (given + 180.0) % 360.0 - 180.0
    sidereal = _angle(headers, SIDEREAL, largest=24.0)
    return None if sidereal is None else longitude_of(time.utc_start, sidereal)


def _stated(value: Value) -> float | None:
    """Return a keyword's number, NaN and infinity too; None where it is absent, empty, or text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return decimal(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None


def _text(value: Value) -> str:
    return "" if value is None else str(value).strip()


def _angle(headers: Sequence[Header], keys: Sequence[str], *, largest: float) -> float | None:
    found = (sexagesimal(header.values.get(key)) for header in headers for key in keys)
    return next((value for value in found if value is not None and abs(value) <= largest), None)
