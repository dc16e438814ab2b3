"""One survey in two forms: SMF files, and the DVO database that DVO's addstar would make of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from skydb.calibration.astrometric import AstrometricModel
from skydb.schema.photcodes import Photcodes
from tests.ingest import dvo_files
from tests.ingest.catalog_files import CHIP, PHOTCODES, PHU, Chip, rows, write_smf

FIRST = 1409464800  # 2014-08-31T06:00:00 UTC
EXACT = float(np.float32(7e-6))
NIGHT = {"LATITUDE": 20.0, "LONGITUD": None, "CDELT1": EXACT, "CDELT2": EXACT}
"""DVO keeps no longitude; scales that a float32 can hold, as DVO's tables do."""
NAMES = ("n0730/0001.00", "n0730/0002.00")
ORIGINS = {"XY01": (-5000.0, -4000.0), "XY02": (7000.0, -4000.0)}


@dataclass(frozen=True)
class Survey:
    """The SMF files, and what DVO holds of them."""

    files: list[Path]
    dvo: dvo_files.DvoDatabase


def make_survey(folder: Path, *, n_exposures=3, n_stars=40, seed=5) -> Survey:
    """Dithered exposures of one field across RA 0, two chips each; every chip sees its own stars."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    sky = {}
    mags = {chip: rng.uniform(-14, -7, n_stars) for chip in ORIGINS}
    for chip in ORIGINS:  # on a lattice of 90 x 90 pixels (23 arcsec), so that DVO groups them as skydb does
        place = rng.permutation(72)[:n_stars]
        pixels = 90.0 * (place % 9 + 1) + rng.uniform(-20, 20, n_stars), 90.0 * (place // 9 + 0.7)
        sky[chip] = model_of(chip, phu_of(0)).pixel_to_sky(*pixels)
    files = []
    for number in range(n_exposures):
        phu = phu_of(number)
        chips = []
        for chip in ORIGINS:
            x, y = model_of(chip, phu).sky_to_pixel(*sky[chip])
            cards = cards_of(chip) | {"MJD-OBS": phu["MJD-OBS"], "ZPT_OBS": 24.5 - 0.01 * number}
            chips.append(Chip(chip, star_rows(x, y, mags[chip], rng), cards))
        files.append(write_smf(folder / f"{phu['OBS_ID']}.smf", chips, phu))
    return Survey(files, dvo_of(files, PHOTCODES))


def phu_of(number):
    tzero = FIRST + 600 * number
    given = {"OBS_ID": f"e{number:06d}", "MJD-OBS": 40587 + tzero / 86400, "CRVAL1": 359.99 + 0.001 * number}
    return NIGHT | given | {"ST": 2.217 + 600 * number / 3590}  # for an airmass of about 1.2, as the header says


def cards_of(chip):
    x, y = ORIGINS[chip]
    return {"CRVAL1": x, "CRVAL2": y, "PHOTCODE": f"CAM.g.{chip}", "CCDNUM": int(chip[2:])}


def model_of(chip, phu):
    return AstrometricModel.from_headers(CHIP | cards_of(chip), {k: v for k, v in (PHU | phu).items() if v is not None})


def star_rows(x, y, mags, rng):
    """Rows of one chip: its stars with noise, one without a magnitude, one without a flux in its aperture."""
    n = len(x)
    table = rows(n, seed=int(rng.integers(1 << 30)))
    table["IPP_IDET"] = rng.permutation(n).astype("i4") + 3
    table["X_PSF"] = (x + rng.normal(0, 0.05, n)).astype("f4")
    table["Y_PSF"] = (y + rng.normal(0, 0.05, n)).astype("f4")
    table["PSF_INST_MAG"] = (mags + rng.normal(0, 0.01, n)).astype("f4")
    table["PSF_INST_FLUX"] = (10 ** (-0.4 * table["PSF_INST_MAG"].astype(float))).astype("f4")
    relative = 0.4 * np.log(10) * table["PSF_INST_MAG_SIG"]
    table["PSF_INST_FLUX_SIG"] = (table["PSF_INST_FLUX"] * relative).astype("f4")
    table["AP_MAG"] = (mags + rng.normal(0, 0.02, n)).astype("f4")
    for name in ("AP_FLUX", "KRON_FLUX"):
        table[name] = (10 ** (-0.4 * mags) * rng.uniform(0.9, 1.1, n)).astype("f4")
    table["KRON_FLUX_ERR"] = (0.05 * table["KRON_FLUX"]).astype("f4")
    table["AP_FLUX_SIG"] = (0.05 * table["AP_FLUX"]).astype("f4")
    table["PSF_NDOF"], table["PSF_NPIX"] = rng.integers(1, 100, n).astype("i4"), rng.integers(1, 100, n).astype("i4")
    table["PSF_INST_MAG"][0], table["PSF_INST_FLUX"][0] = 1.0, -3.0
    table["AP_FLUX"][1] = -1.0
    return table


def dvo_of(files, photcodes: Photcodes) -> dvo_files.DvoDatabase:
    """What DVO's addstar makes of mosaic exposures, in two regions: one image each for exposures and chips."""
    images, measures = [], []
    for path in files:
        with fits.open(path, memmap=False) as hdus:
            phu = dict(hdus[0].header)
            tables = {h.header["EXTHEAD"]: h for h in hdus[1:] if h.header.get("EXTTYPE") == "PS1_V4"}
            heads = {h.header["EXTNAME"]: dict(h.header) for h in hdus[1:] if h.header.get("EXTNAME") in tables}
            tzero = int(np.floor((phu.get("MJD-OBS", 0) - 40587) * 86400 + 0.5))
            images.append(dvo_files.image_row(phu | {"IMNAXIS1": 0, "IMNAXIS2": 0}, number=len(images) + 1,
                                              name=f"{path.name}[PHU]", tzero=tzero, exposure=True))  # fmt: skip
            parent = len(images)
            for name, head in heads.items():
                table = {column: np.array(tables[name].data[column]) for column in tables[name].data.names}
                numbers = len(images) + 1, parent, tzero
                image, found = _chip(f"{path.name}[{name}]", head, phu, table, photcodes, numbers)
                images.append(image)
                measures.append(found)
    every = np.concatenate(measures)
    south = every["DEC"] < _border(every["DEC"])
    made = dvo_files.DvoDatabase(dvo_files.photcode_rows(photcodes), np.concatenate(images))
    for region, which in zip(NAMES, (south, ~south), strict=True):
        made.measures[region], made.averages[region] = dvo_files.grouped(every[which])
    return made


