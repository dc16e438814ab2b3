"""What makes an image or an exposure the same one everywhere: its key, and the 63-bit number hashed from it.

A key never holds a path or a database: the same image has the same id wherever it is ingested.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import datetime, timedelta

from skydb.errors import DataError

MJD_ZERO = datetime(1858, 11, 17)
_FIRST_DAY, _LAST_DAY = -678575.0, 2973483.0  # years 1 to 9999


def image_key(
    *, kind: str, utc_start: float | None, photcode: str, chip: str | None = None, exposure: str | None = None
) -> str:
    """Return what makes an image unique, as text.

    Parameters
    ----------
    kind : chip, stack, warp, diff or reference
    utc_start : d
        Modified Julian date, UTC, of the start; it counts to the millisecond. None where there is no time.
    photcode : name of the photcode
    chip : name of the chip; for a reference survey, what tells its files apart
    exposure : the observation's own name, from the header; None where the header has none

    Raises
    ------
    DataError
        The time is no date between the years 1 and 9999.

    Examples
    --------
    >>> image_key(kind="chip", utc_start=56900.25, photcode="GPC1.g.XY01", chip="XY01", exposure="o6900g0001o")
    'chip|2014-08-31T06:00:00.000|GPC1.g.XY01|XY01|o6900g0001o'
    """
    return _joined(kind, _millisecond(utc_start), photcode, chip, exposure)


def image_id(key: str) -> int:
    """Return the id of an image key: a 63-bit BLAKE2b hash, int64, not negative.

    >>> image_id("chip|2014-08-31T06:00:00.000|GPC1.g.XY01|XY01|o6900g0001o")
    8512907912398574922
    """
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def key_parts(key: str) -> list[str]:
    """Return what an image key was joined of: kind, start, photcode, chip, exposure.

    >>> key_parts("chip|2014-08-31T06:00:00.000|GPC1.g.XY01||o1")
    ['chip', '2014-08-31T06:00:00.000', 'GPC1.g.XY01', '', 'o1']
    """
    parts = re.findall(r"((?:\\.|[^|\\])*)(?:\||$)", key, re.S)[:5]
    return [re.sub(r"\\(.)", r"\1", part, flags=re.S) for part in parts]


def image_words(key: str) -> str:
    """Return what makes an image unique, in words.

    >>> image_words("chip|2014-08-31T06:00:00.000|GPC1.g.XY01||o1")
    'start 2014-08-31T06:00:00.000 UTC, photcode GPC1.g.XY01, exposure o1'
    """
    words = ("start {} UTC", "photcode {}", "chip {}", "exposure {}")
    return ", ".join(word.format(part) for word, part in zip(words, key_parts(key)[1:], strict=True) if part)


def exposure_key(*, kind: str, utc_start: float | None, name: str | None = None) -> str:
    """Return what makes an exposure unique, as text: kind, UTC start to the millisecond, its own name.

    Raises
    ------
    DataError
        The time is no date between the years 1 and 9999.
    """
    return _joined(kind, _millisecond(utc_start), name)


def exposure_id(*, kind: str, utc_start: float | None, name: str | None = None) -> int:
    """Return the id of an exposure: the 63-bit hash of its key, int64, not negative.

    Raises
    ------
    DataError
        The time is no date between the years 1 and 9999.
    """
    return image_id(exposure_key(kind=kind, utc_start=utc_start, name=name))


def _joined(*parts: str | None) -> str:
    """Join parts by bars; bars and backslashes inside a part are escaped, so that keys stay unambiguous."""
    return "|".join((part or "").strip().replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def _millisecond(mjd: float | None) -> str:
    if mjd is None:
        return ""
    if not (math.isfinite(mjd) and _FIRST_DAY <= mjd <= _LAST_DAY):
        raise DataError(f"{mjd!r} is no modified Julian date", "start of the image", "correct its time")
    day = math.floor(mjd)
    moment = MJD_ZERO + timedelta(days=day, milliseconds=round((mjd - day) * 86_400_000))
    return moment.isoformat(timespec="milliseconds")
