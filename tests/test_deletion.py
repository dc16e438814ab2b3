"""Deleting images: nothing of them is left in any answer, all else stays as it was, and their files bring them back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import skydb
from skydb import database, deletion
from skydb.calibration.kept_apply import Solved
from skydb.calibration.recalibrate import apply_to_all
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.deletion import DeletionReport
from skydb.errors import CommitConflict, UsageError
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.schema.photcodes import Photcode
from skydb.store.changes import Calibration, Changes
from skydb.store.compact import compact
from skydb.store.history import catalog_table
from skydb.store.snapshot import Snapshot
from skydb.tools.cli import main
from tests.ingest.catalog_files import TAN, Chip, rows, write_smf
from tests.ingest.skies import (
    SURVEY_CODES,
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
    write_survey,
)
from tests.ingest.tables import REFERENCE, detections_mapping, mapping_of

DERIVED = ("objects", "object_bands")


CELL_ROWS = 100


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=4, stars=40)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, night: list[Path]) -> Database:
    """A database of four exposures, in several cells."""
    made = new_database(tmp_path_factory.mktemp("pristine") / "t.sky", cell_rows=CELL_ROWS)
    for file in night:
        addstar(made, file, workers=1)
    return made


@pytest.fixture
def db(tmp_path: Path, pristine: Database) -> Database:
    shutil.copytree(pristine.root, tmp_path / "t.sky")
    return database.open(tmp_path / "t.sky")


def delete(db: Database, **named: Any) -> DeletionReport:
    return skydb.delete(db, workers=1, **named)


def log(db: Database) -> dict[str, dict[str, Any]]:
    """The ingest log by file name, but for when each entry was made."""
    entries = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    return {Path(e["file"]).name: {k: v for k, v in e.items() if k != "snapshot"} for e in entries}


def living(held: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The same tables without the seeds of objects that have retired."""
    return held | {"object_seeds": held["object_seeds"].filter(pc.invert(held["object_seeds"]["retired"]))}


def check_sound(db: Database) -> None:
    """Fail if the database does not agree with itself, or anything is left over."""
    report = fsck(db, deep=True, workers=1)
    assert report.findings == (), report.findings
    check_conservation(db)
    check_nothing_is_left_over(db)


def before_commit(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[int]:
    """Do something once, just before the next commit; returns a list that grows with every commit tried."""
    original, tried = Database.commit, []

    def commit(self: Database, changes: Changes) -> int:
        tried.append(changes.base)
        if len(tried) == 1:
            monkeypatch.setattr(Database, "commit", original)
            action()
            monkeypatch.setattr(Database, "commit", commit)
        return original(self, changes)

    monkeypatch.setattr(Database, "commit", commit)
    return tried


def compacted(db: Database) -> None:
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=40, executor=SerialExecutor())


def clouded(db: Database, shift: float = 0.25) -> int:
    """Apply a calibration by which every image had cloud."""

    def fill(snapshot: Snapshot, rows: pa.Table) -> pa.Table:
        images_cal = snapshot.read_global("images_cal")
        at = images_cal.column_names.index("mcal")
        return images_cal.set_column(at, "mcal", pa.array(images_cal["mcal"].to_numpy() + shift))

    solved = Solved(Calibration("relcal", ("g",), 1, 1, 1.0, {}), "relcal", 0, pa.table({}))
    return apply_to_all(db.snapshot, db.commit, solved, fill, executor=SerialExecutor())


def test_what_came_last_leaves_a_database_as_if_it_had_never_come(
    db: Database, night: list[Path], tmp_path: Path
) -> None:
    without = new_database(tmp_path / "without.sky", cell_rows=CELL_ROWS)
    for file in night[:-1]:
        addstar(without, file, workers=1)
    before = contents(db)
    report = delete(db, files=night[-1])
    assert (report.n_images, report.n_exposures, report.files) == (1, 1, (str(night[-1]),))
    assert report.snapshot == db.snapshot().id
    after = contents(db)
    assert report.n_measurements == before["measurements"].num_rows - after["measurements"].num_rows > 0
    assert report.n_retired == before["objects"].num_rows - after["objects"].num_rows > 0
    assert_same(living(after), contents(without))
    assert after["object_seeds"].num_rows == before["object_seeds"].num_rows
    check_sound(db)


