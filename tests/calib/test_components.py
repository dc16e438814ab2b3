from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array

from skydb.calib.components import UNTIED, components


def laplacian(n: int, pairs: list[tuple[int, int]]) -> csc_array:
    matrix = np.zeros((n, n))
    for a, b in pairs:
        matrix[[a, b], [a, b]] += 1
        matrix[[a, b], [b, a]] -= 1
    return csc_array(matrix)


def test_labels_follow_the_smallest_row_of_each_component() -> None:
    label = components(laplacian(7, [(5, 1), (0, 6), (6, 3)]))
    assert label.tolist() == [0, 1, UNTIED, 0, UNTIED, 1, 0]


def test_labels_match_a_search_by_hand() -> None:
    rng = np.random.default_rng(4)
    pairs = [tuple(rng.choice(40, 2, replace=False)) for _ in range(25)]
    label = components(laplacian(40, pairs))  # type: ignore[arg-type]  # a test gives what it likes
    reach = np.eye(40, dtype=bool)
    for a, b in pairs:
        joined = reach[a] | reach[b]
        reach[joined] = joined
    for i in range(40):
        same = np.flatnonzero(reach[i])
        assert (label[i] == UNTIED) == (len(same) == 1)
        if len(same) > 1:
            assert set(np.flatnonzero(label == label[i])) == set(same)


def test_nothing_is_tied_in_an_empty_matrix() -> None:
    assert components(csc_array((3, 3))).tolist() == [UNTIED] * 3
