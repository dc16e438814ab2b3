"""Which measurements of one cell and band enter a photometric solution, packed for the solver.

Everything here depends on a star's own rows and on tables that all cells share, never on the other rows of the
cell: the same measurements enter however the sky is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from skydb.errors import DataError, UsageError

from .bandimages import BandImages

Ints = NDArray[np.int64]
F64 = NDArray[np.float64]

_CENTRE_STEP = 1.0 / 64.0
LARGEST_MAG = 60.0
"""Mag: what lies further from 0 is no magnitude. The Sun has -27 and nothing fainter than 35 is seen; instrumental
ones lie up to another 30 mag off, where zero points are not known. Squares of larger ones would drown exact sums."""


class Reason(IntEnum):
    """Why a measurement does not enter; a row counts under the first that applies."""

    NOT_FINITE = 0
    IMPLAUSIBLE_MAG = 1
    IMAGE_EXCLUDED = 2
    BAD_FLAGS = 3
    POOR_FLAGS = 4
    LOW_PSF_QF = 5
    LARGE_ERROR = 6
    TOO_FAINT = 7
    SINGLE_IMAGE = 8


@dataclass(frozen=True)
class SelectionRules:
    """The limits on a measurement.

    max_mag_err : mag
        Largest photon error of a magnitude.
    min_psf_qf
        `psf_qf` must exceed it; NaN (not measured) passes.
    min_error : mag
        Floor of the total error: no measurement counts as better than this.
    allow_poor
        Keep measurements whose photflags their photcode calls poor (not bad).
    """

    max_mag_err: float = 0.05
    min_psf_qf: float = 0.85
    min_error: float = 0.001
    allow_poor: bool = False

    def __post_init__(self) -> None:
        if not self.min_error >= 1e-4:
            raise UsageError(f"min_error is {self.min_error} mag", todo="give 0.0001 mag or more")


@dataclass(frozen=True)
class PhotcodeTraits:
    """What selection needs of the band's photcodes: `code` (P,) ascending, systematic error in mag, masks."""

    code: NDArray[np.int32]
    err_sys: F64
    bad_mask: NDArray[np.uint32]
    poor_mask: NDArray[np.uint32]


