"""An apply that was cut short is continued: what it had done is not done again, and it ends as if undisturbed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import skydb
from skydb import database, hosts
from skydb.calibration import kept_apply, recalibrate
from skydb.calibration.kept_apply import Solved
from skydb.calibration.recalibrate import RecalibrateTask, apply_to_all, finish_apply
from skydb.calibration.rewriting import RewrittenCell
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import BusyError, DataError
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.photcodes import import_photcodes
from skydb.store import unfinished
from skydb.store.cells import Cell
from skydb.store.changes import Calibration, Changes
from skydb.store.collect import collect
from skydb.store.compact import compact
from skydb.store.history import catalog_table, summary
from skydb.store.locks import shared
from skydb.store.scratch import scratch, sweep
from skydb.store.snapshot import Snapshot
from skydb.store.unfinished import DONE, JOB, KEPT, Unfinished, unfinished_jobs
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import assert_same, check_nothing_is_left_over, contents, new_database, write_night
from tests.stateful.killing import killed_at

SHIFT = 0.25
DONE_BEFORE = 4


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of a night in many cells; only to be copied."""
    folder = tmp_path_factory.mktemp("night")
    made = new_database(folder / "pristine.sky", cell_rows=40)
    addstar(made, write_night(folder, exposures=4, stars=80), workers=1)
    assert len(made.snapshot().cells()) > 2 * DONE_BEFORE
    return made.root


@pytest.fixture
def db(tmp_path: Path, pristine: Path) -> Database:
    return database.open(shutil.copytree(pristine, tmp_path / "t.sky"))


def solved(db: Database, shift: float = SHIFT) -> Solved:
    """What was solved: every image of the present snapshot has so much more cloud."""
    rows = db.snapshot().read_global("images_cal", ["image_id", "mcal"])
    rows = rows.set_column(1, "mcal", pa.array(rows["mcal"].to_numpy() + shift))
    return Solved(Calibration("relcal", ("g",), len(rows), 100, 1.0, {"passes": 3}), "relcal t.sky", 1, rows)


def filled(snapshot: Snapshot, rows: pa.Table) -> pa.Table:
    """`images_cal`: solved images have their new zero point."""
    new = dict(zip(rows["image_id"].to_pylist(), rows["mcal"].to_pylist(), strict=True))
    images_cal = snapshot.read_global("images_cal")
    values = [new.get(row["image_id"], row["mcal"]) for row in images_cal.to_pylist()]
    return images_cal.set_column(images_cal.column_names.index("mcal"), "mcal", pa.array(values, pa.float64()))


def apply(db: Database, shift: float = SHIFT) -> int:
    return apply_to_all(db.snapshot, db.commit, solved(db, shift), filled, executor=SerialExecutor())


def go_on(db: Database, job: Unfinished | None = None) -> int:
    return finish_apply(
        db.snapshot, db.commit, job or unfinished_jobs(db.root)[-1], filled, executor=SerialExecutor()
    )


def kill(db: Database, point: str = f"job.cell-done:{DONE_BEFORE}") -> None:
    assert killed_at(point, lambda: apply(db))


@contextmanager
def counted() -> Iterator[list[tuple[int, int]]]:
    """Tell which cells are done."""
    done: list[tuple[int, int]] = []
    original = recalibrate.recalibrate_cell

    def counting(cell: Cell, *, task: RecalibrateTask) -> RewrittenCell:
        done.append(cell.key)
        return original(cell, task=task)

    with patch.object(recalibrate, "recalibrate_cell", counting):
        yield done


@contextmanager
def failing(number: int, error: BaseException) -> Iterator[None]:
    """Have the n-th cell fail."""
    original, done = recalibrate.recalibrate_cell, []

    def fail(cell: Cell, *, task: RecalibrateTask) -> RewrittenCell:
        done.append(cell)
        if len(done) == number:
            raise error
        return original(cell, task=task)

    with patch.object(recalibrate, "recalibrate_cell", fail):
        yield


def undisturbed(db: Database, tmp_path: Path) -> dict[str, pa.Table]:
    """What an apply to a copy of a database makes of it."""
    copy = database.open(shutil.copytree(db.root, tmp_path / "undisturbed.sky"))
    for folder in copy.work.iterdir():
        shutil.rmtree(folder)
    apply(copy)
    return contents(copy)


def cells_of(db: Database) -> int:
    return len([c for c in db.snapshot().cells() if db.snapshot().files("measurements", c)])


