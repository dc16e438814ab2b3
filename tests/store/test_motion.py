"""The bound of how fast objects move: what it covers, who raises it, and who has to begin again when it was raised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skydb import database
from skydb.errors import CommitConflict
from skydb.schema.tables import OBJECT_SEEDS
from skydb.store.changes import Changes
from skydb.store.motion import MOTION, MotionBound, raised_bound, stored_bound
from skydb.store.seeds import founded_seeds

SLOW, FAST = MotionBound(0.25, 2000.0, 2001.0), MotionBound(4.0, 1990.0, 1995.0)


def seeds(*motions: tuple[float | None, float | None, float | None]) -> pa.Table:
    """Seeds with some epochs (yr) and motions (mas/yr)."""
    epoch, pm_ra, pm_dec = zip(*motions, strict=True)
    count = len(motions)
    return OBJECT_SEEDS.conform(pa.table({
        "object_id": np.arange(count), "assoc_epoch": pa.array(epoch, pa.float64()),
        "assoc_pm_ra": pa.array(pm_ra, pa.float32()), "assoc_pm_dec": pa.array(pm_dec, pa.float32()),
        "founder_image_id": np.zeros(count, np.int64), "founder_det_id": np.zeros(count, np.int64),
    }))  # fmt: skip


def raised(root: Path, bound: MotionBound, base: int) -> Changes:
    settings, ends = raised_bound(root, [bound, None])
    return Changes("test", "test", base, settings=settings, ends_settings=ends, uses_settings=(MOTION,))


def test_bound_covers_every_object_and_rounds_outwards() -> None:
    some = (2015.5, 300.0, 400.0), (1991.25, 0.0, -30.0), (2050.0, 0.0, 0.0), (2060.0, None, 1.0)
    bound = MotionBound.of(seeds(*some))
    assert bound is not None
    assert bound == MotionBound(0.5, 1991.0, 2016.0)
    assert bound.way_arcsec((2010.0, 2026.0)) == 0.5 * 35
    assert bound.way_arcsec((1950.0, 1960.0)) == 0.5 * 66
    assert bound.way_arcsec((2000.0, 2000.0)) == 0.5 * 16


@pytest.mark.parametrize("still", [(2000.0, 0.0, 0.0), (2000.0, None, None), (None, 5.0, 5.0)])
def test_what_does_not_move_has_no_bound(still: tuple[float | None, float | None, float | None]) -> None:
    assert MotionBound.of(seeds(still)) is None
    assert MotionBound.of(seeds(still).slice(1)) is None


def test_bound_is_raised_once_and_never_lowered(tmp_path: Path) -> None:
    db = database.create(tmp_path / "d.sky")
    assert stored_bound(db.root) is None
    assert raised_bound(db.root, [None]) == ((), ())
    first = db.commit(raised(db.root, FAST, 0))
    assert stored_bound(db.root) == FAST
    second = db.commit(raised(db.root, SLOW, first))
    assert stored_bound(db.root) == MotionBound(4.0, 1990.0, 2001.0)
    assert raised_bound(db.root, [SLOW]) == ((), ())
    assert second == first + 1


def test_writer_that_relied_on_a_bound_begins_again_when_it_was_raised(tmp_path: Path) -> None:
    db = database.create(tmp_path / "d.sky")
    first = db.commit(raised(db.root, SLOW, 0))
    with pytest.raises(CommitConflict, match="changed the setting 'motion'"):
        db.commit(Changes("test", "test", 0, uses_settings=(MOTION,)))
    reader = Changes("test", "test", first, uses_settings=(MOTION,))
    stale = raised(db.root, FAST, first)
    db.commit(raised(db.root, FAST, first))
    for changes in (reader, stale):
        with pytest.raises(CommitConflict):
            db.commit(changes)
    db.commit(Changes("test", "test", first))  # who does not ask is not held up


def test_seed_has_the_motion_of_its_founder_in_both_directions_or_none() -> None:
    measured = pa.table({
        "object_id": np.arange(4), "image_id": np.full(4, 7), "det_id": np.arange(4), "mjd": np.full(4, 51544.5),
        "ra_raw": np.full(4, 10.0), "dec_raw": np.full(4, -5.0),
        "pm_ra": pa.array([1.5, None, 12_000.0, 16_000.1], pa.float32()),
        "pm_dec": pa.array([-2.0, 3.0, 16_000.0, 12_000.1], pa.float32()),
    })  # fmt: skip
    made = founded_seeds(measured)
    assert made["assoc_pm_ra"].to_pylist() == [1.5, None, 12_000.0, None]
    assert made["assoc_pm_dec"].to_pylist() == [-2.0, None, 16_000.0, None]
    assert made["assoc_epoch"].to_pylist() == pytest.approx([2000.0] * 4, abs=1e-5)
