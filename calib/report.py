"""What a photometric solution says about itself: passes, gauges, weakest modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bandimages import BandImages
from .components import UNTIED
from .modes import Mode
from .normal import USED, NormalEquations
from .solve import Gauge, Solution
from .verdict import ImageVerdicts

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PassRecord:
    """One pass of the outer loop; its statistics are about the solution that the pass began with.

    weighting, scale
        Weight function, and the size of a pull that it took for normal.
    frozen
        Weights kept from the pass before: this one is exact.
    rms : mag
        Weighted rms residual about the star means.
    chi2
        Weighted squares per degree of freedom.
    max_shift : mag
        Largest change of a zero point that the pass made.
    """

    number: int
    weighting: str
    scale: float
    frozen: bool
    rms: float
    chi2: float
    n_used: int
    n_rejected: int
    max_shift: float
    seconds: float


@dataclass(frozen=True)
class GaugeReport:
    """The constants that no measurement fixes, one per component (C of them), and how they were fixed.

    first_image_id : (C,)
        Smallest image id of each component.
    n_images, n_used : (C,)
        Images, and measurements used.
    n_fixing : (C,)
        Images that fixed the constant: those whose headers agree (`gauge.gauge_images`).
    mean_mcal : (C,) mag
        Weighted mean that these had before, and keep.
    weight : (C,) mag**-2
        Weight that this mean was taken with, by image the sum over its measurements used.
    n_unsolved
        Images in no component.
    method
        "direct" or "iterative".
    weak_modes
        The combinations of zero points held most loosely.
    """

    first_image_id: Ints
    n_images: Ints
    n_used: Ints
    n_fixing: Ints
    mean_mcal: F64
    weight: F64
    n_unsolved: int
    method: str
    weak_modes: tuple[Mode, ...]


@dataclass(frozen=True)
class ZeroPointSolution:
    """The zero points of one band.

    image_id : (n,)
        Ascending; rows of `images` follow it.
    converged
        Whether the weights had settled when they were frozen.
    """

    image_id: Ints
    images: ImageVerdicts
    gauge: GaugeReport
    passes: tuple[PassRecord, ...]
    converged: bool


def report_gauge(normal: NormalEquations, images: BandImages, found: Solution, gauge: Gauge) -> GaugeReport:
    """Report on the gauge of every component."""
    label, tied = found.label, np.flatnonzero(found.label != UNTIED)
    inside, weight = label[tied], gauge.weight[tied]
    n = int(label.max(initial=UNTIED)) + 1
    total = np.bincount(inside, weight, n).astype(np.float64)
    return GaugeReport(
        first_image_id=images.image_id[tied[np.unique(inside, return_index=True)[1]]],
        n_images=np.bincount(inside, minlength=n).astype(np.int64),
        n_used=np.bincount(inside, normal.sums[tied, USED], n).astype(np.int64),
        n_fixing=np.bincount(inside, weight > 0, n).astype(np.int64),
        mean_mcal=np.bincount(inside, weight * images.mcal[tied], n) / total,
        weight=total,
        n_unsolved=len(label) - len(tied),
        method=found.method,
        weak_modes=found.modes,
    )
