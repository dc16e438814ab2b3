"""Times of a mapped table: TAI at mid-exposure, and UTC at the start."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .interface import FIRST_MJD, LAST_MJD
from .mapping_rules import TimeRule
from .quantities import conversion
from .table_values import Values, converted

UNIX_ZERO_MJD = 40587.0
JD_ZERO_MJD = 2400000.5
J2000_MJD = 51544.5
JULIAN_YEAR_DAYS = 365.25
SECONDS_PER_DAY = 86400.0
_SCALES_DIFFER = 3600.0
"""More than any two time scales ever differ by, s."""


def days_of(source: Any, rule: TimeRule, nulls: Sequence[Any], *, constant: bool = False) -> Values:
    """Return times as modified Julian dates in the rule's own scale; beyond the years 1 to 9999: NULL.

    A date without a time of day cannot be read, since the line may be cut; as the `constant` of a mapping it can be.
    """
    if rule.format == "iso":
        values = _iso_days(source, nulls, dates=constant)
    else:
        values = converted(source, "float64", nulls=nulls, sexagesimal=False, factor=1.0)
    given = values.array.to_numpy(zero_copy_only=False).astype(float)
    days = given if rule.format == "iso" else _mjd(given, rule)
    inside = (days >= FIRST_MJD) & (days <= LAST_MJD)
    beyond = int((np.isfinite(days) & ~inside).sum())
    return Values(pa.array(days, mask=~inside), values.unreadable, values.n_nulled + beyond)


def _mjd(given: np.ndarray, rule: TimeRule) -> np.ndarray:
    if rule.format == "jyear":
        return J2000_MJD + (given - 2000.0) * JULIAN_YEAR_DAYS
    if rule.format == "unix":
        return UNIX_ZERO_MJD + given * conversion(rule.unit or "s", "s", "time.unit") / SECONDS_PER_DAY
    days = given * conversion(rule.unit or "d", "d", "time.unit")
    return days - JD_ZERO_MJD if rule.format == "jd" else days


def _iso_days(source: Any, nulls: Sequence[Any], *, dates: bool) -> Values:
    if isinstance(source, pa.ChunkedArray):
        source = source.combine_chunks()
    if pa.types.is_timestamp(source.type):
        stamps, text = source.cast(pa.timestamp("us")), Values(source, np.zeros(len(source), dtype=bool), 0)
    else:
        text = converted(source, "string", nulls=nulls, sexagesimal=False, factor=1.0)
        words = pc.replace_substring_regex(text.array, r"\s*Z$|\s*UTC?$", "")
        timed = [word if dates or _WITH_CLOCK.match(word or "") else None for word in words.to_pylist()]
        stamps = pa.array([_stamp(word) for word in timed], pa.timestamp("us"))
    unreadable = np.asarray(stamps.is_null()) & np.asarray(text.array.is_valid())
    micro = stamps.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(float)
    days = UNIX_ZERO_MJD + micro / (1e6 * SECONDS_PER_DAY)
    return Values(pa.array(days, mask=np.isnan(days)), unreadable, text.n_nulled)


_WITH_CLOCK = re.compile(r"\s*[+-]?\d{4,}-\d\d-\d\d[T ]\s*\d\d")
"""How a time of day follows a date: numpy alone takes a cut line's `2026-05-01`, and `today`, for a time."""


def _stamp(word: str | None) -> Any:
    try:
        return None if word is None else np.datetime64(word, "us")
    except ValueError:
        return None


def tai_and_utc_start(
    days: np.ndarray, exptime: np.ndarray, *, scale: str, at: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return TAI at mid-exposure and UTC at the start.

    Parameters
    ----------
    days : (N,) d
        Modified Julian dates in `scale`; NaN: none. So is one whose exposure would reach beyond the years 1 to 9999.
    exptime : (N,) s
        NaN: unknown, taken as 0.
    scale : tai, utc, tt or tdb
    at : which instant `days` gives: start, mid or end

    Returns
    -------
    mjd : (N,) d
        TAI, middle of the exposure.
    utc_start : (N,) d
        UTC, start of the exposure.
    """
    seconds = np.nan_to_num(exptime, nan=0.0)
    before = {"start": 0.0, "mid": 0.5, "end": 1.0}[at] * seconds
    room = np.minimum(days - FIRST_MJD, LAST_MJD - days) * SECONDS_PER_DAY
    days = np.where(seconds + _SCALES_DIFFER <= room, days, np.nan)
    given = _in_scale(days, scale, "tai")
    start = given - before / SECONDS_PER_DAY
    exact = scale == "utc" and at == "start"  # keep the file's own digits: the image's id is made of them
    return start + 0.5 * seconds / SECONDS_PER_DAY, days if exact else _in_scale(start, "tai", "utc")


def _in_scale(days: np.ndarray, given: str, wanted: str) -> np.ndarray:
    """Convert dates between scales; NaN stays NaN."""
    from astropy.time import Time

    if given == wanted or not len(days):
        return days
    known = np.isfinite(days)
    unique, place = np.unique(days[known], return_inverse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "dubious year": before 1960 UTC is not defined, and the epoch still stands
        moment = getattr(Time(JD_ZERO_MJD, unique, format="jd", scale=given), wanted)
        result = (moment.jd1 - JD_ZERO_MJD) + moment.jd2
    out = np.full(len(days), np.nan)
    out[known] = result[place]
    return out
