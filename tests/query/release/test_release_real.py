"""A release of real light curves: DECam's deep drilling field ELAIS, read back with LSDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from skydb import database
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.query.release import release
from skydb.sky.regions import Cone

lsdb = pytest.importorskip("lsdb")
pytestmark = [pytest.mark.data, pytest.mark.usefixtures("serial_dask")]


@pytest.fixture(scope="module")
def db(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    made = database.create(tmp_path_factory.mktemp("elais") / "elais.sky", cell_rows=20_000)
    file = data_dir / "decam_elais" / "candidate_objects_elais.dat"
    addstar(made, file, mapping="decam_elais", radius_arcsec=2.0, workers=1)
    return made


@pytest.fixture(scope="module")
def catalog(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("elais") / "elais_dr1"
    report = release(db, out, workers=1, rows_per_partition=100)
    assert report.measurements == 43_770
    opened = lsdb.open_catalog(out)
    assert len(opened.get_healpix_pixels()) == report.partitions > 5
    assert opened.margin is not None
    return opened


def stored(db: Database, table: str) -> pa.Table:
    """All rows of a table of the database."""
    snapshot = db.snapshot()
    return pa.concat_tables([snapshot.read_cell(table, cell) for cell in snapshot.cells()])


def test_every_object_and_measurement_is_released(db: Database, catalog: Any) -> None:
    objects, released = stored(db, "objects").to_pandas(), catalog.compute()
    ours, theirs = objects.sort_values("object_id"), released.sort_values("object_id")
    for name in ("object_id", "ra", "dec", "n_measurements", "mjd_first", "mjd_last"):
        assert theirs[name].tolist() == ours[name].tolist()
    means = stored(db, "object_bands").to_pandas().set_index(["object_id", "band"])
    for band in "gri":
        expected = means.xs(band, level="band")["mag"].dropna()
        found = theirs.set_index("object_id")[f"{band}_mag"].dropna()
        assert found.to_dict() == expected.to_dict()


def test_cones_find_the_same_objects(db: Database, catalog: Any) -> None:
    objects = stored(db, "objects")
    ra, dec = objects["ra"].to_numpy(), objects["dec"].to_numpy()
    for row, radius_deg in ((0, 0.05), (100, 0.3), (400, 1.0)):
        cone = Cone(float(ra[row]), float(dec[row]), radius_deg)
        found = catalog.cone_search(ra=cone.ra, dec=cone.dec, radius_arcsec=radius_deg * 3600).compute()
        assert sorted(found["object_id"]) == sorted(objects["object_id"].to_numpy()[cone.contains(ra, dec)].tolist())


def test_light_curves_are_the_same(db: Database, catalog: Any) -> None:
    ours = stored(db, "measurements").to_pandas().sort_values(["object_id", "mjd", "image_id", "det_id"])
    theirs = catalog.compute().sort_values("object_id")["lightcurve"]
    flat = theirs.nest.to_flat()
    assert len(flat) == len(ours) == 43_770
    for name in ("mjd", "image_id", "det_id", "ra", "dec"):
        assert flat[name].tolist() == ours[name].tolist()
    for name in ("mag", "mag_err", "flux", "flux_err"):
        np.testing.assert_array_equal(flat[name].to_numpy(np.float64, na_value=np.nan), ours[name].to_numpy(np.float64))
