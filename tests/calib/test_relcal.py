"""relcal from files to calibrated measurements, on a simulated survey whose truth is known."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import skydb
from skydb.calib import passes
from skydb.calib import relcal as verb
from skydb.calib.bands import Band, bands_of
from skydb.calib.packing import COLUMNS, candidates, read_selection, write_selection
from skydb.calib.relcal import discard_unfinished, relcal
from skydb.calib.relcal_report import RelcalReport
from skydb.calib.select import Selection, SelectionRules, select
from skydb.calib.zeropoints import ZeroPointRules
from skydb.calibration import recalibrate
from skydb.calibration.header import header_mcal
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.database import Database
from skydb.errors import BusyError, DataError, UsageError
from skydb.flags import ORIGINS, ImageFlags, Origin, PhotFlags
from skydb.ingest.addstar import addstar
from skydb.ingest.batch import first_zero_points
from skydb.ingest.readers.interface import DetectionFilter
from skydb.photcodes import import_photcodes
from skydb.store.changes import Changes
from skydb.store.files import digest_of
from skydb.store.history import catalog_table
from skydb.store.locks import shared
from skydb.store.parquet import store_rows
from skydb.store.scratch import working_on
from skydb.store.unfinished import unfinished_jobs
from skydb.tools import cli
from skydb.tools.score import score_zero_points
from skydb.tools.simulate import SWITCHES, simulate

KEPT = {"noise", "chips", "nights", "clouds"}
FEW_CELLS, MANY_CELLS = 500_000, 300


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patches in two bands: 96 images whose zero points differ by nights, clouds and chips, and noise."""
    out = tmp_path_factory.mktemp("relcal") / "survey"
    simulate(out, preset="small", detections=20_000, seed=5, without=set(SWITCHES) - KEPT)
    take_masks_off(out / "photcodes.dat")
    return out


def take_masks_off(photcodes: Path) -> None:
    """Leave the four masks at the end of a photcode's line out, as short tables of DVO do."""
    given = photcodes.read_text().splitlines()
    lines = [line if line.startswith("#") else " ".join(line.split()[:15]) for line in given]
    photcodes.write_text("\n".join(lines) + "\n")


def exposures(survey: Path) -> list[Path]:
    return sorted((survey / "exposures").glob("*.smf"))


def empty(survey: Path, root: Path, cell_rows: int = FEW_CELLS) -> Database:
    db = skydb.create(root, cell_rows=cell_rows)
    import_photcodes(db, survey / "photcodes.dat")
    return db


