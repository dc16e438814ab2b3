"""Any sequence of what users do, with crashes in between, gives what a model of plain dictionaries gives."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import skydb
from skydb import database
from skydb.calibration.recalibrate import Prepared, apply_to_all
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from skydb.store import crashpoints
from skydb.store.changes import Calibration
from skydb.store.compact import compact
from skydb.store.rollback import rollback_changes
from skydb.store.snapshot import Snapshot
from skydb.store.tags import set_tag
from tests.ingest.association_oracle import PLACES
from tests.ingest.tables import detections_mapping
from tests.parallel.simulated import SimulatedExecutor

from .killing import killed_at
from .observed import check, check_log, images_of
from .sky_model import Model, write_exposures

CODES = """
1 g sec 0 0 0 - - 0 0 -
11 X.g dep 24.5 0 0 - - 0 0 g
"""
EXPOSURES, PER_IMAGE, CELL_ROWS = 7, 9, 25
POINTS = [point for point in crashpoints.POINTS if not point.startswith("create.")]
numbers = st.integers(0, 2**31)


class Machine(RuleBasedStateMachine):
    """A database, and what it should hold: at every snapshot, and now."""

    @initialize(place=st.sampled_from(PLACES), seed=numbers)
    def begin(self, place: tuple[float, float], seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.exposures = {
            e.number: e
            for e in write_exposures(self.folder, place=place, seed=seed, count=EXPOSURES, per_image=PER_IMAGE)
        }
        self.mapping = detections_mapping(self.folder)
        self.db = database.create(self.folder / "t.sky", cell_rows=CELL_ROWS)
        codes = self.folder / "codes"
        codes.write_text(CODES)
        import_photcodes(self.db, codes)
        self.now = Model()
        self.at = {self.db.snapshot().id: self.now}
        self.tags: dict[str, int] = {}
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # what users do

    @rule(chosen=st.sets(st.integers(0, EXPOSURES - 1), min_size=1, max_size=3), defer=st.booleans(), seed=numbers)
    def ingest(self, chosen: set[int], defer: bool, seed: int) -> None:
        self._ingest(chosen, defer, seed)
        self._becomes(self._ingested(chosen, defer))

    @rule(seed=numbers)
    def calibrate(self, seed: int) -> None:
        self._calibrate(seed)
        self._becomes(self.now.calibrated(self._mcal(seed)))

    @rule(seed=numbers)
    def refresh(self, seed: int) -> None:
        self._refresh(seed)
        self._becomes(self.now.refreshed())

    @rule(seed=numbers)
    def fold_and_split(self, seed: int) -> None:
        self._compact(seed)
        self._becomes(self.now)

    @rule()
    def tag(self) -> None:
        self.count += 1
        name = f"T{self.count}"
        self.tags[name] = set_tag(self.db.root, name)
        self._becomes(self.now)

    @precondition(lambda self: len(self.at) > 2)
    @rule(which=numbers)
    def go_back(self, which: int) -> None:
        to = sorted(self.at)[which % len(self.at)]
        changes = rollback_changes(self.db.snapshot(), self.db.snapshot(to))
        if changes:
            self.db.commit(changes)
        self._becomes(self.at[to])

    # what happens to them

    @rule(
        point=st.sampled_from(POINTS), turn=st.integers(1, 3), seed=numbers,
        what=st.sampled_from(("ingest", "calibrate", "compact")),
    )  # fmt: skip
    def crash(self, point: str, turn: int, what: str, seed: int) -> None:
        """A process is killed: all of what it did is there, or nothing; whoever opens the database goes on."""
        chosen = set(random.Random(seed).sample(range(EXPOSURES), 2))
        action, after = {
            "ingest": (lambda: self._ingest(chosen, False, seed), lambda: self._ingested(chosen, False)),
            "calibrate": (lambda: self._calibrate(seed), lambda: self.now.calibrated(self._mcal(seed))),
            "compact": (lambda: self._compact(seed), lambda: self.now),
        }[what]
        head = self.db.snapshot().id
        killed = killed_at(f"{point}:{turn}", action)
        self.reopen()
        came = self.db.snapshot().id > head
        assert killed or came or after() == self.now or what == "compact"
        self._becomes(after() if came else self.now)

    @rule()
    def reopen(self) -> None:
        self.db = database.open(self.db.root)

    # what must hold

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "db"):
            check(self.db.snapshot(), self.now, self.exposures)
            check_log(self.db, self.now)

    @precondition(lambda self: getattr(self, "at", None))
    @rule(which=numbers)
    def look_back(self, which: int) -> None:
        """Earlier snapshots and tags are what they were."""
        number = sorted(self.at)[which % len(self.at)]
        check(self.db.snapshot(number), self.at[number], self.exposures)
        for name, named in self.tags.items():
            assert self.db.snapshot(name).id == named

    # how it is done

    def _becomes(self, model: Model) -> None:
        """Take note of the present state, and that every snapshot since the last note is of it or of the one before."""
        head = self.db.snapshot().id
        if head not in self.at:
            self.at[head] = model
        self.now = model

    def _ingested(self, chosen: set[int], defer: bool) -> Model:
        return self.now.ingested([self.exposures[n] for n in sorted(chosen)], defer=defer)

    def _ingest(self, chosen: set[int], defer: bool, seed: int) -> None:
        files = [str(self.exposures[n].path) for n in chosen]
        report = addstar(
            self.db, random.Random(seed).sample(files, len(files)), mapping=self.mapping, defer=defer,
            workers=SimulatedExecutor(seed),
        )  # fmt: skip
        assert not report.with_status("failed")

    def _mcal(self, seed: int) -> dict[int, float]:
        return {n: random.Random(f"{seed} {n}").uniform(-0.5, 0.5) for n in sorted(self.now.mcal)}

    def _calibrate(self, seed: int) -> None:
        mcal = self._mcal(seed)

        def prepare(snapshot: Snapshot) -> Prepared:
            rows, exposures = snapshot.read_global("images_cal"), images_of(snapshot, self.exposures)
            values = [mcal[exposures[image]] for image in rows["image_id"].to_pylist()]
            rows = rows.set_column(rows.column_names.index("mcal"), "mcal", pa.array(values, pa.float64()))
            return Prepared(Calibration("relcal", ("g",), len(values), 0, None, {}), "relcal", rows)

        apply_to_all(self.db.snapshot, self.db.commit, prepare, executor=SimulatedExecutor(seed))

    def _refresh(self, seed: int) -> None:
        skydb.refresh(self.db, workers=SimulatedExecutor(seed))

    def _compact(self, seed: int) -> None:
        cells = self.db.snapshot().cells()
        compact(self.db.snapshot, self.db.commit, cells, cell_rows=CELL_ROWS, executor=SimulatedExecutor(seed))


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


class TestShort(Machine.TestCase):  # type: ignore[misc]  # hypothesis makes the class at run time
    """A few sequences in every run of the tests."""

    settings = settings(max_examples=6, stateful_step_count=14, derandomize=True, **COMMON)


@pytest.mark.scale
class TestLong(Machine.TestCase):  # type: ignore[misc]  # hypothesis makes the class at run time
    """Many sequences, others in every run."""

    settings = settings(max_examples=200, stateful_step_count=40, **COMMON)
