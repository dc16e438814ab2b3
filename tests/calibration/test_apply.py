"""Terms of images: looked up by id, mapped by workers, compared between attempts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skydb.calibration.apply import ImageTerms
from skydb.calibration.derive import ImageSources, drift_arcsec
from skydb.errors import DataError
from skydb.sky.partition import centre_of, pixel_of, separation_arcsec

TERMS = ImageTerms(
    np.array([3, 5, 9]), np.array([0, 0, 3], np.int8), np.array([30.0, 30.0, np.nan]), np.array([1.0, 1.2, np.nan]),
    np.array([0.1, -0.2, 0.0]), np.zeros(3),
)  # fmt: skip


def same(one: ImageTerms, other: ImageTerms) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_terms_come_back_as_they_were(tmp_path: Path) -> None:
    for terms in (TERMS, ImageTerms(*(values[:0] for values in vars(TERMS).values()))):
        terms.save(tmp_path / "terms.arrow")
        back = ImageTerms.load(tmp_path / "terms.arrow")
        assert same(back, terms)
        assert [v.dtype for v in vars(back).values()] == [v.dtype for v in vars(terms).values()]


def test_sources_come_back_as_they_were(tmp_path: Path) -> None:
    ImageSources(TERMS.image_id, TERMS.source).save(tmp_path / "sources.arrow")
    assert ImageSources.load(tmp_path / "sources.arrow").of(np.array([9, 3, 3])).tolist() == [3, 0, 0]


def test_unknown_image_is_refused() -> None:
    assert TERMS.rows_of(np.array([9, 3])).tolist() == [2, 0]
    for unknown in (1, 4, 10):
        with pytest.raises(DataError, match=f"no image has the id {unknown}"):
            TERMS.rows_of(np.array([3, unknown]))


def test_terms_must_be_of_the_same_images() -> None:
    images = pa.table({"image_id": [1, 2], "kind": ["chip", "chip"]})
    with pytest.raises(DataError, match="same images"):
        ImageTerms.of(images, pa.table({"image_id": [1, 3]}))


def test_terms_agree_with_earlier_ones_when_those_of_images_in_both_are_unchanged() -> None:
    first = ImageTerms(*(values[[0, 2]] for values in vars(TERMS).values()))
    assert TERMS.agrees(first)
    assert TERMS.agrees(TERMS)
    assert first.agrees(TERMS)
    assert TERMS.agrees(replace(first, image_id=first.image_id + 2**40))
    assert not TERMS.agrees(replace(first, mcal=first.mcal + 0.1))
    assert not first.agrees(replace(TERMS, mcal=TERMS.mcal + 0.1))


def test_drift_is_the_largest_distance_from_the_founding_pixel() -> None:
    ra, dec = np.array([10.0, 10.0, 200.0]), np.array([5.0, 5.0, -60.0])
    ids = pixel_of(ra, dec)
    order = np.argsort(ids, kind="stable")
    moved = np.array([0.0, 2.0, 3.5]) / 3600.0
    rows = pa.table({"object_id": ids[order], "ra": ra[order], "dec": (dec + moved)[order]})
    far = separation_arcsec(*centre_of(ids), ra, dec + moved).max()
    assert drift_arcsec(rows) == pytest.approx(far)
    assert far == pytest.approx(3.5, abs=1e-3)
    assert drift_arcsec(rows.slice(0, 0)) == 0.0
