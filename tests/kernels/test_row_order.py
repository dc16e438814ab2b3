"""The order of measurements against numpy's lexsort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.kernels.row_order import measurement_order

Keys = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

ROWS = st.lists(
    st.tuples(st.integers(-2, 2), st.sampled_from([1.5, 2.5, np.nan, np.inf]), st.integers(0, 2), st.integers(0, 3)),
    max_size=40,
)


def keys_of(rows: list[tuple[int, float, int, int]]) -> Keys:
    ids, mjd, image, det = zip(*rows, strict=True) if rows else ([], [], [], [])
    return np.array(ids, np.int64), np.array(mjd, float), np.array(image, np.int64), np.array(det, np.int64)


def slowly(keys: Keys) -> np.ndarray:
    return np.lexsort(keys[::-1])


@settings(deadline=None)
@given(ROWS)
def test_it_is_that_of_lexsort(rows: list[tuple[int, float, int, int]]) -> None:
    keys = keys_of(rows)
    assert measurement_order(*keys).tolist() == slowly(keys).tolist()


@pytest.mark.parametrize("n_objects", [1, 3, 500])
@pytest.mark.parametrize("runs", [1, 2, 7, 5_000])
def test_objects_of_many_rows_in_any_number_of_runs(n_objects: int, runs: int) -> None:
    random = np.random.default_rng(n_objects * runs)
    keys = (
        random.integers(0, n_objects, 5_000) << 40, random.integers(0, 300, 5_000) / 7.0,
        random.integers(0, 3, 5_000), random.integers(0, 4, 5_000),
    )  # fmt: skip
    parts = np.array_split(np.arange(5_000), runs)
    order = np.concatenate([part[slowly(tuple(key[part] for key in keys))] for part in parts])
    shuffled = tuple(key[order] for key in keys)
    assert measurement_order(*shuffled).tolist() == slowly(shuffled).tolist()


def test_equal_rows_stay_as_they_come() -> None:
    same = np.zeros(200, np.int64)
    assert measurement_order(same, same.astype(float), same, same).tolist() == list(range(200))
