"""Where items are worked on: on which host, by which workers of a cluster, and which of them share a task."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

HERE = "local"
"""The host that is the database's own folder."""

RESOURCE = "skydb-host-"
"""A worker that declares this resource with a host's name behind it reads that host's files as local."""


@dataclass(frozen=True)
class Worker:
    """A worker of a cluster: its address, what it calls itself and declares, and when it was last heard of.

    The time is that of the scheduler's clock (s); None: nobody listens.
    """

    address: str
    name: str
    hosts: frozenset[str] = frozenset()
    heard: float | None = field(default=None, compare=False)

    @classmethod
    def described(cls, address: str, about: Mapping[str, Any]) -> Worker:
        """Return a worker as the scheduler describes it."""
        declared = (name.removeprefix(RESOURCE) for name in about["resources"] if name.startswith(RESOURCE))
        return cls(address, str(about["name"]), frozenset(declared), about.get("last_seen"))


class Silence:
    """For how long nothing new was heard of each worker, by the clock of who looks: the scheduler's may go otherwise.

    Time in which nobody looked hardly counts: all of them may have been stopped, and go on again.
    """

    def __init__(self) -> None:
        self._looked = 0.0
        self._lasts: dict[str, tuple[float, float]] = {}

    def of(self, workers: Sequence[Worker], *, longer_than: float, now: float) -> list[str]:
        """Return the addresses of the workers that have been silent for longer than that (s), each once in a while."""
        passed, self._looked = min(now - self._looked, longer_than / 4), now
        before, self._lasts = self._lasts, {}
        for worker in workers:
            if worker.heard is not None:
                heard, quiet = before.get(worker.address, (None, 0.0))
                self._lasts[worker.address] = worker.heard, quiet + passed if heard == worker.heard else 0.0
        silent = [address for address, (_, quiet) in self._lasts.items() if quiet > longer_than]
        for address in silent:
            del self._lasts[address]
        return silent


def host_of(item: object) -> str | None:
    """Return the host that an item names; None: it may be worked on anywhere."""
    host: str | None = getattr(item, "host", None)
    return host


def backup_of(item: object) -> str | None:
    """Return the host that can take over from an item's own; None: there is none."""
    backup: str | None = getattr(item, "backup", None)
    return backup


def workers_on(
    host: str | None, workers: Sequence[Worker], places: Mapping[str, str], *, declared: Set[str] = frozenset()
) -> list[Worker] | None:
    """Return the workers that may do what a host holds; None where any may.

    Parameters
    ----------
    host
        None: what is done needs no host.
    places
        The worker, by name or address, of some hosts; the others are on the workers that declare them.
    declared
        Hosts that a worker has declared, here or gone. Where neither these nor `places` name any, all workers see the
        same files; `local` is seen by all unless one declares it.
    """
    if host is None:
        return None
    if host in places:
        return [w for w in workers if places[host] in (w.address, w.name)]
    own = [w for w in workers if host in w.hosts]
    if own or host in declared:
        return own
    return None if host == HERE or not (places or declared) else []


@dataclass(frozen=True)
class Batch:
    """Items of one host that share a task, by their places in the stage, and the backups of these items."""

    items: tuple[int, ...]
    host: str | None
    backups: frozenset[str | None]


def batches_of(items: Sequence[object], *, most: int) -> list[Batch]:
    """Cut items into batches, in order of their first items; a batch has one host.

    There are at most `most` of them, or one for each host where there are more hosts than that. A batch takes items
    of its host that follow each other, as few as that allows, so that answers need not wait long for their turn.
    """
    numbers_on: dict[str | None, list[int]] = {}
    for number, item in enumerate(items):
        numbers_on.setdefault(host_of(item), []).append(number)
    counts = [len(numbers) for numbers in numbers_on.values()]

    def tasks(size: int) -> int:
        return sum(-(-count // size) for count in counts)

    size = 1 + bisect_left(range(1, max(counts, default=1)), -most, key=lambda size: -tasks(size))
    batches = [
        _batch(items, tuple(numbers[start : start + size]))
        for numbers in numbers_on.values()
        for start in range(0, len(numbers), size)
    ]
    return sorted(batches, key=lambda batch: batch.items[0])


def parts_by_backup(batch: Batch, items: Sequence[object]) -> list[Batch]:
    """Cut a batch into one for each backup."""
    together: dict[str | None, list[int]] = {}
    for number in batch.items:
        together.setdefault(backup_of(items[number]), []).append(number)
    return [_batch(items, tuple(numbers)) for numbers in together.values()]


def _batch(items: Sequence[object], numbers: tuple[int, ...]) -> Batch:
    return Batch(numbers, host_of(items[numbers[0]]), frozenset(backup_of(items[number]) for number in numbers))


def at_backup(item: Any) -> Any:
    """Return an item as its backup works on it.

    An item that has a backup has a method `at_backup`, which returns it with that as its host: what is written goes
    there too.
    """
    call: Callable[[], Any] = item.at_backup
    return call()
