"""Reading back what the simulator wrote, without any of its code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.io import fits

from skydb.calibration.astrometric import AstrometricModel
from skydb.schema.psphot import PS1_V4

FORMS = {"J": ">i4", "E": ">f4", "D": ">f8", "I": ">i2"}
UNSIGNED = {"IPP_IDET": "u4", "FLAGS": "u4", "FLAGS2": "u4", "N_FRAMES": "u2"}


@dataclass(frozen=True)
class Image:
    """One chip of one exposure, with the truth of its rows."""

    exposure_header: fits.Header
    header: fits.Header
    rows: np.ndarray
    truth: dict[str, np.ndarray]

    @property
    def model(self) -> AstrometricModel:
        return AstrometricModel.from_headers(self.header, self.exposure_header)


@lru_cache(maxsize=64)
def truth_table(survey: Path, name: str) -> dict[str, np.ndarray]:
    table = pq.read_table(survey / "truth" / f"{name}.parquet")
    return {n: np.asarray(table.column(n).to_pylist()) for n in table.column_names}


def read_images(survey: Path, exposures: slice = slice(None)) -> list[Image]:
    return [i for path in sorted((survey / "exposures").glob("*.smf"))[exposures] for i in read_exposure(path)]


@lru_cache(maxsize=400)
def read_exposure(path: Path) -> tuple[Image, ...]:
    truth, images, raw = truth_table(path.parents[1], f"detections/{path.stem}"), [], path.read_bytes()
    with fits.open(path) as file:
        for head, table in zip(file[1::3], file[2::3], strict=True):
            mine = truth["chip"] == head.header["EXTNAME"].removesuffix(".hdr")
            rows = physical(raw, table.fileinfo()["datLoc"], head.header["NSTARS"])
            images.append(Image(file[0].header, head.header, rows, {n: v[mine] for n, v in truth.items()}))
    return tuple(images)


def physical(raw: bytes, start: int, size: int) -> np.ndarray:
    """Rows with TZERO applied, in native byte order: astropy takes ten times as long, and is asked in one test."""
    stored = np.frombuffer(raw, np.dtype([(n, FORMS[form]) for n, form, _ in PS1_V4]), count=size, offset=start)
    rows = stored.astype([(n, UNSIGNED.get(n, FORMS[form][1:])) for n, form, _ in PS1_V4])
    for name, kind in UNSIGNED.items():
        rows[name] = stored[name].astype(np.int64) + 2 ** (8 * int(kind[1]) - 1)
    return rows


def sidereal_degrees(header: fits.Header) -> float:
    hours, minutes, seconds = header["ST"].split(":")
    return 15.0 * (int(hours) + int(minutes) / 60.0 + float(seconds) / 3600.0)


def secant(header: fits.Header, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Airmass from the header's sidereal time and latitude."""
    h = np.radians(sidereal_degrees(header) - ra)
    phi, d = np.radians(header["LATITUDE"]), np.radians(dec)
    return 1.0 / (np.sin(phi) * np.sin(d) + np.cos(phi) * np.cos(d) * np.cos(h))


def slopes(survey: Path) -> dict[str, tuple[float, float]]:
    """Photcode name → (C in mag, K)."""
    lines = [line.split() for line in (survey / "photcodes.dat").read_text().splitlines() if not line.startswith("#")]
    return {w[1]: (float(w[3]), float(w[4])) for w in lines if w[2] == "dep"}


def header_magnitudes(image: Image, slope: float) -> np.ndarray:
    """Magnitudes as DVO would make them from the file alone: zero point of the header, nominal airmass term."""
    x, y = (image.rows[n].astype(np.float64) for n in ("X_PSF", "Y_PSF"))
    ra, dec = image.model.pixel_to_sky(x, y)
    airmass = secant(image.header, ra, dec)
    inst = image.rows["PSF_INST_MAG"].astype(np.float64)
    return inst + 2.5 * np.log10(image.header["EXPTIME"]) + image.header["ZPT_OBS"] + slope * (airmass - 1.0)
