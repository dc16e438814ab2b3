"""Applying a calibration: raw values stay, calibrated ones follow from them and it, derived ones from those."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from skydb import database
from skydb.calibration import recalibrate
from skydb.calibration.kept_apply import Solved
from skydb.calibration.recalibrate import RecalibrateTask, apply_to_all, refresh
from skydb.calibration.rewriting import RewrittenCell
from skydb.database import Database
from skydb.errors import CommitConflict, DataError
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.store import scratch
from skydb.store.cells import Cell
from skydb.store.changes import Calibration, Changes
from skydb.store.files import DataFile, digest_of
from skydb.store.history import catalog_table
from skydb.store.snapshot import Snapshot
from skydb.store.unfinished import unfinished_jobs
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import assert_same, check_nothing_is_left_over, contents, new_database, write_night

CALIBRATION = Calibration("relcal", ("g",), 3, 100, 1.0, {})
SOLVED = Solved(CALIBRATION, "relcal", 0, pa.table({}))
"""What the functions that fill `images_cal` here do not look at."""
DERIVED = ("objects", "object_bands")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=4, stars=80)


@pytest.fixture(scope="module")
def pristine(night: list[Path]) -> Path:
    """A database of the night; only to be copied."""
    made = new_database(night[0].with_name("pristine.sky"), cell_rows=100)
    addstar(made, night, workers=1)
    return made.root


@pytest.fixture
def db(tmp_path: Path, pristine: Path) -> Database:
    return database.open(shutil.copytree(pristine, tmp_path / "t.sky"))


def shifted(snapshot: Snapshot, shift: float) -> pa.Table:
    """The current zero points, cloud added: image number i of the list gets (i + 1) times the shift."""
    images_cal = snapshot.read_global("images_cal")
    mcal = images_cal["mcal"].to_numpy() + shift * np.arange(1, images_cal.num_rows + 1)
    at = images_cal.column_names.index("mcal")
    return images_cal.set_column(at, "mcal", pa.array(mcal))


def applied(db: Database, shift: float) -> int:
    return apply_to_all(db.snapshot, db.commit, SOLVED, lambda s, _: shifted(s, shift), executor=SerialExecutor())


def of(table: pa.Table, name: str) -> np.ndarray:
    """A column with NaN for NULL."""
    return table[name].to_numpy().astype(float)


def test_more_cloud_makes_magnitudes_brighter_by_as_much(db: Database) -> None:
    """`mag = inst_mag + zero point - mcal`."""
    before, snapshot = contents(db), db.snapshot()
    images = snapshot.read_global("images_cal")["image_id"].to_pylist()
    number = applied(db, 0.125)
    assert number == db.snapshot().id
    assert db.snapshot().calibration_id == snapshot.calibration_id + 1
    after = contents(db)
    step = 0.125 * np.array([images.index(i) + 1 for i in before["measurements"]["image_id"].to_pylist()])
    for name in ("mag", "ap_mag", "kron_mag"):
        was, now = of(before["measurements"], name), of(after["measurements"], name)
        assert np.isfinite(was).any()
        np.testing.assert_array_equal(np.isnan(was), np.isnan(now))
        np.testing.assert_allclose(now, was - step, rtol=0, atol=4e-6)  # two roundings to float32
    ratio = of(after["measurements"], "flux") / of(before["measurements"], "flux")
    np.testing.assert_allclose(ratio, 10 ** (0.4 * step), rtol=1e-6)
    assert_same({"o": after["object_seeds"]}, {"o": before["object_seeds"]})
    assert not after["object_bands"].equals(before["object_bands"])


def test_raw_files_are_untouched(db: Database) -> None:
    before = db.snapshot().files("measurements")
    applied(db, 0.1)
    assert db.snapshot().files("measurements") == before
    for file in before:
        assert digest_of(db.root / file.path) == file.digest
    check_nothing_is_left_over(db)


def test_same_calibration_gives_the_same_numbers(db: Database) -> None:
    """Ingest, refresh and apply are one function of raw values and calibration (promise 4)."""
    before = contents(db)
    files = {f.name for f in db.snapshot().files("measurements_cal")}
    applied(db, 0.0)
    assert not files & {f.name for f in db.snapshot().files("measurements_cal")}
    assert_same(contents(db), before)
    assert refresh(db.snapshot, db.commit, executor=SerialExecutor(), every=True) == db.snapshot().id
    assert_same(contents(db), before)


def test_going_back_restores_every_number(db: Database) -> None:
    before = contents(db, ["measurements", *DERIVED])
    applied(db, 0.25)
    applied(db, -0.25)
    assert_same(contents(db, ["measurements", *DERIVED]), before)


def test_later_files_are_calibrated_beside_the_solution(db: Database, tmp_path: Path) -> None:
    """A new image has its own first zero point; the solved ones keep theirs."""
    applied(db, 0.5)
    solved = contents(db, ["images_cal"])["images_cal"]
    more = write_night(tmp_path / "more", exposures=1, stars=80, seed=1)
    addstar(db, more, workers=1)
    images_cal = contents(db, ["images_cal"])["images_cal"]
    kept = images_cal.filter(pc.is_in(images_cal["image_id"], solved["image_id"].combine_chunks()))
    assert_same({"images_cal": kept}, {"images_cal": solved})
    assert images_cal.num_rows == solved.num_rows + 1
    before = contents(db, DERIVED)
    assert refresh(db.snapshot, db.commit, executor=SerialExecutor(), every=True) is not None
    assert_same(contents(db, DERIVED), before)


def clouded(snapshot: Snapshot, _: pa.Table) -> pa.Table:
    """The current zero points, a quarter of a magnitude of cloud added to all."""
    images_cal = snapshot.read_global("images_cal")
    at = images_cal.column_names.index("mcal")
    mcal = pa.array(images_cal["mcal"].to_numpy() + 0.25)
    return images_cal.set_column(at, "mcal", mcal)


@pytest.mark.parametrize("stable", [True, False])
def test_ingest_in_between_is_kept_and_only_what_changed_is_done_again(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stable: bool
) -> None:
    """Cells whose files changed; or all, where the new image changes the solution of the others."""
    corner = rows(3, X_PSF=np.full(3, 500, "f4"), Y_PSF=np.array([400, 440, 480], "f4"))
    more = write_cmf(tmp_path / "more.cmf", corner, {"CRVAL1": 0.0, "CRVAL2": 10.0})
    original, rewrite, tried, done = Database.commit, recalibrate.recalibrate_cell, [], []

    def commit(self: Database, changes: Changes) -> int:
        if changes.kind == "relcal":
            tried.append(len(done))
            if len(tried) == 1:
                addstar(db, more, compact=False, workers=1)
        return original(self, changes)

    def recalibrate_cell(cell: Cell, *, task: RecalibrateTask) -> RewrittenCell:
        done.append(cell.key)
        return rewrite(cell, task=task)

    cells = len([c for c in db.snapshot().cells() if db.snapshot().files("measurements", c)])
    monkeypatch.setattr(Database, "commit", commit)
    monkeypatch.setattr(recalibrate, "recalibrate_cell", recalibrate_cell)
    fill = clouded if stable else lambda snapshot, _: shifted(snapshot, 0.25)
    apply_to_all(db.snapshot, db.commit, SOLVED, fill, executor=SerialExecutor())
    monkeypatch.undo()
    assert tried[0] == cells
    assert (0 < tried[1] - cells < cells) if stable else tried[1] >= 2 * cells
    check_nothing_is_left_over(db)
    assert len(contents(db)["images_cal"]) == 5
    held = contents(db)
    applied(db, 0.0)
    assert_same(contents(db), held)


def test_endless_conflict_is_given_up_and_leaves_what_can_be_continued(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(self: Database, changes: Changes) -> int:
        raise CommitConflict("another writer came first")

    monkeypatch.setattr("skydb.store.retries.ATTEMPTS", 2)
    monkeypatch.setattr(Database, "commit", conflict)
    with pytest.raises(CommitConflict):
        applied(db, 0.1)
    with pytest.raises(CommitConflict):
        refresh(db.snapshot, db.commit, executor=SerialExecutor(), every=True)
    monkeypatch.undo()
    assert len(unfinished_jobs(db.root)) == len(list(db.work.iterdir())) == 1
    applied(db, 0.1)
    check_nothing_is_left_over(db)


@pytest.mark.parametrize("harm", ["remove", "cut"])
def test_refresh_of_all_cells_mends_derived_files_as_their_errors_advise(db: Database, harm: str) -> None:
    before = contents(db)
    for file in (f for name in DERIVED for f in db.snapshot().files(name)):
        path = db.root / file.path
        content = path.read_bytes()
        path.unlink()
        if harm == "cut":
            path.write_bytes(content[:-100])
    with pytest.raises(DataError, match="run `skydb refresh --all`"):
        contents(db)
    refresh(db.snapshot, db.commit, executor=SerialExecutor(), every=True)
    assert_same(contents(db), before)


def test_refresh_does_not_mend_calibrated_files_and_says_what_does(db: Database) -> None:
    head = db.snapshot().id
    (db.root / db.snapshot().files("measurements_cal")[0].path).unlink()
    with pytest.raises(DataError, match="put this file back from a copy"):
        refresh(db.snapshot, db.commit, executor=SerialExecutor(), every=True)
    assert db.snapshot().id == head


@pytest.mark.parametrize("number", [2, 7])
def test_full_disk_leaves_no_trace(db: Database, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before, head, original, calls = contents(db), db.snapshot().id, scratch.store_rows, []

    def store_rows(*args: object, **more: object) -> DataFile:
        calls.append(args)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **more)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(scratch, "store_rows", store_rows)
    with pytest.raises(DataError, match="no space left on device; free some space"):
        applied(db, 0.1)
    assert db.snapshot().id == head
    check_nothing_is_left_over(db)
    assert_same(contents(db), before)


def test_calibration_is_recorded_with_its_report(db: Database) -> None:
    solved = replace(SOLVED, calibration=replace(CALIBRATION, report={"passes": 3}))
    apply_to_all(db.snapshot, db.commit, solved, lambda s, _: shifted(s, 0.1), executor=SerialExecutor())
    last = catalog_table(db.snapshot(), "calibrations").to_pylist()[-1]
    assert (last["kind"], last["bands"], last["report"]) == ("relcal", "g", '{"passes": 3}')
    assert last["snapshot"] == db.snapshot().id


def test_nothing_to_refresh_makes_no_snapshot(db: Database) -> None:
    head = db.snapshot().id
    assert refresh(db.snapshot, db.commit, executor=SerialExecutor()) is None
    assert db.snapshot().id == head
