"""Small databases whose every row is known, written straight into the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.coordinates import SkyCoord

from skydb import database
from skydb.database import Database
from skydb.schema.photcodes import Photcode, Photcodes
from skydb.sky.partition import cell_of, pixel_of
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.files import DataFile
from skydb.store.parquet import sort_rows, store_rows

CODES = Photcodes((
    Photcode(1, "g", "SEC"), Photcode(2, "r", "SEC"), Photcode(11, "Cam.g", "DEP", band="g"),
    Photcode(12, "Cam.r", "DEP", band="r"), Photcode(21, "TYCHO.B", "REF"),
))  # fmt: skip
BANDS = (("g", "chip", 11), ("r", "stack", 12), ("TYCHO.B", "reference", 21))


@dataclass(frozen=True)
class Sky:
    """Objects: where they were founded, where they are now, and how many measurements they have."""

    founded_ra: np.ndarray
    founded_dec: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    points: np.ndarray

    @classmethod
    def at(cls, ra: object, dec: object, *, points: int = 3) -> Sky:
        """Return objects that never moved."""
        ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        return cls(ra, dec, ra, dec, np.full(len(ra), points))

    @property
    def object_id(self) -> np.ndarray:
        """The ids, by where the objects were founded."""
        return pixel_of(self.founded_ra, self.founded_dec)

    def object_seeds(self) -> pa.Table:
        """The rows of `object_seeds`."""
        zeros = np.zeros(len(self.ra), np.int64)
        return pa.table({
            "object_id": self.object_id, "assoc_ra": self.founded_ra, "assoc_dec": self.founded_dec,
            "assoc_epoch": 2015.5 + zeros, "founder_image_id": zeros, "founder_det_id": zeros,
        })  # fmt: skip

    def objects(self) -> pa.Table:
        """The rows of `objects`."""
        number = np.arange(len(self.ra))
        return pa.table({
            "object_id": self.object_id, "ra": self.ra, "dec": self.dec, "epoch": 2015.5 + 0.0 * number,
            "n_measurements": pa.array(self.points, pa.int32()), "flags": pa.array(number, pa.uint32()),
        })  # fmt: skip

    def object_bands(self) -> pa.Table:
        """The rows of `object_bands`: object i has the first i % 4 of the bands."""
        rows = [
            {"object_id": int(object_id), "band": band, "source": source, "mag": 15 + i + code / 100, "n_used": i}
            for i, object_id in enumerate(self.object_id) for band, source, code in BANDS[: i % 4]
        ]  # fmt: skip
        schema = pa.schema([("object_id", pa.int64()), ("band", pa.string()), ("source", pa.string()),
                            ("mag", pa.float64()), ("n_used", pa.int32())])  # fmt: skip
        return pa.Table.from_pylist(rows, schema=schema)

    def measurements(self) -> pa.Table:
        """The rows of `measurements` (the keys), in an order of their own: late ones first."""
        row = np.repeat(np.arange(len(self.ra)), self.points)
        number = np.arange(len(row))
        code = np.array([BANDS[i % 3][2] for i in number])
        return pa.table({
            "object_id": self.object_id[row], "image_id": 1_000 + number % 7, "det_id": number,
            "code": pa.array(code, pa.int32()), "mjd": 60_000.0 - 0.5 * number,
        })  # fmt: skip

    def measurements_cal(self) -> pa.Table:
        """The rows of `measurements_cal`, beside those of `measurements`."""
        rows, number = self.measurements(), np.arange(int(self.points.sum()))
        row = np.repeat(np.arange(len(self.ra)), self.points)
        mag = pa.array(20 + number / 1_000, mask=number % 5 == 4)
        more = {"ra": self.ra[row], "dec": self.dec[row], "mag": mag, "flux": number * 10.0}
        return pa.table({name: rows[name] for name in rows.column_names} | more)


def images() -> pa.Table:
    """The rows of `images`, of every image that a sky has measurements of."""
    ids = np.arange(1_000, 1_007)
    kinds = ["chip"] * len(ids)
    return pa.table({"image_id": ids, "image_key": [str(i) for i in ids], "exposure_id": ids, "kind": kinds,
                     "code": pa.array(np.full(len(ids), 11), pa.int32())})  # fmt: skip


def build(path: Path, sky: Sky, *, order: int = 3, files: int = 1, stale: bool = False) -> Database:
    """Write a database with cells of one order; the measurements of each cell lie in so many files."""
    db = database.create(path)
    of = cell_of(sky.object_id, order)
    adds = [store_rows(db.root, db.id, t, name) for t, name in ((CODES.to_arrow(), "photcodes"), (images(), "images"))]
    cells = [Cell(order, int(npix), stale=stale) for npix in np.unique(of)]
    for cell in cells:
        adds += _cell_files(db, sky, cell, files)
    db.commit(Changes("test", "test", 0, adds=tuple(adds), cells=tuple(cells)))
    return db


def _cell_files(db: Database, sky: Sky, cell: Cell, files: int) -> list[DataFile]:
    def held(table: pa.Table) -> pa.Table:
        ids = table["object_id"].to_numpy()
        return table.filter(pa.array((ids >= cell.lo) & (ids < cell.hi)))

    added = [
        store_rows(db.root, db.id, sort_rows(held(rows), name), name, cell=cell.key)
        for name, rows in (
            ("object_seeds", sky.object_seeds()), ("objects", sky.objects()), ("object_bands", sky.object_bands()),
        )
    ]  # fmt: skip
    for number in range(files):
        part = [sort_rows(held(t), "measurements") for t in (sky.measurements(), sky.measurements_cal())]
        chosen = pa.array(part[0]["det_id"].to_numpy() % files == number)
        raw = store_rows(db.root, db.id, part[0].filter(chosen), "measurements", cell=cell.key)
        cal = store_rows(db.root, db.id, part[1].filter(chosen), "measurements_cal", cell=cell.key, base=raw.name)
        added += [raw, cal]
    return added


def scattered(count: int, seed: int, *, radius_deg: float = 180.0, about: tuple[float, float] = (0.0, 90.0)) -> Sky:
    """Return objects scattered evenly within a radius of a position, with 0 to 4 measurements each."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(np.cos(np.radians(radius_deg)), 1.0, count)
    turn, away = rng.uniform(0, 360, count), np.degrees(np.arccos(z))
    at = SkyCoord(*about, unit="deg").directional_offset_by(turn * u.deg, away * u.deg)
    ra, dec = np.asarray(at.ra.deg), np.asarray(at.dec.deg)
    return Sky(ra, dec, ra, dec, rng.integers(0, 5, count))
