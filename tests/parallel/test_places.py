"""Which workers may do what, and which items share a task."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from skydb.parallel.dask_stage import MOST_TASKS
from skydb.parallel.places import HERE, Batch, Silence, Worker, batches_of, parts_by_backup, workers_on
from skydb.store.cells import Cell

from .tasks import Part

PLAIN = [Worker("tcp://a:1", "a"), Worker("tcp://b:1", "b")]
NORTH = Worker("tcp://n:1", "n", frozenset({"north"}))
SOUTH = Worker("tcp://s:1", "s", frozenset({"south", "east"}))


def test_worker_is_what_the_scheduler_says() -> None:
    about = {"name": 3, "resources": {"skydb-host-north": 1.0, "GPU": 2.0}, "nthreads": 1}
    assert Worker.described("tcp://n:1", about) == Worker("tcp://n:1", "3", frozenset({"north"}))


def test_all_workers_see_the_same_where_none_says_otherwise() -> None:
    assert workers_on("north", PLAIN, {}) is None
    assert workers_on(None, [NORTH, SOUTH], {"north": "n"}) is None


def test_host_is_on_the_workers_that_declare_it() -> None:
    assert workers_on("north", [NORTH, SOUTH], {}, declared={"north", "south", "east"}) == [NORTH]
    assert workers_on("east", [NORTH, SOUTH], {}, declared={"north", "south", "east"}) == [SOUTH]


def test_host_whose_worker_is_gone_is_nowhere() -> None:
    assert workers_on("north", [SOUTH], {}, declared={"north"}) == []
    assert workers_on("north", PLAIN, {}, declared={"north"}) == []
    assert workers_on("west", [NORTH], {}, declared={"north"}) == []


def test_catalog_may_name_the_worker() -> None:
    assert workers_on("north", PLAIN, {"north": "b"}) == [PLAIN[1]]
    assert workers_on("north", PLAIN, {"north": "tcp://a:1"}) == [PLAIN[0]]
    assert workers_on("north", PLAIN, {"north": "c"}) == []


def test_folder_of_the_database_is_seen_by_all_unless_one_declares_it() -> None:
    assert workers_on(HERE, [NORTH], {}, declared={"north"}) is None
    here = Worker("tcp://h:1", "h", frozenset({HERE}))
    assert workers_on(HERE, [NORTH, here], {}, declared={"north", HERE}) == [here]


def test_few_items_have_a_task_each() -> None:
    assert [b.items for b in batches_of("abc", most=3)] == [(0,), (1,), (2,)]
    assert batches_of([], most=3) == []


PLACES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=300)
"""The hosts of items, and their backups."""


@given(PLACES, st.integers(1, 40))
@example([(n % 3, n % 2) for n in range(100)], 50)
def test_batches_hold_every_item_once_with_those_of_its_host(places: list[tuple[int, int]], most: int) -> None:
    parts = [Part(number, str(host), str(backup)) for number, (host, backup) in enumerate(places)]
    batches = batches_of(parts, most=most)
    assert sorted(n for b in batches for n in b.items) == list(range(len(parts)))
    assert all(parts[n].host == b.host for b in batches for n in b.items)
    assert all({parts[n].backup for n in b.items} == b.backups for b in batches)
    firsts = [b.items[0] for b in batches]
    assert firsts == sorted(firsts)
    assert len(batches) <= max(most, len({part.host for part in parts}))


def test_no_places_make_more_tasks_of_a_stage_than_the_limit() -> None:
    for items, hosts in ((4_000, 3), (10_000, 31), (10_000, 1_999)):
        parts = [Part(n, str(n % hosts), str(n * n % (hosts - 1))) for n in range(items)]
        batches = batches_of(parts, most=MOST_TASKS)
        assert MOST_TASKS / 2 < len(batches) <= MOST_TASKS


@given(PLACES)
def test_parts_of_a_batch_have_a_backup_each(places: list[tuple[int, int]]) -> None:
    parts = [Part(number, "north", str(backup)) for number, (_, backup) in enumerate(places)]
    for batch in batches_of(parts, most=2):
        cut = parts_by_backup(batch, parts)
        assert sorted(n for part in cut for n in part.items) == list(batch.items)
        assert {b for part in cut for b in part.backups} == batch.backups
        assert len(cut) == len(batch.backups)
        assert all({parts[n].backup for n in part.items} == part.backups for part in cut)


def test_cells_go_where_they_lie() -> None:
    cells = [Cell(3, 1, host="north"), Cell(3, 2, host="south")]
    alone = frozenset({None})
    assert batches_of(cells, most=9) == [Batch((0,), "north", alone), Batch((1,), "south", alone)]


def test_worker_is_silent_when_nothing_new_was_heard_of_it_at_many_looks() -> None:
    silence = Silence()

    def looked(now: float, *heard: float) -> list[str]:
        workers = [Worker(f"tcp://{n}", str(n), heard=time) for n, time in enumerate(heard)]
        return silence.of(workers, longer_than=60.0, now=now)

    found = [looked(1000.0 + now, 5.0, float(now), 5.0 + (now > 60)) for now in range(0, 90, 5)]
    assert found == [[]] * 13 + [["tcp://0"]] + [[]] * 4
    assert looked(5000.0, 5.0, 85.0, 6.0) == []  # all were stopped, and go on
    assert looked(5001.0, 5.0, 90.0, 7.0) == []
