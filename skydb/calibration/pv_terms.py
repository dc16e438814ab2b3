"""The PV terms of TPV, which SCAMP writes: polynomials in the plane's coordinates, turned into a `Plane`'s own terms.

PV1_m and PV2_m (m 0 to 39) bend the standard coordinates (xi, eta) in degrees: xi' is a sum of PV1_m times the m-th of
1, xi, eta, r, xi², xi eta, eta², xi³ …, and eta' that of PV2_m with xi and eta in each other's place (TPV in the
registry of FITS conventions; Shupe et al. 2012, ASPC 461, 407). Powers of r are no polynomials, and refused.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skydb.errors import DataError

from .planes import Plane, Term

Polynomial = dict[tuple[int, int], float]

ORDER = 7


def _powers() -> list[tuple[int, int] | None]:
    """The powers of (xi, eta) of each term, as PV1 has them; None: a power of r."""
    powers: list[tuple[int, int] | None] = []
    for order in range(ORDER + 1):
        powers += [(order - j, j) for j in range(order + 1)]
        if order % 2:
            powers.append(None)
    return powers


POWERS = _powers()


def bent(plane: Plane, header: Mapping[str, Any]) -> Plane:
    """Return a plane's map followed by the PV terms of a header; the same map where it has none.

    Raises
    ------
    DataError
        A term is no number, is none of TPV, or a power of r.
    """
    given = [key for key in header if key[:4] in ("PV1_", "PV2_")]
    if not given:
        return plane
    along, across = (_coefficients(header, axis, given) for axis in (1, 2))
    across = {(j, i): value for (i, j), value in across.items()}
    # (xi, eta) as polynomials of the scaled pixels, put into each term
    a, b, c, d = plane.pc
    xi: Polynomial = {(1, 0): a, (0, 1): b}
    eta: Polynomial = {(1, 0): c, (0, 1): d}
    for term in plane.terms:
        xi[term.i, term.j] = xi.get((term.i, term.j), 0.0) + term.first
        eta[term.i, term.j] = eta.get((term.i, term.j), 0.0) + term.second
    first, second = _composed(along, xi, eta), _composed(across, xi, eta)
    places = sorted({*first, *second} - {(1, 0), (0, 1)})
    terms = tuple(Term(i, j, first.get((i, j), 0.0), second.get((i, j), 0.0)) for i, j in places)
    pc = (first.get((1, 0), 0.0), first.get((0, 1), 0.0), second.get((1, 0), 0.0), second.get((0, 1), 0.0))
    return replace(plane, pc=pc, terms=tuple(t for t in terms if t.first or t.second))


def _coefficients(header: Mapping[str, Any], axis: int, given: list[str]) -> Polynomial:
    """The terms of one axis that are not 0, by their powers; xi (or eta) alone where it has none."""
    prefix = f"PV{axis}_"
    found: Polynomial = {(1, 0): 1.0}
    for key in given:
        if not key.startswith(prefix):
            continue
        try:
            value, place = float(header[key]), int(key.removeprefix(prefix))
        except (TypeError, ValueError):
            value, place = math.nan, -1
        if not math.isfinite(value) or not 0 <= place < len(POWERS):
            raise DataError(f"{header[key]!r} is no term of TPV", key, "correct the header")
        powers = POWERS[place]
        if powers is not None:
            found[powers] = value
        elif value != 0.0:
            raise DataError("a power of the distance from the centre is not read", key, "give terms without it")
    return {powers: value for powers, value in found.items() if value != 0.0}


def _composed(outer: Polynomial, xi: Polynomial, eta: Polynomial) -> Polynomial:
    """The sum of outer[i, j] xi^i eta^j."""
    total: Polynomial = defaultdict(float)
    for (i, j), factor in outer.items():
        product: Polynomial = {(0, 0): factor}
        for _ in range(i):
            product = _times(product, xi)
        for _ in range(j):
            product = _times(product, eta)
        for powers, value in product.items():
            total[powers] += value
    return dict(total)


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    product: Polynomial = defaultdict(float)
    for (i, j), value in one.items():
        for (k, m), factor in other.items():
            product[i + k, j + m] += value * factor
    return dict(product)
