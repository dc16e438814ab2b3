"""What a stage sends to whom, with a scheduler that is made up: batches are done as soon as they are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from skydb.errors import SkydbError
from skydb.parallel import dask_stage
from skydb.parallel.dask_stage import IN_FLIGHT, TICK_SECONDS, Stage
from skydb.parallel.places import Worker

from . import tasks
from .tasks import Part

pytest.importorskip("distributed", reason="needs the extra: pip install 'skydb[cluster]'")

HOSTS = ("north", "south", "east")


class Done:
    """The future of a batch that is done."""

    def __init__(self, key: int, outcome: Any) -> None:
        self.key, self._outcome = key, outcome

    def result(self) -> Any:
        return self._outcome

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)


class Never(Done):
    """The future of a batch that is never done."""

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        """Nothing calls."""


class MadeUp:
    """An executor and its client at once: the workers of some hosts, and on which of them each batch was done."""

    status, patience, address = "running", 0.0, "tcp://made-up:1"

    def __init__(self, hosts: tuple[str | None, ...]) -> None:
        self.client, self.places, self.declared = self, dict[str, str](), set(HOSTS)
        self.hosts, self.looks, self.sent, self.now = hosts, 0, list[Any](), 0.0
        self.heard: dict[int, float] = {}
        self.restarted: list[tuple[list[str], set[int]]] = []

    def seats(self) -> list[Worker]:
        self.looks += 1
        return [
            Worker(f"tcp://{n}:1", str(n), frozenset({host} if host else ()), self.heard.get(n, self.now))
            for n, host in enumerate(self.hosts)
        ]

    def restart_silent(self, workers: list[str], keys: set[int]) -> None:
        self.restarted.append((workers, keys))

    def submit(self, call: Callable[..., Any], *words: Any, pure: bool, workers: list[str] | None) -> Done:
        self.sent.append(workers)
        return Done(len(self.sent), call(*words))

    def cancel(self, futures: list[Any], *, force: bool) -> None:
        """Forget them."""

    def clock(self) -> float:
        self.now += 0.1
        return self.now


def stage_of(made_up: MadeUp, task: Callable[[Any], Any], items: list[Any]) -> Stage[Any, Any]:
    """A stage for which a tenth of a second passes whenever it looks at the clock."""
    executor: Any = made_up
    return Stage(executor, task, items, clock=made_up.clock)


def test_worker_that_joins_is_given_work_though_batches_never_stop_ending() -> None:
    made_up = MadeUp((None,))
    out = []
    for done, _ in enumerate(stage_of(made_up, tasks.square, list(range(200))).answers(), 1):
        out.append(len(made_up.sent) - done)
        if done == 100:
            made_up.hosts = (None, None, None)
    assert max(out[:100]) < IN_FLIGHT * 2
    assert min(out[120:180]) >= IN_FLIGHT * 3 - 1


def test_worker_that_leaves_is_missed_though_batches_never_stop_ending() -> None:
    made_up = MadeUp(("north", "south"))
    parts = [Part(number, HOSTS[number % 2], HOSTS[1 - number % 2]) for number in range(200)]
    for done, _ in enumerate(stage_of(made_up, tasks.where, parts).answers(), 1):
        if done == 100:
            made_up.hosts, sent = ("south",), len(made_up.sent)
    assert {tuple(workers) for workers in made_up.sent[:sent]} == {("tcp://0:1",), ("tcp://1:1",)}
    assert {tuple(workers) for workers in made_up.sent[sent + 20 :]} == {("tcp://0:1",)}


def test_scheduler_is_seldom_asked_who_is_there() -> None:
    made_up = MadeUp((None,))
    assert len(list(stage_of(made_up, tasks.square, list(range(200))).answers())) == 200
    assert 10 < made_up.looks < made_up.now / TICK_SECONDS


def test_batch_of_a_lost_host_goes_to_the_backups_of_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_stage, "MOST_TASKS", 3)
    parts = [Part(number, "north", HOSTS[1 + number % 2]) for number in range(12)]
    whole, lost = MadeUp(HOSTS), MadeUp(("south", "east"))
    assert [host for _, host, _ in stage_of(whole, tasks.where, parts).answers()] == ["north"] * 12
    assert len(whole.sent) == 3
    found = [(number, host) for number, host, _ in stage_of(lost, tasks.where, parts).answers()]
    assert found == [(part.number, part.backup) for part in parts]
    assert sorted(map(tuple, lost.sent)) == [("tcp://0:1",)] * 3 + [("tcp://1:1",)] * 3


def test_item_of_a_lost_host_without_a_backup_is_named_among_those_that_have_one() -> None:
    parts = [Part(0, "north", "south"), Part(1, "north", "south"), Part(2, "north")]
    with pytest.raises(SkydbError, match=r"cell Part\(number=2.*no Dask worker is on host 'north'"):
        list(stage_of(MadeUp(("south",)), tasks.where, parts).answers())


class Stuck(MadeUp):
    """Workers that end nothing; all but those that `heard` has a time of go on to be heard."""

    def submit(self, call: Callable[..., Any], *words: Any, pure: bool, workers: list[str] | None) -> Done:
        self.sent.append(workers)
        return Never(len(self.sent), None)


@pytest.fixture
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time of the clock that is made up passes."""
    monkeypatch.setattr(dask_stage, "TICK_SECONDS", 0.001)


@pytest.mark.usefixtures("short_ticks")
def test_stage_whose_workers_all_leave_while_every_batch_is_out_ends_with_an_error() -> None:
    stuck = Stuck((None,))
    stuck.patience = 5.0
    stage = stage_of(stuck, tasks.square, [Part(1, "local")])
    stage._send()
    assert len(stuck.sent) == 1
    stuck.hosts = ()
    with pytest.raises(SkydbError, match="no Dask worker is left"):
        list(stage.answers())
    assert 5.0 <= stuck.now < 10.0


@pytest.mark.usefixtures("short_ticks")
def test_batches_of_workers_that_all_left_go_to_one_that_comes() -> None:
    stuck = Stuck((None, None))
    stuck.patience = 5.0
    stage = stage_of(stuck, tasks.square, [1, 2])
    stage._send()
    stuck.hosts, stuck.submit = (), super(Stuck, stuck).submit  # type: ignore[method-assign]  # those end theirs
    stage._look_around()
    stuck.hosts = (None,)
    assert list(stage.answers()) == [1, 4]
    assert len(stuck.sent) == 4


@pytest.mark.usefixtures("short_ticks")
def test_worker_of_which_nothing_is_heard_is_given_up_and_the_others_are_not() -> None:
    stuck = Stuck((None, None))
    stuck.heard = {1: 7.0}
    stage = stage_of(stuck, tasks.square, [1, 2])
    stage._send()
    while not stuck.restarted:
        stage._look_around()
    assert stuck.restarted == [(["tcp://1:1"], {1, 2})]
    assert dask_stage.SILENT_SECONDS < stuck.now < dask_stage.SILENT_SECONDS + 1
    stuck.heard = {}
    for _ in range(3000):
        stage._look_around()
    assert len(stuck.restarted) == 1
