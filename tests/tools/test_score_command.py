"""`skydb score`: a database that addstar made, against the truth of its survey."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skydb
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.photcodes import import_photcodes
from skydb.tools.cli import main
from skydb.tools.score import read_detection_truth, score_association
from skydb.tools.score_database import (
    exposure_zero_points,
    image_zero_points,
    score_database,
    truth_folder,
    zero_point_scores,
)


@pytest.fixture(scope="module")
def survey(tiny: Callable[..., Path]) -> Path:
    return tiny()


@pytest.fixture(scope="module")
def db(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The survey in a database of many small cells."""
    made = skydb.create(tmp_path_factory.mktemp("score") / "s.sky", cell_rows=500)
    import_photcodes(made, survey / "photcodes.dat")
    skydb.addstar(made, sorted((survey / "exposures").glob("*.smf")), workers=1)
    return made


def stored_measurements(db: Database) -> pa.Table:
    snapshot = db.snapshot()
    names = snapshot.read_global("images", ["image_id", "name"]).rename_columns(["image_id", "image"])
    columns = ["object_id", "image_id", "det_id"]
    rows = pa.concat_tables([snapshot.read_cell("measurements", c, columns) for c in snapshot.cells()])
    return rows.join(names, "image_id")


def test_association_by_cells_equals_the_whole_at_once(db: Database, survey: Path) -> None:
    whole = score_association(stored_measurements(db), read_detection_truth(survey))
    assert len(db.snapshot().cells()) > 4
    assert asdict(score_database(db, survey).association) == asdict(whole)
    assert whole.missing == 0


def test_zero_points_are_scored_against_truth(db: Database, survey: Path) -> None:
    score = score_database(db, survey)
    images = image_zero_points(db.snapshot(), survey / "truth")
    error = images.column("zero_point").to_numpy() - images.column("zero_point_true").to_numpy()
    group = np.unique([f"{r['band']}{r['component']}" for r in images.to_pylist()], return_inverse=True)[1]
    error -= (np.bincount(group, error) / np.bincount(group))[group]
    assert score.images.every.rms == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert score.sources == {"header": images.num_rows}
    assert (score.scored, score.images.every.n_images) == ("all", images.num_rows)


def test_exposure_is_the_average_of_its_chips(db: Database, survey: Path) -> None:
    exposures = pq.read_table(survey / "truth" / "exposures.parquet")
    score = score_database(db, survey)
    assert score.exposures.every.n_images == exposures.num_rows
    assert score.exposures.every.rms < score.images.every.rms


def test_exposure_in_two_components_has_two_errors_and_counts_once() -> None:
    images = pa.table({
        "name": ["a1", "a2", "b1", "b2"], "exposure": ["a", "a", "b", "b"], "band": ["g"] * 4,
        "component": ["0", "1", "0", "1"], "mjd": [1.0, 1.0, 2.0, 2.0],
        "zero_point": [25.1, 25.0, 25.0, 25.3], "zero_point_true": [25.0] * 4,
    })  # fmt: skip
    score = zero_point_scores(exposure_zero_points(images), "exposure", images)
    said = score.as_dict()
    assert (said["n"], said["stored"], said["bands"][0]["n"], said["bands"][0]["stored"]) == (2, 2, 2, 2)
    assert np.allclose(np.sort(score.every.error), [-0.15, -0.05, 0.05, 0.15])


def test_truth_is_found_in_the_survey_and_by_itself(survey: Path, tmp_path: Path) -> None:
    assert truth_folder(survey) == truth_folder(survey / "truth") == survey / "truth"
    with pytest.raises(UsageError, match="no truth"):
        truth_folder(tmp_path)


def test_truth_of_another_survey_is_refused(db: Database, ideal: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="truth"):
        score_database(db, ideal)
    empty = skydb.create(tmp_path / "empty.sky")
    with pytest.raises(DataError, match="no images"):
        score_database(empty, ideal)


def test_command_prints_text_or_one_object(
    db: Database, survey: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(db.root), str(survey)]) == 0
    text = capsys.readouterr().out
    assert "fraction_right" in text
    assert "one constant per band and component" in text
    assert main(["score", str(db.root), str(survey), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {band["band"] for band in said["zero_points"]["images"]["bands"]} == {"g", "r"}
    assert said["association"]["fraction_right"] > 0.99
    assert len(said["zero_points"]["removed"]) == 6
