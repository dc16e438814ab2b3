"""A small sky seen again and again, as files, and what a database holds of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

import skydb.database as database
from skydb.calibration.astrometric import AstrometricModel
from skydb.database import Database
from skydb.photcodes import import_photcodes
from skydb.store.catalog import reading
from skydb.store.history import catalog_table
from tests.ingest.catalog_files import CHIP, PHU, TAN, rows, write_cmf

PHOTCODES = """
1 g sec 0 0 0 - - 0 0 -
2 r sec 0 0 0 - - 0 0 -
100 CAM.g.XY01 dep 24.563 -0.147 0 - - 0 0 g
102 CAM.r dep 24.800 -0.100 0 - - 0 0 r
"""
SURVEY_CODES = """
[[photcodes]]
name = "R.G"
kind = "REF"
[[photcodes]]
name = "R.B"
kind = "REF"
[[photcodes]]
name = "R.C"
kind = "REF"
"""
"""The photcodes of the mapping `tests.ingest.tables.REFERENCE`."""
SKY_TABLES = {
    "object_seeds": ["object_id"],
    "objects": ["object_id"],
    "object_bands": ["object_id", "band", "source"],
    "measurements": ["object_id", "image_id", "det_id", "code"],
}
GLOBAL_TABLES = {
    "images": ["image_id"], "images_cal": ["image_id"], "exposures": ["exposure_id"], "photcodes": ["code", "name"],
}  # fmt: skip


def new_database(path: Path, *, cell_rows: int = database.DEFAULT_CELL_ROWS) -> Database:
    """An empty database that knows the photcodes of the files here."""
    db = database.create(path, cell_rows=cell_rows)
    text = path.with_suffix(".photcodes")
    text.write_text(PHOTCODES)
    import_photcodes(db, text)
    return db


def write_night(
    folder: Path, *, exposures: int = 6, stars: int = 150, ra: float = 0.0, dec: float = 10.0, seed: int = 0
) -> list[Path]:
    """Files of dithered exposures of one field: noisy positions, close pairs, stars that come and go, false ones."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    x, y = rng.uniform(0, 1000, stars), rng.uniform(0, 800, stars)
    near = stars // 6  # pairs of 0.2 to 2 arcsec; a pixel is 0.36 arcsec
    x[:near] = x[-near:] + rng.uniform(-4, 4, near)
    y[:near] = y[-near:] + rng.uniform(-4, 4, near)
    mags = rng.uniform(-14, -7, stars)
    sky_ra, sky_dec = _model(ra, dec).pixel_to_sky(x, y)
    paths = []
    for number in range(exposures):
        centre = ra + rng.normal(0, 0.005) / np.cos(np.radians(dec)), min(dec + rng.normal(0, 0.005), 89.999)
        seen = rng.random(stars) < 0.9
        px, py = _model(*centre).sky_to_pixel(sky_ra[seen], sky_dec[seen])
        false = 8
        px = np.concatenate([px + rng.normal(0, 0.4, seen.sum()), rng.uniform(0, 1000, false)]).astype("f4")
        py = np.concatenate([py + rng.normal(0, 0.4, seen.sum()), rng.uniform(0, 800, false)]).astype("f4")
        mag = np.concatenate([mags[seen] + rng.normal(0, 0.02, seen.sum()), rng.uniform(-8, -7, false)]).astype("f4")
        table = rows(len(px), seed=number, X_PSF=px, Y_PSF=py, PSF_INST_MAG=mag)
        header = {
            "CRVAL1": centre[0] % 360.0, "CRVAL2": centre[1], "OBS_ID": f"o{seed}-{number}",
            "MJD-OBS": 56900.25 + seed + 0.01 * number, "PHOTCODE": ("CAM.g.XY01", "CAM.r")[number % 2],
        }  # fmt: skip
        paths.append(write_cmf(folder / f"{seed}-{number}.cmf", table, header))
    return paths


def write_survey(path: Path, stars: list[tuple[int, float, float]]) -> Path:
    """A reference catalog: id, ra, dec and three magnitudes, of which C is a flux and B is absent for odd ids."""
    lines = [f"{i},{ra},{dec},{15 + i % 5},0.01,{'' if i % 2 else 16},3.5,0.1" for i, ra, dec in stars]
    path.write_text("\n".join(["id,ra,dec,g,g_err,b,c,c_err", *lines]) + "\n")
    return path


