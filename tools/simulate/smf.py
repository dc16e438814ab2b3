"""Writing SMF files: one exposure as psphot writes it, header by header.

Cards are put together here, because astropy needs 10 ms for a header and a survey has 50,000 of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from skydb.schema.psphot import PS1_V4, UNSIGNED

from .atmosphere import LATITUDE, LONGITUDE, sidereal_text
from .camera import CHIP_PIXELS, NAME
from .columns import ZPT_ERR, Table
from .photometry import DETECTION_SNR, saturation_counts, sky_variance
from .schedule import EXPTIME
from .sources import EXPOSURE_MAG
from .survey import Conditions

Value = str | bool | int | float
BLOCK = 2_880

TZEROS = {"IPP_IDET": 2**31, **UNSIGNED}
"""Columns that psphot stores as unsigned integers, with the offset that FITS stores them by."""

_DETEFF = np.array(
    [(-1.0, 100, 0.98), (-0.5, 100, 0.9), (0.0, 100, 0.5), (0.5, 100, 0.2), (1.0, 100, 0.02)],
    dtype=[("OFFSET", ">f4"), ("COUNTS", ">i4"), ("FRACTION", ">f4")],
)
_TABLE_BEGIN: dict[str, Value] = {"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2}


def write_smf(path: Path, conditions: Conditions, table: Table, *, rows: Iterable[slice]) -> int:
    """Write one exposure.

    Parameters
    ----------
    path : file to write; replaced if it is there
    table : (N,) rows of `ps1_v4_dtype`, with the plain values of unsigned columns
    rows : where each chip's rows are

    Returns
    -------
    size : bytes
    """
    parts = [header_bytes(primary_cards(conditions))]
    for k, chip_rows in enumerate(rows):
        name, part = conditions.chips[k].name, table[chip_rows]
        parts.append(header_bytes(chip_cards(conditions, k, part)))
        parts.append(_table_bytes(f"{name}.psf", f"{name}.hdr", part))
        parts.append(_deteff_bytes(f"{name}.deteff", f"{name}.hdr"))
    data = b"".join(parts)
    path.write_bytes(data)
    return len(data)


def primary_cards(conditions: Conditions) -> dict[str, Value]:
    """Cards of the primary header: the exposure, and the camera's astrometry."""
    pointing, side = conditions.pointing, conditions.survey.camera.pixels_across
    start = datetime(1858, 11, 17) + timedelta(days=pointing.mjd_utc, microseconds=500)  # isoformat cuts
    cards: dict[str, Value] = {
        "SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True, "TELESCOP": "SIMTEL", "INSTRUME": NAME,
        "OBS_ID": f"o{pointing.number:06d}", "FILTERID": conditions.band, "MJD-OBS": pointing.mjd_utc,
        "DATE-OBS": start.isoformat(timespec="milliseconds"), "TIMESYS": "UTC", "EXPTIME": EXPTIME,
        "AIRMASS": conditions.airmass, "ST": sidereal_text(conditions.sidereal),
        "HA": (conditions.sidereal - pointing.ra + 180.0) % 360.0 - 180.0,
        "LATITUDE": LATITUDE, "LONGITUD": LONGITUDE, "PHOTNGHT": conditions.night.reported_photometric,
        "IMNAXIS1": side, "IMNAXIS2": side, "RADESYS": "ICRS", "EQUINOX": 2000.0,
    }
    return cards | conditions.header_model(0).exposure_cards()


def chip_cards(conditions: Conditions, chip: int, table: Table) -> dict[str, Value]:
    """Cards of one chip's header."""
    plan, pointing = conditions.chips[chip], conditions.pointing
    faint, bright = _limits(conditions, chip)
    fwhm = round(float(conditions.sigma[chip]) * 2.354820045, 3)
    stars = int(np.count_nonzero(table["PSF_INST_FLUX"] > 20.0 * table["PSF_INST_FLUX_SIG"]))
    cards: dict[str, Value] = {
        "XTENSION": "IMAGE", "BITPIX": 8, "NAXIS": 0, "PCOUNT": 0, "GCOUNT": 1,
        "EXTNAME": f"{plan.name}.hdr", "EXTTYPE": "IMAGE", "EXTDATA": f"{plan.name}.psf",
        "IMNAXIS1": CHIP_PIXELS, "IMNAXIS2": CHIP_PIXELS, "PHOTCODE": plan.photcode(conditions.band),
        "FILTERID": conditions.band, "EXPTIME": EXPTIME, "AIRMASS": float(conditions.chip_airmass[chip]),
        "MJD-OBS": pointing.mjd_utc, "TIMESYS": "UTC", "ST": sidereal_text(conditions.sidereal),
        "LATITUDE": LATITUDE, "LONGITUD": LONGITUDE, "IMAGEID": 100 * pointing.number + chip, "SOURCEID": 1,
        "ZPT_OBS": float(conditions.zpt_obs[chip]), "ZPT_ERR": ZPT_ERR,
        "NASTRO": max(stars, 10), "CERROR": 0.05 if "astrometry" not in conditions.survey.without else 0.01,
        "FWHM_MAJ": fwhm, "FWHM_MIN": fwhm, "NSTARS": len(table), "FSATUR": bright, "FLIMIT": faint,
        "HIERARCH DETEFF.MAGREF": faint, "RADESYS": "ICRS", "EQUINOX": 2000.0,
    }
    return cards | conditions.header_model(chip).chip_cards()


