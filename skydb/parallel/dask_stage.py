"""One call of `DaskExecutor.map`: batches go out to workers, answers come back in order, losses go out again."""

from __future__ import annotations

import asyncio
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from skydb.errors import SkydbError

from .dask_client import called_aside, scheduler_gone
from .dask_task import Outcome, packed, run_batch, shipped
from .interface import Answer, Item
from .places import Batch, Silence, Worker, at_backup, batches_of, parts_by_backup, workers_on

if TYPE_CHECKING:
    from .dask import DaskExecutor

MOST_TASKS = 2_000
"""Tasks of a stage, while no host is lost: each costs the scheduler some milliseconds."""

IN_FLIGHT = 2
"""Batches per worker that are out at a time, so that none waits for the next."""

AHEAD = 4
"""How many times as many may be out or done before their turn, so that one busy host does not let the others idle."""

TICK_SECONDS = 0.5
"""How often to look which workers are there; seldom enough for the scheduler, who describes all of them."""

SILENT_SECONDS = 120.0
"""How long the scheduler may hear nothing of a worker before it is given up: a stopped one, or one without a network.

A task that holds Python's lock, or a machine without memory, keeps a worker silent for seconds. Dask itself waits for
five to ten minutes.
"""

LOSSES = 3
"""How often a batch may lose its worker: one that makes its worker run out of memory does so every time."""

SHARED_BYTES = 50_000
"""A task above this size is sent to each worker once, not with every batch."""


@dataclass(eq=False)
class _Trip:
    """A batch on its way: its future, and on which workers it may run (None: any).

    `losses` counts how often its workers were lost, `waits_since` says since when there is none (monotonic, s).
    """

    batch: Batch
    future: Any = None
    on: frozenset[str] | None = None
    is_done: bool = False
    losses: int = 0
    waits_since: float | None = None


