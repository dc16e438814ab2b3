"""What a merge is to bring of the other database: all of it, some photcodes, a part of the sky, or what matches.

Photcodes choose images, which come whole. A region, and the wish that nothing new be founded, choose objects: an image
then comes with the measurements of the chosen ones, and the others are left out, which the log counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.columns import int_column
from skydb.errors import UsageError
from skydb.kernels.distinct import is_among
from skydb.schema.photcodes import Photcodes
from skydb.sky.region_text import Area, region_text
from skydb.store.history import digests_of_images, logged_files
from skydb.store.snapshot import Snapshot

PHOTCODE, OUTSIDE, NO_MATCH = "photcode", "outside", "no_match"
"""Why measurements of the other database are left out: other photcodes, outside the region, of no object here."""


@dataclass(frozen=True)
class Selection:
    """What is to come; by default all.

    Of `region`, None: the whole sky, objects come by their association positions; a band among `photcodes` stands for
    all photcodes of it.
    """

    region: Area | None = None
    photcodes: tuple[str, ...] = ()
    only_matches: bool = False

    @property
    def cuts_images(self) -> bool:
        """Whether an image may come in part."""
        return self.region is not None or self.only_matches

    def words(self) -> list[str]:
        """Return the options of a command line that chooses the same."""
        words = [word for name in self.photcodes for word in ("--photcode", name)]
        words += ["--region", region_text(self.region)] if self.region is not None else []
        return [*words, "--only-matches"] if self.only_matches else words

    def of_images(self, source: Snapshot, images: pa.Table) -> np.ndarray:
        """Say which images (N,) of the source are of the photcodes.

        Raises
        ------
        UsageError
            The source has no such photcode; or the images of a survey's file, whose rows measure in all of them, are of
            those photcodes and of others.
        """
        if not self.photcodes:
            return np.ones(images.num_rows, dtype=bool)
        codes = _codes_of(self.photcodes, Photcodes.from_arrow(source.read_global("photcodes")))
        chosen = is_among(int_column(images, "code"), codes)
        _check_surveys_whole(source, images, chosen)
        return chosen


def _codes_of(names: tuple[str, ...], photcodes: Photcodes) -> np.ndarray:
    codes: set[int] = set()
    for name in names:
        one = photcodes.by_name(name)
        codes |= {p.code for p in photcodes if p.band == name} if one.kind == "SEC" else {one.code}
    return np.array(sorted(codes), dtype=np.int64)


def _check_surveys_whole(source: Snapshot, images: pa.Table, chosen: np.ndarray) -> None:
    """Refuse to part the images of a survey's file, as deletion does: a row of it joins one object."""
    of_survey = pc.equal(images.column("kind"), "reference").to_numpy()
    digest = digests_of_images(source, int_column(images, "image_id")[of_survey].tolist())
    taken, left = (
        {digest[i] for i in int_column(images, "image_id")[of_survey & which].tolist() if i in digest}
        for which in (chosen, ~chosen)
    )
    if both := sorted(taken & left):
        file = next(iter(logged_files(source, both[:1]).values())).file
        what = "only some of its photcodes are named, and a row of a survey makes measurements in all of them"
        raise UsageError(what, file, "name all photcodes of the survey, or none")