def test_log_counts_what_was_deleted(db: Database, night: list[Path]) -> None:
    before = log(db)
    report = delete(db, files=night[1])
    name = night[1].name
    entry = before[name] | {
        "n_deleted": before[name]["n_matched"] + before[name]["n_new"], "n_deleted_images": 1,
        "n_deleted_measurements": report.n_measurements,
    }  # fmt: skip
    assert log(db) == before | {name: entry}


@pytest.mark.parametrize("between", [lambda db: None, compacted], ids=["nothing between", "compacted"])
def test_deleted_file_comes_back_as_it_was(
    db: Database, night: list[Path], between: Callable[[Database], None]
) -> None:
    before, logged = contents(db), log(db)
    delete(db, files=night[-1])
    between(db)
    report = addstar(db, night[-1], workers=1)
    assert report.files[0].status == "ingested"
    assert_same(contents(db), before)
    assert log(db) == logged
    assert addstar(db, night[-1], workers=1).files[0].status == "known"
    check_sound(db)


def test_deferred_cells_lose_images_and_get_them_back_too(db: Database, night: list[Path], tmp_path: Path) -> None:
    before = contents(db)
    late = new_database(tmp_path / "late.sky", cell_rows=CELL_ROWS)
    for file in night:
        addstar(late, file, defer=True, workers=1)
    delete(late, files=night[-1])
    held = contents(late)
    delete(db, files=night[-1])
    assert_same(living(held), living(contents(db)))
    assert not any(c.stale for c in late.snapshot().cells())
    addstar(late, night[-1], defer=True, workers=1)
    assert any(c.stale for c in late.snapshot().cells())
    skydb.refresh(late, workers=1)
    assert_same(contents(late), before)
    check_sound(late)


def test_earlier_image_comes_back_to_the_same_objects(db: Database, night: list[Path]) -> None:
    """Its stars find their objects again, by whichever image those were founded."""
    before = contents(db)
    delete(db, files=night[0])
    kept = contents(db)["objects"]["object_id"].to_pylist()
    seeds = contents(db)["object_seeds"]
    stays = seeds.filter(pc.is_in(seeds["object_id"], pa.array(kept)))
    was = before["object_seeds"].filter(pc.is_in(before["object_seeds"]["object_id"], pa.array(kept)))
    assert_same({"object_seeds": stays}, {"object_seeds": was})
    addstar(db, night[0], workers=1)
    assert contents(db)["object_seeds"].equals(before["object_seeds"])
    keys = ["object_id", "image_id", "det_id"]
    assert contents(db)["measurements"].select(keys).equals(before["measurements"].select(keys))
    check_sound(db)


def test_earlier_snapshot_sees_everything(db: Database, night: list[Path]) -> None:
    before, number = contents(db), db.snapshot().id
    delete(db, files=night[2])
    with skydb.connect(db.root, at=number) as connection:
        assert connection.sql("SELECT COUNT(*) AS n FROM measurements").arrow()["n"][0].as_py() == len(
            before["measurements"]
        )
    skydb.rollback(db, number)
    assert_same(contents(db), before)
    check_sound(db)


def test_one_ingest_is_undone(db: Database, night: list[Path], tmp_path: Path) -> None:
    """Whatever came after it stays: a rollback would take that away too."""
    log = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    second = next(e["snapshot"] for e in log if e["file"] == str(night[1]))
    without = new_database(tmp_path / "without.sky", cell_rows=CELL_ROWS)
    for file in (night[0], *night[2:]):
        addstar(without, file, workers=1)
    compacted(db)
    report = delete(db, ingests=second)
    assert (report.n_images, report.files) == (1, (str(night[1]),))
    columns = ["image_id", "det_id"]
    held, wanted = (contents(each)["measurements"].select(columns) for each in (db, without))
    keys = [(column, "ascending") for column in columns]
    assert held.sort_by(keys).equals(wanted.sort_by(keys))
    assert delete(db, ingests=second).n_images == 0
    check_sound(db)
    assert addstar(db, night[1], workers=1).files[0].status == "ingested"
    check_sound(db)


