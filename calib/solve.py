"""Solution and errors of normal equations that leave one direction free in every connected component.

Unknowns need not be images: nights, airmass slopes or exposures are a projection T^T S T with right-hand side T^T b,
and their free direction is `Gauge.null` (1 for a zero point, 0 for a slope).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, diags_array, triu
from scipy.sparse.linalg import cg

from skydb.errors import DataError

from .components import UNTIED
from .factor import Factor, factorise, plan_factor
from .modes import Mode, weakest_modes

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Gauge:
    """What fixes the directions that the data leave free: sum of weight * x = 0 over every component.

    label : (n,)
        Component of every unknown; -1: tied to nothing, not solved.
    weight : (n,)
        Not negative, and positive somewhere in every component.
    null : (n,)
        The free direction of every component.
    """

    label: NDArray[np.int32]
    weight: F64
    null: F64

    def centred(self, x: F64) -> F64:
        """`x` moved along the free direction of each component until the weighted sums are zero."""
        tied = self.label != UNTIED
        label, weight, null = self.label[tied], self.weight[tied], self.null[tied]
        out = np.zeros_like(x)
        excess = np.bincount(label, weights=weight * x[tied]) / np.bincount(label, weights=weight * null)
        out[tied] = x[tied] - null * excess[label]
        return out


@dataclass(frozen=True)
class SolveLimits:
    """How much a solution may cost.

    iterate_from
        A matrix of more entries is first tried with a few hundred conjugate gradients where no errors are asked for: in
        a deep field, where all images share stars, they converge in tens and a factor is nearly full.
    max_factor_bytes
        A factor that would take more is replaced by conjugate gradients, whose memory is that of the matrix.
    n_draws
        Draws of the noise from which errors are taken then: they are good to 1 / sqrt(2 n_draws), 5%.
    tolerance
        Relative residual at which conjugate gradients stop.
    """

    iterate_from: int = 4_000_000
    first_iterations: int = 500
    max_factor_bytes: int = 8 << 30
    n_draws: int = 200
    tolerance: float = 1e-11
    max_iterations: int = 20_000
    seed: int = 1


@dataclass(frozen=True)
class Solution:
    """Solved unknowns; those tied to nothing are 0 with a NaN error.

    label : (n,)
        Components, as in the gauge.
    value : (n,)
    error : (n,)
        One sigma against the gauge; NaN where errors were not asked for.
    method
        "direct" or "iterative".
    modes
        The combinations that the data hold most loosely; only with errors, and only from a direct solution.
    """

    label: NDArray[np.int32]
    value: F64
    error: F64
    method: str
    modes: tuple[Mode, ...] = ()


def solve(
    matrix: csc_array, right: F64, gauge: Gauge, limits: SolveLimits = SolveLimits(), *, errors: bool = False
) -> Solution:
    """Minimum-chi-square solution under the gauge, component by component.

    Parameters
    ----------
    matrix : (n, n)
        Normal matrix, positive semidefinite; its null space is `gauge.null` on every component.
    right : (n,)
    gauge : Gauge
    errors
        Whether to compute errors and weakest modes too.

    Raises
    ------
    DataError
        Values that are not finite, or conjugate gradients that do not converge.
    """
    if not (np.all(np.isfinite(matrix.data)) and np.all(np.isfinite(right))):
        raise DataError("the normal equations hold a value that is not finite", todo="check the magnitude errors")
    tied = np.flatnonzero(gauge.label != UNTIED)
    value, error = np.zeros(len(right)), np.full(len(right), np.nan)
    if not tied.size:
        return Solution(gauge.label, value, error, "direct")
    inner = Gauge(gauge.label[tied], gauge.weight[tied], gauge.null[tied])
    core = _Core(csc_array(matrix[tied][:, tied]), _without_null(right[tied], inner), inner)
    found = _solved(core, limits, errors=errors)
    value[tied], error[tied] = found.value, found.error
    modes = tuple(mode.at(tied) for mode in found.modes)
    return Solution(gauge.label, value, error, found.method, modes)


@dataclass(frozen=True)
class _Core:
    """The tied unknowns alone."""

    matrix: csc_array
    right: F64
    gauge: Gauge


def _solved(core: _Core, limits: SolveLimits, *, errors: bool) -> Solution:
    if core.matrix.nnz > limits.iterate_from and not errors:
        value, converged = _gradients(core, core.right, limits, limits.first_iterations)
        if converged:
            return Solution(core.gauge.label, value, np.full(len(value), np.nan), "iterative")
    grounded = _grounded(core)
    plan = plan_factor(grounded)
    if plan.n_bytes > limits.max_factor_bytes:
        return _iterative(core, limits, errors=errors)
    return _direct(core, factorise(grounded, plan), errors=errors)


def _without_null(right: F64, gauge: Gauge) -> F64:
    """Right-hand side without its part along the free directions, which is rounding."""
    excess = np.bincount(gauge.label, weights=gauge.null * right)
    share = np.bincount(gauge.label, weights=gauge.weight * gauge.null)
    return right - gauge.weight * (excess / share)[gauge.label]


def _grounded(core: _Core) -> csc_array:
    """The matrix with a spring on one unknown of each component, which makes it definite.

    The spring takes no part in the answer: along the free direction v, v^T (S + a e e^T) x = v^T b = 0 leaves the
    held unknown at 0, so that S x = b exactly; `Gauge.centred` then imposes the constraint.
    """
    diagonal = core.matrix.diagonal()
    order = np.lexsort((-diagonal * (core.gauge.null != 0), core.gauge.label))
    first = order[np.r_[True, np.diff(core.gauge.label[order]) != 0]]
    spring = np.zeros(len(diagonal))
    spring[first] = diagonal[first]
    return csc_array(core.matrix + diags_array(spring))


def _direct(core: _Core, factor: Factor, *, errors: bool) -> Solution:
    value = factor.solve(core.right)
    value += factor.solve(core.right - core.matrix @ core.gauge.centred(value))
    value = core.gauge.centred(value)
    if not errors:
        return Solution(core.gauge.label, value, np.full(len(value), np.nan), "direct")
    error = np.sqrt(_variances(core.gauge, factor))
    return Solution(core.gauge.label, value, error, "direct", weakest_modes(core.matrix, factor, core.gauge))


def _variances(gauge: Gauge, factor: Factor) -> F64:
    """Variances under the constraint, from the factor of the grounded matrix.

    With P = 1 - v g^T / (g^T v), the covariance is P G P^T for any generalised inverse G of the normal matrix; its
    diagonal takes the diagonal of G and one more solution, G g.
    """
    total = np.bincount(gauge.label, weights=gauge.weight * gauge.null)
    share = gauge.weight / total[gauge.label]
    towards = factor.solve(share)
    own = np.bincount(gauge.label, weights=share * towards)
    variance = factor.inverse_diagonal() - 2.0 * gauge.null * towards + gauge.null**2 * own[gauge.label]
    return np.maximum(variance, 0.0)


def _iterative(core: _Core, limits: SolveLimits, *, errors: bool) -> Solution:
    value = _converged(core, core.right, limits)
    if not errors:
        return Solution(core.gauge.label, value, np.full(len(value), np.nan), "iterative")
    upper = triu(core.matrix, 1).tocoo()
    coupling = np.sqrt(np.maximum(-upper.data, 0.0))
    rng, square = np.random.default_rng(limits.seed), np.zeros(len(value))
    for _ in range(limits.n_draws):
        noise = coupling * rng.standard_normal(len(coupling))
        right = np.zeros(len(value))
        np.add.at(right, upper.row, noise)
        np.add.at(right, upper.col, -noise)
        square += _converged(core, right, limits) ** 2
    return Solution(core.gauge.label, value, np.sqrt(square / limits.n_draws), "iterative")


def _converged(core: _Core, right: F64, limits: SolveLimits) -> F64:
    value, converged = _gradients(core, right, limits, limits.max_iterations)
    if not converged:
        what = f"conjugate gradients did not converge in {limits.max_iterations} iterations"
        raise DataError(what, todo="raise max_factor_bytes")
    return value


def _gradients(core: _Core, right: F64, limits: SolveLimits, n_iterations: int) -> tuple[F64, bool]:
    """Conjugate gradients with the diagonal as preconditioner; the free directions stay out by themselves."""
    inverse = diags_array(1.0 / core.matrix.diagonal())
    value, left = cg(core.matrix, right, rtol=limits.tolerance, maxiter=n_iterations, M=inverse)
    return core.gauge.centred(value), left == 0
