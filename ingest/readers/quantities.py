"""Units of mapped columns: the factor from the file's unit to the declared one."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import astropy.units as u

from skydb.errors import UsageError
from skydb.schema.model import Column

from .mapping_rules import ColumnRule

FLUXES = frozenset(
    f"inst_{kind}{part}" for kind in ("flux", "ap_flux", "kron_flux") for part in ("", "_err")
) | {"inst_kron_flux_inner", "inst_kron_flux_outer"}  # fmt: skip
MAGNITUDES = frozenset({"inst_mag", "inst_ap_mag", "inst_ap_mag_raw"})
PER_SECOND = frozenset({"sky", "sky_err", "zpt_obs"})
"""Columns that skydb keeps per second; fluxes and instrumental magnitudes are of the whole exposure."""

_COUNTS = (u.adu, u.electron)
"""Other names of counts: what one count is, the gain, is the photcode's zero point's business."""


def expected_unit(column: Column, rule: ColumnRule, kind: str) -> str | None:
    """Return the unit that a mapped column's values must convert to before exposure time and zero point enter."""
    if rule.signal_to_noise:
        return None
    if column.name in FLUXES:
        if rule.calibrated or kind == "reference":
            return "nJy"
        return "count/s" if rule.per == "second" else column.unit
    if column.name in PER_SECOND and rule.per == "exposure":
        return "mag" if column.unit == "mag" else "count"
    return column.unit


@cache
def conversion(given: str, wanted: str | None, where: str) -> float:
    """Return the factor from one unit to another.

    Raises
    ------
    UsageError
        A unit that astropy does not know, or that does not convert.

    Examples
    --------
    >>> round(conversion("arcsec", "mas", "ra_raw_err"), 9)
    1000.0
    """
    unit, target = _parsed(given, where), _parsed(wanted or "", where)
    try:
        return float(unit.to(target))
    except u.UnitConversionError:
        todo = f"give a unit of {wanted or 'pure numbers'}"
        raise UsageError(f"unit {given!r} does not convert to {wanted or 'no unit'}", where, todo) from None


def is_unit(text: str) -> bool:
    """Say whether astropy can read a unit."""
    try:
        _parsed(text, "")
    except UsageError:
        return False
    return True


def _parsed(text: str, where: str) -> Any:
    try:
        unit = u.Unit(text)
    except (ValueError, TypeError):
        raise UsageError(f"unknown unit {text!r}", where, "write it as astropy does: deg, mas/yr, nJy, count") from None
    if isinstance(unit, u.FunctionUnitBase):
        return unit.function_unit
    if not set(_COUNTS) & set(unit.bases):
        return unit
    parts = ((u.ct if base in _COUNTS else base) ** power for base, power in zip(unit.bases, unit.powers, strict=True))
    return math.prod(parts, start=u.Unit(unit.scale))