class Stage(Generic[Item, Answer]):
    """The batches of one call of `map`, and where each of them is; `clock` counts seconds."""

    def __init__(
        self, executor: DaskExecutor, task: Callable[[Item], Answer], items: Sequence[Item], *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._executor, self._client, self._items = executor, executor.client, items
        self._seats: list[Worker] = executor.seats()
        self._trips = [_Trip(batch) for batch in batches_of(items, most=MOST_TASKS)]
        self._task = shipped(self._client, task, above=SHARED_BYTES)
        self._folder = os.getcwd()
        self._ended: queue.SimpleQueue[tuple[_Trip, Any]] = queue.SimpleQueue()
        self._clock, self._looked, self._silence = clock, clock(), Silence()
        self._turn = 0

    def answers(self) -> Iterator[Answer]:
        """Yield the answers in the order of the items."""
        ready: dict[int, Answer] = {}
        errors: dict[int, Exception] = {}
        for number in range(len(self._items)):
            while number not in ready:
                if number in errors:
                    raise errors[number]
                batch, outcome = self._next_outcome()
                self._turn += 1
                ready |= zip(batch.items, outcome.answers, strict=False)
                if outcome.error is not None:
                    errors[batch.items[len(outcome.answers)]] = outcome.error
            yield ready.pop(number)

    def cancel(self) -> None:
        """Start no more tasks; those that run end by themselves."""
        futures = [t.future for t in self._trips if t.future is not None]
        if futures:
            with suppress(Exception):  # the scheduler is gone, and with it what it was to do
                self._client.cancel(futures, force=True)

    def _next_outcome(self) -> tuple[Batch, Outcome]:
        """Wait until the batch whose turn it is is done, and return what became of it."""
        while True:
            if self._clock() - self._looked >= TICK_SECONDS:
                self._look_around()
            self._send()
            trip = self._trips[self._turn]
            if trip.is_done and (outcome := self._fetched(trip)) is not None:
                trip.future = None
                return trip.batch, outcome
            if not trip.is_done:
                self._wait()

    def _send(self) -> None:
        """Send out the next batches, as many as their workers have places for."""
        self._cut_lost()
        out: dict[frozenset[str] | None, int] = {}
        places = IN_FLIGHT * max(1, len(self._seats))
        for trip in self._next_trips():
            if trip.is_done:
                continue
            if trip.future is None:
                on, item_of = self._road(trip)
                if on == frozenset() or out.get(on, 0) >= (places if on is None else IN_FLIGHT * len(on)):
                    continue
                self._submit(trip, on, item_of)
            out[trip.on] = out.get(trip.on, 0) + 1

    def _next_trips(self) -> list[_Trip]:
        """Return the trips that may be out or done, from the one whose turn it is."""
        return self._trips[self._turn : self._turn + AHEAD * IN_FLIGHT * max(1, len(self._seats))]

    def _cut_lost(self) -> None:
        """Cut the next batches whose host has no worker now, where their items have different backups."""
        for trip in self._next_trips():
            if trip.future is None and len(trip.batch.backups) > 1 and self._able(trip.batch.host) == []:
                at = self._trips.index(trip)
                parts = parts_by_backup(trip.batch, self._items)
                self._trips[at : at + 1] = [_Trip(part, losses=trip.losses) for part in parts]

    def _able(self, host: str | None) -> list[Worker] | None:
        """Return the workers that may do what a host holds now; None where any may."""
        return workers_on(host, self._seats, self._executor.places, declared=self._executor.declared)

    def _road(self, trip: _Trip) -> tuple[frozenset[str] | None, Callable[[Item], Item]]:
        """Return on which workers a batch may run now (None: any; empty: it has to wait), and as what its items go."""
        roads = [(trip.batch.host, _as_it_is), *((backup, at_backup) for backup in _backups(trip.batch))]
        for host, item_of in roads:
            able = self._able(host)
            if able or (able is None and self._seats):
                trip.waits_since = None
                return None if able is None else frozenset(w.address for w in able), item_of
        self._be_patient(trip)
        return frozenset(), _as_it_is

    def _be_patient(self, trip: _Trip) -> None:
        """Note that a batch has no worker; give up after a while."""
        now = self._clock()
        trip.waits_since = trip.waits_since or now
        if now - trip.waits_since < self._executor.patience:
            return
        batch, items = trip.batch, self._what(trip)
        if self._able(batch.host) is None:
            raise SkydbError("no Dask worker is left", items, "start some, and run the command again")
        hosts = " nor its backup ".join([f"host {batch.host!r}", *map(repr, _backups(batch))])
        todo = f"start one there: dask worker {self._executor.address} --resources 'skydb-host-{batch.host}=1'"
        raise SkydbError(f"no Dask worker is on {hosts}", items, todo)

    def _submit(self, trip: _Trip, on: frozenset[str] | None, item_of: Callable[[Item], Item]) -> None:
        if self._client.status != "running":
            raise scheduler_gone(self._executor.address)
        items = packed([item_of(self._items[number]) for number in trip.batch.items])
        trip.on = on
        trip.future = self._client.submit(
            run_batch, self._task, items, self._folder, pure=False, workers=sorted(on) if on else None
        )
        trip.future.add_done_callback(lambda future: self._ended.put((trip, future)))

    def _wait(self) -> None:
        """Wait for a batch to end, or for the next look at the workers."""
        try:
            trip, future = self._ended.get(timeout=TICK_SECONDS)
        except queue.Empty:
            self._look_around()
            return
        if trip.future is not None and trip.future.key == future.key:
            trip.is_done = True

    def _look_around(self) -> None:
        """See which workers have come, and take back what is bound to lost ones; Dask itself looks after the rest.

        While there is no worker at all, that rest is taken back, too, to wait here, where patience ends.
        """
        self._looked = self._clock()
        self._seats = self._executor.seats()
        if self._client.status != "running":  # that of the executor may be a new one
            raise scheduler_gone(self._executor.address)
        out = [trip for trip in self._trips if trip.future is not None]
        if silent := self._silence.of(self._seats, longer_than=SILENT_SECONDS, now=self._looked):
            self._executor.restart_silent(silent, {trip.future.key for trip in out})
        there = {w.address for w in self._seats}
        for trip in out:
            if not (there if trip.on is None else trip.on & there):
                self._take_back(trip)

    def _take_back(self, trip: _Trip) -> None:
        self._client.cancel([trip.future], force=True)
        trip.future, trip.is_done = None, False
        trip.losses += 1
        if trip.losses > LOSSES:
            raise self._died_again(trip)

    def _fetched(self, trip: _Trip) -> Outcome | None:
        """Return the outcome of a batch that is done; None if it was lost with its worker since.

        It is fetched by a thread, for as long as that takes: a large one would never come between two looks for losses.
        """
        from distributed import CancelledError, KilledWorker

        call = called_aside(trip.future.result)
        while not wait([call], timeout=TICK_SECONDS).done:
            self._look_around()
            if trip.future is None:
                return None
        try:
            outcome: Outcome = call.result()
        except KilledWorker as error:
            raise self._died_again(trip) from error
        except (CancelledError, asyncio.CancelledError, OSError) as error:  # a task's own errors are in its outcome
            raise scheduler_gone(self._executor.address) from error
        return outcome

    def _died_again(self, trip: _Trip) -> SkydbError:
        what = "Dask workers died again and again at the same task"
        return SkydbError(what, self._what(trip), "were they killed, or out of memory? see their logs")

    def _what(self, trip: _Trip) -> str:
        """Name what a batch works on."""
        first, *more = (self._items[number] for number in trip.batch.items)
        name = str(getattr(first, "cell", first))
        return f"cell {name}" + (f" and {len(more)} more" if more else "") if trip.batch.host else name[:80]


def _backups(batch: Batch) -> list[str]:
    """Return the hosts that can take over from a batch's own."""
    return [backup for backup in batch.backups if backup is not None]


def _as_it_is(item: Item) -> Item:
    return item
