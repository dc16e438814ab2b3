"""DuckDB as somebody would tune it by hand: one Parquet file a table, rows in HEALPix order, conditions on that index.

It is *given* the object of every measurement and the calibrated magnitudes, which it could not find by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import healpy
import numpy as np
import pyarrow as pa

from skydb.query.connection import STANDARD, connect
from skydb.sky.regions import Cone

from .scene import Scene

if TYPE_CHECKING:
    import duckdb

ROW_GROUP = 122_880
"""Rows of a row group: DuckDB's own choice."""

PAD_DEG = 10 / 3600
"""How far a measurement may lie from where its object was founded, generously."""

PIXELS_ACROSS = 4
"""HEALPix pixels (58.6 degrees at order 0) along a cone's radius, about."""

TABLES = {
    "measurements": (*STANDARD["measurements"],),
    "objects": ("object_id", "ra", "dec", "n_measurements"),
    "images": ("image_id", "exptime", "airmass", "mjd"),
}


def copies(scene: Scene) -> Path:
    """Return the folder with DuckDB's copies of the tables, made if they are not there."""
    folder = scene.folder / "duckdb"
    if not (folder / "done").exists():
        scene.say("copying the tables for DuckDB")
        folder.mkdir(exist_ok=True)
        for table, columns in TABLES.items():
            _copy(scene, table, columns, folder / f"{table}.parquet")
        (folder / "done").touch()
    return folder


def _copy(scene: Scene, table: str, columns: Iterable[str], path: Path) -> None:
    import duckdb

    order = "image_id" if table == "images" else "object_id, mjd" if table == "measurements" else "object_id"
    with connect(scene.db) as ours, duckdb.connect(config={"temp_directory": str(path.with_suffix(".tmp"))}) as con:
        con.register("rows", ours.sql(f"SELECT {', '.join(columns)} FROM {table}").reader())
        con.execute(
            f"COPY (SELECT * FROM rows ORDER BY {order}) TO '{path}'"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )


def opened(scene: Scene) -> duckdb.DuckDBPyConnection:
    """Return a warm connection with a view of every copy."""
    import duckdb

    con = duckdb.connect()
    con.execute("SET parquet_metadata_cache = true")
    for table in TABLES:
        con.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{copies(scene) / table}.parquet')")
    return con


def cone_query(cone: Cone, source: str = "measurements") -> str:
    """Return the query for the measurements in a circle (deg): ranges of the index first, then the exact distance."""
    distance = (
        f"pow(sin(radians(dec - {cone.dec!r}) / 2), 2)"
        f" + cos(radians({cone.dec!r})) * cos(radians(dec)) * pow(sin(radians(ra - {cone.ra!r}) / 2), 2)"
    )
    return (
        f"SELECT {', '.join(STANDARD['measurements'])} FROM {source} WHERE ({_condition(cone)})"
        f" AND {distance} <= pow(sin(radians({cone.radius_deg!r}) / 2), 2)"
    )


def _condition(cone: Cone) -> str:
    """Return ranges of object_id that cover a circle, as SQL."""
    padded = cone.radius_deg + PAD_DEG
    order = int(np.clip(np.log2(PIXELS_ACROSS * 58.6 / padded), 0, 14))
    centre = healpy.ang2vec(cone.ra, cone.dec, lonlat=True)
    pixels = np.sort(healpy.query_disc(1 << order, centre, np.radians(padded), inclusive=True, nest=True))
    ends = np.flatnonzero(np.diff(pixels) > 1)
    first, last = pixels[np.r_[0, ends + 1]], pixels[np.r_[ends, len(pixels) - 1]] + 1
    shift = 2 * (29 - order)
    return " OR ".join(
        f"object_id BETWEEN {int(a) << shift} AND {(int(b) << shift) - 1}" for a, b in zip(first, last, strict=True)
    )


def light_curve_query(ids: Iterable[int]) -> str:
    """Return the query for the measurements of some objects, by object and time."""
    columns, listed = ", ".join(STANDARD["measurements"]), ", ".join(map(str, ids))
    return f"SELECT {columns} FROM measurements WHERE object_id IN ({listed}) ORDER BY object_id, mjd"


def answer(con: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """Return what DuckDB answers, as an Arrow table."""
    return con.sql(query).to_arrow_table()
