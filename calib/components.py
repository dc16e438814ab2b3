"""Which images the stars tie together: photometry is relative within a connected component, and only there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.csgraph import connected_components

UNTIED = -1


def components(matrix: csc_array) -> NDArray[np.int32]:
    """Label of the connected component of every unknown of a normal matrix.

    Parameters
    ----------
    matrix : (n, n)
        Normal matrix; a stored non-zero off the diagonal ties two unknowns.

    Returns
    -------
    label : (n,)
        0, 1, … in the order of each component's first row, which is its smallest image id; `UNTIED` (-1) for a row
        that nothing ties to another.

    Examples
    --------
    >>> components(csc_array([[0, 0, 0, 0], [0, 2, 0, -2], [0, 0, 0, 0], [0, -2, 0, 2]])).tolist()
    [-1, 0, -1, 0]
    """
    n_labels, raw = connected_components(matrix, directed=False)
    tied = np.bincount(raw, minlength=n_labels)[raw] > 1
    first = np.full(n_labels, matrix.shape[0], dtype=np.int64)
    np.minimum.at(first, raw[tied], np.flatnonzero(tied))
    rank = np.empty(n_labels, dtype=np.int32)
    rank[np.argsort(first, kind="stable")] = np.arange(n_labels, dtype=np.int32)
    return np.where(tied, rank[raw], UNTIED).astype(np.int32)
