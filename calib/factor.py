"""Factors of a symmetric positive definite matrix: solve with them, and take the diagonal of the inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csc_array, csc_matrix
from scipy.sparse.linalg import spilu, splu

from .elimination import factor_counts, factor_pattern, inverse_diagonal, spread

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

_DENSE_FILL = 0.4
"""From this share of all entries on, LAPACK on the full matrix is faster than a sparse factor."""
_BYTES_PER_ENTRY = 80
"""Of the sparse factor: SuperLU's L and U, their copies by column, the pattern and the inverse on it."""
_BYTES_PER_DENSE_ENTRY = 24


class Factor(Protocol):
    """A factored matrix."""

    def solve(self, right: F64) -> F64:
        """Solution of A x = `right`, (n,) or (n, m)."""
        ...

    def inverse_diagonal(self) -> F64:
        """Diagonal of the inverse of A, (n,)."""
        ...


@dataclass(frozen=True)
class Plan:
    """An order of elimination, what it will cost, and the columns of L that it leads to."""

    order: NDArray[np.intp]
    parent: Ints
    counts: Ints

    @property
    def n_entries(self) -> int:
        """Entries of L below its diagonal."""
        return int(self.counts.sum())

    @property
    def dense(self) -> bool:
        """Whether the factor is nearly full."""
        n = len(self.order)
        return self.n_entries > _DENSE_FILL * 0.5 * n * n

    @property
    def n_bytes(self) -> int:
        """Memory that factor and inverse will take."""
        n = len(self.order)
        return n * n * _BYTES_PER_DENSE_ENTRY if self.dense else self.n_entries * _BYTES_PER_ENTRY


def plan_factor(matrix: csc_array) -> Plan:
    """Order of elimination by minimum degree, and its cost.

    SuperLU gives its order only with a factor; an incomplete one that drops everything costs next to nothing.
    """
    throw_away = spilu(
        csc_matrix(matrix), drop_tol=1.0, fill_factor=1.0, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    order = np.argsort(throw_away.perm_c)
    permuted = _permuted(matrix, order)
    parent, counts = factor_counts(permuted.indptr.astype(np.int64), permuted.indices.astype(np.int64))
    return Plan(order, parent, counts)


def factorise(matrix: csc_array, plan: Plan) -> Factor:
    """Factor of a symmetric positive definite `matrix`, sparse or full as `plan` says."""
    if plan.dense:
        return DenseFactor(scipy.linalg.cho_factor(matrix.toarray(), lower=True, overwrite_a=True)[0])
    permuted = _permuted(matrix, plan.order)
    options = {"SymmetricMode": True}
    superlu = splu(csc_matrix(permuted), permc_spec="NATURAL", diag_pivot_thresh=0.0, options=options)
    return SparseFactor(permuted, plan, superlu)


@dataclass(frozen=True)
class DenseFactor:
    """Cholesky factor of a full matrix."""

    lower: F64

    def solve(self, right: F64) -> F64:
        """Solution of A x = `right`."""
        answer: F64 = scipy.linalg.cho_solve((self.lower, True), right)
        return answer

    def inverse_diagonal(self) -> F64:
        """Diagonal of the inverse, by LAPACK's potri."""
        inverse, info = scipy.linalg.lapack.dpotri(self.lower, lower=True)
        if info:
            raise np.linalg.LinAlgError(f"potri failed at column {info}")
        return np.array(np.diag(inverse), dtype=np.float64)


@dataclass(frozen=True)
class SparseFactor:
    """SuperLU factor of a permuted sparse matrix."""

    permuted: csc_array
    plan: Plan
    superlu: Any

    def solve(self, right: F64) -> F64:
        """Solution of A x = `right`."""
        answer = np.empty_like(right)
        answer[self.plan.order] = self.superlu.solve(right[self.plan.order])
        return answer

    def inverse_diagonal(self) -> F64:
        """Diagonal of the inverse, by the recursion of Takahashi et al. on the pattern of L."""
        start = np.concatenate(([0], np.cumsum(self.plan.counts)))
        indptr, indices = self.permuted.indptr.astype(np.int64), self.permuted.indices.astype(np.int64)
        rows = factor_pattern(indptr, indices, self.plan.parent, start)
        stored, pivots = self.superlu.L, self.superlu.U.diagonal()
        values = spread(start, rows, stored.indptr.astype(np.int64), stored.indices.astype(np.int64), stored.data)
        answer = np.empty(len(pivots))
        answer[self.plan.order] = inverse_diagonal(start, rows, values, pivots)
        return answer


def _permuted(matrix: csc_array, order: NDArray[np.intp]) -> csc_array:
    permuted = csc_array(matrix[order][:, order])
    permuted.sort_indices()
    return permuted