def check_finished(db: Database, expected: dict[str, pa.Table]) -> None:
    assert_same(contents(db), expected)
    check_nothing_is_left_over(db)
    assert fsck(db, deep=True, workers=1).clean


def test_killed_apply_is_continued_and_ends_as_if_undisturbed(db: Database, tmp_path: Path) -> None:
    expected, n_cells = undisturbed(db, tmp_path), cells_of(db)
    kill(db)
    (job,) = unfinished_jobs(db.root)
    assert (job.kind, job.n_done, job.command) == ("relcal", DONE_BEFORE, "relcal t.sky")
    with counted() as done:
        number = go_on(db)
    assert len(done) == n_cells - DONE_BEFORE
    assert number == db.snapshot().id
    check_finished(db, expected)
    last = catalog_table(db.snapshot(), "calibrations").to_pylist()[-1]
    assert (last["kind"], last["bands"], last["report"]) == ("relcal", "g", '{"passes": 3}')
    assert unfinished_jobs(db.root) == []


@pytest.mark.parametrize(
    "point", ["job.described:1", "store.noted:7", "store.stored:8", "job.cell-done:1", "apply.written:1",
              "commit.begun:1", "commit.applied:1"],
)  # fmt: skip
def test_apply_can_be_killed_and_continued_again_and_again(db: Database, tmp_path: Path, point: str) -> None:
    expected = undisturbed(db, tmp_path)
    kill(db, point)
    first = unfinished_jobs(db.root)[0].n_done
    for _ in range(2):
        assert killed_at("job.cell-done:2", lambda: go_on(db)) or first > cells_of(db) - 4
        if not unfinished_jobs(db.root):
            break
    if unfinished_jobs(db.root):
        go_on(db)
    check_finished(db, expected)


def test_apply_killed_after_its_commit_is_done(db: Database, tmp_path: Path) -> None:
    expected, head = undisturbed(db, tmp_path), db.snapshot().id
    kill(db, "commit.committed:1")
    assert db.snapshot().id == head + 1
    assert unfinished_jobs(db.root) == []
    with scratch(db.root):
        pass
    check_finished(db, expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("no file"), BusyError("no host"), OSError(5, "EIO")])
def test_stopped_and_failed_applies_are_kept(db: Database, tmp_path: Path, error: BaseException) -> None:
    expected = undisturbed(db, tmp_path)
    with failing(3, error), pytest.raises((type(error), DataError)):
        apply(db)
    assert unfinished_jobs(db.root)[0].n_done == 2
    go_on(db)
    check_finished(db, expected)


def test_full_disk_makes_room(db: Database) -> None:
    before = contents(db)
    with failing(3, OSError(errno.ENOSPC, "No space left on device")), pytest.raises(DataError, match="no space left"):
        apply(db)
    assert_same(contents(db), before)
    check_nothing_is_left_over(db)


def test_other_jobs_and_gc_leave_what_was_done_alone(db: Database, tmp_path: Path) -> None:
    """What came since is calibrated beside the solution, as if it had come while the apply ran."""
    kill(db)
    addstar(db, corner(tmp_path), compact=False, workers=1)
    skydb.gc(db, grace="0")
    assert unfinished_jobs(db.root)[0].n_done == DONE_BEFORE
    n_cells = cells_of(db)
    with counted() as done:
        go_on(db)
    assert n_cells - DONE_BEFORE <= len(done) < n_cells
    check_nothing_is_left_over(db)
    held = contents(db)
    assert len(held["images_cal"]) == 5
    apply(db, 0.0)
    assert_same(contents(db), held)


def corner(folder: Path) -> Path:
    """An exposure of three stars in one place."""
    found = rows(3, X_PSF=pa.array([500.0] * 3).to_numpy().astype("f4"), Y_PSF=pa.array([400.0, 440, 480]).to_numpy())
    return write_cmf(folder / "more.cmf", found, {"CRVAL1": 0.0, "CRVAL2": 10.0})


def test_cells_that_were_folded_since_are_done_again(db: Database, tmp_path: Path) -> None:
    expected, n_cells = undisturbed(db, tmp_path), cells_of(db)
    kill(db)
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=db.cell_rows, executor=SerialExecutor())
    with counted() as done:
        go_on(db)
    assert len(done) == n_cells
    check_finished(db, expected)


def test_image_that_was_deleted_since_is_left_out(db: Database, tmp_path: Path) -> None:
    kill(db)
    image = db.snapshot().read_global("images", ["image_id"])["image_id"][0].as_py()
    skydb.delete(db, images=[image], workers=1)
    go_on(db)
    check_nothing_is_left_over(db)
    held = contents(db)
    assert len(held["images_cal"]) == 3
    apply(db, 0.0)
    assert_same(contents(db), held)


