"""The bands of a survey as relcal sees them: their images, where those begin, and their photcodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skydb.calibration.columns import float_column, int_column
from skydb.calibration.header import header_mcal, header_zero_points
from skydb.calibration.photcode_terms import PhotcodeTerms
from skydb.errors import UsageError, did_you_mean
from skydb.flags import ImageFlags, PhotFlags
from skydb.store.snapshot import Snapshot

from .bandimages import BandImages
from .gauge import plausible
from .select import PhotcodeTraits

F64 = NDArray[np.float64]

SOLVED_KIND = "chip"
"""Stacks and warps hold the photons of chips again: they would count twice."""
SATURATED = int(PhotFlags.SATSTAR | PhotFlags.SATURATED)
"""What counts as bad where a photcode has no masks: saturated stars have the smallest errors, and are wrong by up to
0.5 mag. In a survey of 40 stars an image they moved whole groups of images by 90 mmag, robust weights or not."""
_EXCLUDED = np.uint32(ImageFlags.PHOTOM_NOCAL | ImageFlags.PHOTOM_SKIP)


@dataclass(frozen=True)
class Band:
    """One band to solve: the same for every cell.

    exptime : (n,) s
        Exposure time of each of the n `images`.
    zpt_obs : (n,) mag
        Zero point in each one's header, whatever it is worth; NaN: none.
    """

    name: str
    images: BandImages
    exptime: F64
    zpt_obs: F64
    photcodes: PhotcodeTraits

    def save(self, path: Path) -> None:
        """Write the band where worker processes find it."""
        parts: dict[str, BandImages | PhotcodeTraits] = {"images": self.images, "photcodes": self.photcodes}
        arrays = {f"{part}.{f.name}": getattr(value, f.name) for part, value in parts.items() for f in fields(value)}
        np.savez(path, name=np.array(self.name), exptime=self.exptime, zpt_obs=self.zpt_obs, **arrays)

    @classmethod
    def load(cls, path: Path) -> Band:
        """Read the band that `save` wrote."""
        with np.load(path) as arrays:
            images = BandImages(*(arrays[f"images.{f.name}"] for f in fields(BandImages)))
            traits = PhotcodeTraits(*(arrays[f"photcodes.{f.name}"] for f in fields(PhotcodeTraits)))
            return cls(str(arrays["name"]), images, arrays["exptime"], arrays["zpt_obs"], traits)


def bands_of(
    snapshot: Snapshot, terms: PhotcodeTerms, asked: Sequence[str] | None = None, *,
    exclude_photflags: int | None = None,
) -> list[Band]:  # fmt: skip
    """Return the bands to solve, in alphabetical order: all that have images, or those asked for.

    The images of each begin at the zero point of their header or the nominal one, whatever was solved before: a
    solution depends on the measurements alone, not on those that came before it. `exclude_photflags` are bits that
    count as bad beside the masks of every photcode; None: `SATURATED`, where a photcode has no masks.

    Raises
    ------
    UsageError
        The database has no images of single exposures; a band that is asked for has none, or does not exist.
    """
    images = snapshot.read_global("images", ["image_id", "name", "code", "kind", "exptime", "zpt_obs"])
    images = images.filter(pc.equal(images["kind"], SOLVED_KIND))
    if not images.num_rows:
        raise UsageError("there are no images to calibrate", str(snapshot.root), "ingest some with `skydb addstar`")
    band = terms.band[terms.rows_of(int_column(images, "code"))]
    there = [terms.bands[b] for b in np.unique(band[band >= 0])]
    wanted = there if asked is None else _checked(asked, there)
    excluded = _excluded(snapshot)
    bad = _bad_masks(terms, exclude_photflags)
    chosen = []
    for name in wanted:
        own = images.filter(pa.array(band == terms.bands.index(name))).sort_by("image_id")
        chosen.append(Band(
            name, _band_images(own, terms, excluded), float_column(own, "exptime"), float_column(own, "zpt_obs"),
            _traits(name, terms, bad),
        ))  # fmt: skip
    return chosen


def _checked(asked: Sequence[str], there: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in there:
            raise UsageError(f"no image is of band {name!r}", "--bands", did_you_mean(name, there))
    if not asked:
        raise UsageError("no band to solve", "--bands", f"name some of {', '.join(there)}")
    return sorted(set(asked))


def _excluded(snapshot: Snapshot) -> NDArray[np.int64]:
    """Images whose photometry the user took out, ascending."""
    known = snapshot.read_global("images_cal", ["image_id", "flags"])
    out = int_column(known, "flags", np.uint32) & _EXCLUDED != 0
    return np.sort(int_column(known, "image_id")[out])


def _band_images(images: pa.Table, terms: PhotcodeTerms, excluded: NDArray[np.int64]) -> BandImages:
    """Images of one band; a header that others of its photcode call nonsense counts as none."""
    ids, mcal = int_column(images, "image_id"), header_mcal(images, terms)
    given = np.isfinite(header_zero_points(images, terms))
    trusted = plausible(int_column(images, "code"), mcal, given)
    names = np.array([name or "" for name in images["name"].to_pylist()], np.str_)
    free = np.full(len(ids), np.inf)
    return BandImages(ids, np.where(trusted, mcal, 0.0), np.isin(ids, excluded), free, trusted, names)


def _bad_masks(terms: PhotcodeTerms, exclude_photflags: int | None) -> NDArray[np.uint32]:
    """Flags of every photcode that keep a measurement out."""
    own = terms.photometry_bad_mask
    if exclude_photflags is not None:
        return own | np.uint32(exclude_photflags)
    bare = (own == 0) & (terms.photometry_poor_mask == 0)
    return np.where(bare, np.uint32(SATURATED), own)


def _traits(name: str, terms: PhotcodeTerms, bad: NDArray[np.uint32]) -> PhotcodeTraits:
    mine = np.flatnonzero((terms.band == terms.bands.index(name)) & ~terms.is_reference)
    return PhotcodeTraits(
        terms.code[mine].astype(np.int32), terms.photometry_err_sys[mine], bad[mine], terms.photometry_poor_mask[mine]
    )
