"""Images that take the place of those that other files brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import skydb
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest.addstar import addstar
from skydb.tools.cli import main
from tests.ingest.catalog_files import Chip, rows, write_cmf, write_smf
from tests.ingest.skies import check_nothing_is_left_over, contents, write_night


def check_sound(db: Database) -> None:
    assert fsck(db, deep=True, workers=1).findings == ()
    check_nothing_is_left_over(db)


def flux_of(db: Database) -> dict[tuple[int, int], float]:
    held = contents(db)["measurements"]
    keys = zip(held["image_id"].to_pylist(), held["det_id"].to_pylist(), strict=True)
    return dict(zip(keys, held["inst_flux"].to_pylist(), strict=True))


def test_a_second_copy_is_refused_unless_it_is_to_replace(db: Database, tmp_path: Path) -> None:
    """The same image, reduced again: other numbers, one detection less."""
    first = write_cmf(tmp_path / "a.cmf", rows(20, seed=1))
    again = rows(20, seed=1)
    again["PSF_INST_FLUX"] = np.arange(20, dtype="f4") + 0.5
    second = write_cmf(tmp_path / "b.cmf", {name: values[:19] for name, values in again.items()})
    addstar(db, [first, *write_night(tmp_path / "night", exposures=2, stars=20)], workers=1)
    others = {key: flux for key, flux in flux_of(db).items() if flux not in rows(20, seed=1)["PSF_INST_FLUX"]}
    assert addstar(db, second, workers=1).files[0].status == "failed"
    report = addstar(db, second, replace_images=True, workers=1)
    assert (report.files[0].status, report.files[0].n_replaced, report.files[0].n_measurements) == ("ingested", 1, 19)
    assert "images that replaced others: 1" in report.text()
    held = flux_of(db)
    assert sorted(flux for key, flux in held.items() if key not in others) == [k + 0.5 for k in range(19)]
    assert {key: held[key] for key in others} == others, "other images stay"
    assert addstar(db, second, replace_images=True, workers=1).files[0].status == "known"
    check_sound(db)


def test_only_the_images_that_come_again_are_replaced(db: Database, tmp_path: Path) -> None:
    chips = [Chip("XY01", rows(10, seed=1)), Chip("XY02", rows(12, seed=2), {"CRVAL1": 5000.0})]
    addstar(db, write_smf(tmp_path / "all.smf", chips), workers=1)
    one = write_smf(tmp_path / "one.smf", [Chip("XY02", rows(7, seed=9), {"CRVAL1": 5000.0})])
    (report,) = addstar(db, one, replace_images=True, workers=1).files
    assert (report.n_replaced, report.n_measurements) == (1, 7)
    with skydb.connect(db) as con:
        found = con.sql("SELECT name, n_measurements AS n FROM images ORDER BY name").arrow().to_pylist()
    assert found == [{"name": "all.smf[XY01.hdr]", "n": 10}, {"name": "one.smf[XY02.hdr]", "n": 7}]
    check_sound(db)


def test_a_file_that_cannot_be_read_replaces_nothing(db: Database, tmp_path: Path) -> None:
    first = write_cmf(tmp_path / "a.cmf", rows(20, seed=1))
    addstar(db, first, workers=1)
    (tmp_path / "b.cmf").write_bytes(write_cmf(tmp_path / "c.cmf", rows(20, seed=3)).read_bytes()[:9000])
    before = flux_of(db)
    assert addstar(db, tmp_path / "b.cmf", replace_images=True, workers=1).files[0].status == "failed"
    assert flux_of(db) == before
    with pytest.raises(UsageError, match="cannot be tried"):
        addstar(db, first, replace_images=True, dry_run=True)


def test_command_replaces(db: Database, tmp_path: Path) -> None:
    addstar(db, write_cmf(tmp_path / "a.cmf", rows(20, seed=1)), workers=1)
    second = write_cmf(tmp_path / "b.cmf", rows(5, seed=4))
    assert main(["addstar", str(db.root), str(second), "--workers", "1"]) == 3
    assert main(["addstar", str(db.root), str(second), "--workers", "1", "--replace"]) == 0
    assert len(flux_of(db)) == 5