def test_photcodes_that_came_since_change_nothing(db: Database, tmp_path: Path) -> None:
    kill(db)
    (tmp_path / "codes").write_text("3 i sec 0 0 0 - - 0 0 -\n103 CAM.i dep 24 -0.1 0 - - 0 0 i\n")
    import_photcodes(db, tmp_path / "codes")
    with counted() as done:
        go_on(db)
    assert len(done) == cells_of(db) - DONE_BEFORE
    held = contents(db)
    apply(db, 0.0)
    assert_same(contents(db), held)


def test_terms_that_are_others_now_have_all_done_again(db: Database, tmp_path: Path) -> None:
    """As after the user's own change of what the solution holds; here, of how it enters."""
    kill(db)

    def cloudier(snapshot: Snapshot, rows: pa.Table) -> pa.Table:
        return filled(snapshot, rows.set_column(1, "mcal", pc.add(rows["mcal"], 0.5)))

    with counted() as done:
        (job,) = unfinished_jobs(db.root)
        finish_apply(db.snapshot, db.commit, job, cloudier, executor=SerialExecutor())
    assert len(done) == cells_of(db)
    held = contents(db)
    apply(db, 0.0)
    assert_same(contents(db), held)


def test_calibration_of_its_kind_takes_its_place(db: Database, tmp_path: Path) -> None:
    expected = undisturbed(db, tmp_path)
    kill(db)
    apply(db)
    assert unfinished_jobs(db.root) == []
    check_finished(db, expected)


def test_calibration_that_does_not_get_so_far_takes_nobodys_place(db: Database) -> None:
    kill(db)
    assert killed_at("job.opened:1", lambda: apply(db))
    assert [job.n_done for job in unfinished_jobs(db.root)] == [DONE_BEFORE]


def test_other_version_of_skydb_does_all_again(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = undisturbed(db, tmp_path)
    kill(db)
    monkeypatch.setattr(kept_apply, "__version__", "99.0")
    with counted() as done:
        go_on(db)
    assert len(done) == cells_of(db)
    check_finished(db, expected)


def test_of_two_that_wait_only_the_newer_can_be_continued(db: Database, tmp_path: Path) -> None:
    """As after a kill between saying what the newer one is and giving up the older one."""
    kill(db)
    assert killed_at("job.described:1", lambda: apply(db, 0.5))
    assert [job.n_done for job in unfinished_jobs(db.root)] == [DONE_BEFORE, 0]
    go_on(db)
    assert unfinished_jobs(db.root) == []
    held = contents(db)
    apply(db, 0.0)
    assert_same(contents(db), held)
    check_nothing_is_left_over(db)


def test_bands_that_were_derived_anew_alone_have_their_cell_done_again(db: Database) -> None:
    """Another file of one derived table: what was made would end the old one, which is no more."""
    kill(db)
    snapshot = db.snapshot()
    words = next(iter(unfinished.Journal(unfinished_jobs(db.root)[0].folder)))
    cell = next(c for c in snapshot.cells() if c.key == (words[2][0], words[2][1]))
    (old,) = snapshot.files("object_bands", cell)
    with scratch(db.root) as place:
        new = place.store(snapshot, snapshot.read_cell("object_bands", cell), "object_bands", cell=cell)
        db.commit(Changes("repair", "repair", snapshot.id, adds=(new,), replaces=(old.name,)))
    with counted() as done:
        go_on(db)
    assert len(done) == cells_of(db) - DONE_BEFORE + 1


def test_it_is_given_up_after_a_week(db: Database) -> None:
    kill(db)
    (job,) = unfinished_jobs(db.root)
    rest(job, KEPT - timedelta(hours=1))
    with scratch(db.root):
        pass
    assert len(unfinished_jobs(db.root)) == 1
    rest(job, KEPT + timedelta(hours=1))
    with scratch(db.root):
        pass
    assert unfinished_jobs(db.root) == []
    check_nothing_is_left_over(db)


def rest(job: Unfinished, long: timedelta, *names: str) -> None:
    """Have a job rest for some time, by the times of its files."""
    for name in names or (JOB, DONE):
        then = time.time() - long.total_seconds()
        os.utime(job.folder / name, (then, then))


def test_it_rests_from_its_last_cell(db: Database) -> None:
    """An apply that takes longer than a week is kept for another one."""
    kill(db)
    (job,) = unfinished_jobs(db.root)
    rest(job, KEPT + timedelta(days=3), JOB)
    with scratch(db.root):
        pass
    assert len(unfinished_jobs(db.root)) == 1
    go_on(db)
    check_nothing_is_left_over(db)


def test_clock_that_was_ahead_does_not_keep_it_for_ever(db: Database) -> None:
    kill(db)
    rest(unfinished_jobs(db.root)[0], -KEPT - timedelta(days=1))
    assert unfinished_jobs(db.root) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "relcal"}', '{"format": 99, "kind": "relcal", "head": 1}'])
