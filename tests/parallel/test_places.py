"""Which workers may do what, and which items share a task."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skydb.parallel.places import HERE, Worker, batches_of, workers_on
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


@given(st.lists(st.sampled_from(["north", "south", "east"]), max_size=300), st.integers(3, 40))
def test_batches_hold_every_item_once_with_those_of_its_host(hosts: list[str], most: int) -> None:
    batches = batches_of([Part(number, host) for number, host in enumerate(hosts)], most=most)
    assert sorted(n for b in batches for n in b.items) == list(range(len(hosts)))
    assert all(hosts[n] == b.host for b in batches for n in b.items)
    firsts = [b.items[0] for b in batches]
    assert firsts == sorted(firsts)
    assert len(batches) <= most + 3 or len(hosts) <= most


def test_cells_go_where_they_lie() -> None:
    cells = [Cell(3, 1, host="north"), Cell(3, 2, host="south")]
    assert [(b.items, b.host, b.backup) for b in batches_of(cells, most=9)] == [
        ((0,), "north", None), ((1,), "south", None),
    ]  # fmt: skip
