"""The images of one ingest batch: in which order they associate, their first zero points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.header import header_mcal, header_zero_points
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.errors import UsageError
from skydb.schema.photcodes import Photcodes
from skydb.schema.tables import EXPOSURES, IMAGES

from .readers.interface import MOST_SURVEYS
from .routing import FileSummary, first_of_each
from .tracks import Images

DEFAULT_RADIUS_ARCSEC = 1.0
"""Association radius where neither the call nor the photcode gives one."""


@dataclass(frozen=True)
class ImageBatch:
    """The accepted images of a batch, sorted by image_id.

    `rank` (N,) is the place of each in the order of association (images of one survey in one file share one),
    `radius_arcsec` (N,) its association radius, `file` (N,) the number of its input file.
    """

    images: pa.Table
    exposures: pa.Table
    rank: np.ndarray
    radius_arcsec: np.ndarray
    file: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """The image ids, ascending."""
        ids: np.ndarray = self.images.column("image_id").to_numpy()
        return ids

    @cached_property
    def surveys(self) -> list[int]:
        """The exposure ids of the reference surveys of the batch."""
        of_survey = self.images.filter(pc.equal(self.images.column("kind"), "reference"))
        return sorted(set(of_survey.column("exposure_id").to_pylist()))

    def rules(self) -> Images:
        """Return radius and survey of every rank, as association takes them.

        Raises
        ------
        UsageError
            More than `MOST_SURVEYS` reference surveys at once.
        """
        if len(self.surveys) > MOST_SURVEYS:
            todo = f"ingest {MOST_SURVEYS} at most in one call"
            raise UsageError(f"{len(self.surveys)} reference surveys at once", None, todo)
        count = int(self.rank.max(initial=-1)) + 1
        radius, survey = np.zeros(count), np.zeros(count, dtype=np.uint64)
        np.maximum.at(radius, self.rank, self.radius_arcsec)
        bit = {s: np.uint64(1 << i) for i, s in enumerate(self.surveys)}
        for rank, exposure in zip(self.rank, self.images.column("exposure_id").to_pylist(), strict=True):
            survey[rank] |= bit.get(exposure, np.uint64(0))
        return Images(radius, survey=survey if self.surveys else np.zeros(0, dtype=np.uint64))


def build_batch(
    summaries: Sequence[FileSummary], photcodes: Photcodes, *, radius_arcsec: float | None, keep_order: bool
) -> ImageBatch:
    """Gather the images of the accepted files and decide in which order they associate.

    The order is by start (UTC), then name; with `keep_order` by file as listed, then name. `radius_arcsec` overrides
    the radius of every photcode.
    """
    accepted = [s for s in summaries if s.accepted and s.images.num_rows]
    if not accepted:
        none = np.empty(0, dtype=np.int64)
        return ImageBatch(IMAGES.empty(), EXPOSURES.empty(), none, np.empty(0), none)
    images = pa.concat_tables([s.images for s in accepted])
    files = np.repeat([s.number for s in accepted], [s.images.num_rows for s in accepted])
    order = np.argsort(images.column("image_id").to_numpy())
    images, files = images.take(pa.array(order)), files[order]
    exposures = first_of_each(pa.concat_tables([s.exposures for s in accepted]), "exposure_id")
    radius = np.array([_radius(photcodes, c, radius_arcsec) for c in images.column("code").to_pylist()])
    rank = _ranks(images, files, keep_order=keep_order)
    return ImageBatch(images, exposures, rank, radius, files)


def _radius(photcodes: Photcodes, code: int, override: float | None) -> float:
    return override or photcodes.by_code(code).radius_arcsec or DEFAULT_RADIUS_ARCSEC


def _ranks(images: pa.Table, files: np.ndarray, *, keep_order: bool) -> np.ndarray:
    starts = images.column("utc_start").to_numpy(zero_copy_only=False).astype(float)
    starts = np.where(np.isnan(starts), images.column("mjd").to_numpy(zero_copy_only=False).astype(float), starts)
    starts = np.where(np.isnan(starts), np.inf, starts)
    names = images.column("name").to_pylist()
    ids = images.column("image_id").to_pylist()
    kinds, exposures = (images.column(name).to_pylist() for name in ("kind", "exposure_id"))
    groups = []
    for row in range(images.num_rows):
        first = float(files[row]) if keep_order else float(starts[row])
        if kinds[row] == "reference":
            groups.append((first, f"file {files[row]:08d}", exposures[row]))
        else:
            groups.append((first, names[row] or "", ids[row]))
    place = {group: number for number, group in enumerate(sorted(set(groups)))}
    return np.array([place[g] for g in groups], dtype=np.int64)


def first_zero_points(images: pa.Table, terms: PhotcodeTerms, n_measurements: np.ndarray) -> pa.Table:
    """Return rows of `images_cal` for new images: mcal from the header's ZPT_OBS (`header_mcal`), else nominal.

    A reference image has none. `n_measurements` (N,) counts its stored rows.
    """
    places = terms.rows_of(int_column(images, "code"))
    is_reference = terms.is_reference[places]
    mcal = header_mcal(images, terms)
    from_header = np.isfinite(header_zero_points(images, terms))
    airmass = float_column(images, "airmass")
    extinction = terms.airmass_slope[places] * np.where(np.isfinite(airmass), airmass - 1, 0.0)
    zero_point = terms.zero_point[places] + extinction - mcal
    errors = np.where(from_header, float_column(images, "zpt_err"), np.nan)
    count = images.num_rows
    return pa.table({
        "image_id": images.column("image_id"),
        "code": images.column("code"),
        "mjd": images.column("mjd"),
        "zero_point": pa.array(np.where(is_reference, np.nan, zero_point), from_pandas=True),
        "mcal": pa.array(mcal),
        "mcal_err": pa.array(errors, from_pandas=True),
        "mcal_slope": pa.array(np.zeros(count)),
        "mcal_source": pa.array(np.where(from_header, "header", "nominal").tolist(), pa.string()),
        "n_measurements": pa.array(n_measurements, pa.int32()),
        "n_used": pa.array(np.zeros(count, dtype=np.int32)),
        "flags": pa.array(np.zeros(count, dtype=np.uint32)),
    })  # fmt: skip
