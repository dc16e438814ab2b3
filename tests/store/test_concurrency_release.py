"""Writers and `gc` while a release reads: it shows its snapshot as if nothing had happened, or says that it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import skydb
from skydb.database import Database
from skydb.errors import UsageError
from skydb.query.release import ReleaseReport
from skydb.store import collect

from .test_concurrency import VERBS, Files, begin, copy_of, held_in, write_files

SECONDS = 60
HEAD = 4
"""The newest snapshot of `begun`."""
AS_HERE: dict[str, Any] = {"name": "dr1", "rows_per_partition": 10, "margin_arcsec": 30.0}
"""Several partitions, and rows in their margins."""
WHILE_READING = ("ingest", "compact", "relcal", "delete", "rollback", "merge", "tag", "gc")
QUICK = {("ingest", "count"), ("compact", "partitions"), ("gc", "count")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Database:
    return begin(tmp_path_factory.mktemp("begun"), files)


@pytest.fixture(scope="module")
def undisturbed(begun: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `begun` is released as."""
    folder = tmp_path_factory.mktemp("released")
    assert begun.snapshot().id == HEAD
    skydb.release(begun, folder / "dr1", **AS_HERE, workers=1)
    return held_in(folder / "dr1")


def cases() -> list[object]:
    every = [(verb, step) for verb in WHILE_READING for step in ("count", "partitions", "margins")]
    return [pytest.param(*c, id=" at ".join(c), marks=() if c in QUICK else pytest.mark.slow) for c in every]


@pytest.mark.parametrize(("verb", "step"), cases())
def test_release_shows_its_snapshot_whatever_is_committed_and_collected_meanwhile(
    verb: str, step: str, begun: Database, files: Files, undisturbed: dict[str, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    db, kept = copy_of(begun, tmp_path / "t.sky"), []

    def meanwhile(name: str, done: int, total: int) -> None:
        if name == step and not kept:
            VERBS[verb](db, files)
            report = skydb.gc(db, grace="0")
            kept.extend(k.reason for k in report.kept if k.snapshot == HEAD)

    skydb.release(db, tmp_path / "out", **AS_HERE, workers=1, progress=meanwhile)
    assert held_in(tmp_path / "out") == undisturbed
    assert kept == (["newest"] if verb == "gc" else ["read"])


@pytest.mark.slow
def test_release_on_workers_shows_its_snapshot_too(
    begun: Database, files: Files, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """They hold no leases: the process that gave them work does."""
    db = copy_of(begun, tmp_path / "t.sky")
    steps = []

    def meanwhile(name: str, done: int, total: int) -> None:
        if name not in steps:
            steps.append(name)
            VERBS[("ingest", "ingest another", "compact")[len(steps) - 1]](db, files)
            skydb.gc(db, grace="0")

    skydb.release(db, tmp_path / "out", **AS_HERE, workers=2, progress=meanwhile)
    assert steps == ["count", "partitions", "margins"]
    assert held_in(tmp_path / "out") == undisturbed


class Collected:
    """A database with a snapshot that nobody needs, and a release of it in another thread, begun while `gc` works."""

    def __init__(self, db: Database, out: Path) -> None:
        self.db, self.out, self.reading, self.may_go_on = db, out, Event(), Event()
        self._threads = ThreadPoolExecutor(1)
        self.future: Future[ReleaseReport] | None = None

    def begin(self, at: int | None) -> None:
        self.future = self._threads.submit(
            skydb.release, self.db.root, self.out, **AS_HERE, at=at, workers=1, progress=self._progress
        )

    def _progress(self, name: str, done: int, total: int) -> None:
        self.reading.set()
        assert self.may_go_on.wait(SECONDS)

    def end(self) -> ReleaseReport:
        assert self.future is not None
        self.may_go_on.set()
        return self.future.result(SECONDS)


@pytest.fixture
def collected(begun: Database, files: Files, tmp_path: Path) -> Iterator[Collected]:
    db = copy_of(begun, tmp_path / "t.sky")
    VERBS["compact"](db, files)
    made = Collected(db, tmp_path / "out")
    yield made
    made.may_go_on.set()


@contextmanager
def before(monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], object]) -> Iterator[None]:
    """Let something happen as `gc` first comes to one of its steps."""
    original, left = getattr(collect, name), [happens]

    def step(*args: Any, **more: Any) -> Any:
        if left:
            left.pop()()
        return original(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(collect, name, step)
        yield


def test_release_that_begins_after_gc_chose_its_snapshot_keeps_it(
    collected: Collected, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin() -> None:
        collected.begin(at=HEAD)
        assert collected.reading.wait(SECONDS)

    with before(monkeypatch, "nobody_pins", begin):
        report = skydb.gc(collected.db, grace="0")
    assert [k.reason for k in report.kept if k.snapshot == HEAD] == ["read"]
    collected.end()
    assert held_in(collected.out) == undisturbed
    assert HEAD in skydb.gc(collected.db, grace="0").given_up


@pytest.mark.parametrize("step", ["commit", "remove_listed"])
def test_release_of_a_snapshot_that_gc_is_giving_up_says_that_it_is_gone(
    step: str, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits until that is decided; nothing of it is left."""
    with before(monkeypatch, step, lambda: collected.begin(at=HEAD)):
        assert HEAD in skydb.gc(collected.db, grace="0").given_up
    with pytest.raises(UsageError, match=f"snapshot {HEAD}"):
        collected.end()
    assert not collected.reading.is_set()
    assert not [p for p in collected.out.parent.iterdir() if "out" in p.name]


@pytest.mark.parametrize("step", ["commit", pytest.param("remove_listed", marks=pytest.mark.slow)])
def test_release_of_the_newest_snapshot_is_whole_while_gc_is_at_work(
    step: str, collected: Collected, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = copy_of(collected.db, tmp_path / "alone.sky")
    skydb.gc(alone, grace="0")
    wanted = skydb.release(alone, tmp_path / "alone", **AS_HERE, workers=1)
    with before(monkeypatch, step, lambda: collected.begin(at=None)):
        skydb.gc(collected.db, grace="0")
    assert collected.end().objects == wanted.objects
    same = {name: held for name, held in held_in(tmp_path / "alone").items() if name.endswith(".parquet")}
    assert same.items() <= held_in(collected.out).items()
    assert same
