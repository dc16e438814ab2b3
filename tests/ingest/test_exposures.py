"""An exposure is there once, however its chips arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

import skydb.database as database
from skydb.ingest.addstar import addstar
from tests.ingest.skies import check_conservation, check_nothing_is_left_over, contents, new_database
from tests.ingest.tables import HEAD, mapping_of
from tests.ingest.test_addstar_failures import before_commit


def test_chips_of_one_exposure_ingested_at_once_make_one_exposure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chips lie far from each other, so that nothing but their exposure makes the writers meet."""
    extra = '[images]\nchip = "chip"\n[exposures]\nname = { value = "o1" }\n'
    mapping = mapping_of(tmp_path, HEAD.format(file="").replace("X.g", "CAM.r") + extra)
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("ra,dec,mjd,mag,chip\n10,20,59000,-7,XY01\n")
    other.write_text("ra,dec,mjd,mag,chip\n200,-20,59000,-7,XY02\n")
    db = new_database(tmp_path / "t.sky")
    tried = before_commit(monkeypatch, lambda: addstar(database.open(db.root), other, mapping=mapping, workers=1))
    report = addstar(db, one, mapping=mapping, compact=False, workers=1)
    assert report.files[0].status == "ingested"
    held = contents(db)
    assert sorted(held["images"]["chip"].to_pylist()) == ["XY01", "XY02"]
    assert len(set(held["images"]["exposure_id"].to_pylist())) == 1
    assert held["exposures"].num_rows == 1
    assert len(tried) == 2
    check_conservation(db)
    check_nothing_is_left_over(db)
