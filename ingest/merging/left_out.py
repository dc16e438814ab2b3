"""What a merge left out of the other database, as asked: images and measurements, counted by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .coming import Coming
from .in_part import counts_of_images
from .selection import NO_MATCH, OUTSIDE, PHOTCODE, Selection
from .tally import Tally


@dataclass(frozen=True)
class LeftOut:
    """Images of the source that are not here, those that are here in part, and what measurements both lack."""

    n_images: int
    n_images_in_part: int
    reasons: dict[str, int]


def left_out(coming: Coming, came: Coming, tally: Tally, selection: Selection) -> LeftOut:
    """Return what is not here of what the source has, because of the selection.

    Parameters
    ----------
    coming, came
        What was to come, and what came of it.
    """
    others = Counter(counts_of_images(coming.source, coming.left_out.tolist()))
    missing: Counter[int] = Counter()
    if selection.cuts_images:
        in_part = coming.in_part.digest
        there = Counter(coming.counts()) + Counter(counts_of_images(coming.source, in_part))
        here = tally.came + Counter(counts_of_images(coming.base, in_part))
        missing = there - here
    stays = coming.digest.keys() - came.digest.keys()
    unmatched = tally.no_match.total()
    reasons = {PHOTCODE: others.total(), OUTSIDE: max(missing.total() - unmatched, 0), NO_MATCH: unmatched}
    return LeftOut(
        len(coming.left_out) + len(stays), len(missing.keys() - stays), {r: n for r, n in reasons.items() if n}
    )