def _model(ra: float, dec: float) -> AstrometricModel:
    return AstrometricModel.from_headers(PHU | CHIP | TAN | {"CRVAL1": ra % 360.0, "CRVAL2": dec}, None)


def contents(db: Database, tables: Iterable[str] = (*SKY_TABLES, *GLOBAL_TABLES)) -> dict[str, pa.Table]:
    """All rows of some tables, sorted by their keys."""
    snapshot = db.snapshot()
    found = {}
    for name in tables:
        if name in SKY_TABLES:
            parts = [snapshot.read_cell(name, cell) for cell in snapshot.cells()]
            table = pa.concat_tables(parts, promote_options="default") if parts else None
        else:
            table = snapshot.read_global(name)
        keys = {**SKY_TABLES, **GLOBAL_TABLES}[name]
        found[name] = None if table is None else table.sort_by([(key, "ascending") for key in keys])
    return found


def assert_same(one: dict[str, pa.Table], other: dict[str, pa.Table]) -> None:
    """Fail with the first table and column that differ."""
    assert one.keys() == other.keys()
    for name, table in one.items():
        assert table.num_rows == other[name].num_rows, name
        differing = [c for c in table.column_names if not table[c].equals(other[name][c])]
        assert differing == [], f"{name}: {differing}"


def stored_files(db: Database) -> set[str]:
    """Every file under data/, as the catalog writes paths."""
    return {str(p.relative_to(db.root)) for p in (db.root / "data").rglob("*") if p.is_file()}


def named_files(db: Database) -> set[str]:
    """Every file that any snapshot names."""
    with reading(db.root) as connection:
        return {path for (path,) in connection.execute("SELECT path FROM files")}


def check_nothing_is_left_over(db: Database) -> None:
    """Fail if a file lies about that no snapshot names, or one is named that is not there."""
    assert stored_files(db) == named_files(db)
    assert list(db.work.iterdir()) == []


def check_conservation(db: Database) -> None:
    """Fail unless the ingest log agrees with the tables, file by file."""
    with reading(db.root) as connection:
        file_of = dict(connection.execute("SELECT image_id, digest FROM image_index"))
        once = "SELECT digest FROM ingest_log GROUP BY digest HAVING COUNT(*) = 1"
        untouched = {digest for (digest,) in connection.execute(once)}
    held = contents(db, ["measurements", "object_seeds", "images_cal"])
    rows_of, founded = _count(held["measurements"], "image_id", file_of), {}
    there = _keys(held["measurements"], "image_id", "det_id")
    for image, det in _keys(held["object_seeds"], "founder_image_id", "founder_det_id"):
        if (image, det) in there:  # a merge may bring an object without the measurement that founded it
            founded[file_of[image]] = founded.get(file_of[image], 0) + 1
    for entry in catalog_table(db.snapshot(), "ingest_log").to_pylist():
        assert entry["n_in"] == entry["n_matched"] + entry["n_new"] + entry["n_rejected"]
        assert entry["n_rejected"] == sum(json.loads(entry["reasons"]).values())
        assert entry["n_measurements"] == rows_of.get(entry["digest"], 0) + entry["n_deleted_measurements"]
        if entry["digest"] in untouched:  # an object keeps its founder when its images are deleted, and come back
            assert entry["n_new"] == founded.get(entry["digest"], 0)
    if held["object_seeds"] is not None:
        gone = held["object_seeds"].filter(held["object_seeds"]["retired"])["object_id"]
        assert not set(gone.to_pylist()) & set(held["measurements"]["object_id"].to_pylist()), "retired, and measured"
    by_image: dict[int, int] = {}
    for image in held["measurements"]["image_id"].to_pylist() if held["measurements"] is not None else []:
        by_image[image] = by_image.get(image, 0) + 1
    for row in held["images_cal"].to_pylist():
        assert row["n_measurements"] == by_image.get(row["image_id"], 0)


def _keys(table: pa.Table | None, image: str, det: str) -> set[tuple[int, int]]:
    columns = [] if table is None else [table[image].to_pylist(), table[det].to_pylist()]
    return set(zip(*columns, strict=True))


def _count(table: pa.Table | None, column: str, file_of: dict[int, str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for image in [] if table is None else table[column].to_pylist():
        counts[file_of[image]] = counts.get(file_of[image], 0) + 1
    return counts
