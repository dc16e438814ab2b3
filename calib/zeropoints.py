"""Zero points of images: the robust outer loop around the exact solution.

A pass asks every cell for its share of the normal equations about the current solution, adds them up, and solves.
The loop holds no measurement: cells may be computed anywhere, in any order, and the answer is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from skydb.errors import UsageError

from .bandimages import BandImages
from .components import UNTIED, components
from .gauge import gauge_images
from .normal import (
    BIN,
    CHI2_UNIT,
    OUTLIERS,
    RESIDUAL2,
    USED,
    NormalEquations,
    Partial,
    Weights,
    accumulate,
    combine,
)
from .pairsum import UNIT
from .report import PassRecord, ZeroPointSolution, report_gauge
from .robust import Weighting
from .select import Selection
from .solve import Gauge, Solution, SolveLimits, solve
from .verdict import ImageLimits, judge

F64 = NDArray[np.float64]

_NORMAL_MEDIAN = 0.674489750196
"""Median size of a standard normal deviate."""


@dataclass(frozen=True)
class PassRequest:
    """What a pass asks of every cell: its normal equations about `at`, with weights taken at `weights_at`.

    at, weights_at : (n,) mag
        Corrections of the band's images, by row of its image table.
    """

    at: F64
    weights_at: F64
    weights: Weights


PartialSums = Callable[[PassRequest], Iterable[Partial]]
"""All cells' answers to a request, in any order: `executor.map` over cells, or `in_process`."""


@dataclass(frozen=True)
class ZeroPointRules:
    """How to iterate, when to flag an image, what a solution may cost.

    robust
        Down-weight outliers; otherwise one pass of plain least squares.
    freeze_shift : mag
        Weights are frozen once no image moves by more than this, or than `freeze_sigma` of its error if that is more.
    max_passes
        Passes after which the weights are frozen in any case.
    images, solution
        Limits on an image, and of the solver.
    """

    robust: bool = True
    freeze_shift: float = 1e-4
    freeze_sigma: float = 0.05
    max_passes: int = 20
    images: ImageLimits = field(default_factory=ImageLimits)
    solution: SolveLimits = field(default_factory=SolveLimits)

    def __post_init__(self) -> None:
        if self.max_passes < 1:
            raise UsageError(f"max_passes is {self.max_passes}", todo="give 1 or more")


def partial_of(selection: Selection, images: BandImages, request: PassRequest) -> Partial:
    """One cell's answer to a request."""
    row = images.rows_of(selection.image_id)
    return accumulate(selection, request.at[row], weights_at=request.weights_at[row], weights=request.weights)


def in_process(selections: Sequence[Selection], images: BandImages) -> PartialSums:
    """Answers of cells that are all in memory here."""
    return lambda request: (partial_of(selection, images, request) for selection in selections)


