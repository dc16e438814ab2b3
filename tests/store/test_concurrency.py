"""Writers at the same time: what comes out is what one after the other would have made.

Each case lets one verb compute, runs the other to its end just before the first one commits, and lets the first go on.
The result must be that of the second and then the first alone, and the first tries again only where it has to. A verb
is added by a line of VERBS, and a pair that has to try again by a line of TRY_AGAIN.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import healpy
import numpy as np
import pyarrow as pa
import pytest

import skydb
import skydb.database as database
from skydb.calibration import recalibrate
from skydb.calibration.recalibrate import RecalibrateTask, RewrittenCell
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.parallel.executor import SerialExecutor
from skydb.sky.partition import pixel_of
from skydb.store import commit as commit_module
from skydb.store.cells import Cell
from skydb.store.changes import Changes
from skydb.store.compact import compact
from skydb.store.snapshot import Snapshot
from skydb.store.tags import set_tag
from tests.calibration.test_recalibrate import applied
from tests.checks.damages import file_of, replace_file, rows_of, with_value
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import _model as model_at
from tests.ingest.skies import (
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
)

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Files:
    """What is ingested: first of all, then by one writer and the other, somewhere else on the sky; and a database."""

    first: list[Path]
    one: Path
    other: Path
    elsewhere: Path
    apart: Path


Verb = Callable[[Database, Files], object]


def folded(db: Database, files: Files) -> object:
    cells = db.snapshot().cells()
    return compact(db.snapshot, db.commit, cells, cell_rows=db.cell_rows, executor=SerialExecutor())


def released(db: Database) -> Path:
    """Return where a database is released to."""
    return db.root.with_suffix(".hats")


def harmed(db: Database) -> None:
    """Let a file of objects miscount their measurements, which nobody but `fsck` looks at."""
    file = file_of(db, "objects")
    replace_file(db, file, with_value(rows_of(db, file), "n_measurements", 0, 99))


VERBS: dict[str, Verb] = {
    "ingest": lambda db, files: skydb.addstar(db, files.one, compact=False, workers=1),
    "ingest another": lambda db, files: skydb.addstar(db, files.other, compact=False, workers=1),
    "ingest elsewhere": lambda db, files: skydb.addstar(db, files.elsewhere, compact=False, workers=1),
    "merge": lambda db, files: skydb.merge(db, files.apart, compact=False, workers=1),
    "relcal": lambda db, files: applied(db, 0.125),
    "refresh": lambda db, files: skydb.refresh(db, every=True, workers=1),
    "compact": folded,
    "rollback": lambda db, files: skydb.rollback(db, 2),
    "tag": lambda db, files: set_tag(db.root, "PV1", 2),
    "gc": lambda db, files: skydb.gc(db, grace="0"),
    "repair": lambda db, files: fsck(db, repair=True, workers=1),
    "release": lambda db, files: skydb.release(db, released(db), name="dr1", workers=1),
}
"""What may happen at the same time."""

COMMITS_LITTLE = {"gc", "release"}
"""Verbs that make no state of the database: they only come second here; see `test_concurrency_release.py`."""

if hasattr(skydb, "delete"):
    VERBS["delete"] = lambda db, files: skydb.delete(db, files=[str(files.first[0])], workers=1)

IN_CELL = {"ingest", "ingest another", "merge", "relcal", "refresh", "compact", "delete", "repair"}
"""Verbs that read and write the cell that is there; what one changes, the others have to read again."""

TRY_AGAIN = {
    *product(IN_CELL, IN_CELL),
    ("ingest elsewhere", "relcal"), ("relcal", "ingest elsewhere"),  # the calibration of all; all cells
    ("repair", "ingest elsewhere"),  # counts in all cells
    *((verb, "rollback") for verb in {*IN_CELL, "ingest elsewhere"}),
    *(("rollback", verb) for verb in {*IN_CELL, "ingest elsewhere", "tag"}),  # gc finds all read or tagged
}
"""Pairs of verbs of which the first tries again when the second comes first."""

QUICK = {
    ("ingest", "ingest another"), ("ingest", "ingest elsewhere"), ("ingest", "relcal"), ("relcal", "ingest"),
    ("ingest", "compact"), ("ingest", "rollback"), ("rollback", "ingest"), ("compact", "compact"),
    ("merge", "compact"), ("merge", "ingest"),
    ("ingest", "merge"), ("relcal", "relcal"), ("relcal", "gc"), ("delete", "ingest"), ("repair", "ingest"),
}  # fmt: skip
"""Pairs that every run tests."""


def write_files(folder: Path) -> Files:
    *first, one, other, last = write_night(folder / "here", exposures=5, stars=30)
    skydb.addstar(new_database(folder / "apart.sky"), last, workers=1)
    (elsewhere,) = write_night(folder / "there", exposures=1, stars=30, ra=180.0, seed=1)
    return Files(first, one, other, elsewhere, folder / "apart.sky")


def begin(folder: Path, files: Files) -> Database:
    """Make a database of two files (snapshots 2 and 3) in one cell; gc cannot give up the first."""
    made = new_database(folder / "t.sky")
    for file in files.first:
        skydb.addstar(made, file, compact=False, workers=1)
    set_tag(made.root, "kept", 2)
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Database:
    return begin(tmp_path_factory.mktemp("begun"), files)


def copy_of(db: Database, path: Path) -> Database:
    shutil.copytree(db.root, path)
    return database.open(path)


def held_in(folder: Path) -> dict[str, bytes]:
    """Return all files of a release: a snapshot makes the same ones every time."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Between:
    """Lets something happen before commits of a kind, and counts how often they are tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *happens: Callable[[], object]) -> None:
        self._happens, self._original, self._busy = list(happens), commit_module.transact, False
        self.tried = 0
        monkeypatch.setattr(commit_module, "transact", self._transact)

    def _transact(self, root: Path, changes: Changes) -> int:
        if not self._busy:
            self.tried += 1
            if self._happens:
                self._busy = True
                self._happens.pop(0)()
                self._busy = False
        return self._original(root, changes)


def cases() -> list[object]:
    every = [(a, b) for a in VERBS for b in VERBS if a not in COMMITS_LITTLE and (a, b) != ("tag", "tag")]
    return [pytest.param(a, b, id=f"{a} x {b}", marks=() if (a, b) in QUICK else pytest.mark.slow) for a, b in every]


@pytest.mark.parametrize(("first", "second"), cases())
def test_result_is_that_of_one_after_the_other(
    first: str, second: str, begun: Database, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial, both = copy_of(begun, tmp_path / "serial.sky"), copy_of(begun, tmp_path / "both.sky")
    if "repair" in (first, second):
        for db in (serial, both):
            harmed(db)
    VERBS[second](serial, files)
    VERBS[first](serial, files)
    with monkeypatch.context() as patch:
        between = Between(patch, lambda: VERBS[second](both, files))
        VERBS[first](both, files)
    assert_same(contents(both), contents(serial))
    if second == "release":
        made, wanted = (held_in(released(db)) for db in (both, serial))
        assert made.keys() == wanted.keys()
        assert [name for name in made if name.endswith(".parquet") and made[name] != wanted[name]] == []
    same = first == second and first.startswith(("ingest", "merge", "delete"))  # the other one has done it already
    if not same:
        assert between.tried == 1 + ((first, second) in TRY_AGAIN)
    if "repair" in (first, second):
        assert fsck(both, workers=1).clean
    check_conservation(both)
    check_nothing_is_left_over(both)


@pytest.mark.slow
def test_repair_mends_the_parts_of_a_cell_that_another_split(
    begun: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = copy_of(begun, tmp_path / "t.sky")
    file = file_of(db, "measurements_cal")
    replace_file(db, file, with_value(rows_of(db, file), "mag", 0, 12.5))
    split = partial(compact, db.snapshot, db.commit, None, cell_rows=10, executor=SerialExecutor())
    between = Between(monkeypatch, split)
    report = fsck(db, deep=True, repair=True, workers=1)
    assert {f.kind for f in report.found} == {"calibrated-differ"}
    assert (between.tried, report.findings, report.lost) == (2, (), ())
    assert len(db.snapshot().cells()) > len(begun.snapshot().cells())


def star(path: Path, ra: float, dec: float, number: int) -> Path:
    """A file with one detection, at a position."""
    when = {"OBS_ID": path.stem, "MJD-OBS": 57000.0 + number, "PHOTCODE": "CAM.r"}
    x, y = model_at(ra, dec).sky_to_pixel(np.array([ra]), np.array([dec]))
    table = rows(1, seed=number, X_PSF=x.astype("f4"), Y_PSF=y.astype("f4"), PSF_INST_MAG=np.array([-12.0], "f4"))
    return write_cmf(path, table, {"CRVAL1": ra % 360.0, "CRVAL2": dec, **when})


def border_of(cells: list[Cell], apart_deg: float) -> tuple[float, float]:
    """A position from which a step west and a step east lead into two different cells."""
    for cell in cells:
        corners = healpy.boundaries(1 << cell.norder, cell.npix, step=4, nest=True).T
        for ra, dec in zip(*healpy.vec2ang(corners, lonlat=True), strict=True):
            west, east = pixel_of([ra - apart_deg, ra + apart_deg], [dec, dec]).tolist()
            at = [next((c for c in cells if c.lo <= pixel < c.hi), None) for pixel in (west, east)]
            if None not in at and at[0] != at[1]:
                return float(ra), float(dec)
    raise AssertionError("no two cells meet")


@pytest.mark.parametrize("split", [False, True], ids=["empty sky", "border of two cells"])
def test_star_that_two_writers_find_at_once_becomes_one_object(
    split: bool, begun: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, apart = copy_of(begun, tmp_path / "t.sky"), 0.15 / 3600
    ra, dec = 200.0, -40.0
    if split:
        compact(db.snapshot, db.commit, None, cell_rows=10, executor=SerialExecutor())
        ra, dec = border_of(db.snapshot().cells(), apart)
    before = len(contents(db, ["object_seeds"])["object_seeds"])
    one, other = star(tmp_path / "one.cmf", ra - apart, dec, 1), star(tmp_path / "other.cmf", ra + apart, dec, 2)
    between = Between(monkeypatch, lambda: skydb.addstar(db, other, compact=False, workers=1))
    report = skydb.addstar(db, one, compact=False, workers=1)
    assert (between.tried, report.count("n_matched"), report.count("n_new")) == (2, 1, 0)
    assert len(contents(db, ["object_seeds"])["object_seeds"]) == before + 1
    check_conservation(db)


def test_long_apply_goes_on_beside_nightly_ingests_and_redoes_only_their_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = [write_night(tmp_path / f"{n}", exposures=1, stars=20, ra=72.0 * n, seed=n)[0] for n in range(4)]
    again = [write_night(tmp_path / f"again{n}", exposures=1, stars=9, ra=72.0 * n, seed=10 + n)[0] for n in range(2)]
    db = new_database(tmp_path / "t.sky")
    skydb.addstar(db, nights, workers=1)
    cells = len(db.snapshot().cells())
    done: list[tuple[int, int]] = []
    original = recalibrate.recalibrate_cell

    def counted(cell: Cell, *, task: RecalibrateTask) -> RewrittenCell:
        done.append(cell.key)
        return original(cell, task=task)

    monkeypatch.setattr(recalibrate, "recalibrate_cell", counted)
    touched: list[int] = []

    def night(file: Path) -> None:
        before = {c.key: db.snapshot().files("measurements", c) for c in db.snapshot().cells()}
        skydb.addstar(db, file, compact=False, workers=1)
        skydb.gc(db, grace="0")
        now = db.snapshot()
        touched.append(sum(before.get(c.key) != now.files("measurements", c) for c in now.cells()))

    between = Between(monkeypatch, *(lambda file=file: night(file) for file in again))
    applied(db, 0.125)
    assert between.tried == len(again) + 1
    assert 0 < sum(touched) < cells
    assert len(done) == cells + sum(touched)
    monkeypatch.undo()
    serial = new_database(tmp_path / "serial.sky")
    skydb.addstar(serial, nights, workers=1)
    for file in again:
        skydb.addstar(serial, file, compact=False, workers=1)
    applied(serial, 0.125)
    assert_same(contents(db), contents(serial))
    check_nothing_is_left_over(db)


def test_long_reader_and_gc(begun: Database, files: Files, tmp_path: Path) -> None:
    """What a release reads stays there until it is done, whatever is committed and collected meanwhile."""
    db = copy_of(begun, tmp_path / "t.sky")
    reader: Snapshot = db.snapshot()
    first, before = reader.cells()[0], reader.read_cell("objects", reader.cells()[0])
    for verb in ("ingest", "relcal", "compact", "gc"):
        VERBS[verb](db, files)
        fresh = Snapshot(reader.root, reader.database_id, reader.id, reader.calibration_id)
        assert fresh.read_cell("objects", first).equals(before)
    del reader
    assert skydb.gc(db, grace="0").files > 0
    check_nothing_is_left_over(db)


WORKERS = {
    "one": "skydb.addstar(db, sys.argv[2], compact=False, workers=1)",
    "other": "skydb.addstar(db, sys.argv[3], compact=False, workers=1)",
    "collector": "[skydb.gc(db, grace='0') for _ in range(10)]",
    "reader": "[skydb.connect(db).sql('SELECT avg(mag) FROM measurements').arrow() for _ in range(10)]",
    "refresher": "[skydb.refresh(db, every=True, workers=1) for _ in range(3)]",
}
"""What five processes do at the same time."""


@pytest.mark.slow
def test_processes_at_the_same_time(begun: Database, files: Files, tmp_path: Path) -> None:
    db, serial = copy_of(begun, tmp_path / "t.sky"), copy_of(begun, tmp_path / "serial.sky")
    start = "import sys, skydb; db = skydb.open(sys.argv[1]); sys.stdin.read(1); "
    words = [str(db.root), str(files.one), str(files.other)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", start + code, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=PROJECT,
        )
        for code in WORKERS.values()
    ]  # fmt: skip
    said = dict(zip(WORKERS, (p.communicate("!", timeout=120)[1] for p in processes), strict=True))
    assert [p.returncode for p in processes] == [0] * len(processes), said
    VERBS["ingest"](serial, files)
    VERBS["ingest another"](serial, files)
    skydb.gc(db, grace="0")
    by_id = {name: _by_measurement(contents(each, ["measurements"])["measurements"]) for name, each in
             (("both", db), ("serial", serial))}  # fmt: skip
    assert by_id["both"] == by_id["serial"]
    check_conservation(db)
    check_nothing_is_left_over(db)


def _by_measurement(table: pa.Table) -> set[tuple[int, int]]:
    """Which rows there are: the order of two ingests may decide which object takes one."""
    return set(zip(table["image_id"].to_pylist(), table["det_id"].to_pylist(), strict=True))
