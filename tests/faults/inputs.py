"""What the verbs of the workload take: files of two small fields, and other databases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import skydb.database as database
from skydb.database import Database
from skydb.declared import declare_table
from skydb.ingest.addrows import addrows
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from tests.ingest.catalog_files import add_siblings, rows, write_cmf
from tests.ingest.dvo_surveys import make_survey
from tests.ingest.skies import PHOTCODES

from .inbox import write_arrivals

STARS, FEW = 24, 6
DECLARED = "starpar"


def write_inputs(folder: Path) -> None:
    """Write what the verbs take: photcodes, three nights of a small field, a database of a fourth; another field."""
    (folder / "photcodes.txt").write_text(PHOTCODES)
    for night in range(3):
        for exposure in range(2):
            write_exposure(folder / f"{night}-{exposure}.cmf", night, exposure)
    write_exposure(folder / "apart.cmf", 3, 0)
    apart = database.create(folder / "apart.sky")
    import_photcodes(apart, folder / "photcodes.txt")
    addstar(apart, folder / "apart.cmf", workers=1)
    write_parameters(folder, apart)
    write_other_field(folder)


def write_exposure(
    path: Path, night: int, exposure: int, *, count: int = STARS, ra: float = 0.0, dec: float = 0.0, seed: int = 0
) -> Path:
    """One exposure of the first stars, a little cloudy, by default where four cells of order 1 meet in one of order 0.

    With another seed it is the same image, reduced in another way.
    """
    stars, noise = np.random.default_rng(0), np.random.default_rng((2 * night + exposure, seed))
    x, y, mags = (stars.uniform(*limits, STARS)[:count] for limits in ((0, 1000), (0, 800), (-14, -9)))
    mags = mags + noise.normal(0, 0.01, count) + noise.uniform(0, 0.3)
    table = rows(
        count, seed=night, X_PSF=x.astype("f4"), Y_PSF=y.astype("f4"), PSF_INST_MAG=mags.astype("f4"),
        PSF_INST_MAG_SIG=np.full(count, 0.01, "f4"), FLAGS=np.zeros(count, "u4"),
    )  # fmt: skip
    return write_cmf(path, table, {
        "CRVAL1": ra, "CRVAL2": dec, "OBS_ID": f"o{night}-{exposure}", "MJD-OBS": 56900.25 + night + 0.01 * exposure,
        "PHOTCODE": "CAM.g.XY01",
    })  # fmt: skip


def write_other_field(folder: Path) -> None:
    """Write files of a field of few stars: with tables beside the detections, an image again, of an inbox; DVO's."""
    field = {"count": FEW, "ra": 45.0, "dec": 30.0}
    for name, night, exposure, seed in (("wide-0", 4, 0, 0), ("wide-1", 4, 1, 0), ("again", 4, 1, 1)):
        add_siblings(write_exposure(folder / f"{name}.cmf", night, exposure, **field, seed=seed), seed=seed)
    write_exposure(folder / "more.cmf", 5, 0, **field | {"count": 2 * FEW})
    write_arrivals(folder, [write_exposure(folder / f"6-{n}.cmf", 6, n, **field) for n in range(4)])
    make_survey(folder / "dvo-files", n_exposures=1, n_stars=FEW).dvo.write(folder / "dvo")


def write_parameters(folder: Path, apart: Database) -> None:
    """Write rows of a declared table for the stars, by position: all of them into the other database, half for here."""
    stars = pa.concat_tables(apart.snapshot().read_cell("objects", cell) for cell in apart.snapshot().cells())
    table = pa.table({"ra": stars["ra"], "dec": stars["dec"], "feh": np.linspace(-2, 0, len(stars), dtype="f4")})
    pq.write_table(table.slice(0, STARS // 2), folder / "half.parquet")
    pq.write_table(table, folder / "all.parquet")
    declare_table(apart, DECLARED)
    addrows(apart, DECLARED, folder / "all.parquet", workers=1)