@dataclass(frozen=True)
class Candidates:
    """The measurements of one cell and band, one row each, in any order.

    sys_mag : (N,) mag
        Instrumental magnitude on the nominal system (exposure time, nominal zero point and airmass slope, colour
        term), less the stored flat `mflat`; `mcal` is not applied.
    mag_err : (N,) mag
        Its photon error.
    """

    object_id: Ints
    image_id: Ints
    det_id: Ints
    code: NDArray[np.int32]
    sys_mag: F64
    mag_err: F64
    airmass: NDArray[np.float32]
    photflags: NDArray[np.uint32]
    psf_qf: NDArray[np.float32]

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            raise UsageError(f"columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.object_id)


@dataclass(frozen=True)
class Selection:
    """The measurements of one cell and band that enter, sorted by star, image and detection.

    starts : (K+1,) rows
        First row of each star, and N.
    object_id : (K,)
        The stars, ascending.
    image : (N,)
        Position in `image_id`.
    residual : (N,) mag
        Magnitude on the nominal system minus the current model of its image, minus a constant of its star.
    weight : (N,) mag**-2
        1 / (mag_err**2 + err_sys**2), error floored.
    airmass : (N,)
    image_id : (m,)
        Every image that had a candidate, ascending.
    n_candidates : (m,)
    rejected : (m, len(Reason))
        Candidates of each image that do not enter, by reason; with the rows that do, they sum to `n_candidates`.
    """

    starts: Ints
    object_id: Ints
    image: NDArray[np.int32]
    residual: NDArray[np.float32]
    weight: NDArray[np.float32]
    airmass: NDArray[np.float32]
    image_id: Ints
    n_candidates: Ints
    rejected: Ints

    def __len__(self) -> int:
        return len(self.image)


def select(rows: Candidates, images: BandImages, photcodes: PhotcodeTraits, rules: SelectionRules) -> Selection:
    """Measurements of one cell and band that enter the solution.

    Raises
    ------
    DataError
        A measurement names an image or a photcode that the band does not have.
    """
    traits = _traits_of(rows.code, photcodes)
    image = images.rows_of(rows.image_id)
    reason = _first_reasons(rows, images, image, photcodes, rules)
    order = np.lexsort((rows.det_id, rows.image_id, rows.object_id))
    kept = _drop_single_images(rows, order, reason)
    seen, local = np.unique(image, return_inverse=True)
    starts = _run_starts(rows.object_id[kept])
    error2 = np.maximum(rows.mag_err[kept] ** 2 + photcodes.err_sys[traits[kept]] ** 2, rules.min_error**2)
    return Selection(
        starts=starts,
        object_id=rows.object_id[kept][starts[:-1]],
        image=local[kept].astype(np.int32),
        residual=_centred(rows.sys_mag[kept] - images.mcal[image[kept]], starts),
        weight=(1.0 / error2).astype(np.float32),
        airmass=rows.airmass[kept].astype(np.float32),
        image_id=images.image_id[seen],
        n_candidates=np.bincount(local, minlength=len(seen)).astype(np.int64),
        rejected=_counts(local, reason, len(seen)),
    )


def usable(
    rows: Candidates, images: BandImages, photcodes: PhotcodeTraits, rules: SelectionRules
) -> NDArray[np.bool_]:
    """Whether each row passes the rules that concern it alone, (N,); the rule about its star is not asked."""
    reason = _first_reasons(rows, images, images.rows_of(rows.image_id), photcodes, rules)
    passing: NDArray[np.bool_] = reason < 0
    return passing


def _traits_of(code: NDArray[np.int32], photcodes: PhotcodeTraits) -> NDArray[np.intp]:
    row = np.minimum(np.searchsorted(photcodes.code, code), len(photcodes.code) - 1)
    unknown = np.flatnonzero(photcodes.code[row] != code)
    if unknown.size:
        raise DataError(f"photcode {code[unknown[0]]} is not one of the band's", todo="check the photcode table")
    return row


def _first_reasons(
    rows: Candidates,
    images: BandImages,
    image: NDArray[np.intp],
    photcodes: PhotcodeTraits,
    rules: SelectionRules,
) -> NDArray[np.int8]:
    """First reason against every row; -1 where there is none."""
    traits = _traits_of(rows.code, photcodes)
    finite = np.isfinite(rows.sys_mag) & np.isfinite(rows.mag_err) & (rows.mag_err > 0)
    poor = (rows.photflags & photcodes.poor_mask[traits] != 0) & (not rules.allow_poor)
    tests = (
        (Reason.NOT_FINITE, ~finite),
        (Reason.IMPLAUSIBLE_MAG, np.abs(rows.sys_mag - images.mcal[image]) > LARGEST_MAG),
        (Reason.IMAGE_EXCLUDED, images.excluded[image]),
        (Reason.BAD_FLAGS, rows.photflags & photcodes.bad_mask[traits] != 0),
        (Reason.POOR_FLAGS, poor),
        (Reason.LOW_PSF_QF, rows.psf_qf <= rules.min_psf_qf),
        (Reason.LARGE_ERROR, rows.mag_err > rules.max_mag_err),
        (Reason.TOO_FAINT, rows.sys_mag > images.faint_limit[image]),
    )
    reason = np.full(len(rows), -1, dtype=np.int8)
    for number, fails in reversed(tests):
        reason[fails] = number
    return reason


def _drop_single_images(rows: Candidates, order: NDArray[np.intp], reason: NDArray[np.int8]) -> NDArray[np.intp]:
    """Rows that enter, in order; rows of stars that one image alone saw get their reason."""
    kept = order[reason[order] < 0]
    if not kept.size:
        return kept
    star = np.cumsum(np.r_[True, np.diff(rows.object_id[kept]) != 0]) - 1
    changes = np.r_[False, (np.diff(star) == 0) & (np.diff(rows.image_id[kept]) != 0)]
    shared = np.bincount(star, weights=changes)[star] > 0
    reason[kept[~shared]] = Reason.SINGLE_IMAGE
    entering: NDArray[np.intp] = kept[shared]
    return entering


def _run_starts(object_id: Ints) -> Ints:
    first = np.flatnonzero(np.r_[True, np.diff(object_id) != 0]) if object_id.size else np.empty(0, dtype=np.int64)
    return np.append(first, object_id.size).astype(np.int64)


def _centred(mag: F64, starts: Ints) -> NDArray[np.float32]:
    """Magnitudes less a constant per star, so that float32 keeps them to 1e-7 mag.

    The constant is rounded to 1/64 mag: it takes no part in the solution, and is the same to the last bit
    wherever the star lies in its cell.
    """
    if not mag.size:
        return mag.astype(np.float32)
    mean = np.add.reduceat(mag, starts[:-1]) / np.diff(starts)
    centre = np.round(mean / _CENTRE_STEP) * _CENTRE_STEP
    return (mag - np.repeat(centre, np.diff(starts))).astype(np.float32)


def _counts(image: NDArray[np.intp], reason: NDArray[np.int8], n_images: int) -> Ints:
    out = reason >= 0
    flat = image[out] * len(Reason) + reason[out]
    return np.bincount(flat, minlength=n_images * len(Reason)).reshape(n_images, len(Reason)).astype(np.int64)
