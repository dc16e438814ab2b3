"""What several commands accept: angles, bits."""

from __future__ import annotations

import re


def arcsec(text: str) -> float:
    """Return arcseconds of a bare number (which is in arcseconds) or of an angle with a unit.

    >>> arcsec("2"), arcsec("0.5arcmin")
    (2.0, 30.0)

    Raises
    ------
    UsageError
        Not an angle.
    """
    from skydb.sky.angles import parse_angle

    bare = re.fullmatch(r"\s*[-+.0-9eE]+\s*", text) is not None
    return round(parse_angle(f"{text}arcsec" if bare else text) * 3600, 9)


def bits(text: str) -> int:
    """Return the bits that a number in decimal or 0x… stands for, as an option's type.

    >>> bits("0x1080"), bits("4")
    (4224, 4)

    Raises
    ------
    ValueError
        It is no number, or has more than 32 bits; click says which option.
    """
    value = int(text, 0)
    if not 0 <= value < 2**32:
        raise ValueError(f"{text} is no number of 32 bits")
    return value
