"""Small databases of many cells to ask, and the same rows in plain tables of DuckDB to compare the answers with."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from skydb import database
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from skydb.query.functions import register
from skydb.query.views import STORED, visible_columns, visible_tables
from skydb.schema.tables import TABLES
from skydb.store.history import catalog_table
from skydb.store.snapshot import Snapshot
from tests.ingest.skies import PHOTCODES, SURVEY_CODES, write_night, write_survey
from tests.ingest.tables import REFERENCE, mapping_of

ALT = "1 g_alt alt 0 0 0 - - 0 0 g\n"
FIELDS = ((0.0, 10.0), (123.0, -45.0), (200.0, 89.9))
"""Fields across RA 0, in the south, and near the pole."""

ROWS = """
name = "t"
kind = "detections"
[file]
format = "text"
delimiter = ","
[time]
column = "mjd"
scale = "tai"
at = "mid"
exptime = 60
[photcode]
name = "CAM.g.XY01"
[measurements]
ra_raw = "ra"
dec_raw = "dec"
inst_mag = "mag"
"""


def new_database(path: Path, *, cell_rows: int) -> Database:
    """An empty database that knows photcodes of every kind."""
    db = database.create(path, cell_rows=cell_rows)
    text = path.with_suffix(".photcodes")
    text.write_text(PHOTCODES + ALT)
    import_photcodes(db, text)
    return db


def nights(path: Path, *, cell_rows: int = 120) -> Database:
    """Fields seen six times in two bands, and a reference survey over the first of them."""
    db = new_database(path, cell_rows=cell_rows)
    for seed, (ra, dec) in enumerate(FIELDS):
        addstar(db, write_night(path.parent / f"night{seed}", ra=ra, dec=dec, seed=seed, stars=80), workers=1)
    rng = np.random.default_rng(1)
    stars = [(i, float(a % 360), float(d)) for i, (a, d) in enumerate(rng.normal((0.0, 10.0), 0.03, (150, 2)))]
    mapping = mapping_of(path.parent, REFERENCE + SURVEY_CODES)
    addstar(db, [write_survey(path.parent / "survey.csv", stars)], mapping=mapping, workers=1)
    return db


def scattered(path: Path, *, stars: int = 2500, radius_arcsec: float = 300.0, cell_rows: int = 900) -> Database:
    """Stars of the whole sky whose detections lie up to `radius_arcsec` from the first one, in deltas of two ingests.

    Some lie at the poles, about RA 0, and along the meridians that part HEALPix' base pixels.
    """
    db = new_database(path, cell_rows=cell_rows)
    rng = np.random.default_rng(3)
    few = 60
    border = 90.0 * rng.integers(0, 4, few) + rng.uniform(-0.05, 0.05, few)
    ra = np.concatenate((rng.uniform(0, 360, stars + few), rng.uniform(-0.2, 0.2, few), border))
    poles = np.sign(rng.uniform(-1, 1, few)) * (90 - 0.3 * rng.random(few))
    high = np.sign(rng.uniform(-1, 1, few)) * rng.uniform(45, 85, few)
    dec = np.concatenate((np.degrees(np.arcsin(rng.uniform(-1, 1, stars))), poles, rng.uniform(-80, 80, few), high))
    files = []
    for epoch in range(4):
        away = radius_arcsec / 3600 * 0.99 * np.sqrt(rng.random(len(ra))) * (epoch > 0)
        angle = rng.uniform(0, 2 * np.pi, len(ra))
        there = _moved(ra, dec, away * np.sin(angle), away * np.cos(angle))
        lines = [f"{a:.9f},{d:.9f},{56000 + 10 * epoch},-9.5" for a, d in zip(*there, strict=True)]
        files.append(path.parent / f"epoch{epoch}.csv")
        files[-1].write_text("\n".join(["ra,dec,mjd,mag", *lines]) + "\n")
    mapping = mapping_of(path.parent, ROWS)
    for part in (files[:1], files[1:]):
        addstar(db, part, mapping=mapping, radius_arcsec=radius_arcsec, workers=1)
    return db


def _moved(
    ra: np.ndarray, dec: np.ndarray, east: np.ndarray, north: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions moved by small angles (degrees) along the tangents, right at the poles too."""
    a, d = np.radians(ra), np.radians(dec)
    toward = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    to_east = np.array([-np.sin(a), np.cos(a), np.zeros_like(a)])
    to_north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    x, y, z = toward + np.radians(east) * to_east + np.radians(north) * to_north
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def visible_rows(snapshot: Snapshot, table: str) -> pa.Table:
    """All rows of a SQL table, put together in plain Python from the stored ones."""
    if TABLES[table].kind == "catalog":
        return catalog_table(snapshot, table).replace_schema_metadata()
    rows = _stored_rows(snapshot, table)
    names = [c.name for c in visible_columns(table)]
    if "photcode" in names:
        codes = {r["code"]: r for r in snapshot.read_global("photcodes").to_pylist() if r["kind"] != "ALT"}
        found = [codes[code] for code in rows["code"].to_pylist()]
        rows = rows.append_column("photcode", pa.array([r["name"] for r in found], pa.string()))
        rows = rows.append_column("band", pa.array([r["band"] for r in found], pa.string()))
    return rows.select(names)


def _stored_rows(snapshot: Snapshot, table: str) -> pa.Table:
    if TABLES[table].kind == "sky":
        parts = [snapshot.read_cell(table, cell) for cell in snapshot.cells()]
        return pa.concat_tables(parts) if parts else TABLES[table].empty()
    rows = snapshot.read_global(table)
    if table in STORED:
        extra = [c for c in TABLES["images_cal"].names if c not in rows.column_names]
        solved = {r["image_id"]: r for r in snapshot.read_global("images_cal").to_pylist()}
        for name in extra:
            values = [solved.get(i, {}).get(name) for i in rows["image_id"].to_pylist()]
            rows = rows.append_column(name, pa.array(values, TABLES["images_cal"][name].arrow.type))
    return rows


def plain_duckdb(snapshot: Snapshot) -> duckdb.DuckDBPyConnection:
    """The same rows as plain tables of an empty DuckDB, with the functions of the sky."""
    con = duckdb.connect(config={"threads": 1})
    register(con)
    for table in visible_tables():
        con.register("rows", visible_rows(snapshot, table))
        con.execute(f'CREATE TABLE "{table}" AS SELECT * FROM rows')
        con.unregister("rows")
    return con
