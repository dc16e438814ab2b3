"""Images that take the place of those that other files brought."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import skydb
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import BusyError, UsageError
from skydb.ingest import batches
from skydb.ingest.addstar import addstar
from skydb.ingest.job import Job
from skydb.ingest.readers.interface import DetectionFilter
from skydb.ingest.routing import RouteResult, RouteTask
from skydb.schema.photcodes import Photcodes
from skydb.store.snapshot import Snapshot
from skydb.tools.cli import main
from tests.ingest.catalog_files import Chip, rows, write_cmf, write_smf
from tests.ingest.skies import assert_same, check_nothing_is_left_over, contents, write_night


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


def test_a_file_that_came_cut_is_refused_with_the_cure_which_works(db: Database, tmp_path: Path) -> None:
    chips = [Chip("XY01", rows(10, seed=1)), Chip("XY02", rows(12, seed=2), {"CRVAL1": 5000.0})]
    addstar(db, write_smf(tmp_path / "a.smf", chips, drop=[2, 3]), workers=1)
    whole = write_smf(tmp_path / "b.smf", chips)
    (refused,) = addstar(db, whole, workers=1).files
    assert "if it is a newer or a whole version of that file, give `--replace`" in str(refused.error)
    (taken,) = addstar(db, whole, replace_images=True, workers=1).files
    assert (taken.status, taken.n_measurements) == ("ingested", 22)
    check_sound(db)


def test_of_two_files_of_a_call_that_replaces_the_second_is_not_told_to_replace(db: Database, tmp_path: Path) -> None:
    files = [write_cmf(tmp_path / name, rows(5, seed=seed)) for seed, name in enumerate(("a.cmf", "b.cmf"))]
    _, second = addstar(db, files, replace_images=True, workers=1).files
    assert "in the database already" in str(second.error)
    assert "--replace" not in str(second.error)


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


def two_chips(path: Path, *, seed: int = 1) -> Path:
    chips = [Chip("XY01", rows(10, seed=seed)), Chip("XY02", rows(12, seed=seed + 1), {"CRVAL1": 5000.0})]
    return write_smf(path, chips)


@pytest.mark.parametrize("batch_bytes", [batches.BATCH_BYTES, 1])
def test_file_that_is_refused_for_another_reason_replaces_nothing(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    """Of two files of one call that bring the same image the second is refused: its other image stays as it was."""
    monkeypatch.setattr(batches, "BATCH_BYTES", batch_bytes)
    addstar(db, two_chips(tmp_path / "all.smf"), workers=1)
    before = flux_of(db)
    one = write_smf(tmp_path / "one.smf", [Chip("XY01", rows(7, seed=5))])
    two = two_chips(tmp_path / "two.smf", seed=7)
    report = addstar(db, [one, two], replace_images=True, workers=1)
    assert [(f.status, f.n_replaced, f.fault) for f in report.files] == [
        ("ingested", 1, None), ("failed", 0, "database"),
    ]  # fmt: skip
    held = flux_of(db)
    of_second = {key for key, flux in before.items() if flux in rows(12, seed=2)["PSF_INST_FLUX"]}
    assert len(of_second) == 12
    assert {key: held[key] for key in of_second} == {key: before[key] for key in of_second}
    assert len(held) == 12 + 7
    check_sound(db)


def test_file_that_would_bring_back_other_rows_replaces_nothing(db: Database, tmp_path: Path) -> None:
    whole, one = two_chips(tmp_path / "all.smf"), tmp_path / "one.smf"
    addstar(db, whole, workers=1)
    addstar(db, write_smf(one, [Chip("XY02", rows(7, seed=9), {"CRVAL1": 5000.0})]), replace_images=True, workers=1)
    before = contents(db)
    (report,) = addstar(db, whole, replace_images=True, keep=DetectionFilter(max_mag_err=0.1), workers=1).files
    assert (report.status, report.n_replaced) == ("failed", 0)
    assert "it is read otherwise" in (report.error or "")
    assert_same(contents(db), before)
    assert addstar(db, whole, replace_images=True, workers=1).files[0].n_replaced == 1
    check_sound(db)


def test_image_that_was_replaced_stays_so_when_both_files_are_given_again(db: Database, tmp_path: Path) -> None:
    """Every night all files of a folder: they must not take each other's place in turn."""
    first = write_cmf(tmp_path / "a.cmf", rows(20, seed=1))
    second = write_cmf(tmp_path / "b.cmf", rows(15, seed=2))
    addstar(db, first, workers=1)
    addstar(db, [first, second], replace_images=True, workers=1)
    before, head = contents(db), db.snapshot().id
    for _ in range(2):
        report = addstar(db, [first, second], replace_images=True, workers=1)
        assert [f.status for f in report.files] == ["failed", "known"]
        assert f"in the database already, from {second}" in (report.files[0].error or "")
    assert db.snapshot().id == head
    assert_same(contents(db), before)
    assert addstar(db, first, replace_images=True, workers=1).files[0].n_replaced == 1, "alone, it is meant"
    check_sound(db)


def test_nothing_is_replaced_where_the_batch_cannot_be_stored(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photcodes change while the file is read."""
    addstar(db, write_cmf(tmp_path / "a.cmf", rows(20, seed=1)), workers=1)
    before, read, known = contents(db), batches.route_files, Job.photcodes

    def changed(job: Job, snapshot: Snapshot) -> Photcodes:
        codes = known(job, snapshot)
        return Photcodes(tuple(replace(p, code=107) if p.name == "CAM.g.XY01" else p for p in codes))

    def read_then_change(task: RouteTask) -> RouteResult:
        result = read(task)
        monkeypatch.setattr(Job, "photcodes", changed)
        return result

    monkeypatch.setattr(batches, "route_files", read_then_change)
    with pytest.raises(BusyError, match="was changed while the files were read"):
        addstar(db, write_cmf(tmp_path / "b.cmf", rows(5, seed=3)), replace_images=True, workers=1)
    assert_same(contents(db), before)
