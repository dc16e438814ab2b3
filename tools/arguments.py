"""What several commands accept: angles, positions, snapshots."""

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
