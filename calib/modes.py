"""The combinations of unknowns that the data hold most loosely, beside the free ones that the gauge fixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from .factor import Factor

if TYPE_CHECKING:
    from .solve import Gauge

F64 = NDArray[np.float64]

_SMALL = 64
_START = 20080201


@dataclass(frozen=True)
class Mode:
    """One loosely held combination of the unknowns of a component.

    component
        The component that it lives in.
    eigenvalue
        Of D^-1/2 S D^-1/2, D the diagonal of S: 0 is free, 1 is as well held as an unknown whose partners are all
        known. Alternating between stars and images would need some 1 / eigenvalue rounds.
    rms : mag
        The error that it alone puts on the component's unknowns, rms.
    row
        The unknown that it moves most.
    """

    component: int
    eigenvalue: float
    rms: float
    row: int

    def at(self, rows: NDArray[np.intp]) -> Mode:
        """The same mode, its row renumbered."""
        return replace(self, row=int(rows[self.row]))


def weakest_modes(matrix: csc_array, factor: Factor, gauge: Gauge, n_modes: int = 3) -> tuple[Mode, ...]:
    """Modes of the smallest eigenvalues above the free ones, the weakest first.

    Lanczos on the generalised inverse that `factor` gives, with the free directions taken out on both sides.
    """
    root = np.sqrt(matrix.diagonal())
    free = root * gauge.null
    free /= np.sqrt(np.bincount(gauge.label, weights=free**2))[gauge.label]

    def held(u: F64) -> F64:
        out: F64 = u - free * np.bincount(gauge.label, weights=free * u)[gauge.label]
        return out

    def inverse(u: F64) -> F64:
        return held(root * factor.solve(root * held(np.ravel(u))))

    n = len(root)
    n_held = n - int(gauge.label.max()) - 1
    if n <= _SMALL:
        values, vectors = np.linalg.eigh(np.column_stack([inverse(unit) for unit in np.eye(n)]))
    else:
        values, vectors = _lanczos(inverse, n, min(n_modes, n_held))
    best = np.argsort(-values)[: min(n_modes, n_held)]
    return tuple(_mode(1.0 / values[k], vectors[:, k] / root, gauge) for k in best if values[k] > 0)


def _lanczos(inverse: Callable[[F64], F64], n: int, n_modes: int) -> tuple[F64, F64]:
    operator = LinearOperator((n, n), matvec=inverse, dtype=np.float64)
    values: Any
    vectors: Any
    start = np.random.default_rng(_START).standard_normal(n)
    try:
        values, vectors = eigsh(operator, k=n_modes, which="LA", v0=start, tol=1e-4)
    except ArpackNoConvergence as partial:
        values, vectors = partial.eigenvalues, partial.eigenvectors
    return np.real(values), np.real(vectors)


def _mode(eigenvalue: float, shape: F64, gauge: Gauge) -> Mode:
    shape = gauge.centred(shape)
    row = int(np.argmax(np.abs(shape)))
    inside = gauge.label == gauge.label[row]
    rms = float(np.sqrt(np.mean(shape[inside] ** 2) / eigenvalue))
    return Mode(int(gauge.label[row]), float(eigenvalue), rms, row)