def test_job_that_says_nothing_is_cleared_up_as_any_other(db: Database, text: str) -> None:
    kill(db)
    (unfinished_jobs(db.root)[0].folder / JOB).write_text(text)
    assert unfinished_jobs(db.root) == []
    assert summary(db.snapshot())["unfinished"] is None
    assert {f.kind for f in fsck(db, workers=1).findings} == {"left-behind"}
    skydb.gc(db, grace="0")
    check_nothing_is_left_over(db)


def test_what_is_cleared_up_in_part_can_be_continued_no_more(db: Database) -> None:
    kill(db)

    def discard() -> None:
        sweep(db.root, overtaken="relcal")

    assert killed_at("job.emptied:1", discard)
    assert unfinished_jobs(db.root) == []
    with scratch(db.root):
        pass
    check_nothing_is_left_over(db)


def test_what_another_calibration_overtook_is_over_though_somebody_held_it(db: Database) -> None:
    """A worker that still stores for the killed one keeps its folder from being cleared up; not from being over."""
    kill(db)
    (job,) = unfinished_jobs(db.root)
    with shared(job.folder):
        apply(db, 0.5)
        skydb.rollback(db, db.snapshot().id - 1)
        skydb.gc(db, grace="0")
        assert job.folder.exists()
    assert unfinished_jobs(db.root) == []
    skydb.gc(db, grace="0")
    check_nothing_is_left_over(db)


def test_job_that_is_overtaken_while_it_is_looked_up_is_not_continued(db: Database) -> None:
    kill(db)
    (job,) = unfinished_jobs(db.root)
    with shared(job.folder):
        apply(db, 0.5)
    head, held = db.snapshot().id, contents(db)
    with patch("skydb.store.scratch.sweep"), pytest.raises(BusyError, match="another relcal was committed since"):
        go_on(db, job)
    with pytest.raises(BusyError, match="works on this job, or has just ended it"):
        go_on(db, job)
    assert db.snapshot().id == head
    assert_same(contents(db), held)
    check_nothing_is_left_over(db)


def test_it_is_told_of_and_continued_while_its_workers_still_store(db: Database) -> None:
    kill(db)
    (job,) = unfinished_jobs(db.root)
    storing, seen = threading.Event(), threading.Event()

    def store() -> None:
        with shared(job.folder):
            storing.set()
            seen.wait()
            time.sleep(0.3)

    worker = threading.Thread(target=store)
    worker.start()
    storing.wait()
    assert len(unfinished_jobs(db.root)) == 1
    seen.set()
    go_on(db)
    worker.join()
    check_nothing_is_left_over(db)


def test_who_looks_does_not_keep_others_from_continuing(db: Database) -> None:
    kill(db)
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            unfinished_jobs(db.root)
            sweep(db.root)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for each in lookers:
        each.start()
    try:
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt), failing(1, KeyboardInterrupt()):
                go_on(db, waited_for(db))
        go_on(db, waited_for(db))
    finally:
        ended.set()
        for each in lookers:
            each.join()
    check_nothing_is_left_over(db)


def waited_for(db: Database) -> Unfinished:
    """The job, as soon as nobody looks at it."""
    while not (found := unfinished_jobs(db.root)):
        pass
    return found[-1]


def test_cells_that_a_rollback_brought_back_are_as_they_were(db: Database, tmp_path: Path) -> None:
    expected, head = undisturbed(db, tmp_path), db.snapshot().id
    kill(db)
    compact(db.snapshot, db.commit, db.snapshot().cells(), cell_rows=db.cell_rows, executor=SerialExecutor())
    skydb.rollback(db, head)
    with counted() as done:
        go_on(db)
    assert len(done) == cells_of(db) - DONE_BEFORE
    check_finished(db, expected)


