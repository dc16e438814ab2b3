"""The normal equations of one cell with its stars eliminated, and their sum over cells.

Star s with weights w_j and residuals r_j on images i(j) adds, once its magnitude is eliminated,

    S_s = sum_j w_j e_i(j) e_i(j)^T - (sum_j w_j e_i(j)) (sum_j w_j e_i(j))^T / W_s
        = sum_{j<k} (w_j w_k / W_s) (e_i(j) - e_i(k)) (e_i(j) - e_i(k))^T
    b_s = sum_j w_j (r_j - rbar_s) e_i(j),        W_s = sum_j w_j,  rbar_s = sum_j w_j r_j / W_s.

The second form of S_s is the one summed here: one number per pair of images. The diagonal is minus the sum of a
row, so that a constant added to all zero points is exactly without effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csc_array

from skydb.errors import DataError

from .bandimages import BandImages
from .pairsum import (
    PER_UNIT,
    UNIT,
    Block,
    PairSum,
    add_pairs,
    contents,
    emptied,
    new_block,
    new_table,
    slots_for,
    whole,
)
from .robust import Weighting, precisions, reweight, weighted_mean
from .select import Reason, Selection

Ints = NDArray[np.int64]
F64 = NDArray[np.float64]

N_BINS = 200
BIN = 0.05
"""Pulls are counted in bins of 0.05 sigma; the last bin takes all beyond 9.95."""
CHI2_UNIT = 2.0**-12
RHS, USED, OUTLIERS, ALONE, CHI2, RESIDUAL2, WEIGHT, BOUND = range(8)
"""Columns of `Partial.sums`, by image: the right-hand side (UNIT mag**-1); counts of measurements used, rejected, and
left without another image to compare with; sum of squared pulls and weighted sum of squared residuals (CHI2_UNIT);
sum of weights (UNIT mag**-2); a bound on all of these (mag**-2), which proves that none has overflowed."""
N_SUMS = 8
_ROOM = 2.0**62


class Weights(NamedTuple):
    """The robust weighting of one pass: a `Weighting`, and the size of a pull when nothing is wrong."""

    weighting: int = int(Weighting.NONE)
    scale: float = 1.0


class Runs(NamedTuple):
    """A selection's arrays, as the kernel takes them."""

    starts: Ints
    image: NDArray[np.int32]
    residual: NDArray[np.float32]
    weight: NDArray[np.float32]


class Sums(NamedTuple):
    """What the kernel adds to."""

    sums: Ints
    pulls: Ints


class Work(NamedTuple):
    """The kernel's own room; each array as long as the longest star."""

    block: Block
    now: F64
    then: F64
    weight: F64
    precision: F64
    robust: F64
    slot: Ints


@dataclass(frozen=True)
class Partial:
    """One cell's share of the normal equations; every sum is exact.

    image_id : (m,)
        The cell's images, ascending.
    pair : (p,)
        Two positions in `image_id`, lower << 32 | upper, ascending.
    coupling : (p,) 2**-20 mag**-2
        Sum of w_j w_k / W_s over the stars that both images saw.
    sums : (m, 8)
        See RHS … BOUND.
    pulls : (200,)
        Measurements by size of their pull.
    n_stars
        Stars that entered, with two measurements or more.
    n_candidates, rejected
        As in the selection.
    """

    image_id: Ints
    pair: Ints
    coupling: Ints
    sums: Ints
    pulls: Ints
    n_stars: int
    n_candidates: Ints
    rejected: Ints


@dataclass(frozen=True)
class NormalEquations:
    """The sum over all cells, by row of the band's image table (n images)."""

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    coupling: Ints
    sums: Ints
    pulls: Ints
    n_stars: int
    n_candidates: Ints
    rejected: Ints

    def matrix(self) -> csc_array:
        """The normal matrix S, (n, n) mag**-2, symmetric; its rows sum to zero."""
        n = len(self.sums)
        value = self.coupling * UNIT
        diagonal = self.diagonal()
        own = np.flatnonzero(diagonal)
        row = np.concatenate((self.lower, self.upper, own))
        column = np.concatenate((self.upper, self.lower, own))
        data = np.concatenate((-value, -value, diagonal[own] * UNIT))
        return csc_array((data, (row, column)), shape=(n, n))

    def diagonal(self) -> Ints:
        """Its diagonal, (n,) 2**-20 mag**-2, exactly: the sum of an image's couplings."""
        diagonal = np.zeros(len(self.sums), dtype=np.int64)
        np.add.at(diagonal, self.lower, self.coupling)
        np.add.at(diagonal, self.upper, self.coupling)
        return diagonal

    def weight(self) -> F64:
        """Sum of the weights of every image's measurements used, (n,) mag**-2."""
        return np.asarray(self.sums[:, WEIGHT] * UNIT, dtype=np.float64)

    def right_side(self) -> F64:
        """The right-hand side b, (n,) mag**-1."""
        return np.asarray(self.sums[:, RHS] * UNIT, dtype=np.float64)


