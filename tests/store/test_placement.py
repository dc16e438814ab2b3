"""Which host a cell goes to: the same for the same cells, only where it may, and no more moves than it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.errors import DataError, UsageError
from skydb.store.changes import Host
from skydb.store.hosts import Storage
from skydb.store.keeper import Keeper
from skydb.store.placement import (
    CLOSE_ENOUGH,
    Key,
    candidates,
    host_of_copy,
    host_of_new_cell,
    parse_rules,
    placement_setting,
    planned_hosts,
)


def storage(*names: str, draining: tuple[str, ...] = (), copies: int = 1, **placement: Any) -> Storage:
    hosts = {n: Host(n, f"/{n}", None, "draining" if n in draining else "active") for n in names}
    return Storage(Path("/db"), "id", hosts, copies, placement, Keeper("/db", 1))


def rules(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_new_cell_goes_to_the_host_with_the_fewest_bytes() -> None:
    some = storage("a", "b", "c")
    assert host_of_new_cell(some, (3, 5), {"a": 10, "b": 4, "c": 9}) == "b"
    assert host_of_new_cell(some, (3, 5), {"a": 10, "b": 4}) == "c"
    assert host_of_new_cell(some, (3, 5), {}) == "a"


def test_draining_host_gets_nothing() -> None:
    some = storage("a", "b", draining=("a",), copies=2)
    assert host_of_new_cell(some, (3, 5), {"b": 99}) == "b"
    assert host_of_copy(some, "b", "3/5") is None
    with pytest.raises(UsageError, match="no host takes new cells; add one"):
        host_of_new_cell(storage("a", draining=("a",)), (3, 5), {})


def test_second_copy_is_on_another_host_and_stays_there_when_hosts_come_and_go() -> None:
    few, more = storage("a", "b", "c", copies=2), storage("a", "b", "c", "d", copies=2)
    cells = [f"5/{n}" for n in range(200)]
    chosen = {cell: host_of_copy(few, "a", cell) for cell in cells}
    assert set(chosen.values()) == {"b", "c"}
    assert all(host_of_copy(more, "a", cell) in (chosen[cell], "d") for cell in cells)
    assert host_of_copy(replace(few, copies=1), "a", "5/1") is None


def test_drawing_by_lot_moves_cells_only_to_a_new_host() -> None:
    keys: list[Key] = [(5, n) for n in range(300)]
    before = {k: host_of_new_cell(storage("a", "b", by="random"), k, {}) for k in keys}
    moves = planned_hosts(storage("a", "b", "c", by="random"), {k: (h, 1) for k, h in before.items()}, even=True)
    assert set(moves.values()) == {"c"}
    assert 60 < len(moves) < 140


def test_first_rule_that_names_the_pixel_counts(tmp_path: Path) -> None:
    path = rules(tmp_path / "r.toml", """
        order = 1
        otherwise = ["c"]
        [[rules]]
        pixels = [0, "4-7"]
        hosts = ["a"]
        [[rules]]
        pixels = ["0-11"]
        hosts = ["b", "c"]
    """)
    some = storage("a", "b", "c", "d", **placement_setting(storage("a", "b", "c", "d"), "rule", path))
    assert candidates(some, (1, 4)) == candidates(some, (2, 16)) == candidates(some, (0, 1)) == ("a",)
    assert candidates(some, (3, 8 * 16)) == ("b", "c")
    assert candidates(some, (1, 40)) == ("c",)
    gone = replace(some, hosts={n: h for n, h in some.hosts.items() if n not in ("a", "c")})
    assert candidates(gone, (1, 4)) == ("b", "d"), "where no host of the rule is there, all are"


@pytest.mark.parametrize(("text", "what"), [
    ("order = 1", "'rules' is missing"), ("nonsense", "no rules of placement"),
    ('order = 1\n[[rules]]\npixels = [48]\nhosts = ["a"]', "there are no pixels 48 of order 1"),
    ('order = 1\n[[rules]]\npixels = ["7-5"]\nhosts = ["a"]', "there are no pixels 7-5"),
    ('order = 1\n[[rules]]\npixels = [1]\nhosts = ["aa"]', "no host named 'aa'; did you mean 'a'"),
])  # fmt: skip
def test_rules_that_can_not_be_are_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        parse_rules(rules(tmp_path / "r.toml", text), ["a"])


def test_rules_and_the_policy_belong_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="belong together"):
        placement_setting(storage("a"), "rule")
    with pytest.raises(UsageError, match="no placement named 'byte'; did you mean 'bytes'"):
        placement_setting(storage("a"), "byte")


cells_on_hosts = st.dictionaries(
    st.tuples(st.just(6), st.integers(0, 500)), st.tuples(st.sampled_from("abcd"), st.integers(0, 1000)), max_size=80
)


@given(cells_on_hosts)
@settings(deadline=None)
def test_balance_evens_out_and_moves_no_cell_without_need(cells: dict[Key, tuple[str, int]]) -> None:
    some = storage("a", "b", "c", "d", draining=("d",))
    moves = planned_hosts(some, cells, even=True)
    assert moves == planned_hosts(some, dict(reversed(cells.items())), even=True)
    assert {k for k, (host, _) in cells.items() if host == "d"} <= moves.keys()
    assert all(host in "abc" and host != cells[k][0] for k, host in moves.items())
    after: dict[str, int] = dict.fromkeys("abc", 0)
    for key, (host, size) in cells.items():
        after[moves.get(key, host)] += size
    largest = max((size for _, size in cells.values()), default=0)
    assert max(after.values()) - min(after.values()) <= largest + CLOSE_ENOUGH * sum(after.values())
    settled = {key: (moves.get(key, host), size) for key, (host, size) in cells.items()}
    assert planned_hosts(some, settled, even=True) == {}


@given(cells_on_hosts)
@settings(deadline=None)
def test_only_cells_that_may_not_stay_move_when_nothing_is_to_be_evened_out(cells: dict[Key, tuple[str, int]]) -> None:
    moves = planned_hosts(storage("a", "b", "c", "d", draining=("d",)), cells, even=False)
    assert moves.keys() == {k for k, (host, _) in cells.items() if host == "d"}