def _hours(given):
    parts = [float(part) for part in str(given).split(":")]
    return sum(part / 60**k for k, part in enumerate(parts))


def _airmass(ra, dec, sidereal, latitude):
    """The secant of the zenith distance."""
    hour_angle, d, lat = np.radians(15 * sidereal - ra), np.radians(dec), np.radians(latitude)
    return 1 / (np.sin(lat) * np.sin(d) + np.cos(lat) * np.cos(d) * np.cos(hour_angle))


def _border(dec):
    """A declination about the middle, in the widest gap between stars: DVO never matches across one."""
    dec = np.sort(dec[np.isfinite(dec)])
    middle = dec[len(dec) // 4: -len(dec) // 4]
    gap = int(np.argmax(np.diff(middle)))
    return (middle[gap] + middle[gap + 1]) / 2


def _chip(name, head, phu, table, photcodes, numbers):
    """The image and the measurements of one chip."""
    number, parent, tzero = numbers
    code = photcodes.by_name(head["PHOTCODE"])
    exptime, airmass = head.get("EXPTIME", phu.get("EXPTIME")), head.get("AIRMASS", phu.get("AIRMASS"))
    mcal = 0.001 * code.zero_point_mmag - head["ZPT_OBS"] if "ZPT_OBS" in head else 0.0
    ra, dec = AstrometricModel.from_headers(head, phu).pixel_to_sky(table["X_PSF"], table["Y_PSF"])
    cards = head | {"EXPTIME": exptime, "AIRMASS": airmass}
    if "ST" in phu and "LATITUDE" in phu:
        cards |= {"ST": _hours(phu["ST"]), "LATITUDE": phu["LATITUDE"]}
        airmass = _airmass(ra, dec, cards["ST"], cards["LATITUDE"])
    image = dvo_files.image_row(cards, number=number, parent=parent, name=name, tzero=tzero, photcode=code.code,
                                n_stars=len(ra), mcal=mcal, mcal_err=head.get("ZPT_ERR", np.nan))  # fmt: skip
    return image, dvo_files.measure_rows(table, image=number, photcode=code.code, exptime=exptime, airmass=airmass,
                                         mcal=mcal, tzero=tzero, ra=ra, dec=dec)  # fmt: skip
