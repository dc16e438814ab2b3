"""LSDB opens what is released, and finds in it what is in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skydb.database import Database
from skydb.query.release import release
from skydb.sky.partition import pixel_of, separation_arcsec
from skydb.sky.regions import Cone

from .skies import Sky, build, scattered

lsdb = pytest.importorskip("lsdb")
pytestmark = pytest.mark.usefixtures("serial_dask")


@pytest.fixture(scope="module")
def sky() -> Sky:
    """Objects about the point where RA 0 meets a corner of three base pixels, with many close neighbours."""
    return scattered(400, seed=11, radius_deg=0.25, about=(0.0, 41.81))


@pytest.fixture(scope="module")
def db(sky: Sky, tmp_path_factory: pytest.TempPathFactory) -> Database:
    return build(tmp_path_factory.mktemp("lsdb") / "t.sky", sky)


@pytest.fixture(scope="module")
def out(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lsdb") / "dr1"
    release(db, path, workers=1, rows_per_partition=50, margin_arcsec=60.0)
    return path


@pytest.fixture(scope="module")
def catalog(out: Path) -> Any:
    return lsdb.open_catalog(out)


def test_hats_finds_the_collection_valid(out: Path) -> None:
    from hats.io.validation import is_valid_catalog

    for path in (out, out / "dr1", out / "dr1_margin"):
        assert is_valid_catalog(path, strict=True)


def test_every_object_is_there_with_its_margin_attached(sky: Sky, catalog: Any) -> None:
    assert len(catalog.get_healpix_pixels()) > 5
    assert len(catalog) == 400
    frame = catalog.compute()
    assert sorted(frame["object_id"]) == sorted(sky.object_id.tolist())
    assert frame.index.name == "_healpix_29"
    assert (frame.index.to_numpy() == pixel_of(frame["ra"].to_numpy(), frame["dec"].to_numpy())).all()
    assert catalog.margin is not None
    assert catalog.margin.hc_structure.catalog_info.margin_threshold == 60.0
    assert len(catalog.margin.compute()) > 0


@pytest.mark.parametrize("cone", [Cone(0.0, 41.81, 0.1), Cone(359.95, 41.7, 0.05), Cone(0.03, 41.9, 0.003)])
def test_cone_search_finds_what_lies_in_the_cone(sky: Sky, catalog: Any, cone: Cone) -> None:
    found = catalog.cone_search(ra=cone.ra, dec=cone.dec, radius_arcsec=cone.radius_deg * 3600).compute()
    assert sorted(found["object_id"]) == sorted(sky.object_id[cone.contains(sky.ra, sky.dec)].tolist())


def test_light_curves_are_a_nested_column(sky: Sky, catalog: Any) -> None:
    frame = catalog.compute().sort_values("object_id")
    assert frame.nested_columns == ["lightcurve"]
    ours = sky.measurements_cal().to_pandas().sort_values(["object_id", "mjd"])
    counts = ours.groupby("object_id").size().reindex(frame["object_id"], fill_value=0)
    assert [len(curve) for curve in frame["lightcurve"]] == counts.tolist()
    flat = frame["lightcurve"].nest.to_flat()
    for name in ("mjd", "det_id", "image_id", "ra"):
        assert flat[name].tolist() == ours[name].tolist()
    np.testing.assert_array_equal(flat["mag"].to_numpy(np.float32, na_value=np.nan), ours["mag"].to_numpy(np.float32))


def test_single_columns_of_light_curves_can_be_read(out: Path, sky: Sky) -> None:
    frame = lsdb.open_catalog(out, columns=["object_id", "lightcurve.mjd", "lightcurve.band"]).compute()
    assert frame["lightcurve"].nest.columns == ["mjd", "band"]
    assert len(frame["lightcurve.mjd"]) == int(sky.points.sum())


def test_catalog_opens_without_light_curves(out: Path) -> None:
    frame = lsdb.open_catalog(out, columns=["object_id", "ra", "dec", "g_mag"]).compute()
    assert frame.columns.tolist() == ["object_id", "ra", "dec", "g_mag"]


def test_crossmatch_finds_partners_across_borders_and_in_sky_that_only_the_other_covers(
    sky: Sky, out: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    shift = 55.0 / 3600 * np.stack([np.cos(turn := rng.uniform(0, 2 * np.pi, 400)), np.sin(turn)])
    other = Sky.at((sky.ra + shift[0] / np.cos(np.radians(sky.dec))) % 360, sky.dec + shift[1])
    release(build(tmp_path / "o.sky", other, order=4), tmp_path / "o", workers=1, rows_per_partition=120)
    left, right = (lsdb.open_catalog(path, columns=["object_id", "ra", "dec"]) for path in (tmp_path / "o", out))
    matched = left.crossmatch(
        right, radius_arcsec=60, n_neighbors=50, suffixes=("_o", "_s"), suffix_method="all_columns"
    ).compute()
    found = set(zip(matched["object_id_o"].tolist(), matched["object_id_s"].tolist(), strict=True))
    apart = separation_arcsec(other.ra[:, None], other.dec[:, None], sky.ra[None, :], sky.dec[None, :])
    near = np.argwhere(apart < 60)
    expected = {(int(other.object_id[a]), int(sky.object_id[b])) for a, b in near}
    assert len(expected) > 400
    assert len(left.get_healpix_pixels()) > 5
    assert found == expected
