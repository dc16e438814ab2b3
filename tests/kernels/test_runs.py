"""Runs of equal keys against slow numpy."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.kernels.ranks import Candidates, best_ranked, mark_rows
from skydb.kernels.runs import group_within_runs, occurring, run_extremes, run_starts, run_sums

SIZES = st.lists(st.integers(0, 6), min_size=0, max_size=12)


def starts_of(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def test_runs_of_no_rows_are_no_runs() -> None:
    assert run_starts(np.zeros(0, np.int64)).tolist() == [0]
    assert run_sums(np.zeros(0), np.zeros(1, np.int64)).size == 0


def test_a_run_ends_where_any_key_changes() -> None:
    assert run_starts(np.array([1, 1, 1, 2]), np.array([5, 5, 6, 6])).tolist() == [0, 2, 3, 4]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30))
def test_runs_cover_all_rows_and_hold_one_key(keys: list[int]) -> None:
    array = np.sort(np.array(keys, np.int64))
    starts = run_starts(array)
    assert [array[a:b].tolist() for a, b in itertools.pairwise(starts)] == [
        [key] * keys.count(key) for key in sorted(set(keys))
    ]


@settings(deadline=None)
@given(SIZES, st.data())
def test_sums_and_extremes_are_those_of_every_run_alone(sizes: list[int], data: st.DataObject) -> None:
    number = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6))
    values = np.array([data.draw(number) for _ in range(sum(sizes))], np.float64)
    starts = starts_of(sizes)
    smallest, largest = run_extremes(values, starts)
    for k, (a, b) in enumerate(itertools.pairwise(starts)):
        total = 0.0
        for value in values[a:b]:
            total += value
        np.testing.assert_array_equal(run_sums(values, starts)[k], total)
        known = values[a:b][~np.isnan(values[a:b])]
        np.testing.assert_array_equal(smallest[k], known.min() if known.size else np.nan)
        np.testing.assert_array_equal(largest[k], known.max() if known.size else np.nan)


@settings(deadline=None)
@given(SIZES, st.data())
def test_regrouping_is_a_stable_sort_by_run_and_group(sizes: list[int], data: st.DataObject) -> None:
    group = np.array([data.draw(st.integers(-1, 4)) for _ in range(sum(sizes))], np.int64)
    run = np.repeat(np.arange(len(sizes)), sizes)
    found = group_within_runs(starts_of(sizes), group, 5)
    order = np.lexsort((group, run))
    order = order[group[order] >= 0]
    np.testing.assert_array_equal(found.order, order)
    np.testing.assert_array_equal(found.starts, run_starts(run[order], group[order]))
    np.testing.assert_array_equal(found.run, run[order[found.starts[:-1]]])
    np.testing.assert_array_equal(found.group, group[order[found.starts[:-1]]])


def test_occurring_numbers_are_found_once() -> None:
    assert occurring(np.array([3, -1, 3, 0]), 5).tolist() == [0, 3]


def slow_selection(rows: Candidates, order: np.ndarray, nothing: int) -> tuple[list[float], int]:
    present = [i for i in order if np.isfinite(rows.value[i])]
    best = min((int(rows.rank[i]) for i in present), default=nothing)
    taken = [i for i in present if rows.rank[i] == best]
    known = [i for i in taken if rows.err[i] > 0]
    if not known:
        return [1e12 if i in taken else 0.0 for i in order], best
    return [1 / (rows.err[i] ** 2 + rows.err_sys[i] ** 2) if i in known else 0.0 for i in order], best


@settings(deadline=None)
@given(SIZES, st.data())
def test_only_the_best_rank_present_has_weight(sizes: list[int], data: st.DataObject) -> None:
    rows, starts = sum(sizes), starts_of(sizes)
    value = np.array([data.draw(st.sampled_from([np.nan, 1.0, 2.0])) for _ in range(rows)], np.float32)
    err = np.array([data.draw(st.sampled_from([np.nan, 0.0, 0.1, 0.5])) for _ in range(rows)], np.float32)
    err_sys = np.array([data.draw(st.sampled_from([0.0, 0.0, 0.25])) for _ in range(rows)], np.float64)
    rank = np.array([data.draw(st.integers(0, 3)) for _ in range(rows)], np.int8)
    order = np.array(data.draw(st.permutations(range(rows))), np.int64)
    candidates = Candidates(value, err, err_sys, rank)
    found = best_ranked(candidates, order, starts, nothing=4)
    for k, (a, b) in enumerate(itertools.pairwise(starts)):
        weight, best = slow_selection(Candidates(value, err.astype(float), err_sys, rank), order[a:b], 4)
        np.testing.assert_allclose(found.weight[a:b], weight, rtol=1e-14)
        assert found.best[k] == best
        assert found.has_errors[k] == (best < 4 and 1e12 not in weight)


def test_marks_tell_the_used_from_the_outliers() -> None:
    flags = np.array([8, 0, 0], np.uint32)
    mark_rows(flags, np.array([2, 0]), np.array([1.0, 1.0]), np.array([False, True]), bits=(1, 2))
    assert flags.tolist() == [9, 0, 2]
