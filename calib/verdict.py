"""What became of every image: its zero point, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from skydb.flags import ImageFlags

from .normal import ALONE, CHI2, CHI2_UNIT, OUTLIERS, USED, NormalEquations
from .select import Reason
from .solve import Solution

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

_NORMAL_SIGMA = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


class Outcome(IntEnum):
    """Whether an image has a zero point of its own, and if not, why."""

    SOLVED = 0
    NO_CANDIDATES = 1
    ALL_REJECTED = 2
    NO_SHARED_STARS = 3
    ALL_OUTLIERS = 4


@dataclass(frozen=True)
class ImageLimits:
    """When an image is flagged; the rules are relphot's.

    too_few, good_fraction
        PHOTOM_FEW below this many measurements used, or below this share of those selected.
    scatter : mag
        PHOTOM_POOR where the error exceeds this and twice the median error,
    offset : mag
        or where mcal is further from the median than this and three standard deviations.
    """

    too_few: int = 10
    good_fraction: float = 0.1
    scatter: float = 0.05
    offset: float = 0.1


@dataclass(frozen=True)
class ImageVerdicts:
    """One row per image of the band.

    mcal : (n,) mag
        Zero-point correction, subtracted; the prior where not solved.
    mcal_err : (n,) mag
        One sigma against the gauge of its component, for the stated errors; NaN where not solved.
    n_used, n_outliers, n_alone, n_candidates : (n,)
        Measurements used; rejected as outliers; whose star no other image saw well; offered to selection.
    rejected : (n, len(Reason))
        Candidates that selection rejected, by reason.
    chi2 : (n,)
        Mean squared pull of the measurements used; NaN without any.
    component : (n,)
        Connected component; -1: not solved.
    flags : (n,)
        Bits of `ImageFlags`.
    outcome : (n,)
        An `Outcome`.
    """

    mcal: F64
    mcal_err: F64
    n_used: Ints
    n_outliers: Ints
    n_alone: Ints
    n_candidates: Ints
    rejected: Ints
    chi2: F64
    component: NDArray[np.int32]
    flags: NDArray[np.uint32]
    outcome: NDArray[np.int8]


def judge(normal: NormalEquations, found: Solution, mcal: F64, limits: ImageLimits) -> ImageVerdicts:
    """Verdict on every image, from the last normal equations and their solution."""
    sums, solved = normal.sums, np.isfinite(found.error)
    n_used = sums[:, USED]
    with np.errstate(divide="ignore", invalid="ignore"):
        chi2 = np.where(n_used > 0, sums[:, CHI2] * CHI2_UNIT / n_used, np.nan)
    flags = np.where(_few(normal, solved, limits), np.uint32(ImageFlags.PHOTOM_FEW), np.uint32(0))
    flags |= np.where(solved, np.uint32(ImageFlags.IMAGE_PHOTCAL), np.uint32(0))
    flags |= np.where(_poor(mcal, found.error, limits), np.uint32(ImageFlags.PHOTOM_POOR), np.uint32(0))
    return ImageVerdicts(
        mcal, found.error, n_used, sums[:, OUTLIERS], sums[:, ALONE], normal.n_candidates, normal.rejected, chi2,
        found.label, flags, _outcomes(normal, solved),
    )


def _few(normal: NormalEquations, solved: NDArray[np.bool_], limits: ImageLimits) -> NDArray[np.bool_]:
    n_used, selected = normal.sums[:, USED], normal.n_candidates - normal.rejected.sum(axis=1)
    few: NDArray[np.bool_] = ~solved | (n_used < limits.too_few) | (n_used < limits.good_fraction * selected)
    return few


def _poor(mcal: F64, error: F64, limits: ImageLimits) -> NDArray[np.bool_]:
    solved = np.isfinite(error)
    if not solved.any():
        return np.zeros(len(mcal), dtype=np.bool_)
    off = np.abs(mcal - np.median(mcal[solved]))
    sigma = _NORMAL_SIGMA * np.median(off[solved])
    vague = error > max(limits.scatter, 2.0 * float(np.median(error[solved])))
    poor: NDArray[np.bool_] = solved & (vague | (off > max(limits.offset, 3.0 * float(sigma))))
    return poor


def _outcomes(normal: NormalEquations, solved: NDArray[np.bool_]) -> NDArray[np.int8]:
    selected = normal.n_candidates - normal.rejected.sum(axis=1)
    outcome = np.full(len(solved), Outcome.NO_SHARED_STARS, dtype=np.int8)
    outcome[normal.sums[:, OUTLIERS] + normal.sums[:, ALONE] > 0] = Outcome.ALL_OUTLIERS
    outcome[(selected == 0) & (normal.rejected[:, Reason.SINGLE_IMAGE] == 0)] = Outcome.ALL_REJECTED
    outcome[normal.n_candidates == 0] = Outcome.NO_CANDIDATES
    outcome[solved] = Outcome.SOLVED
    return outcome