def _limits(conditions: Conditions, chip: int) -> tuple[float, float]:
    """Faintest and brightest measurable magnitudes, as the header's zero point has them."""
    sigma = conditions.sigma[chip]
    counts = np.array([
        DETECTION_SNR * np.sqrt(sky_variance(sigma, conditions.sky_rate * EXPTIME)), saturation_counts(sigma)
    ])
    limits = conditions.zpt_obs[chip] + EXPOSURE_MAG - 2.5 * np.log10(counts)
    return round(float(limits[0]), 2), round(float(limits[1]), 2)


def _table_bytes(name: str, head: str, rows: Table) -> bytes:
    stored = rows.copy()
    for column, zero in TZEROS.items():
        stored[column] = rows[column] ^ (-zero)  # flipping the sign bit subtracts the offset
    return header_bytes(_table_cards(name, head, len(rows))) + _padded(stored.tobytes(), b"\0")


def _table_cards(name: str, head: str, rows: int) -> dict[str, Value]:
    cards: dict[str, Value] = _TABLE_BEGIN | {
        "NAXIS1": 216, "NAXIS2": rows, "PCOUNT": 0, "GCOUNT": 1, "TFIELDS": len(PS1_V4),
        "EXTNAME": name, "EXTHEAD": head, "EXTTYPE": "PS1_V4",
    }
    for k, (column, form, unit) in enumerate(PS1_V4, 1):
        cards[f"TTYPE{k}"], cards[f"TFORM{k}"] = column, f"1{form}"
        if column in TZEROS:
            cards[f"TSCAL{k}"], cards[f"TZERO{k}"] = 1, TZEROS[column]
        if unit:
            cards[f"TUNIT{k}"] = unit
    return cards


def _deteff_bytes(name: str, head: str) -> bytes:
    """The table of detection efficiency against magnitude relative to DETEFF.MAGREF."""
    cards: dict[str, Value] = _TABLE_BEGIN | {
        "NAXIS1": _DETEFF.dtype.itemsize, "NAXIS2": len(_DETEFF), "PCOUNT": 0, "GCOUNT": 1, "TFIELDS": 3,
        "EXTNAME": name, "EXTHEAD": head, "EXTTYPE": "DETEFF",
        "TTYPE1": "OFFSET", "TFORM1": "1E", "TUNIT1": "mag", "TTYPE2": "COUNTS", "TFORM2": "1J",
        "TTYPE3": "FRACTION", "TFORM3": "1E",
    }
    return header_bytes(cards) + _padded(_DETEFF.tobytes(), b"\0")


def header_bytes(cards: Mapping[str, Value]) -> bytes:
    """Return a FITS header with its END card, padded to whole blocks."""
    text = "".join(_card(key, value) for key, value in cards.items()) + "END".ljust(80)
    return _padded(text.encode("ascii"), b" ")


def _card(key: str, value: Value) -> str:
    """One card of 80 characters.

    >>> _card("EXPTIME", 43.0).rstrip()
    'EXPTIME =                 43.0'
    """
    name = f"{key} = " if key.startswith("HIERARCH") else f"{key:<8}= "
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = f"'{value:<8}'"
    elif isinstance(value, int):
        text = f"{value:>20}"
    else:
        text = f"{_real(float(value)):>20}"
    return f"{name}{text}".ljust(80)


def _real(value: float) -> str:
    """Every bit of a number, with the decimal point that FITS wants before an exponent."""
    mantissa, _, exponent = repr(value).partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return f"{mantissa}E{exponent}" if exponent else mantissa


def _padded(data: bytes, fill: bytes) -> bytes:
    return data + fill * (-len(data) % BLOCK)
