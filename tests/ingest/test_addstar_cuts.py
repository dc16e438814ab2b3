"""The answer does not depend on how the work was cut: cells, workers, calls, batches, tasks."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from skydb import database
from skydb.database import DEFAULT_CELL_ROWS
from skydb.ingest import batches
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from tests.ingest.skies import (
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
)

FIELDS = {"across RA 0": (0.0, 10.0), "at the pole": (77.0, 89.999), "equator": (133.0, 0.0)}

pytestmark = pytest.mark.usefixtures("workers_end")


@pytest.fixture(scope="module", params=FIELDS.values(), ids=FIELDS.keys())
def night(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    ra, dec = request.param
    return write_night(tmp_path_factory.mktemp("night"), stars=60, ra=ra, dec=dec)


@pytest.fixture(scope="module")
def whole(night: list[Path]) -> dict[str, pa.Table]:
    """What one call of one worker makes of the night in large cells."""
    return ingested(night, cell_rows=DEFAULT_CELL_ROWS)


def ingested(night: list[Path], *, cell_rows: int, workers: int = 1, calls: int = 1) -> dict[str, pa.Table]:
    """What a new database holds after some calls, in order of time."""
    name = f"{cell_rows}-{workers}-{calls}-{len(list(night[0].parent.iterdir()))}.sky"
    db = new_database(night[0].parent / name, cell_rows=cell_rows)
    step = len(night) // calls
    for first in range(0, len(night), step):
        report = addstar(db, night[first : first + step], workers=workers)
        assert not report.with_status("failed")
    check_conservation(db)
    check_nothing_is_left_over(db)
    assert cell_rows == DEFAULT_CELL_ROWS or len(db.snapshot().cells()) > 2
    return contents(db)


def test_the_sky_is_hard_enough(whole: dict[str, pa.Table]) -> None:
    """Some detections contend for objects, and some objects are seen in all images."""
    assert sum(flags != 0 for flags in whole["measurements"]["link_flags"].to_pylist()) > 20
    assert max(whole["objects"]["n_measurements"].to_pylist()) == 6


@pytest.mark.parametrize(("cell_rows", "workers"), [(60, 1), (200, 2)])
def test_small_cells_hold_the_same(
    night: list[Path], whole: dict[str, pa.Table], cell_rows: int, workers: int
) -> None:
    assert_same(ingested(night, cell_rows=cell_rows, workers=workers), whole)


@pytest.mark.parametrize(("cell_rows", "calls"), [(200, 3), (DEFAULT_CELL_ROWS, 6)])
def test_several_calls_make_the_same_as_one(
    night: list[Path], whole: dict[str, pa.Table], cell_rows: int, calls: int
) -> None:
    assert_same(ingested(night, cell_rows=cell_rows, calls=calls), whole)


def test_batches_and_tasks_of_one_file_make_the_same(
    night: list[Path], whole: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files given backwards, cut into batches by bytes, still associate by start time over the whole call."""
    monkeypatch.setattr(batches, "BATCH_BYTES", night[0].stat().st_size * 2)
    monkeypatch.setattr(batches, "TASK_BYTES", 1)
    assert_same(ingested(night[::-1], cell_rows=DEFAULT_CELL_ROWS), whole)


def test_batches_keep_the_order_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    night = write_night(tmp_path / "night", exposures=3, stars=40)
    one, many = new_database(tmp_path / "one.sky"), new_database(tmp_path / "many.sky")
    addstar(one, night[::-1], keep_order=True, workers=1)
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    addstar(many, night[::-1], keep_order=True, workers=1)
    assert_same(contents(one), contents(many))


def test_file_that_cannot_be_read_comes_last_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    night = write_night(tmp_path / "night", exposures=2, stars=40)
    (tmp_path / "cut.cmf").write_bytes(night[0].read_bytes()[:5000])
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    db = new_database(tmp_path / "t.sky")
    report = addstar(db, [tmp_path / "cut.cmf", *night], workers=1)
    assert [f.status for f in report.files] == ["failed", "ingested", "ingested"]


@pytest.mark.data
@pytest.mark.parametrize(("cell_rows", "workers"), [(300, 1), (1000, 2)])
def test_mosaics_across_ra_0_and_at_the_pole(data_dir: Path, tmp_path: Path, cell_rows: int, workers: int) -> None:
    """Two exposures in psphot's layout: as one call in large cells, and exposure by exposure in small ones."""
    files = sorted((data_dir / "golden_smf").glob("*.smf"))
    whole = database.create(tmp_path / "whole.sky")
    cut = database.create(tmp_path / "cut.sky", cell_rows=cell_rows)
    for db in (whole, cut):
        import_photcodes(db, data_dir / "golden_smf" / "photcodes.dat")
    addstar(whole, files, workers=1)
    for file in files:
        report = addstar(cut, file, workers=workers)
        assert report.files[0].n_images == 16
    assert len(cut.snapshot().cells()) > 5
    check_conservation(cut)
    assert_same(contents(cut), contents(whole))
