"""Real files end to end: published groupings, a pair of images, a catalog of the whole sky, an image table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skydb import database
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from skydb.store.history import catalog_table
from tests.ingest.skies import check_conservation, contents

pytestmark = pytest.mark.data

GWAC_PHOTCODES = "1 R sec 0 0 0 - - 0 0 -\n100 GWAC.R dep 20.0 0 0 - - 0 0 R\n"


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return database.create(tmp_path / "t.sky")


def test_candidates_are_grouped_as_published(db: Database, data_dir: Path) -> None:
    """DECam ELAIS: 43,770 detections of 534 candidates; a detection agrees if its object's main candidate is its
    own, and its candidate's main object is its own."""  # fmt: skip
    path = data_dir / "decam_elais" / "candidate_objects_elais.dat"
    report = addstar(db, path, mapping="decam_elais", radius_arcsec=2.0, workers=1)
    published = {int(row[1]): row[0] for row in map(str.split, path.read_text().splitlines()) if row[0] != "#"}
    held = contents(db, ["measurements"])["measurements"]
    pairs = [
        (found, published[det]) for found, det in zip(
            held["object_id"].to_pylist(), held["det_id"].to_pylist(), strict=True)
    ]  # fmt: skip
    assert len(pairs) == len(published) == report.count("n_in") == 43_770
    counts = Counter(pairs)
    main_candidate, main_object = {}, {}
    for (found, candidate), _ in sorted(counts.items(), key=lambda item: item[1]):
        main_candidate[found], main_object[candidate] = candidate, found
    assert len(main_object) == 534
    agreeing = sum(main_candidate[f] == c and main_object[c] == f for f, c in pairs)
    assert agreeing / len(pairs) >= 0.995
    check_conservation(db)


def test_pair_of_images_shares_its_stars(db: Database, data_dir: Path, tmp_path: Path) -> None:
    """GWAC: two exposures 22 s apart; figures of a plain kd-tree match within 12 arcsec."""
    (tmp_path / "codes").write_text(GWAC_PHOTCODES)
    import_photcodes(db, tmp_path / "codes")
    files = sorted((data_dir / "gwac").glob("*.Fcat"))
    report = addstar(db, files, photcode="GWAC.R", radius_arcsec=12.0, workers=1)
    assert [f.n_in for f in report.files] == [8492, 8487]
    held = contents(db)
    assert abs(held["objects"]["n_measurements"].to_pylist().count(2) - 7916) <= 60
    first, second = _pairs_of(held["measurements"])
    difference = second - first
    assert np.median(difference) == pytest.approx(0.006, abs=0.003)
    scatter = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    assert scatter == pytest.approx(0.061, abs=0.004)
    check_conservation(db)


def _pairs_of(measurements: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of the objects that have two, by time."""
    rows = measurements.sort_by([("object_id", "ascending"), ("mjd", "ascending")])
    ids, mag = rows["object_id"].to_numpy(), rows["mag"].to_numpy()
    _, start, count = np.unique(ids, return_index=True, return_counts=True)
    start = start[count == 2]
    both = np.isfinite(mag[start]) & np.isfinite(mag[start + 1])
    return mag[start[both]], mag[start[both] + 1]


@pytest.mark.slow
def test_catalog_of_the_whole_sky_is_conserved(db: Database, data_dir: Path) -> None:
    """Tycho-2 upon Hipparcos."""
    addstar(db, data_dir / "hipparcos" / "hipparcos_star_catalog.fits.gz", mapping="hipparcos", workers=1)
    report = addstar(db, data_dir / "tycho2" / "tycho2.parquet", mapping="tycho2", workers=1)
    file = report.files[0]
    assert (file.n_in, file.n_rejected, file.n_measurements) == (1_871_011, 0, 1_871_011)
    assert file.n_matched + file.n_new == 1_871_011
    assert file.n_matched == pytest.approx(36_776, abs=200)  # of 41,057; the rest moved by more than 1 arcsec
    cells = catalog_table(db.snapshot(), "cells").to_pylist()
    assert sum(c["n_measurements"] for c in cells) == 1_871_011 + 81_966
    assert sum(c["n_objects"] for c in cells) == file.n_new + 41_057
    assert max(c["n_measurements"] for c in cells) <= db.cell_rows


def test_visits_bring_images_with_zero_points_and_corners(db: Database, data_dir: Path) -> None:
    """HSC: 8 visits of 103 chips; no detections."""
    files = sorted((data_dir / "hsc_visits").glob("*.fits"))
    report = addstar(db, files, mapping="hsc_visits", workers=1)
    assert [f.n_images for f in report.files] == [103] * 8
    held = contents(db, ["images", "images_cal", "exposures"])
    assert (held["images"].num_rows, held["exposures"].num_rows) == (824, 8)
    for name in ("corner_ra", "corner_dec"):
        assert all(len(corners) == 4 for corners in held["images"][name].to_pylist())
    solved = held["images_cal"]
    assert set(solved["mcal_source"].to_pylist()) == {"header"}
    assert np.allclose(solved["zero_point"].to_numpy(), held["images"]["zpt_obs"].to_numpy(), rtol=0, atol=1e-5)
    assert np.ptp(solved["zero_point"].to_numpy()) < 1.0
    assert solved["n_measurements"].to_pylist() == [0] * 824
