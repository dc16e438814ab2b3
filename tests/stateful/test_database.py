"""Any sequence of what users do, with crashes in between, gives what a model of plain dictionaries gives."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import skydb
from skydb import database
from skydb.calibration.kept_apply import Solved, kept_solution
from skydb.calibration.recalibrate import apply_to_all, finish_apply
from skydb.checks.rebuild import rebuild_catalog
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from skydb.store import crashpoints
from skydb.store.catalog import reading
from skydb.store.changes import Calibration
from skydb.store.compact import compact
from skydb.store.layout import CATALOG
from skydb.store.notes import noted_names
from skydb.store.snapshot import Snapshot
from skydb.store.tags import live_tags, set_tag
from skydb.store.unfinished import Unfinished, unfinished_jobs
from tests.ingest.association_oracle import PLACES
from tests.ingest.skies import named_files, stored_files
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
WAYS = {
    "ingest": ("addstar",), "replace": ("addstar", "delete", "replace"), "merge": ("merge",), "calibrate": ("apply",),
    "go on": ("apply",), "fold": ("compact",), "delete": ("delete",), "undo": ("delete",), "tag": ("tag",),
    "go back": (), "gc": (),
}  # fmt: skip
"""What a process may be killed at, and what the crash points of its own begin with."""
OF_ALL = ("job", "file", "store", "commit")
CRASHES = [
    (way, point) for way, own in WAYS.items() for point in crashpoints.POINTS
    if point.split(".")[0] in (*(("file", "commit") if way in ("tag", "go back", "gc") else OF_ALL), *own)
]  # fmt: skip
numbers = st.integers(0, 2**31)


def filled(snapshot: Snapshot, solved: pa.Table) -> pa.Table:
    """`images_cal` of all images: those solved have their new zero point, the others what they had."""
    new = dict(zip(solved["image_id"].to_pylist(), solved["mcal"].to_pylist(), strict=True))
    rows = snapshot.read_global("images_cal")
    values = [new.get(row["image_id"], row["mcal"]) for row in rows.to_pylist()]
    return rows.set_column(rows.column_names.index("mcal"), "mcal", pa.array(values, pa.float64()))


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
        self.head, self.came = self.db.snapshot().id, dict[int, int]()
        self.tags: dict[str, int] = {}
        self.count = 0
        self.ingest({0, 3}, False, seed)
        self.ingest({1, 5}, True, seed)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # what users do

    @rule(chosen=st.sets(st.integers(0, EXPOSURES - 1), min_size=1, max_size=3), defer=st.booleans(), seed=numbers)
    def ingest(self, chosen: set[int], defer: bool, seed: int) -> None:
        chosen = self._there(chosen)
        after = self._ingested(chosen, defer)
        self._ingest(chosen, defer, seed)
        self._becomes(after)

    @rule(chosen=st.sets(st.integers(0, EXPOSURES - 1), min_size=1, max_size=2), seed=numbers)
    def replace(self, chosen: set[int], seed: int) -> None:
        """Images that are there come again, reduced in another way."""
        others = self._others(chosen)
        after = self._replaced(others)
        self._ingest(others, False, seed, replace=True)
        self._becomes(*after)

    @precondition(lambda self: len(self.now.mcal) < EXPOSURES)
    @rule(which=st.sets(numbers, min_size=1, max_size=2), seed=numbers)
    def merge(self, which: set[int], seed: int) -> None:
        away = self._away()
        chosen = {away[n % len(away)] for n in which}
        self._merge(self._other(chosen, seed), seed)
        self._becomes(self._merged(chosen))

    @precondition(lambda self: self.now.mcal)
    @rule(seed=numbers)
    def calibrate(self, seed: int) -> None:
        self._calibrate(seed)
        self._becomes(self.now.calibrated(self._mcal(seed)))

    @precondition(lambda self: unfinished_jobs(self.db.root))
    @rule(seed=numbers)
    def go_on(self, seed: int) -> None:
        """A calibration that was killed is continued: what came since keeps its zero points."""
        after = self._finished()
        self._go_on(seed)
        assert unfinished_jobs(self.db.root) == []
        self._becomes(after)

    @precondition(lambda self: self.now.stale)
    @rule(seed=numbers)
    def refresh(self, seed: int) -> None:
        self._refresh(seed)
        self._becomes(self.now.refreshed())

    @rule(seed=numbers)
    def fold_and_split(self, seed: int) -> None:
        self._compact(seed)
        self._becomes(self.now)

    @precondition(lambda self: self.now.mcal)
    @rule(which=numbers, seed=numbers)
    def delete(self, which: int, seed: int) -> None:
        number = sorted(self.now.mcal)[which % len(self.now.mcal)]
        self._delete(number, seed)
        self._becomes(self.now.deleted({number}))

    @precondition(lambda self: any(self.came.values()))
    @rule(which=numbers, seed=numbers)
    def undo(self, which: int, seed: int) -> None:
        """All that came in one commit goes."""
        number, after = self._undone(which)
        self._undo(number, seed)
        self._becomes(after)

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
        skydb.rollback(self.db, to)
        self._becomes(self.at[to], back_to=to)

    @rule(keep=st.booleans(), which=numbers)
    def collect(self, keep: bool, which: int) -> None:
        """Give up all snapshots but the newest, those with tags, and one that somebody reads."""
        read = self.db.snapshot(sorted(self.at)[which % len(self.at)]) if keep else None
        report = skydb.gc(self.db, grace="0")
        needed = {*self.tags.values(), *([read.id] if read else [])}
        assert not needed & set(report.given_up)
        kept = noted_names(self.db.root)
        assert {path for path in stored_files(self.db) if Path(path).stem not in kept} == named_files(self.db)
        if read:
            check(read, self.at[read.id], self.exposures)
        self.at = {number: model for number, model in self.at.items() if number not in report.given_up}
        self._becomes(self.now)

    # what happens to them

    @rule(crash=st.sampled_from(CRASHES), turn=st.sampled_from((1, 1, 1, 2, 3)), seed=numbers)
    def crash(self, crash: tuple[str, str], turn: int, seed: int) -> None:
        """A process is killed: all of what it did is there, or nothing; whoever opens the database goes on."""
        way, point = crash
        action, states = self._ways(way, seed)
        to = self._past(seed) if way == "go back" else None
        killed = killed_at(f"{point}:{turn}", action)
        self.reopen()
        commits = self.db.snapshot().id - self.head
        assert killed or commits >= len(states) or states[-1] == self.now
        self._becomes(*states[:commits], back_to=to if commits else None)
        self.tags = live_tags(self.db.root)
        with reading(self.db.root) as connection:
            kept = {n for (n,) in connection.execute("SELECT snapshot FROM snapshots WHERE expired_by IS NULL")}
        self.at = {number: model for number, model in self.at.items() if number in kept}

    def _ways(self, way: str, seed: int) -> tuple[Callable[[], object], tuple[Model, ...]]:
        """Return what a verb does, and what its commits make of the database, one after another."""
        images = set(random.Random(seed).sample(range(EXPOSURES), 2))
        chosen, others, there, to = self._there(images), self._others(images), sorted(self.now.mcal), self._past(seed)
        away = self._away()[:2]
        if (way, False) in (("delete", bool(there)), ("merge", bool(away)), ("undo", any(self.came.values()))):
            way = "ingest"
        if way == "go on" and not unfinished_jobs(self.db.root):
            way = "calibrate"
        other = self._other(set(away), seed) if way == "merge" else self.db
        victim = random.Random(seed).choice(there) if there else 0
        ways: dict[str, tuple[Callable[[], object], Callable[[], Model | tuple[Model, ...]]]] = {
            "ingest": (lambda: self._ingest(chosen, False, seed), lambda: self._ingested(chosen, False)),
            "replace": (lambda: self._ingest(others, False, seed, replace=True), lambda: self._replaced(others)),
            "merge": (lambda: self._merge(other, seed), lambda: self._merged(set(away))),
            "calibrate": (lambda: self._calibrate(seed), lambda: self.now.calibrated(self._mcal(seed))),
            "go on": (lambda: self._go_on(seed), lambda: self._finished()),
            "fold": (lambda: self._compact(seed), lambda: self.now),
            "delete": (lambda: self._delete(victim, seed), lambda: self.now.deleted({victim})),
            "undo": (lambda: self._undo(self._undone(seed)[0], seed), lambda: self._undone(seed)[1]),
            "tag": (lambda: set_tag(self.db.root, f"C{seed}"), lambda: self.now),
            "go back": (lambda: skydb.rollback(self.db, to), lambda: self.at[to]),
            "gc": (lambda: skydb.gc(self.db, grace="0"), lambda: self.now),
        }
        action, after = ways[way]
        states = after()
        return action, states if isinstance(states, tuple) else (states,)

    @rule()
    def reopen(self) -> None:
        self.db = database.open(self.db.root)

    @rule(is_there=st.booleans())
    def lose_the_catalog(self, is_there: bool) -> None:
        """The catalog is made again from the manifests; with it there, or without."""
        if not is_there:
            for path in self.db.root.glob(f"{CATALOG}*"):
                path.unlink()
        rebuild_catalog(self.db.root)
        self.reopen()

    # what must hold

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "db"):
            check(self.db.snapshot(), self.now, self.exposures)
            check_log(self.db, self.now)

    @rule(deep=st.booleans())
    def finds_no_damage(self, deep: bool) -> None:
        report = skydb.fsck(self.db, deep=deep, workers=1)
        assert [str(finding) for finding in report.findings if finding.severity == "damage"] == []

    @precondition(lambda self: getattr(self, "at", None))
    @rule(which=numbers)
    def look_back(self, which: int) -> None:
        """Earlier snapshots and tags are what they were."""
        number = sorted(self.at)[which % len(self.at)]
        check(self.db.snapshot(number), self.at[number], self.exposures)
        for name, named in self.tags.items():
            assert self.db.snapshot(name).id == named

    # how it is done

    def _becomes(self, *states: Model, back_to: int | None = None) -> None:
        """Take note of the present state: the last of those that commits made, and of which commit brought what.

        What a rollback brought back came with no ingest.
        """
        model = states[-1] if states else self.now
        if back_to is not None:
            self.came = {e: self.came[e] if 0 < self.came.get(e, 0) <= back_to else 0 for e in model.mcal}
        else:
            new = dict.fromkeys(model.mcal.keys() - self.now.mcal.keys(), self.head + len(states))
            self.came = {e: number for e, number in (self.came | new).items() if e in model.mcal}
        self.head = self.db.snapshot().id
        self.at.setdefault(self.head, model)
        self.now = model

    def _past(self, seed: int) -> int:
        return random.Random(seed).choice(sorted(self.at))

    def _there(self, images: set[int]) -> set[int]:
        """Return the reduction of each image that is there, or its first."""
        return {n + EXPOSURES if n + EXPOSURES in self.now.mcal else n for n in images}

    def _others(self, images: set[int]) -> set[int]:
        """Return the reduction of each image that is not there."""
        return {n + EXPOSURES if n in self.now.mcal else n for n in images}

    def _away(self) -> list[int]:
        """Return the first reductions of images of which none is there."""
        return [n for n in range(EXPOSURES) if not {n, n + EXPOSURES} & self.now.mcal.keys()]

    def _ingested(self, chosen: set[int], defer: bool) -> Model:
        return self.now.ingested([self.exposures[n] for n in sorted(chosen)], defer=defer)

    def _replaced(self, chosen: set[int]) -> tuple[Model, ...]:
        """Return the state when the other reductions have gone, if there are any, and when these have come."""
        files = [self.exposures[n] for n in sorted(chosen)]
        old = {(n + EXPOSURES) % (2 * EXPOSURES) for n in chosen} & self.now.mcal.keys()
        without = self.now.deleted(old)
        return (without,) * bool(old) + (without.ingested(files, defer=False),)

    def _ingest(self, chosen: set[int], defer: bool, seed: int, *, replace: bool = False) -> None:
        files = [str(self.exposures[n].path) for n in chosen]
        report = addstar(
            self.db, random.Random(seed).sample(files, len(files)), mapping=self.mapping, defer=defer,
            workers=SimulatedExecutor(seed), replace_images=replace,
        )  # fmt: skip
        assert not report.with_status("failed")

    def _undone(self, which: int) -> tuple[int, Model]:
        """Return a commit that brought images which are still there, and the state without them."""
        numbers = sorted({number for number in self.came.values() if number})
        chosen = numbers[which % len(numbers)]
        return chosen, self.now.deleted({e for e, number in self.came.items() if number == chosen})

    def _undo(self, number: int, seed: int) -> None:
        skydb.delete(self.db, ingests=[number], workers=SimulatedExecutor(seed))

    def _other(self, chosen: set[int], seed: int) -> database.Database:
        """Return another database, of some exposures."""
        self.count += 1
        other = database.create(self.folder / f"other{self.count}.sky", cell_rows=random.Random(seed).choice((5, 500)))
        import_photcodes(other, self.folder / "codes")
        files = [str(self.exposures[n].path) for n in sorted(chosen)]
        addstar(other, files, mapping=self.mapping, workers=1)
        return other

    def _merge(self, other: database.Database, seed: int) -> None:
        skydb.merge(self.db, other, workers=SimulatedExecutor(seed))

    def _merged(self, chosen: set[int]) -> Model:
        return self.now.merged(Model().ingested([self.exposures[n] for n in sorted(chosen)], defer=False))

    def _mcal(self, seed: int) -> dict[int, float]:
        return {n: random.Random(f"{seed} {n}").uniform(-0.5, 0.5) for n in sorted(self.now.mcal)}

    def _calibrate(self, seed: int) -> None:
        snapshot, mcal = self.db.snapshot(), self._mcal(seed)
        images = images_of(snapshot, self.exposures)
        rows = pa.table({"image_id": list(images), "mcal": pa.array([mcal[n] for n in images.values()], pa.float64())})
        solved = Solved(Calibration("relcal", ("g",), len(rows), 0, None, {}), "relcal", snapshot.id, rows)
        apply_to_all(self.db.snapshot, self.db.commit, solved, filled, executor=SimulatedExecutor(seed))

    def _job(self) -> Unfinished:
        return unfinished_jobs(self.db.root, "relcal")[-1]

    def _finished(self) -> Model:
        images = images_of(self.db.snapshot(), self.exposures)
        rows = kept_solution(self._job()).rows.to_pylist()
        return self.now.calibrated({images[row["image_id"]]: row["mcal"] for row in rows if row["image_id"] in images})

    def _go_on(self, seed: int) -> None:
        finish_apply(self.db.snapshot, self.db.commit, self._job(), filled, executor=SimulatedExecutor(seed))

    def _refresh(self, seed: int) -> None:
        skydb.refresh(self.db, workers=SimulatedExecutor(seed))

    def _delete(self, number: int, seed: int) -> None:
        skydb.delete(self.db, files=[str(self.exposures[number].path)], workers=SimulatedExecutor(seed))

    def _compact(self, seed: int) -> None:
        cells = self.db.snapshot().cells()
        compact(self.db.snapshot, self.db.commit, cells, cell_rows=CELL_ROWS, executor=SimulatedExecutor(seed))


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


class TestShort(Machine.TestCase):  # type: ignore[misc]  # hypothesis makes the class at run time
    """A few sequences in every run of the tests."""

    settings = settings(max_examples=4, stateful_step_count=12, derandomize=True, **COMMON)


@pytest.mark.scale
class TestLong(Machine.TestCase):  # type: ignore[misc]  # hypothesis makes the class at run time
    """Many sequences, others in every run."""

    settings = settings(max_examples=200, stateful_step_count=40, **COMMON)
