from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array, diags_array, kron, random_array

from skydb.calib.factor import DenseFactor, SparseFactor, factorise, plan_factor


def grid(side: int) -> csc_array:
    """Laplacian of a square grid, one corner held."""
    line = diags_array([-np.ones(side - 1), -np.ones(side - 1)], offsets=[1, -1])
    eye = diags_array(np.ones(side))
    links = kron(eye, line) + kron(line, eye)
    held = np.zeros(side**2)
    held[0] = 1.0
    return csc_array(links + diags_array(held - np.asarray(links.sum(axis=0)).ravel()))


def scattered(n: int, density: float, seed: int) -> csc_array:
    half = random_array((n, n), density=density, rng=np.random.default_rng(seed))
    both = abs(half) + abs(half).T
    return csc_array(diags_array(np.asarray(both.sum(axis=0)).ravel() + 0.1) - both)


@pytest.mark.parametrize(
    "matrix", [grid(12), grid(30), scattered(80, 0.01, 1), scattered(200, 0.01, 2), scattered(300, 0.003, 3)]
)
def test_sparse_factor_solves_and_inverts_like_lapack(matrix: csc_array) -> None:
    plan = plan_factor(matrix)
    factor = factorise(matrix, plan)
    assert isinstance(factor, SparseFactor)
    inverse = np.linalg.inv(matrix.toarray())
    right = np.random.default_rng(1).standard_normal(matrix.shape[0])
    np.testing.assert_allclose(factor.solve(right), inverse @ right, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(factor.inverse_diagonal(), np.diag(inverse), rtol=1e-10)


def test_nearly_full_matrix_takes_the_dense_factor() -> None:
    matrix = scattered(60, 0.5, 4)
    factor = factorise(matrix, plan_factor(matrix))
    assert isinstance(factor, DenseFactor)
    inverse = np.linalg.inv(matrix.toarray())
    np.testing.assert_allclose(factor.solve(np.eye(60)), inverse, atol=1e-12)
    np.testing.assert_allclose(factor.inverse_diagonal(), np.diag(inverse), rtol=1e-10)


def test_plan_knows_the_size_of_the_factor_beforehand() -> None:
    matrix = grid(20)
    plan = plan_factor(matrix)
    factor = factorise(matrix, plan)
    assert isinstance(factor, SparseFactor)
    assert plan.n_entries == factor.superlu.L.nnz - matrix.shape[0]