def accumulate(cell: Selection, at: F64, *, weights_at: F64 | None = None, weights: Weights = Weights()) -> Partial:  # noqa: B008  an immutable default
    """One cell's normal equations about a trial solution.

    Parameters
    ----------
    cell : Selection
    at : (m,) mag
        Trial corrections of the cell's images (`cell.image_id`): the right-hand side is about them.
    weights_at : (m,) mag
        Corrections at which the robust weights are taken; `at` where not given. Kept from pass to pass, they
        freeze the weights.
    weights : Weights
    """
    m, longest = len(cell.image_id), int(np.diff(cell.starts).max(initial=0))
    out = Sums(np.zeros((m, N_SUMS), np.int64), np.zeros(N_BINS, np.int64))
    at = np.ascontiguousarray(at, dtype=np.float64)
    trial = (at, at if weights_at is None else np.ascontiguousarray(weights_at, dtype=np.float64))
    room = np.empty((5, longest))
    work = Work(new_block(m, longest), room[0], room[1], room[2], room[3], room[4], np.empty(longest, np.int64))
    runs = Runs(cell.starts, cell.image, cell.residual, cell.weight)
    table, n_stars = _accumulate(runs, trial, weights, out, work, new_table())
    pair, coupling = contents(table[0], table[1])
    return Partial(cell.image_id, pair, coupling, *out, int(n_stars), cell.n_candidates, cell.rejected)


@njit(cache=True)
def _accumulate(runs: Runs, trial: Any, weights: Weights, out: Sums, work: Work, table: Any) -> Any:
    """All stars of a cell; returns the table of pairs and the number of stars that entered."""
    n_stars, n_slots = 0, 0
    for s in range(runs.starts.size - 1):
        begin, end = runs.starts[s], runs.starts[s + 1]
        n, image = end - begin, runs.image[begin:end]
        now, then, weight = work.now[:n], work.then[:n], work.weight[:n]
        precision, robust = work.precision[:n], work.robust[:n]
        for j in range(n):
            now[j] = runs.residual[begin + j] - trial[0][image[j]]
            then[j] = runs.residual[begin + j] - trial[1][image[j]]
            weight[j] = runs.weight[begin + j]
        precisions(weight, precision)
        centre = reweight(then, weight, precision, weights, robust)
        for j in range(n):
            out.pulls[min(int(abs(then[j] - centre) * precision[j] / BIN), N_BINS - 1)] += 1
        if not _enters(image, robust, out.sums):
            continue
        n_stars += 1
        total = _add_star(image, now, robust, weight, precision, out.sums)
        used = slots_for(image, work.block, n_slots, work.slot)
        if used < 0:
            table = emptied(work.block, n_slots, table)
            used = slots_for(image, work.block, 0, work.slot)
        n_slots = used
        add_pairs(work.slot[:n], robust, total, work.block)
    return emptied(work.block, n_slots, table), n_stars


@njit(cache=True)
def _enters(image: Ints, robust: F64, sums: Ints) -> Any:
    """Whether two images still share the star; counts its rejected and its lonely measurements."""
    first = -1
    shared = False
    for j in range(robust.size):
        if robust[j] > 0.0:
            shared = shared or (first >= 0 and image[j] != first)
            first = image[j] if first < 0 else first
        else:
            sums[image[j], OUTLIERS] += 1
    if not shared:
        for j in range(robust.size):
            sums[image[j], ALONE] += robust[j] > 0.0
    return shared


@njit(cache=True)
def _add_star(image: Ints, residual: F64, robust: F64, weight: F64, precision: F64, sums: Ints) -> Any:
    """Add the star to the sums of its images; returns its robust weight."""
    total, mean = 0.0, weighted_mean(residual, robust)
    for j in range(image.size):
        if robust[j] > 0.0:
            i, off = image[j], residual[j] - mean
            total += robust[j]
            sums[i, RHS] += whole(robust[j] * off)
            sums[i, USED] += 1
            sums[i, CHI2] += np.int64(np.rint(robust[j] / weight[j] * (off * precision[j]) ** 2 / CHI2_UNIT))
            sums[i, RESIDUAL2] += np.int64(np.rint(robust[j] * off * off / CHI2_UNIT))
            sums[i, WEIGHT] += whole(robust[j])
            sums[i, BOUND] += np.int64(robust[j] * (1.0 + abs(off) + off * off)) + 1
    return total


def combine(partials: Iterable[Partial], images: BandImages) -> NormalEquations:
    """Sum of all cells, by row of the band's images: the same to the last bit in any order.

    Raises
    ------
    DataError
        Weights so large that the sums might overflow; an image that the band does not have.
    """
    n = len(images)
    sums, candidates = np.zeros((n, N_SUMS), np.int64), np.zeros(n, np.int64)
    rejected, pulls, n_stars = np.zeros((n, len(Reason)), np.int64), np.zeros(N_BINS, np.int64), 0
    pairs = PairSum()
    for part in partials:
        row = images.rows_of(part.image_id)
        for total, share in ((sums, part.sums), (candidates, part.n_candidates), (rejected, part.rejected)):
            total[row] += share
        pulls += part.pulls
        n_stars += part.n_stars
        pairs.add(row[part.pair >> 32] * n + row[part.pair & 0xFFFFFFFF], part.coupling)
    _check_room(sums[:, BOUND], images)
    keys, values = pairs.total()
    return NormalEquations(keys // n, keys % n, values, sums, pulls, n_stars, candidates, rejected)


def _check_room(bound: Ints, images: BandImages) -> None:
    """Refuse sums that may not fit into 63 bits (8e12 mag**-2: a zero point known to a third of a micromagnitude)."""
    if bound.size and (bound.min() < 0 or bound.max() * PER_UNIT >= _ROOM):
        what = f"{images.called(np.argmax(bound))} has weights or residuals too large to be summed exactly"
        raise DataError(what, todo="raise min_error, or cap the measurements per image")