def test_ingest_of_which_images_were_replaced_since_is_undone_without_those(tmp_path: Path, chips: Path) -> None:
    """What took their place came with another ingest, and stays; that of the new ones can be undone as well."""
    db = new_database(tmp_path / "t.sky")
    addstar(db, chips, workers=1)
    first = db.snapshot().id
    header = {"CHIPNAME": "XY01", "CRVAL1": 0.001, "PHOTCODE": "CAM.r"}
    kept = write_smf(tmp_path / "kept.smf", [Chip("XY01", rows(9, seed=7), header)])
    assert addstar(db, kept, replace_images=True, compact=False, workers=1).files[0].n_replaced == 1
    second = db.snapshot().id
    asked = delete(db, ingests=first, dry_run=True)
    report = delete(db, ingests=first)
    assert (report.n_images, report.files) == (asked.n_images, asked.files) == (2, (str(chips),))
    assert contents(db)["images"]["name"].to_pylist() == ["kept.smf[XY01.hdr]"]
    assert contents(db)["measurements"].num_rows == 9
    assert delete(db, ingests=first).n_images == 0
    assert fsck(db, deep=True, workers=1).findings == ()
    assert addstar(db, chips, workers=1).files[0].status == "failed", "one of its images is there from another file"
    assert delete(db, ingests=second).n_images == 1
    assert contents(db)["measurements"].num_rows == 0
    assert addstar(db, chips, workers=1).files[0].n_images == 3
    assert fsck(db, deep=True, workers=1).findings == ()


def test_all_images_can_go_and_come_back(db: Database, night: list[Path]) -> None:
    before = contents(db)
    assert delete(db, nights=before["exposures"]["night"][0].as_py()).n_images == len(night)
    with skydb.connect(db.root) as connection:
        for table in ("objects", "object_bands", "measurements", "images", "exposures"):
            assert connection.sql(f"SELECT COUNT(*) AS n FROM {table}").arrow()["n"][0].as_py() == 0
        assert len(connection.cone(0.0, 10.0, 5.0).arrow()) == 0
    check_sound(db)
    assert skydb.refresh(db, every=True, workers=1) is None
    compacted(db)
    addstar(db, night, workers=1)
    assert_same(contents(db), before)
    check_sound(db)


@pytest.fixture
def chips(tmp_path: Path) -> Path:
    """An exposure of three chips that overlap, and so share objects."""
    header = [{"CHIPNAME": f"XY0{n}", "CRVAL1": 0.001 * n, "PHOTCODE": "CAM.r"} | {} for n in range(3)]
    tables = [rows(25, seed=n) for n in range(3)]
    return write_smf(
        tmp_path / "chips.smf", [Chip(f"XY0{n}", tables[n], header=TAN | header[n]) for n in range(3)]
    )


def test_one_chip_of_a_file_comes_back_beside_the_others(tmp_path: Path, chips: Path) -> None:
    db = new_database(tmp_path / "t.sky")
    addstar(db, chips, workers=1)
    before, logged = contents(db), log(db)
    name = before["images"]["name"].to_pylist()[1]
    report = delete(db, images=name)
    assert (report.n_images, report.n_exposures) == (1, 0)
    assert contents(db)["exposures"].equals(before["exposures"])
    entry = log(db)[chips.name]
    assert (entry["n_deleted_images"], entry["n_deleted"]) == (1, report.n_measurements)
    check_sound(db)
    back = addstar(db, chips, workers=1).files[0]
    assert (back.n_images, back.n_matched + back.n_new) == (1, report.n_measurements)
    assert back.n_in == back.n_matched + back.n_new + back.n_rejected + back.n_there
    assert_same(contents(db), before)
    assert log(db) == logged
    check_sound(db)


