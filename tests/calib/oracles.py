"""Slow, obvious least squares: every star an unknown of its own, dense matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skydb.calib.select import Selection

F64 = NDArray[np.float64]


def design(cell: Selection) -> tuple[F64, F64, F64]:
    """Weighted design matrix (images, then stars), weighted data, weights."""
    n_stars, m = len(cell.starts) - 1, len(cell.image_id)
    star = np.repeat(np.arange(n_stars), np.diff(cell.starts))
    matrix = np.zeros((len(cell), m + n_stars))
    matrix[np.arange(len(cell)), cell.image] = 1.0
    matrix[np.arange(len(cell)), m + star] = 1.0
    root = np.sqrt(cell.weight.astype(np.float64))
    return matrix * root[:, None], cell.residual * root, cell.weight.astype(np.float64)


def marginalised(cell: Selection) -> tuple[F64, F64]:
    """Normal matrix and right-hand side of the images, the stars eliminated by a Schur complement."""
    matrix, data, _ = design(cell)
    m = len(cell.image_id)
    full, right = matrix.T @ matrix, matrix.T @ data
    link, stars = full[:m, m:], full[m:, m:]
    keep = link @ np.linalg.inv(stars)
    return full[:m, :m] - keep @ link.T, right[:m] - keep @ right[m:]


def least_squares(cell: Selection) -> F64:
    """Corrections by LAPACK's least squares on stars and images together; their mean is arbitrary."""
    matrix, data, _ = design(cell)
    answer: F64 = np.linalg.lstsq(matrix, data, rcond=None)[0][: len(cell.image_id)]
    return answer


def constrained_covariance(matrix: F64, weight: F64) -> F64:
    """Covariance of one component under sum(weight x) = 0, from the bordered matrix."""
    n = len(weight)
    unit = weight / weight.sum() * np.trace(matrix) / n
    bordered = np.block([[matrix, unit[:, None]], [unit[None, :], np.zeros((1, 1))]])
    answer: F64 = np.linalg.inv(bordered)[:n, :n]
    return answer
