"""Angles and positions as people type them, turned into degrees."""

from __future__ import annotations

import math
import re

from skydb.errors import UsageError, did_you_mean

_DEGREES_PER: dict[str, float] = {
    "": 1.0,
    **dict.fromkeys(("deg", "degree", "degrees", "d", "°"), 1.0),
    **dict.fromkeys(("arcmin", "arcmins", "arcminute", "arcminutes", "amin", "'", "\u2032"), 1 / 60),
    **dict.fromkeys(("arcsec", "arcsecs", "arcsecond", "arcseconds", "asec", '"', "''", "\u2033"), 1 / 3600),
    **dict.fromkeys(("mas", "milliarcsec"), 1 / 3.6e6),
    **dict.fromkeys(("rad", "radian", "radians"), 180 / math.pi),
}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ANGLE = re.compile(rf"\s*({_NUMBER})\s*(\D*?)\s*")
_PARTS = re.compile(r"([+-]?)(\d+)([hd°:])(\d+(?:\.\d*)?)(?:[m'\u2032:](?:(\d+(?:\.\d*)?)(?:s|\"|''|\u2033)?)?)?")
_HOW = "give degrees (10.684 41.269) or sexagesimal (00:42:44.3 +41:16:09, or 00h42m44.3s +41d16m09s)"


def parse_angle(text: str) -> float:
    """Return an angle in degrees.

    Parameters
    ----------
    text : number with or without a unit
        deg, arcmin, arcsec, mas or rad, or the signs °, ' and "; degrees where no unit is given.

    Raises
    ------
    UsageError
        Not a finite number, or an unknown unit.

    Examples
    --------
    >>> parse_angle("90arcmin"), parse_angle("30"), parse_angle('7.2"')
    (1.5, 30.0, 0.002)
    """
    match = _ANGLE.fullmatch(text)
    if match is None or not math.isfinite(float(match[1])):
        raise UsageError(f"{text!r} is not an angle", None, "give a number with a unit, such as 5arcmin, 1.5deg or 30")
    unit = match[2].lower()
    if unit not in _DEGREES_PER:
        named = [name for name in _DEGREES_PER if len(name) > 2]
        raise UsageError(f"unknown unit of angle {match[2]!r} in {text!r}", None, did_you_mean(unit, named))
    return _scaled(float(match[1]), _DEGREES_PER[unit])


def _scaled(value: float, degrees_per: float) -> float:
    """Divide where the unit is a whole fraction of a degree: 90 arcmin is 1.5 deg to the last bit."""
    return value / round(1 / degrees_per) if degrees_per < 1 else value * degrees_per


def parse_position(text: str, dec: str | None = None) -> tuple[float, float]:
    """Return right ascension (0 to 360) and declination in degrees.

    Parameters
    ----------
    text : position
        Right ascension and declination, parted by a comma, a blank or the sign of the declination; or the
        right ascension alone when `dec` is given. Each in degrees or sexagesimal; a sexagesimal right ascension
        is in hours, unless its first part is marked with d.
    dec : declination

    Raises
    ------
    UsageError
        Not two coordinates, or one that lies outside its range.

    Examples
    --------
    >>> parse_position("12:00:00 -00:30:00")
    (180.0, -0.5)
    >>> parse_position("12h00m00s", "-0.5")
    (180.0, -0.5)
    """
    first, second = (text.strip(), dec.strip()) if dec is not None else _halves(text)
    ra = _coordinate(first, per_hour=15.0)
    dec_deg = _coordinate(second, per_hour=None)
    if not -360 <= ra <= 360:
        raise UsageError(f"right ascension {first!r} is outside 0 to 360 degrees (24 hours)", None, _HOW)
    if not -90 <= dec_deg <= 90:
        raise UsageError(f"declination {second!r} is outside -90 to 90 degrees", None, _HOW)
    return ra % 360.0 % 360.0, dec_deg


def _halves(text: str) -> tuple[str, str]:
    """Part a text into right ascension and declination."""
    words = text.replace(",", " ").split()
    if text.count(",") == 1:
        first, second = text.split(",")
        return " ".join(first.split()), " ".join(second.split())
    if len(words) == 1:
        words = re.split(r"(?<=[^eE\s])(?=[+-])", words[0])
    if ("," in text and len(words) != 2) or len(words) not in (2, 4, 6):
        raise UsageError(f"{text!r} is not a position", None, _HOW)
    middle = len(words) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def _coordinate(text: str, *, per_hour: float | None) -> float:
    """Return one coordinate in degrees; `per_hour`: degrees per hour, None where hours make no sense."""
    match = _ANGLE.fullmatch(text)
    if match is not None and match[2].lower() in ("", "deg", "d", "°"):
        value = float(match[1])
        if math.isfinite(value):
            return value
    parts = _PARTS.fullmatch(_joined(text))
    if parts is None or (parts[3] == "h" and per_hour is None):
        raise UsageError(f"{text!r} is not a coordinate", None, _HOW)
    minutes, seconds = float(parts[4]), float(parts[5] or 0)
    if minutes >= 60 or seconds >= 60 or (parts[5] is not None and not minutes.is_integer()):
        raise UsageError(f"minutes and seconds of {text!r} must be whole minutes and below 60", None, _HOW)
    size = (int(parts[2]) * 3600 + minutes * 60 + seconds) / 3600
    scale = 1.0 if per_hour is None or parts[3] in "d°" else per_hour
    return scale * (-size if parts[1] == "-" else size)


def _joined(text: str) -> str:
    """Write sexagesimal words with colons: '12 34 56.7' as '12:34:56.7', '12h 34m 56s' as '12h34m56s'."""
    words = text.split()
    if all(re.fullmatch(r"[+-]?\d+\.?\d*", word) for word in words):
        return ":".join(words)
    return "".join(words)
