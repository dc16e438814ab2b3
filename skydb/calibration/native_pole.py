"""Where the celestial pole stands in a projection about a point: LONPOLE, or what FITS takes where it is absent.

Calabretta & Greisen 2002, A&A 395, 1077, sections 2.2 to 2.4. LATPOLE says nothing of a projection about a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skydb.errors import DataError

from .header_numbers import number

UPRIGHT = 180.0
"""The LONPOLE (deg) with which the plane's second axis points north; at a pole, along `zenithal`'s directions."""
CENTRE = {"PV1_0": 0.0, "PV1_1": 0.0, "PV1_2": 90.0}
"""The values with which CRVAL is the projection's centre."""
NATIVE_TERMS = (*CENTRE, "PV1_3", "PV1_4")
"""PV1_3 is LONPOLE and goes before it, PV1_4 is LATPOLE."""


def is_distorted(header: Mapping[str, Any]) -> bool:
    """Say whether the PV terms of a header of type TAN or TPV are those of TPV.

    SCAMP of old writes them under the name TAN, which has none but `NATIVE_TERMS`.
    """
    given = [key for key in header if key[:4] in ("PV1_", "PV2_")]
    return str(header["CTYPE2"]).strip().endswith("-TPV") or any(key not in NATIVE_TERMS for key in given)


def turn(header: Mapping[str, Any], kind: str, dec: float) -> float:
    """Return the angle (deg) from the plane's second axis towards its first by which north is turned: LONPOLE - 180.

    Parameters
    ----------
    header
        Of a projection about a point.
    kind
        One of `zenithal.PROJECTIONS`.
    dec : deg
        CRVAL2.

    Raises
    ------
    DataError
        LONPOLE is no number, or CRVAL is not the projection's centre.
    """
    pole = number(header, "LONPOLE", _usual(header, dec))
    if kind == "TAN" and is_distorted(header):
        return pole - UPRIGHT
    for key, usual in CENTRE.items():
        if number(header, key, usual) != usual:
            raise DataError("a point of reference beside the projection's centre is not read", key, "set CRVAL there")
    return number(header, "PV1_3", pole) - UPRIGHT


def _usual(header: Mapping[str, Any], dec: float) -> float:
    """LONPOLE where it is absent. DVO, whose keywords PC001001… are, has none, and reads all poles alike."""
    return 0.0 if dec >= 90.0 and "PC001001" not in header else UPRIGHT
