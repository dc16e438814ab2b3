"""The passes of a solution over packed selections: every cell's share of the normal equations, through an executor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skydb.parallel.executor import Executor

from .normal import CHI2_UNIT, N_SUMS, OUTLIERS, RESIDUAL2, USED, WEIGHT, Partial, Weights
from .packing import Packed, load_band, read_selection
from .pairsum import UNIT
from .robust import Weighting
from .zeropoints import PassRequest, partial_of

TASK_ROWS = 500_000
"""Measurements in a task: some 30 ms of work, so that small cells do not cost a task each."""


@dataclass(frozen=True)
class PassLine:
    """One pass, as soon as it is done; its statistics are about the zero points that it began with.

    band
        The band being solved.
    number
        1, 2, …
    weighting, scale
        Weight function, and the size of a pull that it took for normal.
    n_stars, n_used, n_outliers
        Stars and measurements in it, and measurements without weight.
    rms : mag
        Weighted rms residual about the star means.
    max_shift : mag
        How far the pass before moved a zero point at most; 0 for the first.
    """

    band: str
    number: int
    weighting: str
    scale: float
    n_stars: int
    n_used: int
    n_outliers: int
    rms: float
    max_shift: float
    seconds: float


@dataclass(frozen=True)
class PassTask:
    """What the tasks of one pass share: the band's file, the file of the request's corrections, the weights."""

    band: Path
    corrections: Path
    weights: Weights


class StreamedSums:
    """Answers the requests of `solve_zero_points` from a band's packed selections, and keeps a line of each pass."""

    def __init__(
        self, packed: Sequence[Packed], band: Path, executor: Executor, on_pass: Callable[[PassLine], None] | None
    ) -> None:
        self._groups, self._band, self._executor, self._on_pass = _grouped(packed), band, executor, on_pass
        self._before: NDArray[np.float64] | None = None
        self.lines: list[PassLine] = []

    def __call__(self, request: PassRequest) -> Iterator[Partial]:
        """Yield every cell's answer to a request."""
        number, begin = len(self.lines) + 1, time.perf_counter()
        path = self._band.with_suffix(f".pass{number}.npz")
        np.savez(path, at=request.at, weights_at=request.weights_at)
        task = partial(answer_group, task=PassTask(self._band, path, request.weights))
        sums, n_stars = np.zeros(N_SUMS, np.int64), 0
        for group in self._executor.map(task, self._groups):
            for part in group:
                sums, n_stars = sums + part.sums.sum(axis=0), n_stars + part.n_stars
                yield part
        path.unlink()
        self._keep(request, sums, n_stars, time.perf_counter() - begin)

    def _keep(self, request: PassRequest, sums: NDArray[np.int64], n_stars: int, seconds: float) -> None:
        moved = 0.0 if self._before is None else float(np.abs(request.at - self._before).max(initial=0.0))
        self._before = request.at
        squares, total = float(sums[RESIDUAL2]) * CHI2_UNIT, float(sums[WEIGHT]) * UNIT
        line = PassLine(
            load_band(self._band).name, len(self.lines) + 1, Weighting(request.weights.weighting).name.lower(),
            request.weights.scale, n_stars, int(sums[USED]), int(sums[OUTLIERS]),
            float(np.sqrt(squares / total)) if total > 0 else float("nan"), moved, seconds,
        )  # fmt: skip
        self.lines.append(line)
        if self._on_pass is not None:
            self._on_pass(line)


def answer_group(paths: tuple[Path, ...], *, task: PassTask) -> tuple[Partial, ...]:
    """Answer a request for the cells of some packed selections, one after another."""
    images, request = load_band(task.band).images, _load_request(task.corrections, task.weights)
    return tuple(partial_of(read_selection(path), images, request) for path in paths)


@lru_cache(maxsize=1)
def _load_request(path: Path, weights: Weights) -> PassRequest:
    with np.load(path) as arrays:
        return PassRequest(arrays["at"], arrays["weights_at"], weights)


def _grouped(packed: Sequence[Packed]) -> list[tuple[Path, ...]]:
    """Paths of packed selections in groups of neighbouring cells, each of some `TASK_ROWS` measurements."""
    before = np.cumsum([0, *(p.rows for p in packed)])[:-1]
    number = before // TASK_ROWS
    groups: dict[int, list[Path]] = {}
    for place, item in zip(number.tolist(), packed, strict=True):
        groups.setdefault(place, []).append(item.path)
    return [tuple(paths) for paths in groups.values()]
