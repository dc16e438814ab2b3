"""The truth beside a simulated survey: what the code under test never reads, and scores are computed from."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .camera import FLAT_ORDERS, SLOPES, Camera
from .detections import Detections
from .schedule import EXPTIME
from .sky import Stars
from .sources import Truth
from .survey import Conditions, Survey


def write_table(path: Path, table: pa.Table) -> None:
    """Write one truth table."""
    pq.write_table(table, path, compression="zstd")


def write_stars(path: Path, stars: Stars, survey: Survey) -> None:
    """Write the sky, one row group per patch; stars are sorted by patch and declination."""
    table = stars.table(survey.camera.bands)
    edges = np.searchsorted(stars.patch, np.arange(len(survey.preset.patches) + 1))
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for i, j in pairwise(edges):
            writer.write_table(table.slice(int(i), int(j - i)), row_group_size=max(int(j - i), 1))


def read_patch(path: Path, patch: int, bands: tuple[str, ...]) -> Stars:
    """Read the stars of one patch; kept in memory for the worker's next exposure."""
    return _patch_read(path, path.stat().st_mtime_ns, patch, bands)  # the path may have held another sky before


@lru_cache(maxsize=8)
def _patch_read(path: Path, written: int, patch: int, bands: tuple[str, ...]) -> Stars:
    with pq.ParquetFile(path) as file:
        groups = [g for g in range(file.num_row_groups) if _patch_of(file, g) == patch]
        return Stars.from_table(file.read_row_groups(groups), bands)


def _patch_of(file: pq.ParquetFile, group: int) -> int | None:
    statistics = file.metadata.row_group(group).column(1).statistics
    return None if statistics is None or not statistics.has_min_max else int(statistics.min)


def detection_rows(conditions: Conditions, found: Detections, number: np.ndarray) -> pa.Table:
    """Truth of every detection: (exposure, chip, det_id), its star or -1, its true magnitude, flags of `Truth`."""
    names = [c.name for c in conditions.chips]
    chip = pa.DictionaryArray.from_arrays(pa.array(found.source.chip, pa.int8()), pa.array(names))
    size = len(found)
    exposure = pa.DictionaryArray.from_arrays(pa.array(np.zeros(size), pa.int8()), pa.array([conditions.pointing.name]))
    return pa.table({
        "exposure": exposure, "chip": chip, "det_id": number.astype(np.int64),
        "star_id": found.source.star_id, "blend_id": found.source.blend_id,
        "mag_true": pa.array(found.mag_true, pa.float64()), "flags": pa.array(found.source.flags, pa.int32()),
    })


def exposure_row(conditions: Conditions, found: Detections) -> pa.Table:
    """One row of the truth table `exposures`."""
    pointing = conditions.pointing
    patch = conditions.survey.preset.patches[pointing.patch].name
    return pa.Table.from_pylist([{
        "exposure": pointing.name, "file": f"{pointing.name}.smf", "band": conditions.band, "patch": patch,
        "layer": pointing.layer, "night": conditions.night.mjd, "mjd_utc": pointing.mjd_utc,
        "mjd": conditions.mjd_tai, "exptime": EXPTIME, "ra": pointing.ra, "dec": pointing.dec,
        "angle": pointing.angle, "airmass": conditions.airmass, "fwhm_pixels": float(conditions.sigma.mean() * 2.3548),
        "sky": conditions.sky_rate, "cloud": float(conditions.cloud.mean()), "zpt_error": conditions.zpt_error,
        "n_detections": len(found),
    }])


def chip_rows(conditions: Conditions, found: Detections) -> pa.Table:
    """Rows of the truth table `chips`: every image with its true zero point and what that is made of."""
    pointing, chips, band = conditions.pointing, conditions.chips, conditions.pointing.band
    number = len(chips)
    spurious = (found.source.flags & Truth.SPURIOUS) > 0
    nominal = np.array([c.zero_point[band] for c in chips])
    mcal, secant = conditions.chip_mcal, conditions.chip_airmass
    patch = conditions.survey.preset.patches[pointing.patch].name
    return pa.table({
        "name": [f"{pointing.name}.smf[{c.name}.hdr]" for c in chips],
        "exposure": [pointing.name] * number, "chip": [c.name for c in chips],
        "photcode": [c.photcode(conditions.band) for c in chips], "band": [conditions.band] * number,
        "component": [patch] * number, "night": [conditions.night.mjd] * number, "airmass": secant,
        "zero_point_nominal": nominal, "airmass_slope": [SLOPES[conditions.band]] * number,
        "mcal_true": mcal, "zero_point_true": nominal + SLOPES[conditions.band] * (secant - 1.0) - mcal,
        "night_zero": [conditions.night.zero[band]] * number, "night_slope": [conditions.night.slope[band]] * number,
        "cloud": conditions.cloud, "chip_offset": [c.offset[band] for c in chips], "zpt_obs": conditions.zpt_obs,
        "x_error_micron": conditions.errors[:, 0] + [c.error[0] for c in chips],
        "y_error_micron": conditions.errors[:, 1] + [c.error[1] for c in chips],
        "turn_error_radian": [c.error[2] for c in chips],
        "n_detections": np.bincount(found.source.chip, minlength=number),
        "n_spurious": np.bincount(found.source.chip[spurious], minlength=number),
    })


def flat_rows(camera: Camera) -> pa.Table:
    """Rows of the truth table `flats`: Legendre coefficients per photcode and season (there is one season, 0)."""
    rows = [
        {
            "photcode": c.photcode(band), "chip": c.name, "band": band, "season": 0,
            "order_x": i, "order_y": j, "mag": value,
        }
        for c in camera.chips
        for k, band in enumerate(camera.bands)
        for (i, j), value in zip(FLAT_ORDERS, c.flat[k], strict=True)
    ]
    return pa.Table.from_pylist(rows)


def night_rows(survey: Survey) -> pa.Table:
    """Rows of the truth table `nights`, one per night and band: mcal = zero + slope (airmass - 1), and cloud."""
    rows = [
        {
            "night": n.mjd, "band": band, "zero": n.zero[k], "slope": n.slope[k], "cloud": n.cloud,
            "photometric": n.cloud == 0.0, "reported_photometric": n.reported_photometric, "seeing": n.seeing,
        }
        for n in survey.nights
        for k, band in enumerate(survey.camera.bands)
    ]
    return pa.Table.from_pylist(rows)