@pytest.fixture(scope="module")
def ingested(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the survey in a few cells; nobody changes it."""
    db = empty(survey, tmp_path_factory.mktemp("ingested") / "a.sky")
    addstar(db, exposures(survey), workers=1)
    return db.root


@pytest.fixture(scope="module")
def pole(survey: Path) -> list[Path]:
    """The exposures of the patch at the pole."""
    truth = pq.read_table(survey / "truth" / "exposures.parquet", columns=["file", "patch"])
    names = truth.filter(pc.equal(truth["patch"], "pole"))["file"].to_pylist()
    return [survey / "exposures" / name for name in sorted(names)]


@pytest.fixture(scope="module")
def pole_in_one(survey: Path, pole: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pole in as few cells as may be."""
    db = empty(survey, tmp_path_factory.mktemp("pole_in_one") / "a.sky")
    addstar(db, pole, workers=1)
    return db.root


@pytest.fixture(scope="module")
def pole_cut(survey: Path, pole: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pole in many cells."""
    db = empty(survey, tmp_path_factory.mktemp("pole_cut") / "b.sky", MANY_CELLS)
    addstar(db, pole, workers=1)
    assert len(db.snapshot().cells()) > 20
    return db.root


@pytest.fixture(scope="module")
def solved(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, RelcalReport]:
    """A copy of the database, solved; nobody changes it."""
    db = copy_of(ingested, tmp_path_factory.mktemp("solved"))
    return db, relcal(db, workers=1)


@pytest.fixture
def db(ingested: Path, tmp_path: Path) -> Database:
    """A copy of the database to change."""
    return copy_of(ingested, tmp_path)


def copy_of(root: Path, folder: Path) -> Database:
    folder.mkdir(exist_ok=True)
    shutil.copytree(root, folder / "copy.sky")
    return skydb.open(folder / "copy.sky")


def images_of(db: Database, at: int | None = None) -> dict[str, np.ndarray]:
    """Rows of `images_cal` in order of image_id, with the images' names."""
    snapshot = db.snapshot(at)
    names = snapshot.read_global("images", ["image_id", "name", "airmass"])
    rows = snapshot.read_global("images_cal").append_column("name", names["name"])
    assert rows["image_id"].equals(names["image_id"])
    rows = rows.append_column("airmass", names["airmass"]).sort_by("image_id")
    return {name: np.asarray(rows[name].to_pylist()) for name in rows.column_names}


def measurements_of(db: Database, at: int | None = None) -> pa.Table:
    """Calibrated magnitudes of all measurements, in order of image and detection."""
    snapshot = db.snapshot(at)
    names = ["image_id", "det_id", "object_id", "mag", "flux", "mcal"]
    parts = [snapshot.read_cell("measurements", cell, names) for cell in snapshot.cells()]
    return pa.concat_tables(parts).sort_by([("image_id", "ascending"), ("det_id", "ascending")])


def truth_of(survey: Path, names: np.ndarray) -> dict[str, np.ndarray]:
    """The truth of the images, by name."""
    table = pq.read_table(survey / "truth" / "chips.parquet").sort_by("name")
    place = np.searchsorted(table["name"].to_pylist(), names)
    return {name: np.asarray(table[name].to_pylist())[place] for name in table.column_names}


def test_errors_are_of_the_size_of_the_bound_and_as_stated(
    survey: Path, solved: tuple[Database, RelcalReport]
) -> None:
    snapshot = solved[0].snapshot()
    rows = snapshot.read_global("images_cal").append_column("name", snapshot.read_global("images", ["name"])["name"])
    score = score_zero_points(rows, pq.read_table(survey / "truth" / "chips.parquet"), bound="mcal_err")
    assert score.n_images == 96
    assert score.rms < 0.003
    assert 0.75 < score.bound_ratio < 1.25
    assert 0.8 < score.pull_width < 1.2


def test_zero_point_is_nominal_less_mcal_at_the_airmass_of_the_image(
    survey: Path, solved: tuple[Database, RelcalReport]
) -> None:
    rows = images_of(solved[0])
    truth = truth_of(survey, rows["name"])
    nominal = truth["zero_point_nominal"] + truth["airmass_slope"] * (rows["airmass"] - 1.0)
    np.testing.assert_allclose(rows["zero_point"], nominal - rows["mcal"], atol=1e-9)


def test_solved_images_say_what_they_are(solved: tuple[Database, RelcalReport]) -> None:
    rows = images_of(solved[0])
    assert set(rows["mcal_source"]) == {"image"}
    assert np.all(rows["flags"] & ImageFlags.IMAGE_PHOTCAL)
    assert not np.any(rows["flags"] & ~np.uint32(ORIGINS[ImageFlags][Origin.STORED]))
    assert np.all(rows["n_used"] > 0)
    assert np.all((rows["mcal_err"] > 0) & (rows["mcal_err"] < 0.01))
    assert np.median(rows["chi2"]) == pytest.approx(1.0, abs=0.2)


def test_components_are_the_patches_and_keep_the_mean_of_their_headers(
    survey: Path, solved: tuple[Database, RelcalReport], ingested: Path
) -> None:
    rows, before = images_of(solved[0]), images_of(skydb.open(ingested))
    truth = truth_of(survey, rows["name"])
    for band in ("g", "r"):
        mine = truth["band"] == band
        pairs = set(zip(rows["component"][mine].tolist(), truth["component"][mine].tolist(), strict=True))
        assert len(pairs) == len({p for _, p in pairs}) == len({c for c, _ in pairs}) == 3
        for component, _ in pairs:
            group = mine & (rows["component"] == component)
            change = np.average((rows["mcal"] - before["mcal"])[group], weights=rows["n_used"][group])
            assert abs(change) < 0.005


def test_patch_knows_nothing_of_another(db: Database, pole_in_one: Path, tmp_path: Path) -> None:
    plain = ZeroPointRules(robust=False)
    alone = copy_of(pole_in_one, tmp_path / "pole")
    relcal(db, solution=plain, workers=1)
    relcal(alone, solution=plain, workers=1)
    whole, pole = images_of(db), images_of(alone)
    same = np.isin(whole["image_id"], pole["image_id"])
    assert 0 < same.sum() < 96
    np.testing.assert_allclose(pole["mcal"], whole["mcal"][same], atol=1e-8)


def test_raw_files_are_not_touched(ingested: Path, solved: tuple[Database, RelcalReport]) -> None:
    first, now = skydb.open(ingested).snapshot(), solved[0].snapshot()
    for table in ("measurements", "images", "exposures", "object_seeds", "photcodes"):
        cells = [None] if table in ("images", "exposures", "photcodes") else first.cells()
        before = [f for cell in cells for f in first.files(table, cell)]
        assert before == [f for cell in cells for f in now.files(table, cell)]
        assert [digest_of(now.path_of(f)) for f in before] == [f.digest for f in before]


def test_magnitudes_change_by_what_mcal_changed_and_fluxes_with_them(
    ingested: Path, solved: tuple[Database, RelcalReport]
) -> None:
    old, new = measurements_of(skydb.open(ingested)), measurements_of(solved[0])
    before, after = images_of(skydb.open(ingested)), images_of(solved[0])
    change = (after["mcal"] - before["mcal"])[np.searchsorted(after["image_id"], new["image_id"].to_numpy())]
    assert np.ptp(change) > 0.05
    dimmed = new["mag"].to_numpy() - old["mag"].to_numpy()
    np.testing.assert_allclose(dimmed, -change, atol=5e-6)
    brightened = -2.5 * np.log10(new["flux"].to_numpy() / old["flux"].to_numpy())
    np.testing.assert_allclose(brightened, -change, atol=5e-6)


def test_means_become_consistent(ingested: Path, solved: tuple[Database, RelcalReport]) -> None:
    def chi2(db: Database) -> float:
        snapshot = db.snapshot()
        names = ["chi2", "n_used", "mag"]
        rows = pa.concat_tables(snapshot.read_cell("object_bands", c, names) for c in snapshot.cells())
        many = rows.filter(pc.and_(pc.greater(rows["n_used"], 3), pc.less(rows["mag"], 18)))
        return float(np.median(many["chi2"].to_numpy()))

    assert chi2(solved[0]) < 1.3 < 3 < chi2(skydb.open(ingested))


def test_second_relcal_changes_nothing(solved: tuple[Database, RelcalReport], tmp_path: Path) -> None:
    again = copy_of(solved[0].root, tmp_path)
    report = relcal(again, workers=1)
    assert (report.snapshot, report.calibration) == (again.snapshot().id, again.snapshot().calibration_id)
    assert (report.base, solved[1].calibration, report.calibration) == (solved[1].snapshot, 1, 2)
    first, second = images_of(solved[0]), images_of(again)
    for name in first:
        np.testing.assert_array_equal(second[name], first[name], err_msg=name)
    assert measurements_of(again).equals(measurements_of(solved[0]))


@pytest.mark.parametrize("workers", [1, 2])
def test_answer_is_the_same_however_the_sky_is_cut_and_whoever_works(
    pole_in_one: Path, pole_cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(passes, "TASK_ROWS", 500)
    one, many = copy_of(pole_in_one, tmp_path / "one"), copy_of(pole_cut, tmp_path / "many")
    relcal(one, workers=1)
    relcal(many, workers=workers)
    whole, parts = images_of(one), images_of(many)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)
    assert measurements_of(many).equals(measurements_of(one))


def test_band_alone_leaves_the_others_as_they_are(
    survey: Path, db: Database, solved: tuple[Database, RelcalReport]
) -> None:
    before = images_of(db)
    report = relcal(db, bands="g", workers=1)
    assert [b.band for b in report.bands] == ["g"]
    rows, both = images_of(db), images_of(solved[0])
    g = truth_of(survey, rows["name"])["band"] == "g"
    for name in rows:
        np.testing.assert_array_equal(rows[name][~g], before[name][~g], err_msg=name)
        np.testing.assert_array_equal(rows[name][g], both[name][g], err_msg=name)
    relcal(db, bands=["r"], workers=1)
    np.testing.assert_array_equal(images_of(db)["mcal"], both["mcal"])


def test_calibration_keeps_its_report(solved: tuple[Database, RelcalReport]) -> None:
    db, report = solved
    row = catalog_table(db.snapshot(), "calibrations").to_pylist()[-1]
    assert db.snapshot().calibration_id == row["calibration_id"] == report.calibration
    assert (row["kind"], row["bands"], row["n_images"]) == ("relcal", "g,r", 96)
    assert row["n_measurements"] == sum(b.n_measurements for b in report.bands)
    assert row["chi2"] == pytest.approx(1.0, abs=0.1)
    kept = json.loads(row["report"])
    assert kept["selection"]["max_mag_err"] == 0.05
    assert kept["bands"]["g"] == report.as_dict()["bands"][0]
    assert kept["bands"]["r"]["passes"][-1]["frozen"]


def test_every_measurement_is_counted_once(ingested: Path, solved: tuple[Database, RelcalReport]) -> None:
    for band in solved[1].bands:
        assert band.n_candidates == band.n_measurements + sum(band.rejected.values())
    assert sum(b.n_candidates for b in solved[1].bands) == measurements_of(skydb.open(ingested)).num_rows


def test_dry_run_solves_the_same_and_commits_nothing(db: Database, solved: tuple[Database, RelcalReport]) -> None:
    before = db.snapshot().id
    report = relcal(db, dry_run=True, workers=1)
    assert (report.snapshot, report.calibration, report.n_solved) == (None, None, 96)
    assert [b.rms for b in report.bands] == [b.rms for b in solved[1].bands]
    assert db.snapshot().id == before
    assert list(db.work.iterdir()) == []


def test_nothing_is_committed_where_no_measurement_is_good_enough(db: Database) -> None:
    before = db.snapshot().id
    report = relcal(db, max_mag_err=1e-6, workers=1)
    assert report.n_solved == 0
    assert report.snapshot is None
    assert [b.outcomes["all_rejected"] for b in report.bands] == [48, 48]
    assert db.snapshot().id == before
    said = report.text()
    assert "nothing committed\ng: nothing to solve: none of " in said
    assert " measurements in 48 images is left: " in said
    assert " with a larger error than --max-mag-err" in said
    assert "nan" not in said
    json.dumps(report.as_dict(), allow_nan=False)


def test_images_without_measurements_are_not_solved(survey: Path, tmp_path: Path) -> None:
    db = empty(survey, tmp_path / "none.sky")
    addstar(db, exposures(survey)[:2], keep=DetectionFilter(max_mag_err=1e-9), workers=1)
    report = relcal(db, workers=1)
    assert [b.outcomes["no_candidates"] for b in report.bands] == [b.n_images for b in report.bands]
    assert report.snapshot is None


def test_single_exposure_cannot_be_solved_and_says_so(survey: Path, tmp_path: Path) -> None:
    db = empty(survey, tmp_path / "one.sky")
    addstar(db, exposures(survey)[:1], workers=1)
    (band,) = relcal(db, workers=1).bands
    assert band.outcomes["no_shared_stars"] == band.n_images == 4
    assert band.rejected["single_image"] > 0


def test_empty_database_is_refused(survey: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images to calibrate; ingest some"):
        relcal(empty(survey, tmp_path / "empty.sky"), workers=1)


def test_wrong_calls_are_refused(db: Database) -> None:
    with pytest.raises(UsageError, match="no image is of band 'i'; known: g, r"):
        relcal(db, bands="i", workers=1)
    with pytest.raises(UsageError, match="no band to solve"):
        relcal(db, bands="", workers=1)
    with pytest.raises(UsageError, match="nights' is not there yet"):
        relcal(db, mode="nights")
    with pytest.raises(UsageError, match="no mode named 'image'; did you mean 'images'"):
        relcal(db, mode="image")
    with pytest.raises(UsageError, match="max_mag_err is 0"):
        relcal(db, max_mag_err=0.0)


def files_under(root: Path) -> set[Path]:
    return {p for p in root.rglob("*") if p.is_file() and not p.name.startswith("catalog.sqlite")}


def interrupt(db: Database, after: int = 3) -> None:
    """Stop relcal when it has done some cells."""
    done: list[Any] = []
    original = recalibrate.recalibrate_cell

    def interrupted(cell: Any, *, task: Any) -> Any:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(cell)
        return original(cell, task=task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recalibrate, "recalibrate_cell", interrupted)
        with pytest.raises(KeyboardInterrupt):
            relcal(db, workers=1)
    assert len(done) == after


def test_interrupted_solution_leaves_nothing_behind(
    pole_cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = copy_of(pole_cut, tmp_path)
    before, files = db.snapshot().id, files_under(db.root)

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "solve_zero_points", interrupted)
    with pytest.raises(KeyboardInterrupt):
        relcal(db, workers=1)
    assert db.snapshot().id == before
    assert files_under(db.root) == files
    assert list(db.work.iterdir()) == []
    with pytest.raises(UsageError, match="no relcal of it was cut short; run `skydb relcal` without --resume"):
        relcal(db, resume=True, workers=1)


def test_interrupted_apply_is_resumed_and_reports_what_was_solved(pole_cut: Path, tmp_path: Path) -> None:
    undisturbed, db = copy_of(pole_cut, tmp_path / "a"), copy_of(pole_cut, tmp_path / "b")
    expected = relcal(undisturbed, workers=1)
    interrupt(db)
    with pytest.raises(UsageError, match="--resume: what was solved is applied as it is; leave the other options out"):
        relcal(db, resume=True, brightest=10, workers=1)
    report = relcal(db, resume=True, workers=1)
    assert without_times(report) == without_times(expected)
    assert report.text().splitlines()[:-1] == expected.text().splitlines()[:-1]
    assert measurements_of(db).equals(measurements_of(undisturbed))
    for name, column in images_of(undisturbed).items():
        np.testing.assert_array_equal(images_of(db)[name], column)
    stored, kept = (catalog_table(d.snapshot(), "calibrations").to_pylist()[-1] for d in (undisturbed, db))
    assert json.loads(stored.pop("report")).keys() == json.loads(kept.pop("report")).keys()
    assert stored == kept
    assert list(db.work.iterdir()) == []


def without_times(report: RelcalReport) -> dict[str, Any]:
    plain = report.as_dict()
    plain.pop("seconds")
    for band in plain["bands"]:
        for each in band["passes"]:
            each.pop("seconds")
    return plain


def test_command_tells_what_can_be_resumed(
    pole_cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = copy_of(pole_cut, tmp_path)
    n_cells = len(db.snapshot().cells())

    def interrupted(self: Database, changes: Changes) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Database, "commit", interrupted)
        assert cli.main(["relcal", str(db.root), "--workers", "1"]) == 130
    said = capsys.readouterr().err
    assert re.search(rf"{n_cells} of {n_cells} cells done, kept until 20\S+Z; to go on: skydb .* --resume", said)
    assert cli.main(["status", str(db.root), "--json"]) == 0
    assert f"{n_cells} of {n_cells} cells done" in json.loads(capsys.readouterr().out)["unfinished"]
    assert cli.main(["relcal", str(db.root), "--workers", "1", "--bands", "nope"]) == 2
    said = capsys.readouterr().err
    assert "this one takes its place when it has solved" in said
    assert "to go on" not in said
    assert cli.main(["relcal", str(db.root), "--workers", "1", "--dry-run"]) == 0
    assert "takes its place" not in capsys.readouterr().err
    assert cli.main(["relcal", str(db.root), "--workers", "1", "--resume"]) == 0
    assert "applied in snapshot" in capsys.readouterr().out
    assert cli.main(["relcal", str(db.root), "--workers", "1", "--resume"]) == 2
    assert f"no relcal of it was cut short since that of snapshot {db.snapshot().id}" in capsys.readouterr().err


def test_relcal_at_work_is_not_continued_and_one_that_is_spoiled_can_be_discarded(
    pole_cut: Path, tmp_path: Path
) -> None:
    db = copy_of(pole_cut, tmp_path)
    interrupt(db)
    (job,) = unfinished_jobs(db.root)
    with working_on(job.folder), pytest.raises(BusyError, match="a relcal is at work; wait"):
        relcal(db, resume=True, workers=1)
    (job.folder / "solution.arrow").write_bytes(b"")
    with pytest.raises(DataError, match=r"what was solved cannot be read: .*; give it up .*--discard"):
        relcal(db, resume=True, workers=1)
    assert discard_unfinished(db) is not None
    assert list(db.work.iterdir()) == []


def test_relcal_whose_worker_still_stores_a_file_is_not_said_to_be_discarded(pole_cut: Path, tmp_path: Path) -> None:
    db = copy_of(pole_cut, tmp_path)
    interrupt(db)
    (job,) = unfinished_jobs(db.root)
    with shared(job.folder), pytest.raises(BusyError, match="a worker of the relcal that was cut short is still at"):
        discard_unfinished(db)
    assert discard_unfinished(db) is not None
    assert list(db.work.iterdir()) == []


def test_command_discards_what_could_be_resumed(
    pole_cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = copy_of(pole_cut, tmp_path)
    files = files_under(db.root)
    interrupt(db)
    assert cli.main(["relcal", str(db.root), "--discard", "--json"]) == 0
    assert "3 of " in json.loads(capsys.readouterr().out)["discarded"]
    assert files_under(db.root) == files
    assert list(db.work.iterdir()) == []
    assert cli.main(["relcal", str(db.root), "--discard", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"discarded": None}


def check_late_images(survey: Path, db: Database, n_late: int, early: dict[str, np.ndarray]) -> None:
    """Early images have the solution, late ones their header; all measurements are there and calibrated."""
    rows = images_of(db)
    late = np.isin(rows["name"], early["name"], invert=True)
    assert late.sum() == 4 * n_late
    assert set(rows["mcal_source"][late]) == {"header"}
    np.testing.assert_array_equal(rows["mcal"][~late], early["mcal"])
    truth = truth_of(survey, rows["name"])
    measured = measurements_of(db)
    assert measured.num_rows == truth["n_detections"].sum()
    mcal = rows["mcal"][np.searchsorted(rows["image_id"], measured["image_id"].to_numpy())]
    np.testing.assert_allclose(measured["mcal"].to_numpy(), mcal, atol=1e-7)


@pytest.fixture(scope="module")
def early(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A database without two exposures, and what relcal finds there."""
    db = empty(survey, tmp_path_factory.mktemp("early") / "a.sky", 3_000)
    addstar(db, exposures(survey)[:-2], workers=1)
    calm = copy_of(db.root, tmp_path_factory.mktemp("calm"))
    relcal(calm, workers=1)
    return db.root, images_of(calm)


def test_ingest_between_solving_and_applying_is_kept(
    survey: Path, early: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = copy_of(early[0], tmp_path)

    def late(*args: Any, **options: Any) -> int:
        addstar(db, exposures(survey)[-2:], workers=1)
        return recalibrate.apply_to_all(*args, **options)

    monkeypatch.setattr(verb, "apply_to_all", late)
    report = relcal(db, workers=1)
    assert report.snapshot == db.snapshot().id > report.base + 1
    check_late_images(survey, db, 2, early[1])


def test_ingest_during_apply_is_kept_and_relcal_still_lands(
    survey: Path, early: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = copy_of(early[0], tmp_path)
    original, raced = Database.commit, []

    def commit(self: Database, changes: Changes) -> int:
        if changes.kind == "relcal" and not raced:
            raced.append(True)
            addstar(db, exposures(survey)[-2:], workers=1)
        return original(self, changes)

    monkeypatch.setattr(Database, "commit", commit)
    report = relcal(db, workers=1)
    assert raced
    assert report.snapshot == db.snapshot().id
    check_late_images(survey, db, 2, early[1])


def test_image_that_its_user_took_out_keeps_its_zero_point_and_flag(db: Database) -> None:
    before = images_of(db)
    exclude(db, int(before["image_id"][7]), ImageFlags.PHOTOM_SKIP | ImageFlags.ASTROM_POOR)
    report = relcal(db, workers=1)
    assert sum(b.n_excluded for b in report.bands) == 1
    assert report.n_solved == 95
    rows = images_of(db)
    assert rows["mcal"][7] == before["mcal"][7]
    assert rows["mcal_source"][7] == before["mcal_source"][7]
    assert rows["flags"][7] & ImageFlags.PHOTOM_SKIP
    assert rows["flags"][7] & ImageFlags.ASTROM_POOR
    assert rows["flags"][7] & ImageFlags.PHOTOM_FEW


def exclude(db: Database, image_id: int, flags: int) -> None:
    """Set flags of one image, as a user would."""
    snapshot = db.snapshot()
    rows = snapshot.read_global("images_cal")
    marked = pc.if_else(pc.equal(rows["image_id"], image_id), pa.scalar(flags, pa.uint32()), rows["flags"])
    rows = rows.set_column(rows.column_names.index("flags"), "flags", marked)
    file = store_rows(db.root, db.id, rows, "images_cal")
    old = tuple(f.name for f in snapshot.files("images_cal"))
    db.commit(Changes("flag", "flag", snapshot.id, adds=(file,), replaces=old, replaces_globals=("images_cal",)))


def test_saturated_stars_do_not_enter_where_photcodes_have_no_masks(
    ingested: Path, solved: tuple[Database, RelcalReport]
) -> None:
    db = skydb.open(ingested)
    flags = np.concatenate([
        db.snapshot().read_cell("measurements", c, ["photflags"])["photflags"].to_numpy() for c in db.snapshot().cells()
    ])
    saturated = int(np.sum(flags & (PhotFlags.SATSTAR | PhotFlags.SATURATED) > 0))
    assert sum(b.rejected["bad_flags"] for b in solved[1].bands) == saturated > 20
    every = relcal(db, exclude_photflags=0, dry_run=True, workers=1)
    assert sum(b.rejected["bad_flags"] for b in every.bands) == 0
    assert sum(b.rejected["outlier"] for b in every.bands) > saturated // 2


def test_masks_of_a_photcode_are_obeyed_and_only_added_to(ingested: Path) -> None:
    db, terms, _ = prepared(ingested)
    masked = replace(terms, photometry_bad_mask=np.full_like(terms.photometry_bad_mask, 0x8))
    assert {int(m) for b in bands_of(db.snapshot(), masked) for m in b.photcodes.bad_mask} == {0x8}
    more = bands_of(db.snapshot(), masked, exclude_photflags=0x100)
    assert {int(m) for b in more for m in b.photcodes.bad_mask} == {0x108}


def test_brightest_measurements_alone_solve_nearly_as_well(
    db: Database, solved: tuple[Database, RelcalReport]
) -> None:
    report = relcal(db, brightest=40, workers=1)
    assert report.n_solved == 96
    for few, every in zip(report.bands, solved[1].bands, strict=True):
        assert few.rejected["too_faint"] > 0
        assert few.n_measurements < 0.9 * every.n_measurements
        assert few.n_candidates == few.n_measurements + sum(few.rejected.values())
    assert np.std(images_of(db)["mcal"] - images_of(solved[0])["mcal"]) < 0.002


def prepared(root: Path) -> tuple[Database, PhotcodeTerms, list[Band]]:
    db = skydb.open(root)
    terms = PhotcodeTerms.from_table(db.snapshot().read_global("photcodes"))
    return db, terms, bands_of(db.snapshot(), terms)


def test_magnitudes_that_are_solved_are_those_that_apply_gives(ingested: Path) -> None:
    db, terms, bands = prepared(ingested)
    snapshot = db.snapshot()
    for cell in snapshot.cells():
        rows = snapshot.read_cell("measurements", cell, [*COLUMNS, "mag"])
        mag = dict(zip(zip(rows["image_id"].to_pylist(), rows["det_id"].to_pylist(), strict=True),
                       rows["mag"].to_numpy(), strict=True))  # fmt: skip
        for band in bands:
            chosen = candidates(rows, band, terms)
            relative = chosen.sys_mag - band.images.mcal[band.images.rows_of(chosen.image_id)]
            stored = [mag[key] for key in zip(chosen.image_id.tolist(), chosen.det_id.tolist(), strict=True)]
            np.testing.assert_allclose(relative, stored, atol=3e-6)


def test_first_zero_points_are_those_of_ingest(ingested: Path) -> None:
    snapshot = skydb.open(ingested).snapshot()
    images, rows = (snapshot.read_global(name) for name in ("images", "images_cal"))
    terms = PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
    np.testing.assert_array_equal(header_mcal(images, terms), rows["mcal"].to_numpy())
    nominal = images.set_column(images.column_names.index("zpt_obs"), "zpt_obs", pa.nulls(len(images), pa.float64()))
    assert not header_mcal(nominal, terms).any()


NONSENSE = {3: 0.0, 9: -999.0, 14: 1e300, 20: 10.0}


def with_headers(db: Database, zpt_obs: dict[int, float]) -> list[str]:
    """Change the zero points that the headers of some rows of `images` gave; returns the images' names."""
    snapshot = db.snapshot()
    rows = snapshot.read_global("images")
    header = rows["zpt_obs"].to_numpy().copy()
    header[list(zpt_obs)] = list(zpt_obs.values())
    rows = rows.set_column(rows.column_names.index("zpt_obs"), rows.schema.field("zpt_obs"), pa.array(header))
    file = store_rows(db.root, db.id, rows, "images")
    old = tuple(f.name for f in snapshot.files("images"))
    db.commit(Changes("headers", "headers", snapshot.id, adds=(file,), replaces=old, replaces_globals=("images",)))
    return [rows["name"][row].as_py() for row in zpt_obs]


def test_nonsense_in_headers_moves_no_image_and_is_named(pole_in_one: Path, tmp_path: Path) -> None:
    right, wrong = copy_of(pole_in_one, tmp_path / "right"), copy_of(pole_in_one, tmp_path / "wrong")
    relcal(right, workers=1)
    names = with_headers(wrong, NONSENSE)
    report = relcal(wrong, workers=1)
    np.testing.assert_allclose(images_of(wrong)["mcal"], images_of(right)["mcal"], rtol=0, atol=0.01)
    named = {h["name"]: h["zpt_obs"] for b in report.bands for h in b.implausible_headers}
    assert named == dict(zip(names, NONSENSE.values(), strict=True))
    assert sum(b.n_implausible for b in report.bands) == len(NONSENSE)
    assert all(f"{name} {value:g}" in report.text() for name, value in named.items())


def test_header_that_contradicts_the_stars_moves_no_image_and_is_named(pole_in_one: Path, tmp_path: Path) -> None:
    right, wrong = copy_of(pole_in_one, tmp_path / "right"), copy_of(pole_in_one, tmp_path / "wrong")
    relcal(right, workers=1)
    before = right.snapshot().read_global("images")["zpt_obs"][5].as_py()
    (name,) = with_headers(wrong, {5: before + 1.3})
    report = relcal(wrong, workers=1)
    np.testing.assert_allclose(images_of(wrong)["mcal"], images_of(right)["mcal"], rtol=0, atol=0.01)
    (found,) = [h for b in report.bands for h in b.deviant_headers]
    assert found["name"] == name
    assert found["off"] == pytest.approx(1.3, abs=0.1)
    assert f"{name} +1.3" in report.text()
    assert not any(b.n_implausible for b in report.bands)


def test_first_zero_point_is_nominal_where_the_header_has_nonsense(ingested: Path) -> None:
    snapshot = skydb.open(ingested).snapshot()
    images = snapshot.read_global("images")
    terms = PhotcodeTerms.from_table(snapshot.read_global("photcodes"))
    for value in (0.0, -999.0, 99.99, 1e300):
        header = pa.array(np.full(images.num_rows, value))
        strange = images.set_column(images.column_names.index("zpt_obs"), "zpt_obs", header)
        rows = first_zero_points(strange, terms, np.zeros(images.num_rows))
        assert set(rows["mcal_source"].to_pylist()) == {"nominal"}
        assert not rows["mcal"].to_numpy().any()
        assert rows["mcal_err"].null_count == images.num_rows


def test_packed_selection_comes_back_whole(ingested: Path, tmp_path: Path) -> None:
    db, terms, (band, _) = prepared(ingested)
    snapshot = db.snapshot()
    rows = candidates(snapshot.read_cell("measurements", snapshot.cells()[0], COLUMNS), band, terms)
    chosen = select(rows, band.images, band.photcodes, SelectionRules())
    write_selection(tmp_path / "a.packed", chosen)
    band.save(tmp_path / "a.npz")
    back = read_selection(tmp_path / "a.packed")
    assert isinstance(back, Selection)
    assert len(back) > 100
    for name, array in vars(chosen).items():
        np.testing.assert_array_equal(getattr(back, name), array, strict=True)
    again = Band.load(tmp_path / "a.npz")
    assert again.name == band.name
    np.testing.assert_array_equal(again.images.mcal, band.images.mcal)
    np.testing.assert_array_equal(again.photcodes.bad_mask, band.photcodes.bad_mask)


def test_command_lists_passes_on_stderr_and_answers_on_stdout(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["relcal", str(db.root), "--bands", "g,r", "--workers", "1", "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert (answer["calibration"], len(answer["bands"])) == (1, 2)
    table = said.err.splitlines()
    assert len(table) == 2 + sum(len(b["passes"]) for b in answer["bands"])
    assert cli.main(["calibrations", str(db.root)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[-1].split()[:4] == ["1", str(answer["snapshot"]), "relcal", "g,r"]
    assert listed[-1].endswith("yes")
    assert cli.main(["relcal", str(db.root), "--max-mag-err", "1e-6", "--workers", "1"]) == 3
    assert "g: nothing to solve: none of " in capsys.readouterr().out