def solve_zero_points(
    partial_sums: PartialSums,
    images: BandImages,
    rules: ZeroPointRules = ZeroPointRules(),
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> ZeroPointSolution:
    """Zero-point correction `mcal` of every image of one band.

    Parameters
    ----------
    partial_sums
        Gives every cell's `Partial` for a `PassRequest`; called once per pass.
    images : BandImages
        All images of the band, with the `mcal` that the residuals are about. Each connected component keeps the
        weighted mean of these over its images whose headers agree, and an image that cannot be solved keeps its own.
    rules : ZeroPointRules
    clock
        Seconds, for the record.

    Returns
    -------
    ZeroPointSolution
        `mcal` is subtracted from magnitudes: cloud is positive.

    Raises
    ------
    DataError
        A cell names an image that the band does not have; weights or values that cannot be solved with.
    """
    loop = _Loop(partial_sums, images, rules.solution, clock)
    zero = np.zeros(len(images))
    state = loop.run(PassRequest(zero, zero, Weights()), ())
    if rules.robust:
        state = loop.run(state.reweighted(Weighting.HUBER, 1.0), state.records)
        while not state.settled(rules) and len(state.records) < rules.max_passes:
            state = loop.run(state.reweighted(Weighting.HAMPEL, max(1.0, state.scale)), state.records)
    settled = state.settled(rules) or not rules.robust
    exact = PassRequest(state.correction, state.request.weights_at, state.request.weights)
    last = loop.run(exact, state.records, frozen=True)
    verdicts = judge(last.normal, last.found, images.mcal + last.correction, rules.images)
    gauge = report_gauge(last.normal, images, last.found, last.gauge)
    return ZeroPointSolution(images.image_id, verdicts, gauge, last.records, settled)


@dataclass(frozen=True)
class _State:
    """Where the loop stands after a pass: what the pass asked, summed, and found."""

    request: PassRequest
    normal: NormalEquations
    found: Solution
    gauge: Gauge
    correction: F64
    records: tuple[PassRecord, ...]

    @property
    def scale(self) -> float:
        """Median size of the pass's pulls, in units of what it should be."""
        return _median_pull(self.normal) / _NORMAL_MEDIAN

    def reweighted(self, weighting: Weighting, scale: float) -> PassRequest:
        """Request for a pass about this solution, with weights taken there."""
        return PassRequest(self.correction, self.correction, Weights(int(weighting), scale))

    def settled(self, rules: ZeroPointRules) -> bool:
        """Whether the last reweighting has moved no image by a matter of interest."""
        if self.request.weights.weighting != Weighting.HAMPEL:
            return False
        least_error = 1.0 / np.sqrt(np.maximum(self.normal.diagonal(), 1) * UNIT)
        limit = np.maximum(rules.freeze_shift, rules.freeze_sigma * least_error)
        return bool(np.all(np.abs(self.correction - self.request.at) < limit))


@dataclass(frozen=True)
class _Loop:
    partial_sums: PartialSums
    images: BandImages
    limits: SolveLimits
    clock: Callable[[], float]

    def run(self, request: PassRequest, records: tuple[PassRecord, ...], *, frozen: bool = False) -> _State:
        """One pass: ask, add, solve. A `frozen` one, the last, computes errors too."""
        begin = self.clock()
        normal = combine(self.partial_sums(request), self.images)
        matrix = normal.matrix()
        label = components(matrix)
        fixing = gauge_images(label, request.at, self.images.from_header)
        gauge = Gauge(label, np.where(fixing, normal.weight(), 0.0), np.ones(len(label)))
        found = solve(matrix, normal.right_side(), gauge, self.limits, errors=frozen)
        correction = gauge.centred(request.at + found.value)
        shift = float(np.abs(correction - request.at).max(initial=0.0))
        record = _record(request.weights, normal, label)
        record = replace(record, number=len(records) + 1, frozen=frozen, max_shift=shift, seconds=self.clock() - begin)
        return _State(request, normal, found, gauge, correction, (*records, record))


def _median_pull(normal: NormalEquations) -> float:
    """Median size of all pulls, within a bin of 0.05; 0 without measurements."""
    upto = np.cumsum(normal.pulls)
    if not upto[-1]:
        return 0.0
    bin_ = int(np.searchsorted(upto, 0.5 * upto[-1]))
    before = upto[bin_] - normal.pulls[bin_]
    return float(BIN * (bin_ + (0.5 * upto[-1] - before) / normal.pulls[bin_]))


def _record(weights: Weights, normal: NormalEquations, label: NDArray[np.int32]) -> PassRecord:
    """Statistics of a pass about the solution that it began with."""
    sums = normal.sums.sum(axis=0)
    n_used, squares = int(sums[USED]), float(sums[RESIDUAL2]) * CHI2_UNIT
    n_unknowns = normal.n_stars + int(np.sum(label != UNTIED)) - int(label.max(initial=UNTIED)) - 1
    total = float(np.sum(normal.weight()))
    return PassRecord(
        number=0,
        weighting=Weighting(weights.weighting).name.lower(),
        scale=weights.scale,
        frozen=False,
        rms=float(np.sqrt(squares / total)) if total > 0 else float("nan"),
        chi2=squares / (n_used - n_unknowns) if n_used > n_unknowns else float("nan"),
        n_used=n_used,
        n_rejected=int(sums[OUTLIERS]),
        max_shift=0.0,
        seconds=0.0,
    )