def test_file_that_brings_back_other_rows_than_were_deleted_is_refused(tmp_path: Path, chips: Path) -> None:
    db = new_database(tmp_path / "t.sky")
    addstar(db, chips, workers=1)
    delete(db, images=contents(db)["images"]["name"].to_pylist()[1])
    before = contents(db)
    keep = skydb.ingest.readers.interface.DetectionFilter(x_range=(0, 300))
    report = addstar(db, chips, keep=keep, workers=1).files[0]
    assert report.status == "failed"
    assert "read otherwise" in (report.error or "")
    assert_same(contents(db), before)


def test_survey_comes_back_whole_also_stars_at_one_place(tmp_path: Path) -> None:
    """The second of two stars at one place has the next pixel for its id; it asks for that again."""
    db, mapping = new_database(tmp_path / "t.sky"), mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    stars = [(i, 10.0 + 0.001 * (i // 2), 10.0) for i in range(20)]
    file = write_survey(tmp_path / "a.csv", stars)
    addstar(db, file, mapping=mapping, workers=1)
    before, logged = contents(db), log(db)
    image = before["images"]["image_id"][0].as_py()
    with pytest.raises(UsageError, match="only some of its images"):
        delete(db, images=image)
    report = delete(db, files=file)
    assert (report.n_images, report.n_retired) == (3, 20)
    assert log(db)[file.name]["n_deleted"] == 20
    check_sound(db)
    addstar(db, file, mapping=mapping, workers=1)
    assert_same(contents(db), before)
    assert log(db) == logged


def test_rows_of_a_declared_table_go_with_their_measurements(db: Database, night: list[Path], tmp_path: Path) -> None:
    declaration = tmp_path / "shapes.toml"
    declaration.write_text(
        'name = "shapes"\nmeaning = "shapes of measurements"\nkeyed_by = "measurement"\n'
        '[[columns]]\nname = "e1"\ntype = "float64"\nmeaning = "ellipticity"\n'
    )
    skydb.declare_table(db, declaration)
    held = contents(db)["measurements"].select(["image_id", "det_id"])
    file = tmp_path / "shapes.parquet"
    pq.write_table(held.append_column("e1", pa.array(np.arange(len(held), dtype=float))), file)
    skydb.addrows(db, "shapes", file, workers=1)
    before = shapes(db)
    assert len(before) == len(held)
    delete(db, files=night[1])
    left = set(contents(db)["images"]["image_id"].to_pylist())
    assert shapes(db) == [row for row in before if row["image_id"] in left] != before


def shapes(db: Database) -> list[dict[str, Any]]:
    with skydb.connect(db.root) as connection:
        return connection.sql("SELECT image_id, det_id, e1 FROM shapes ORDER BY e1").arrow().to_pylist()


def one_star(folder: Path, name: str, mjd: float, ra: float) -> Path:
    path = folder / name
    path.write_text(f"ra,dec,mjd,mag\n{ra:.9f},10.0,{mjd},-9\n")
    return path


@pytest.fixture
def one(tmp_path: Path) -> tuple[Database, Callable[[str, float, float], int]]:
    """A database, and what ingests a file of one star and returns its object."""
    db = new_database(tmp_path / "t.sky")
    skydb.photcodes.add_photcode(db, Photcode(11, "X.g", "DEP", band="g", zero_point_mmag=24_500))
    mapping = detections_mapping(tmp_path)

    def ingested(name: str, mjd: float, ra: float) -> int:
        path = one_star(tmp_path, name, mjd, ra)
        assert addstar(db, path, mapping=mapping, workers=1).files[0].status == "ingested"
        held = contents(db)["measurements"]
        at = np.argmax(held["mjd"].to_numpy())
        return int(held["object_id"][int(at)].as_py())

    return db, ingested


def test_retired_object_draws_no_detection_and_lives_again_in_its_pixel_alone(
    one: tuple[Database, Callable[[str, float, float], int]], tmp_path: Path
) -> None:
    db, ingested = one
    first = ingested("a.csv", 57000.0, 10.0)
    delete(db, files=tmp_path / "a.csv")
    beside = ingested("b.csv", 57001.0, 10.0 + 0.5 / 3600)
    assert beside != first
    delete(db, files=tmp_path / "b.csv")
    assert ingested("c.csv", 57002.0, 10.0) == first
    seeds = contents(db)["object_seeds"]
    assert dict(zip(seeds["object_id"].to_pylist(), seeds["retired"].to_pylist(), strict=True)) == {
        first: False, beside: True,
    }  # fmt: skip
    check_sound(db)


def test_returned_images_take_first_zero_points_like_new_ones(db: Database, night: list[Path]) -> None:
    first = contents(db)["images_cal"]
    gone = delete(db, files=night[3])
    assert gone.n_images == 1
    kept = contents(db)["images_cal"]["image_id"].to_pylist()
    clouded(db)
    addstar(db, night[3], workers=1)
    now = contents(db)["images_cal"]
    for column in now.column_names:
        shifted = [a != b for a, b in zip(first[column].to_pylist(), now[column].to_pylist(), strict=True)]
        expected = [column == "mcal" and image in kept for image in now["image_id"].to_pylist()]
        assert shifted == expected, column
    check_sound(db)


def test_images_are_found_wherever_their_rows_are(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The circle of an image says where to look first; that all was found is counted."""
    expected = delete(db, files=night[1], dry_run=True)
    monkeypatch.setattr(deletion, "cells_near", lambda snapshot, images: [0])
    assert delete(db, files=night[1], dry_run=True) == expected
    assert delete(db, files=night[1]).n_measurements == expected.n_measurements
    check_sound(db)


def test_cells_far_from_an_image_are_not_read(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = write_night(tmp_path / "far", exposures=1, ra=200.0, dec=-40.0, seed=7)
    addstar(db, far, workers=1)
    read: list[str] = []
    count = deletion.count_images
    monkeypatch.setattr(
        deletion, "count_images", lambda cell, **more: (read.append(str(cell)), count(cell, **more))[1]
    )
    report = delete(db, files=far)
    assert len(read) == report.n_cells < len(db.snapshot().cells())


def test_dry_run_counts_and_changes_nothing(db: Database, night: list[Path]) -> None:
    head = db.snapshot().id
    asked = delete(db, exposures="o0-2", dry_run=True)
    assert (asked.snapshot, asked.n_retired, db.snapshot().id) == (None, None, head)
    done = delete(db, exposures="o0-2")
    for name in ("n_images", "n_exposures", "n_measurements", "files", "n_cells"):
        assert getattr(asked, name) == getattr(done, name)
    check_nothing_is_left_over(db)


def test_deleting_again_changes_nothing(db: Database, night: list[Path]) -> None:
    number = delete(db, files=night[0]).snapshot
    again = delete(db, files=night[0])
    assert (again.snapshot, again.n_images, db.snapshot().id) == (None, 0, number)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "no images are named"), ({"images": 7}, "no image has the id 7"),
        ({"images": "x"}, "no image is named 'x'"), ({"files": "x.cmf"}, "no file 'x.cmf' was ingested"),
        ({"exposures": ["o0-1", "x"]}, "no exposure is named 'x'"), ({"nights": 5}, "no exposure of night 5"),
        ({"ingests": 99}, "snapshot 99 is no ingest: there is no such snapshot"),
        ({"ingests": 0}, "snapshot 0 is no ingest: it is a create; see `skydb log`"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(db: Database, named: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        delete(db, **named)


def test_cell_that_another_writer_changed_is_done_again_and_no_other(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = database.open(db.root)
    tried = before_commit(monkeypatch, lambda: one_cell_compacted(other))
    done: list[str] = []
    remove = deletion.remove_images
    monkeypatch.setattr(
        deletion, "remove_images", lambda cell, **more: (done.append(str(cell)), remove(cell, **more))[1]
    )
    report = delete(db, files=night[3])
    assert len(tried) == 2
    assert len(done) == report.n_cells + 1
    check_sound(db)


def one_cell_compacted(db: Database) -> None:
    """Write the files of the first cell anew that holds measurements of the newest image."""
    snapshot = db.snapshot()
    newest = snapshot.read_global("images", ["image_id", "mjd"]).sort_by("mjd")["image_id"][-1].as_py()
    held = [c for c in snapshot.cells() if newest in snapshot.read_cell("measurements", c)["image_id"].to_pylist()]
    compact(db.snapshot, db.commit, held[:1], cell_rows=10_000, executor=SerialExecutor())


@pytest.mark.parametrize("deletion_first", [True, False])
def test_deletion_and_deferred_ingest_in_one_cell_follow_one_another(
    tmp_path: Path, night: list[Path], monkeypatch: pytest.MonkeyPatch, deletion_first: bool
) -> None:
    """A deferred ingest replaces nothing, but what the deletion derives would lack its rows."""
    raced, orderly = (new_database(tmp_path / f"{n}.sky", cell_rows=CELL_ROWS) for n in ("raced", "orderly"))
    for made in (raced, orderly):
        addstar(made, night[:3], workers=1)
    steps = [lambda db: addstar(db, night[3], defer=True, workers=1), lambda db: delete(db, files=night[0])]
    first, second = reversed(steps) if deletion_first else steps
    first(orderly)
    second(orderly)
    with monkeypatch.context() as patched:
        tried = before_commit(patched, lambda: first(database.open(raced.root)))
        second(raced)
    assert len(tried) == 2
    for made in (raced, orderly):
        skydb.refresh(made, workers=1)
    assert_same(contents(raced), contents(orderly))
    check_sound(raced)


def test_exposure_stays_when_another_chip_of_it_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever commits first, a chip that is there has its exposure."""
    chips = [
        write_smf(tmp_path / f"{n}.smf", [Chip(f"XY0{n}", rows(9, seed=n), header=TAN | {
            "CHIPNAME": f"XY0{n}", "PHOTCODE": "CAM.r", "CRVAL1": 10.0 * n,
        })]) for n in range(2)
    ]  # fmt: skip
    for deletes_last in (True, False):
        db = new_database(tmp_path / f"{deletes_last}.sky")
        addstar(db, chips[0], workers=1)
        steps = [lambda db: addstar(db, chips[1], workers=1), lambda db: delete(db, files=chips[0])]
        first, last = steps if deletes_last else reversed(steps)
        with monkeypatch.context() as patched:
            tried = before_commit(patched, lambda db=db, first=first: first(database.open(db.root)))
            last(db)
        assert len(tried) > 1
        assert contents(db)["exposures"].num_rows == contents(db)["images"].num_rows == 1
        check_sound(db)


def test_endless_conflict_is_given_up_and_nothing_is_left(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(self: Database, changes: Changes) -> int:
        raise CommitConflict("another writer came first")

    head = db.snapshot().id
    monkeypatch.setattr(Database, "commit", conflict)
    with pytest.raises(CommitConflict):
        delete(db, files=night[0])
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)


def test_command_deletes_and_log_and_status_show_it(
    db: Database, night: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    image = contents(db)["images"]["image_id"][0].as_py()
    assert main(["delete", str(db.root), "--image", str(image), "--file", str(night[2]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_images"], report["snapshot"]) == (2, db.snapshot().id)
    assert main(["status", str(db.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted_images"] == 2
    assert main(["log", str(db.root), "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["rows"]
    assert sum(e["n_deleted_measurements"] for e in entries) == report["n_measurements"]
    snapshots = catalog_table(db.snapshot(), "snapshots").to_pylist()
    assert snapshots[-1]["kind"] == "delete"
    assert f"--image {image}" in snapshots[-1]["command"]


def test_text_names_a_few_of_many_files_and_json_all(
    db: Database, night: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["delete", str(db.root), "--dry-run", *(word for file in night for word in ("--file", str(file)))]
    assert main(call) == 0
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("files ")]
    assert shown.split(maxsplit=1)[1] == f"{', '.join(sorted(map(str, night))[:3])}, and 1 more"
    assert main([*call, "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["files"]) == sorted(map(str, night))
