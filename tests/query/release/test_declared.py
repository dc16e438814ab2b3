"""Tables of the user's own are released as catalogs of their own, with the positions of their objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skydb
from skydb.database import Database
from skydb.query.release import release
from skydb.sky.partition import cell_range, pixel_of

from .skies import Sky, build, scattered

SPECTRA = """
name = "spectra"
meaning = "redshifts"
keyed_by = "object"
key = ["programme"]
[[columns]]
name = "programme"
type = "string"
meaning = "observing programme"
[[columns]]
name = "redshift"
type = "float64"
ucd = "src.redshift"
meaning = "redshift"
"""
SHAPES = """
name = "shapes"
meaning = "shapes of measurements, with a position of their own"
keyed_by = "measurement"
[[columns]]
name = "ra"
type = "float64"
unit = "deg"
meaning = "where the shape was measured"
"""


@pytest.fixture(scope="module")
def sky() -> Sky:
    """Objects about RA 0, some far from where they were founded."""
    found = scattered(300, seed=5, radius_deg=2.0, about=(0.0, 41.81))
    moved = found.dec.copy()
    moved[::7] += 1.5
    return Sky(found.founded_ra, found.founded_dec, found.ra, moved, np.maximum(found.points, 1))


@pytest.fixture(scope="module")
def db(sky: Sky, tmp_path_factory: pytest.TempPathFactory) -> Database:
    folder = tmp_path_factory.mktemp("declared")
    made = build(folder / "t.sky", sky, order=5)
    for name, text in (("spectra", SPECTRA), ("shapes", SHAPES), ("starpar", None)):
        path = folder / f"{name}.toml"
        path.write_text(text or "")
        skydb.declare_table(made, path if text else name)
    ids = sky.object_id[:200]
    rows = {"object_id": np.repeat(ids, 2), "programme": ["A", "B"] * 200, "redshift": np.arange(400) / 100}
    pq.write_table(pa.table(rows), folder / "spectra.parquet")
    skydb.addrows(made, "spectra", folder / "spectra.parquet", workers=1)
    shapes = sky.measurements().select(["image_id", "det_id"])
    pq.write_table(shapes.append_column("ra", pa.array(np.full(shapes.num_rows, 123.0))), folder / "shapes.parquet")
    skydb.addrows(made, "shapes", folder / "shapes.parquet", workers=1)
    return made


@pytest.fixture(scope="module")
def out(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out") / "dr1"
    report = release(db, path, workers=1, rows_per_partition=40)
    assert report.tables["spectra"] == 400
    assert report.tables["starpar"] == 0
    return path


def leaves(catalog: Path) -> dict[tuple[int, int], pa.Table]:
    found = {}
    for path in catalog.glob("dataset/Norder=*/Dir=*/Npix=*.parquet"):
        norder, npix = (int(word.split("=")[1]) for word in (path.parts[-3], path.stem))
        found[norder, npix] = pq.ParquetFile(path).read()
    return found


def test_every_row_is_released_where_its_object_is_now(sky: Sky, out: Path) -> None:
    at = {i: (ra, dec) for i, ra, dec in zip(sky.object_id.tolist(), sky.ra, sky.dec, strict=True)}
    seen: list[dict[str, Any]] = []
    for pixel, rows in leaves(out / "dr1_spectra").items():
        low, high = cell_range(*pixel)
        index = rows["_healpix_29"].to_numpy()
        assert ((index >= low) & (index < high)).all()
        assert (np.diff(index) >= 0).all()
        assert (index == pixel_of(rows["ra"].to_numpy(), rows["dec"].to_numpy())).all()
        seen += rows.to_pylist()
    assert {(r["object_id"], r["programme"]): (r["redshift"], r["ra"], r["dec"]) for r in seen} == {
        (int(i), programme): (number / 100, *at[int(i)])
        for number, (i, programme) in enumerate((i, p) for i in sky.object_id[:200] for p in "AB")
    }
    assert len(seen) == 400


def test_column_that_is_called_like_a_position_keeps_its_name(sky: Sky, out: Path) -> None:
    rows = pa.concat_tables(leaves(out / "dr1_shapes").values())
    assert rows.num_rows == sky.points.sum()
    assert set(rows["ra"].to_pylist()) == {123.0}
    index = pixel_of(rows["object_ra"].to_numpy(), rows["object_dec"].to_numpy())
    assert (rows["_healpix_29"].to_numpy() == index).all()
    properties = (out / "dr1_shapes" / "hats.properties").read_text()
    assert "hats_col_ra=object_ra" in properties
    assert "dataproduct_type=source" in properties


def test_columns_are_described_and_a_table_without_rows_is_left_out(out: Path) -> None:
    schema = pq.read_schema(out / "dr1_spectra" / "dataset" / "_common_metadata")
    assert schema.names == ["_healpix_29", "object_id", "ra", "dec", "programme", "redshift"]
    assert schema.field("redshift").metadata[b"ucd"] == b"src.redshift"
    assert not (out / "dr1_starpar").exists()


def test_lsdb_opens_a_declared_table(out: Path, request: pytest.FixtureRequest) -> None:
    lsdb = pytest.importorskip("lsdb")
    request.getfixturevalue("serial_dask")
    from hats.io.validation import is_valid_catalog

    assert is_valid_catalog(out / "dr1_spectra", strict=True)
    frame = lsdb.open_catalog(out / "dr1_spectra").compute()
    assert sorted(frame["redshift"]) == pytest.approx(np.arange(400) / 100)
