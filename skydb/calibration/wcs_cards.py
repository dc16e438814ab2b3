"""The header keywords of an image's astrometry, as DVO and FITS spell them, and back.

Five sets are read, in DVO's order: PC001001…, CROTA2, CDi_j, PCi_j (which DVO does not know) and RA_O, RA_X…;
NPLYTERM and PCAaXiYj polynomials with the first; SIP and PV terms with any. Written are DVO's names, which DVO reads;
for SIP, which only FITS knows, CDi_j.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from skydb.errors import DataError, UsageError

from .header_numbers import number
from .native_pole import NATIVE_TERMS, UPRIGHT, is_distorted, turn
from .planes import Plane, Term
from .pv_terms import bent

Matrix = tuple[float, float, float, float]

KINDS = {
    "TAN": "TAN", "TPV": "TAN", "DIS": "DIS", "WRP": "WRP", "PLY": "LIN", "LIN": "LIN", "SIN": "SIN", "STG": "STG",
    "ARC": "ARC", "ZEA": "ZEA", "ZPL": "ZEA", "ZPN": "ZPN",
}  # fmt: skip
UNTURNED = ("WRP", "DIS", "LIN")
"""Types of DVO's own and without a projection: FITS says nothing of a native pole of theirs."""
DEGREES = ("", "deg", "degree", "degrees")
ZPN_TERMS = 30
"""PV2_0 … PV2_29, as FITS has them."""
ORDERS = ((2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
"""DVO's order of the polynomial terms; the first three are those of NPLYTERM 2."""


@dataclass(frozen=True)
class WcsCards:
    """What one header says: type, the plane's map, and CRVAL, on the sky in degrees ICRS.

    The type is DIS, WRP, LIN or one of `zenithal.PROJECTIONS`; `radial` holds the coefficients of ZPN.
    """

    kind: str
    plane: Plane
    crval: tuple[float, float]
    radial: tuple[float, ...] = ()


def read_cards(header: Mapping[str, Any]) -> WcsCards:
    """Read the astrometry of one header.

    Raises
    ------
    DataError
        No astrometry, a keyword that is absent or no number, a projection that is not known, a singular matrix.
    """
    if "CTYPE2" not in header and "RA_O" in header:
        return _checked(_thesis_cards(header), header)
    ctype = str(header.get("CTYPE2", "")).strip()
    if not ctype:
        raise DataError("the header holds no astrometry", "CTYPE2", "add CTYPE, CRVAL, CRPIX and a scale matrix")
    kind = _kind(ctype, str(header.get("CTYPE1", "")))
    plane = _linear(header)
    if "PC001001" in header:
        plane = replace(plane, terms=_dvo_terms(header))
    distorted = kind == "TAN" and is_distorted(header)  # beside SIP it is the same once more; CTYPE says which holds
    if ctype.endswith("-SIP") or ("A_ORDER" in header and not distorted):
        plane = replace(plane, sip=_sip_terms(header))
    if distorted and not plane.sip:
        plane = bent(plane, header)
    crval = number(header, "CRVAL1"), number(header, "CRVAL2")
    return _checked(WcsCards(kind, plane, crval, _radial(kind, header)), header)


def plane_cards(plane: Plane, kind: str, crval: tuple[float, float]) -> dict[str, str | int | float]:
    """Return the cards that `read_cards` turns back into the same map (with SIP, to rounding).

    Raises
    ------
    UsageError
        Terms that the keywords cannot express: constants, of order above 3, or SIP and PCA terms together.
    """
    if plane.order > 3 or (plane.sip and plane.terms) or any(t.i + t.j < 2 for t in plane.terms):
        raise UsageError("header keywords cannot express this map", "PCA terms", "use orders to 3, or SIP terms alone")
    suffix = f"---{kind}", f"--{kind}"
    sip = "-SIP" if plane.sip else ""
    cards: dict[str, str | int | float] = {"CTYPE1": f"RA{suffix[0]}{sip}", "CTYPE2": f"DEC{suffix[1]}{sip}"}
    for k in (0, 1):
        cards[f"CRVAL{k + 1}"] = crval[k]
        cards[f"CRPIX{k + 1}"] = plane.crpix[k]
    if kind not in UNTURNED and crval[1] >= 90.0:
        cards["LONPOLE"] = UPRIGHT
    if plane.sip:
        return cards | _sip_cards(plane)
    cards["CDELT1"], cards["CDELT2"] = plane.cdelt
    cards["NPLYTERM"] = plane.order
    names = ("PC001001", "PC001002", "PC002001", "PC002002")
    cards.update(zip(names, plane.pc, strict=True))
    known = {(t.i, t.j): t for t in plane.terms}
    for i, j in ORDERS if plane.order == 3 else ORDERS[:3] if plane.order == 2 else ():
        term = known.get((i, j), Term(i, j, 0.0, 0.0))
        cards[f"PCA1X{i}Y{j}"], cards[f"PCA2X{i}Y{j}"] = term.first, term.second
    return cards


def _kind(ctype: str, ctype1: str) -> str:
    name = ctype[4:].lstrip("-").removesuffix("-SIP")
    if ctype.startswith("RA") or ctype1.strip().startswith(("DEC", "GLON", "ELON", "GLAT", "ELAT")):
        raise DataError(f"axes {ctype1!r}, {ctype!r} are not RA, Dec", "CTYPE1, CTYPE2", "give equatorial astrometry")
    if not ctype.startswith("DEC") or name not in KINDS:
        raise DataError(f"projection {ctype!r} is not known", "CTYPE2", f"known: TAN-SIP, {', '.join(KINDS)}")
    return KINDS[name]


def _linear(header: Mapping[str, Any]) -> Plane:
    """The linear part, from the first of the keyword sets that is there.

    DVO's PC001001 matrix acts on scaled pixels, that of FITS before the scaling; FITS sets become one scale and a
    matrix, for which both readings agree. (DVO's own reading of CROTA2 is right only where CDELT1 = CDELT2.)
    """
    crpix = number(header, "CRPIX1"), number(header, "CRPIX2")
    scaled = "CDELT1" in header and "CDELT2" in header
    if scaled and "PC001001" in header:
        a, b, c, d = _matrix(header, "PC00{}00{}", 1.0)
        return Plane(crpix, (number(header, "CDELT1"), number(header, "CDELT2")), (a, b, c, d))
    if scaled and ("CROTA1" in header or "CROTA2" in header):
        angle = math.radians(number(header, "CROTA2" if "CROTA2" in header else "CROTA1"))
        s1, s2 = number(header, "CDELT1"), number(header, "CDELT2")
        c, s = math.cos(angle), math.sin(angle)
        return _from_cd((s1 * c, -s2 * s, s1 * s, s2 * c), crpix)
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        return _from_cd(_matrix(header, "CD{}_{}", 0.0), crpix)
    if scaled:
        a, b, c, d = _matrix(header, "PC{}_{}", 1.0)
        s1, s2 = number(header, "CDELT1"), number(header, "CDELT2")
        return _from_cd((s1 * a, s1 * b, s2 * c, s2 * d), crpix)
    raise DataError("the header gives no pixel scale", "CDELT1", "add CDELT and PC001001, CROTA2 or CDi_j")


def _matrix(header: Mapping[str, Any], form: str, diagonal: float) -> Matrix:
    a, b, c, d = (number(header, form.format(i, j), diagonal * (i == j)) for i in (1, 2) for j in (1, 2))
    return a, b, c, d


def _from_cd(cd: Matrix, crpix: tuple[float, float]) -> Plane:
    """One scale for both axes, and the matrix that is left."""
    a, b, c, d = cd
    scale = math.hypot(a, b)
    if scale == 0.0:
        raise DataError("the scale matrix is 0", "CDELT, PC or CD", "correct the header")
    return Plane(crpix, (scale, scale), (a / scale, b / scale, c / scale, d / scale))


def _thesis_cards(header: Mapping[str, Any]) -> WcsCards:
    """RA_O, RA_X…: positions linear in the pixels, without a projection."""
    a, b, c, d = (number(header, key) for key in ("RA_X", "RA_Y", "DEC_X", "DEC_Y"))
    plane = Plane((0.0, 0.0), (1.0, 1.0), (a, b, c, d))
    return WcsCards("LIN", plane, (number(header, "RA_O"), number(header, "DEC_O")))


def _dvo_terms(header: Mapping[str, Any]) -> tuple[Term, ...]:
    order = number(header, "NPLYTERM", 1.0)
    if order not in (-1.0, 0.0, 1.0, 2.0, 3.0):
        raise DataError(f"{order:g} is no polynomial order", "NPLYTERM", "known: 0 to 3")
    if order < 0:
        raise DataError("an offset map of DVO's own tables is not in a header", "NPLYTERM", "give orders 0 to 3")
    present = ORDERS if order == 3 else ORDERS[:3] if order == 2 else ()
    return tuple(
        Term(i, j, number(header, f"PCA1X{i}Y{j}", 0.0), number(header, f"PCA2X{i}Y{j}", 0.0)) for i, j in present
    )


def _sip_terms(header: Mapping[str, Any]) -> tuple[Term, ...]:
    found: dict[tuple[int, int], list[float]] = {}
    for axis, letter in enumerate("AB"):
        order = int(number(header, f"{letter}_ORDER", 0.0))
        for i in range(order + 1):
            for j in range(order + 1 - i):
                value = number(header, f"{letter}_{i}_{j}", 0.0)
                if value != 0.0:
                    found.setdefault((i, j), [0.0, 0.0])[axis] = value
    return tuple(Term(i, j, *values) for (i, j), values in found.items())


def _radial(kind: str, header: Mapping[str, Any]) -> tuple[float, ...]:
    """The coefficients of ZPN; PV2_1 is 1 where it is absent, as in DVO."""
    if kind != "ZPN":
        return ()
    given = [number(header, f"PV2_{m}", float(m == 1)) for m in range(ZPN_TERMS)]
    if given[0] != 0.0 or not given[1] > 0.0:
        raise DataError("the polynomial of ZPN does not grow from 0", "PV2_0, PV2_1", "correct the header")
    return tuple(given[: max(m for m in range(ZPN_TERMS) if given[m]) + 1])


def radial_cards(radial: tuple[float, ...]) -> dict[str, str | int | float]:
    """Return the cards of ZPN's coefficients."""
    return {f"PV2_{m}": value for m, value in enumerate(radial)}


def _sip_cards(plane: Plane) -> dict[str, str | int | float]:
    order = max(t.i + t.j for t in plane.sip)
    cards: dict[str, str | int | float] = {"A_ORDER": order, "B_ORDER": order}
    for t in plane.sip:
        cards[f"A_{t.i}_{t.j}"], cards[f"B_{t.i}_{t.j}"] = t.first, t.second
    a, b, c, d = plane.pc
    cards["CD1_1"], cards["CD1_2"] = plane.cdelt[0] * a, plane.cdelt[1] * b
    cards["CD2_1"], cards["CD2_2"] = plane.cdelt[0] * c, plane.cdelt[1] * d
    return cards


def _checked(cards: WcsCards, header: Mapping[str, Any]) -> WcsCards:
    """Refuse what would give wrong positions silently, and bring CRVAL to ICRS."""
    if cards.plane.singular:
        raise DataError("the scale matrix has no inverse", "CDELT, PC or CD", "correct the header")
    if cards.kind == "WRP":
        return cards
    if not -90.0 <= cards.crval[1] <= 90.0:
        raise DataError(f"{cards.crval[1]:g} is no declination", "CRVAL2", "correct the header")
    _check_units(header)
    known = {"TAN": ("PV1_", "PV2_"), "ZPN": ("PV2_",)}.get(cards.kind, ())
    others = [key for key in header if key[:4] in ("PV1_", "PV2_") and key[:4] not in known]
    unread = [key for key in others if number(header, key) != 0.0 and key not in NATIVE_TERMS]
    if unread:
        raise DataError(f"this term of projection {cards.kind} is not read", unread[0], "give SIP or PCA polynomials")
    return _to_icrs(_turned(cards, header), header)


def _turned(cards: WcsCards, header: Mapping[str, Any]) -> WcsCards:
    """The cards with a map to the plane whose second axis points north."""
    if cards.kind in UNTURNED:
        if number(header, "LONPOLE", UPRIGHT) != UPRIGHT:
            raise DataError(f"type {cards.kind} has no native pole", "LONPOLE", "rotate the matrix instead")
        return cards
    angle = turn(header, cards.kind, cards.crval[1])
    return replace(cards, plane=cards.plane.rotated(angle)) if angle else cards


def _check_units(header: Mapping[str, Any]) -> None:
    for key in ("CUNIT1", "CUNIT2"):
        unit = str(header.get(key, "")).strip()
        if unit.lower() not in DEGREES:
            raise DataError(f"the unit {unit!r} is not read", key, "give CRVAL and the scale in degrees")


def _equinox(header: Mapping[str, Any]) -> float:
    """EQUINOX, else EPOCH, else 2000; text that is no number counts as absent, as in DVO."""
    for key in ("EQUINOX", "EPOCH"):
        try:
            value = float(header.get(key, "absent"))
        except (TypeError, ValueError):
            continue
        if math.isfinite(value):
            return value
    return 2000.0


def _to_icrs(cards: WcsCards, header: Mapping[str, Any]) -> WcsCards:
    """Bring the tangent point, and the direction of north there, from another equinox to ICRS.

    DVO precesses the tangent point only; the turn of north (up to 0.28° over 50 years at the equator) goes with
    it here. An equinox before 1984 means FK4 unless RADESYS says otherwise, as the FITS standard has it.
    """
    equinox = _equinox(header)
    if abs(equinox - 2000.0) <= 0.1:
        return cards
    from astropy import units
    from astropy.coordinates import FK4, FK5, ICRS, SkyCoord

    system = str(header.get("RADESYS", header.get("RADECSYS", "FK4" if equinox < 1984.0 else "FK5"))).strip()
    frame = FK4(equinox=f"B{equinox}") if system == "FK4" else FK5(equinox=f"J{equinox}")
    ra, dec = cards.crval
    step = 1e-3 if dec < 89.0 else -1e-3
    points = SkyCoord([ra, ra], [dec, dec + step], unit=units.deg, frame=frame).transform_to(ICRS())
    north = float(points[0].position_angle(points[1]).deg) + (0.0 if step > 0 else 180.0)
    crval = float(points[0].ra.deg), float(points[0].dec.deg)
    return replace(cards, plane=cards.plane.rotated(north), crval=crval)