def test_only_one_continues_it(db: Database) -> None:
    kill(db)
    (job,) = unfinished_jobs(db.root)
    with scratch(db.root, unfinished=job.folder):
        assert unfinished_jobs(db.root) == []
        with pytest.raises(BusyError, match="another process works on this job"):
            go_on(db, job)
    assert unfinished_jobs(db.root) == []


@pytest.mark.parametrize("harm", ["note", "file", "cut", "journal", "terms", "photcodes"])
def test_what_a_power_cut_took_is_done_again(db: Database, tmp_path: Path, harm: str) -> None:
    expected, n_cells = undisturbed(db, tmp_path), cells_of(db)
    kill(db)
    (job,) = unfinished_jobs(db.root)
    lost = spoil(db, job, harm)
    with counted() as done:
        go_on(db)
    assert len(done) == n_cells - DONE_BEFORE + lost
    if harm == "note":  # the file is an orphan now
        collect(db.root, grace=timedelta(0), now=datetime.now(UTC) + timedelta(hours=2))
    check_finished(db, expected)


def spoil(db: Database, job: Unfinished, harm: str) -> int:
    """Spoil something of what was kept; return how many cells must be done again."""
    cell, adds = next((words[2], words[3]) for words in unfinished.Journal(job.folder))
    assert cell
    if harm == "note":
        (job.folder / f"{adds[0][0]}.stored").unlink()
    elif harm in ("file", "cut"):
        path = db.root / adds[0][5]
        content = path.read_bytes()
        path.write_bytes(content[:-1]) if harm == "cut" else path.unlink()
    elif harm == "journal":
        content = (job.folder / DONE).read_bytes()
        (job.folder / DONE).write_bytes(content[:-20])
    else:
        (kept,) = job.folder.glob(f"*{kept_apply._IMAGES if harm == 'terms' else kept_apply._PHOTCODES}")
        kept.write_bytes(kept.read_bytes()[:-100])
        return DONE_BEFORE
    return 1


def test_cells_whose_host_went_are_done_again(db: Database, tmp_path: Path) -> None:
    hosts.add_host(db, "b", tmp_path / "b")
    hosts.balance(db, workers=1)
    kill(db, f"job.cell-done:{cells_of(db) - 1}")
    hosts.drain(db, "b", workers=1)
    hosts.remove_host(db, "b")
    go_on(db)
    check_nothing_is_left_over(db)
    assert {f.host for f in db.snapshot().files("measurements_cal")} == {"local"}
    held = contents(db)
    apply(db, 0.0)
    assert_same(contents(db), held)


def test_people_are_told_of_it(db: Database) -> None:
    assert summary(db.snapshot())["unfinished"] is None
    kill(db)
    said = summary(db.snapshot())["unfinished"]
    assert isinstance(said, str)
    assert said.startswith("relcal of 20")
    assert f"Z, {DONE_BEFORE} of {len(db.snapshot().cells())} cells done, kept until 20" in said
    (finding,) = [f for f in fsck(db, workers=1).findings if f.kind != "removal-waiting"]
    assert (finding.kind, finding.severity) == ("unfinished", "notice")
    assert fsck(db, repair=True, workers=1).clean
    assert len(unfinished_jobs(db.root)) == 1


def test_moved_database_goes_on(db: Database, tmp_path: Path) -> None:
    expected = undisturbed(db, tmp_path)
    kill(db)
    moved = database.open(db.root.rename(tmp_path / "moved.sky"))
    with counted() as done:
        go_on(moved)
    assert len(done) == cells_of(moved) - DONE_BEFORE
    check_finished(moved, expected)


def test_lost_races_and_a_kill_in_between_lose_no_cell(db: Database, tmp_path: Path) -> None:
    """Killed at its second attempt: cells of both are kept, and the terms of both are compared."""
    raced = []
    original = Database.commit

    def commit(self: Database, changes: object) -> int:
        if getattr(changes, "kind", "") == "relcal" and not raced:
            raced.append(True)
            addstar(self, corner(tmp_path), compact=False, workers=1)
        return original(self, changes)  # type: ignore[arg-type]  # passed on

    with patch.object(Database, "commit", commit):
        kill(db, "apply.written:2")
    n_cells = cells_of(db)
    assert unfinished_jobs(db.root)[0].n_done == n_cells
    with counted() as done:
        go_on(db)
    assert done == []
    check_nothing_is_left_over(db)
    held = contents(db)
    assert pc.min(held["images_cal"]["mcal"]).as_py() is not None
    apply(db, 0.0)
    assert_same(contents(db), held)
