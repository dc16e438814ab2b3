"""Mapped counts, magnitudes, sky and zero points as skydb keeps them: per exposure, per second, instrumental."""

from __future__ import annotations

import numpy as np

from skydb.calibration.photometric import AB_NJY, POGSON
from skydb.errors import UsageError
from skydb.schema.photcodes import Photcode

from .detections import flux_of_magnitude
from .mapping import Mapping
from .mapping_rules import ColumnRule
from .quantities import FLUXES, MAGNITUDES, PER_SECOND


def as_kept(
    name: str, values: np.ndarray, rule: ColumnRule, *, seconds: np.ndarray, zero_point: np.ndarray
) -> np.ndarray:
    """Return a mapped column as skydb keeps it, in float64.

    Parameters
    ----------
    name : column of `measurements` or `images`
    values : (N,) in the unit that `expected_unit` names
    rule : how the file gives it
    seconds : (N,) s
        Exposure time; NaN or not positive: unknown, and 1 s is taken, as DVO does.
    zero_point : (N,) mag
        Nominal zero point of each row's photcode, at airmass 1.
    """
    seconds = np.where(seconds > 0, seconds, 1.0)
    dt = 2.5 * np.log10(seconds)
    kept = values
    if name in FLUXES and rule.calibrated:
        kept = values * seconds * 10.0 ** (0.4 * (zero_point - AB_NJY))
    elif name in FLUXES and rule.per == "second":
        kept = values * seconds
    elif name in MAGNITUDES and rule.calibrated:
        kept = values - zero_point - dt
    elif name in MAGNITUDES and rule.per == "second":
        kept = values - dt
    elif name in PER_SECOND and rule.per == "exposure":
        kept = values - dt if name == "zpt_obs" else values / seconds
    return np.asarray(kept, dtype=float)


def counts_whole_exposures(mapping: Mapping) -> bool:
    """Say whether magnitudes need the exposure time: counts of a mapping are neither per second nor calibrated."""
    rules = [mapping.measurements, *(band.columns for band in mapping.magnitudes)]
    counted = [rule for columns in rules for name, rule in columns.items() if name in MAGNITUDES | FLUXES]
    return mapping.kind != "reference" and any(not rule.calibrated and rule.per != "second" for rule in counted)


def magnitudes_of_fluxes(flux: np.ndarray, flux_err: np.ndarray, *, zero_point: float) -> tuple[np.ndarray, np.ndarray]:
    """Return magnitudes and their errors for a file that gives fluxes only; NaN where the flux is not positive."""
    positive = np.where(flux > 0, flux, np.nan)
    return zero_point - 2.5 * np.log10(positive), POGSON * flux_err / positive


def with_signs(columns: dict[str, np.ndarray], sign: np.ndarray) -> dict[str, np.ndarray]:
    """Return magnitudes of difference images as fluxes with their sign; of magnitudes only those that are positive.

    Parameters
    ----------
    columns : name → (N,) mag
        `inst_mag`, `inst_mag_err` and `inst_ap_mag`, those that there are.
    sign : (N,)
        1, -1, or NaN for unknown: then nothing is left.
    """
    made = {name: np.where(sign > 0, values, np.nan) for name, values in columns.items()}
    with np.errstate(over="ignore"):  # a flux beyond float32 is none, as everywhere
        for mag, flux in (("inst_mag", "inst_flux"), ("inst_ap_mag", "inst_ap_flux")):
            if mag not in columns:
                continue
            error = columns.get("inst_mag_err") if mag == "inst_mag" else None
            counts = flux_of_magnitude(columns[mag], error)
            made[flux] = sign * counts["inst_flux"]
            if error is not None:
                made["inst_flux_err"] = np.abs(sign) * counts["inst_flux_err"]
    return made


def check_calibrated(mapping: Mapping, photcodes: tuple[Photcode, ...]) -> None:
    """Check that calibrated magnitudes can be turned back: airmass and colour are not known that made them.

    Raises
    ------
    UsageError
        A photcode with an airmass slope or colour terms, or of kind REF, for columns that are `calibrated`.
    """
    rules = [*mapping.measurements.values(), *(rule for band in mapping.magnitudes for rule in band.columns.values())]
    if not any(rule.calibrated for rule in rules):
        return
    for code in photcodes:
        if code.kind == "REF":
            raise UsageError(f"photcode {code.name!r} is REF: its magnitudes are taken as they are",
                             f"mapping {mapping.name}", "leave calibrated out, or use a DEP photcode")  # fmt: skip
        if code.airmass_slope or code.color_terms:
            raise UsageError(f"photcode {code.name!r} has an airmass slope or colour terms",
                             f"mapping {mapping.name}", "calibrated magnitudes need a photcode without")  # fmt: skip
