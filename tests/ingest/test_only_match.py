"""Ingests that found no objects, or stay within the cells that there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.store.history import catalog_table
from skydb.tools.cli import main
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import (
    SURVEY_CODES,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
    write_survey,
)
from tests.ingest.tables import REFERENCE, mapping_of


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=4, stars=80)


def check_sound(db: Database) -> None:
    assert fsck(db, deep=True, workers=1).findings == ()
    check_conservation(db)
    check_nothing_is_left_over(db)


def objects(db: Database) -> list[int]:
    return contents(db)["object_seeds"]["object_id"].to_pylist()


@pytest.mark.parametrize(("cell_rows", "workers"), [(500_000, 1), (40, 1), (40, 2)])
def test_what_matches_nothing_is_rejected_and_counted(
    night: list[Path], tmp_path: Path, cell_rows: int, workers: int
) -> None:
    db = new_database(tmp_path / "t.sky", cell_rows=cell_rows)
    addstar(db, night[:1], workers=1)
    before = objects(db)
    report = addstar(db, night[1:], only_match=True, workers=workers)
    assert objects(db) == before, "no object was founded"
    for file in report.files:
        assert file.n_new == 0
        assert file.reasons["no_match"] == file.n_rejected > 0
        assert file.n_in == file.n_matched + file.n_rejected
        assert file.n_measurements == file.n_matched > 0
    assert "no_match" in report.text()
    check_sound(db)


def test_the_cut_of_the_sky_and_of_the_call_does_not_matter(night: list[Path], tmp_path: Path) -> None:
    """Without founding, not even the order of the files does."""
    one, many = new_database(tmp_path / "one.sky"), new_database(tmp_path / "many.sky", cell_rows=30)
    for db in (one, many):
        addstar(db, night[:1], workers=1)
    addstar(one, night[1:], only_match=True, workers=1)
    for file in reversed(night[1:]):
        addstar(many, file, only_match=True, workers=1)
    columns = ["object_id", "image_id", "det_id", "link_flags"]
    assert contents(one)["measurements"].select(columns).equals(contents(many)["measurements"].select(columns))


def test_a_detection_goes_to_its_object_though_another_would_have_founded_a_nearer_one(tmp_path: Path) -> None:
    db = new_database(tmp_path / "t.sky")
    spots = {"a": 100.0, "b": 102.2, "c": 101.8}  # pixels of 0.36 arcsec: b is 0.79 arcsec from a
    for number, name in enumerate("abc"):
        table = rows(1, X_PSF=np.array([spots[name]], "f4"), Y_PSF=np.array([100.0], "f4"))
        write_cmf(tmp_path / f"{name}.cmf", table, {"MJD-OBS": 56900.0 + number, "OBS_ID": name})
    addstar(db, tmp_path / "a.cmf", workers=1)
    report = addstar(db, [tmp_path / "b.cmf", tmp_path / "c.cmf"], only_match=True, workers=1, radius_arcsec=0.7)
    assert [(f.n_matched, f.n_rejected) for f in report.files] == [(0, 1), (1, 0)]
    plain = new_database(tmp_path / "plain.sky")
    addstar(plain, tmp_path / "a.cmf", workers=1)
    report = addstar(plain, [tmp_path / "b.cmf", tmp_path / "c.cmf"], workers=1, radius_arcsec=0.7)
    assert len(objects(plain)) == 2, "c went to b"


def test_a_row_of_a_survey_is_rejected_once_for_all_its_magnitudes(night: list[Path], tmp_path: Path) -> None:
    db = new_database(tmp_path / "t.sky")
    addstar(db, night[:1], workers=1)
    (ra, dec), *_ = zip(*(contents(db)["objects"][name].to_pylist() for name in ("ra", "dec")), strict=True)
    survey = write_survey(tmp_path / "s.csv", [(2, ra, dec), (4, 200.0, 50.0), (6, 201.0, 50.0)])
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    (file,) = addstar(db, survey, mapping=mapping, only_match=True, workers=1).files
    assert (file.n_in, file.n_matched, file.n_new, file.reasons) == (3, 1, 0, {"no_match": 2})
    assert file.n_measurements == 3
    check_sound(db)


def test_existing_cells_refuse_the_rest_of_the_sky(night: list[Path], tmp_path: Path) -> None:
    db = new_database(tmp_path / "t.sky")
    addstar(db, night[:1], workers=1)
    cells = {c.key for c in db.snapshot().cells()}
    far = write_night(tmp_path / "far", exposures=1, stars=30, ra=200.0, dec=-45.0, seed=5)
    report = addstar(db, [*night[1:], *far], existing_cells=True, workers=1)
    near, away = report.files[:-1], report.files[-1]
    assert away.n_in == away.reasons["no_cell"] == away.n_rejected
    assert (away.n_measurements, away.n_new) == (0, 0)
    assert all("no_cell" not in f.reasons and f.n_new > 0 for f in near)
    assert {c.key for c in db.snapshot().cells()} == cells
    check_sound(db)


def test_into_an_empty_database_nothing_comes_but_images(night: list[Path], tmp_path: Path) -> None:
    for option in ({"only_match": True}, {"existing_cells": True}):
        db = new_database(tmp_path / f"{next(iter(option))}.sky")
        (file,) = addstar(db, night[:1], workers=1, **option).files
        assert (file.status, file.n_measurements, file.n_images, file.n_rejected) == ("ingested", 0, 1, file.n_in)
        check_sound(db)


def test_command_takes_both(night: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = new_database(tmp_path / "t.sky")
    words = ["--only-match", "--existing-cells", "--workers", "1"]
    assert main(["addstar", str(db.root), str(night[0]), *words]) == 0
    assert "rejected: no_cell" in capsys.readouterr().out
    assert "--only-match --existing-cells" in catalog_table(db.snapshot(), "snapshots")["command"].to_pylist()[-1]
