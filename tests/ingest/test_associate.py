"""Association against a slow oracle, any cut of the sky, any cut into batches."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skydb.errors import DataError, UsageError
from skydb.flags import MeasurementFlags
from skydb.ingest.associate import Detections, Links, associate, founders_in_order, link, link_cell
from skydb.ingest.founding import found_ids
from skydb.ingest.tracks import Images, Seeds, seed_tracks
from skydb.sky.partition import cell_of, pixel_of, separation_arcsec

from .association_oracle import PLACES, Sky, associate_slowly, near, random_sky, with_motion, with_surveys

SEEDS = st.integers(0, 2**32 - 1)
NOTHING = Seeds(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
MEAS, OBJ = MeasurementFlags.BLEND_MEAS, MeasurementFlags.BLEND_OBJ


def sky_of(seed: int, kind: str, **sizes: int) -> tuple[Sky, np.random.Generator]:
    rng = np.random.default_rng(seed)
    sky = random_sky(rng, **sizes)
    if kind == "moving":
        sky = with_motion(sky, rng)
    return (with_surveys(sky, rng) if kind == "surveys" else sky), rng


def detections_at(*rows: tuple[int, int, float, float]) -> Detections:
    """Detections (rank, det_id, arcsec east, arcsec north) about ra 10, dec 0."""
    rank, det_id, east, north = (np.array(column) for column in zip(*rows, strict=True))
    ra, dec = 10.0 + east / 3600, north / 3600
    return Detections(ra, dec, rank.astype(np.int64), det_id.astype(np.int64), pixel_of(ra, dec))


def seeds_at(*rows: tuple[float, float]) -> Seeds:
    at = detections_at(*((0, n, *row) for n, row in enumerate(rows)))
    return Seeds(at.found_pix29, at.ra, at.dec)


@pytest.mark.parametrize("kind", ["plain", "moving", "surveys"])
@given(seed=SEEDS, one_to_many=st.booleans())
@settings(deadline=None, max_examples=150)
def test_association_is_the_oracles(kind: str, seed: int, one_to_many: bool) -> None:
    sky, _ = sky_of(seed, kind)
    found = associate(sky.detections, sky.images, sky.seeds, one_to_many=one_to_many)
    slow = associate_slowly(sky.detections, sky.images, sky.seeds, one_to_many=one_to_many)
    np.testing.assert_array_equal(found.object_id, slow.object_id)
    np.testing.assert_array_equal(found.is_new, slow.is_new)
    np.testing.assert_array_equal(found.blend, slow.blend)


@pytest.mark.parametrize("kind", ["plain", "moving", "surveys"])
@given(seed=SEEDS, one_to_many=st.booleans())
@settings(deadline=None, max_examples=100)
def test_where_nothing_founds_the_links_are_the_oracles(kind: str, seed: int, one_to_many: bool) -> None:
    sky, _ = sky_of(seed, kind)
    found = link(sky.detections, sky.images, sky.seeds, one_to_many=one_to_many, founds=False)
    slow = associate_slowly(sky.detections, sky.images, sky.seeds, one_to_many=one_to_many, founds=False)
    assert (found.founder == -1).all()
    ids = np.append(sky.seeds.object_id, -1)
    np.testing.assert_array_equal(ids[found.seed], slow.object_id)
    linked = found.seed >= 0
    np.testing.assert_array_equal(found.blend[linked], slow.blend[linked])


@given(seed=SEEDS)
@settings(deadline=None, max_examples=15)
def test_large_components_use_the_grid_and_are_the_oracles(seed: int) -> None:
    sky, _ = sky_of(seed, "moving" if seed % 2 else "plain", n_images=3, per_image=150, n_seeds=60)
    found = associate(sky.detections, sky.images, sky.seeds)
    slow = associate_slowly(sky.detections, sky.images, sky.seeds)
    np.testing.assert_array_equal(found.object_id, slow.object_id)
    np.testing.assert_array_equal(found.blend, slow.blend)


@given(seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_taken_and_retired_ids_are_the_oracles(seed: int) -> None:
    sky, rng = sky_of(seed, "plain")
    wishes = sky.detections.found_pix29
    assume(((wishes & (2**30 - 1)) < 2**30 - 50).all())  # a tie there may go by another id: the one exception known
    near_wishes = np.concatenate((wishes, wishes + 1, wishes + 2, [0])).astype(np.int64)
    taken = np.setdiff1d(rng.choice(near_wishes, 12), sky.seeds.object_id)
    retired = np.setdiff1d(rng.choice(near_wishes, 12), np.concatenate((sky.seeds.object_id, taken)))
    found = associate(sky.detections, sky.images, sky.seeds, taken=taken, retired=retired)
    slow = associate_slowly(
        sky.detections, sky.images, sky.seeds, taken=tuple(taken.tolist()), retired=tuple(retired.tolist())
    )
    np.testing.assert_array_equal(found.object_id, slow.object_id)


def part(detections: Detections, rows: np.ndarray) -> Detections:
    every = (getattr(detections, f.name) for f in fields(Detections))
    return Detections(*(column[rows] if len(column) else column for column in every))


def some_seeds(seeds: Seeds, rows: np.ndarray) -> Seeds:
    every = (getattr(seeds, f.name) for f in fields(Seeds))
    return Seeds(*(column[rows] if len(column) else column for column in every))


def random_cells(rng: np.random.Generator, pix29: np.ndarray, *, deepest: int) -> list[tuple[int, int]]:
    """Disjoint cells of mixed orders that hold all the pixels."""
    cells, todo = [], [(0, int(p)) for p in np.unique(cell_of(pix29, 0))]
    while todo:
        norder, npix = todo.pop()
        if norder < 9 or (norder < deepest and rng.integers(3) > 0):
            children = np.unique(cell_of(pix29[cell_of(pix29, norder) == npix], norder + 1))
            todo.extend((norder + 1, int(child)) for child in children)
        else:
            cells.append((norder, npix))
    return cells


def put(whole: Links, rows: np.ndarray, links: Links, *, seeds: np.ndarray) -> None:
    """Write the links of some detections, given their rows and the numbers of their seeds, into those of all."""
    old, new = links.seed >= 0, links.founder >= 0
    whole.seed[rows[old]] = seeds[links.seed[old]]
    whole.founder[rows[new]] = rows[links.founder[new]]
    whole.separation_arcsec[rows] = links.separation_arcsec
    whole.blend[rows] = links.blend


def link_in_cells(sky: Sky, cells: list[tuple[int, int]], *, founds: bool = True) -> tuple[Links, int]:
    """Links of a sky solved cell by cell, then the pool; and how many detections the pool had."""
    n = len(sky.detections.rank)
    whole = Links(np.full(n, -1), np.full(n, -1), np.zeros(n), np.zeros(n, dtype=np.uint32), 0, 0)
    pix29 = pixel_of(sky.detections.ra, sky.detections.dec)
    tracks = seed_tracks(sky.seeds, sky.images)
    track_pix29 = pixel_of(tracks.ra, tracks.dec)
    pool, pool_seeds = np.zeros(n, dtype=bool), np.zeros(len(sky.seeds.object_id), dtype=bool)
    for cell in cells:
        rows = np.flatnonzero(cell_of(pix29, cell[0]) == cell[1])
        seeds = np.unique(tracks.seed[cell_of(track_pix29, cell[0]) == cell[1]])
        mine, near_it = part(sky.detections, rows), some_seeds(sky.seeds, seeds)
        solved = link_cell(mine, sky.images, near_it, cell=cell, founds=founds)
        inside = np.flatnonzero(~solved.pooled_detections)
        linked = np.maximum(solved.links.seed, solved.links.founder)[~solved.pooled_detections] >= 0
        assert linked.all() or not founds
        renumbered = np.full(len(rows), -1)
        renumbered[inside] = np.arange(len(inside))
        founder = np.where(solved.links.founder >= 0, renumbered[solved.links.founder], -1)
        kept = Links(
            solved.links.seed[inside], founder[inside], solved.links.separation_arcsec[inside],
            solved.links.blend[inside], 0, 0,
        )  # fmt: skip
        put(whole, rows[inside], kept, seeds=seeds)
        pool[rows[solved.pooled_detections]] = True
        pool_seeds[seeds[solved.pooled_seeds]] = True
    rows, seeds = np.flatnonzero(pool), np.flatnonzero(pool_seeds)
    pooled = link(part(sky.detections, rows), sky.images, some_seeds(sky.seeds, seeds), founds=founds)
    put(whole, rows, pooled, seeds=seeds)
    return whole, len(rows)


@pytest.mark.parametrize("kind", ["plain", "moving", "surveys"])
@given(seed=SEEDS, deepest=st.sampled_from([9, 12, 14, 16]), founds=st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_cut_of_the_sky_gives_the_same_links(kind: str, seed: int, deepest: int, founds: bool) -> None:
    sky, rng = sky_of(seed, kind, per_image=25, n_seeds=20)
    at = seed_tracks(sky.seeds, sky.images)
    pix29 = np.concatenate((pixel_of(sky.detections.ra, sky.detections.dec), pixel_of(at.ra, at.dec)))
    cut, _ = link_in_cells(sky, random_cells(rng, pix29, deepest=deepest), founds=founds)
    assert_same_links(cut, link(sky.detections, sky.images, sky.seeds, founds=founds))


def assert_same_links(one: Links, other: Links) -> None:
    for name in ("seed", "founder", "separation_arcsec", "blend"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def wide_sky(rng: np.random.Generator, place: tuple[float, float], *, n_stars: int, width_arcsec: float) -> Sky:
    """Stars seen five times each, over many cells."""
    stars = near(rng, n_stars, place=place, width_arcsec=width_arcsec, grid=False)
    rank, star = (part.ravel() for part in np.meshgrid(np.arange(5), np.arange(n_stars), indexing="ij"))
    dec = np.clip(stars[star, 1] + rng.normal(0, 0.1 / 3600, len(star)), -90, 90)
    ra = stars[star, 0] + rng.normal(0, 0.1 / 3600, len(star)) / np.maximum(np.cos(np.radians(dec)), 1e-3)
    return Sky(Detections(ra, dec, rank, star, pixel_of(ra, dec)), Images(np.full(5, 1.0)), NOTHING)


@pytest.mark.parametrize("place", PLACES)
def test_wide_fields_cut_into_8_and_64_cells_give_the_same_links(place: tuple[float, float]) -> None:
    sky = wide_sky(np.random.default_rng(1), place, n_stars=3000, width_arcsec=1500.0)
    whole = link(sky.detections, sky.images, sky.seeds)
    pix29 = pixel_of(sky.detections.ra, sky.detections.dec)
    for norder in (7, 9, 10):
        cut, n_pooled = link_in_cells(sky, [(norder, int(p)) for p in np.unique(cell_of(pix29, norder))])
        assert_same_links(cut, whole)
        assert n_pooled < 0.5 * len(pix29)


def test_a_chain_that_leaves_its_cell_and_comes_back_is_solved_whole() -> None:
    """Detections 0.9 arcsec apart walk along and across the border between two base pixels."""
    steps = np.arange(400) * 0.9
    dec = np.concatenate((steps, -steps[::-1])) / 3600 * 0.1
    ra = (45.0 + np.cumsum(np.full(800, 0.9)) / 3600 - 0.1) % 360
    rank = np.random.default_rng(2).integers(0, 40, 800)
    sky = Sky(Detections(ra, dec, rank, np.arange(800), pixel_of(ra, dec)), Images(np.full(40, 1.0)), NOTHING)
    pix29 = pixel_of(ra, dec)
    for norder in (0, 3, 11):
        cells = [(norder, int(p)) for p in np.unique(cell_of(pix29, norder))]
        assert_same_links(link_in_cells(sky, cells)[0], link(sky.detections, sky.images, sky.seeds))


def later_seeds(sky: Sky, batch: Detections, seeds: Seeds, *, one_to_many: bool) -> tuple[np.ndarray, Seeds]:
    """Object ids of a batch, and the seeds of the batch after it."""
    done = associate(batch, sky.images, seeds, one_to_many=one_to_many)
    ids = np.concatenate((seeds.object_id, done.founded_ids))
    held = np.zeros(len(ids), dtype=np.uint64)
    held[: len(seeds.object_id)] = seeds.held if len(seeds.held) else 0
    survey = sky.images.survey if len(sky.images.survey) else np.zeros(len(sky.images.radius_arcsec), dtype=np.uint64)
    order = np.argsort(ids)
    np.bitwise_or.at(held, order[np.searchsorted(ids[order], done.object_id)], survey[batch.rank])
    grown = Seeds(
        ids, np.append(seeds.ra, batch.ra[done.founders]), np.append(seeds.dec, batch.dec[done.founders]), held=held
    )
    still = np.full(len(done.founders), np.nan)
    if len(seeds.epoch):
        grown = replace(
            grown, epoch=np.append(seeds.epoch, still + 2000), pm_ra=np.append(seeds.pm_ra, still),
            pm_dec=np.append(seeds.pm_dec, still),
        )  # fmt: skip
    return done.object_id, grown


@pytest.mark.parametrize("kind", ["plain", "moving", "surveys"])
@given(seed=SEEDS, one_to_many=st.booleans())
@settings(deadline=None, max_examples=60)
def test_batches_one_after_another_give_the_objects_of_one_batch(kind: str, seed: int, one_to_many: bool) -> None:
    sky, rng = sky_of(seed, kind)
    ids, seeds = np.zeros(len(sky.detections.rank), dtype=np.int64), sky.seeds
    for ranks in np.split(np.arange(5), np.sort(rng.integers(0, 5, 2))):
        rows = np.flatnonzero(np.isin(sky.detections.rank, ranks))
        ids[rows], seeds = later_seeds(sky, part(sky.detections, rows), seeds, one_to_many=one_to_many)
    whole = associate(sky.detections, sky.images, sky.seeds, one_to_many=one_to_many)
    np.testing.assert_array_equal(ids, whole.object_id)


@given(seed=SEEDS)
@settings(deadline=None, max_examples=30)
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    sky, rng = sky_of(seed, "plain")
    order = rng.permutation(len(sky.detections.rank))
    seeds = some_seeds(sky.seeds, rng.permutation(len(sky.seeds.object_id)))
    shuffled = associate(part(sky.detections, order), sky.images, seeds)
    np.testing.assert_array_equal(
        shuffled.object_id, associate(sky.detections, sky.images, sky.seeds).object_id[order]
    )


def test_components_with_one_object_take_the_short_way() -> None:
    sky = wide_sky(np.random.default_rng(3), (200.0, 30.0), n_stars=500, width_arcsec=3000.0)
    links = link(sky.detections, sky.images, sky.seeds)
    assert links.n_simple > 0.95 * links.n_components
    slow = associate_slowly(sky.detections, sky.images, sky.seeds)
    np.testing.assert_array_equal(associate(sky.detections, sky.images, sky.seeds).object_id, slow.object_id)


def test_a_moving_object_is_followed_on_the_short_way() -> None:
    """A star at 0.5 arcsec a year is met by each image where it then is, never where it was founded."""
    epoch = np.array([2010.0, 2011.0, 2019.0, 2020.0])
    ra = 10.0 + 0.5 * (epoch - 2010) / 3600
    detections = Detections(
        ra, np.zeros(4), np.arange(4), np.zeros(4, dtype=np.int64), pixel_of(ra, np.zeros(4)), epoch
    )
    resting = Seeds(pixel_of([10.0], [0.0]), np.array([10.0]), np.zeros(1))
    moving = replace(resting, epoch=np.array([2010.0]), pm_ra=np.array([500.0]), pm_dec=np.array([0.0]))
    images = Images(np.ones(4), span=(2010.0, 2020.0))
    links = link(detections, images, moving)
    np.testing.assert_array_equal(links.seed, 0)
    np.testing.assert_allclose(links.separation_arcsec, 0.0, atol=1e-6)
    np.testing.assert_array_equal(link(detections, images, resting).seed, [0, 0, -1, -1])


def test_a_cell_leaves_to_the_pool_whom_a_visitor_may_take_and_who_goes_away() -> None:
    """A star was founded 100 arcsec west of a border, and is as far east of it when the batch is observed."""
    border, dec, norder = 90.0, 60.0, 8  # of two base pixels
    (at,) = near_sides(border, dec)
    epoch, years = np.array([2020.0]), 30.0
    moving = Seeds(
        pixel_of([at[0]], [dec]), np.array([at[0]]), np.array([dec]), np.array([1990.0]),
        np.array([1000 * 3600 * (at[1] - at[0]) * np.cos(np.radians(dec)) / years]), np.zeros(1),
    )  # fmt: skip
    here, there = (int(cell_of(pixel_of([ra], [dec]), norder)[0]) for ra in at)
    assert here != there
    images = Images(np.ones(1), span=(2020.0, 2020.0))
    found = Detections(np.array([at[1]]), np.array([dec]), np.zeros(1, int), np.ones(1, int), pixel_of([at[1]], [dec]))
    found = replace(found, epoch=epoch)
    visited = link_cell(found, images, moving, cell=(norder, there))
    assert visited.pooled_detections.all()
    assert visited.pooled_seeds.all()
    home = link_cell(part(found, np.zeros(0, dtype=int)), images, moving, cell=(norder, here))
    assert home.pooled_seeds.all()
    assert link(found, images, moving).seed.tolist() == [0]
    assert link_cell(found, images, some_seeds(moving, np.zeros(0, int)), cell=(norder, there)).links.founder[0] == 0


def near_sides(ra: float, dec: float) -> list[tuple[float, float]]:
    """Right ascensions 100 arcsec to both sides of one."""
    away = 100 / 3600 / np.cos(np.radians(dec))
    return [(ra - away, ra + away)]


def test_epochs_outside_the_span_of_the_images_are_refused() -> None:
    good = replace(detections_at((0, 1, 0.0, 0.0)), epoch=np.array([2010.0]))
    for span in ((2011.0, 2012.0), (2000.0, 2009.0)):
        with pytest.raises(DataError, match="do not lie in the span"):
            link(good, Images(np.ones(1), span=span), NOTHING)
    with pytest.raises(DataError, match="do not lie in the span"):
        link(replace(good, epoch=np.zeros(0)), Images(np.ones(1), span=(2000.0, 2020.0)), NOTHING)


def test_a_loser_takes_its_second_nearest_and_both_are_blends() -> None:
    seeds = seeds_at((0.0, 0.0), (1.2, 0.0))
    links = link(detections_at((0, 1, 0.1, 0.0), (0, 2, 0.4, 0.0)), Images(np.ones(1)), seeds)
    np.testing.assert_array_equal(links.seed, [0, 1])
    np.testing.assert_array_equal(links.blend, [OBJ, MEAS | OBJ])
    np.testing.assert_allclose(links.separation_arcsec, [0.1, 0.8], atol=1e-9)


def test_a_loser_without_another_object_founds_one_and_is_a_blend() -> None:
    found = associate(detections_at((0, 1, 0.5, 0.0), (0, 2, 0.1, 0.0)), Images(np.ones(1)), seeds_at((0.0, 0.0)))
    np.testing.assert_array_equal(found.is_new, [True, False])
    np.testing.assert_array_equal(found.blend, [OBJ, OBJ])


def test_in_dvo_mode_detections_share_their_nearest_object() -> None:
    detections, seeds = detections_at((0, 1, 0.5, 0.0), (0, 2, 0.1, 0.0)), seeds_at((0.0, 0.0))
    found = associate(detections, Images(np.ones(1)), seeds, one_to_many=True)
    np.testing.assert_array_equal(found.object_id, np.repeat(seeds.object_id, 2))
    np.testing.assert_array_equal(found.blend, [OBJ, OBJ])


def test_a_close_pair_is_flagged_from_its_first_image() -> None:
    rows = [(image, star, 0.7 * star, 0.0) for image in range(3) for star in range(2)]
    found = associate(detections_at(*rows), Images(np.ones(3)), NOTHING)
    assert len(found.founders) == 2
    np.testing.assert_array_equal(found.blend, [OBJ, OBJ] + [MEAS | OBJ] * 4)


def test_the_radius_is_open_and_that_of_the_image() -> None:
    detections, seeds = detections_at((0, 1, 0.0, 1.5), (1, 1, 0.0, -0.75)), seeds_at((0.0, 0.0))
    apart = separation_arcsec(detections.ra, detections.dec, seeds.ra, seeds.dec)
    below, above = np.nextafter(apart, 0) * (1 - 1e-9), apart * (1 + 1e-9)
    assert (link(detections, Images(above), seeds).seed == 0).all()
    assert (link(detections, Images(below), seeds).seed == -1).all()
    np.testing.assert_array_equal(link(detections, Images(np.array([1.0, 1.0])), seeds).seed, [-1, 0])
    copies = replace(detections, ra=np.repeat(seeds.ra, 2), dec=np.repeat(seeds.dec, 2))
    assert (link(copies, Images(np.zeros(2)), seeds).seed == -1).all()


def test_an_object_of_a_survey_is_no_candidate_for_its_later_rows() -> None:
    detections = detections_at((0, 1, 0.1, 0.0), (1, 1, 0.1, 0.0), (2, 1, 0.1, 0.0))
    survey = np.array([1, 1, 0], dtype=np.uint64)
    found = associate(detections, Images(np.ones(3), survey=survey), seeds_at((0.0, 0.0)))
    np.testing.assert_array_equal(found.is_new, [False, True, False])
    np.testing.assert_array_equal(found.blend, [0, 0, MEAS])


def test_new_objects_wrap_around_inside_their_order_14_pixel() -> None:
    last = (7 << 30) + 2**30 - 1
    wishes = np.array([last, last, 7 << 30, last], dtype=np.int64)
    ids = found_ids(wishes, taken=np.array([(7 << 30) + 2]))
    np.testing.assert_array_equal(ids, [last, 7 << 30, (7 << 30) + 1, (7 << 30) + 3])


def test_a_retired_object_revives_in_its_own_pixel_only() -> None:
    wishes = np.array([100, 100, 99, 99, 101], dtype=np.int64)
    ids = found_ids(wishes, taken=np.array([99]), retired=np.array([100, 101]))
    np.testing.assert_array_equal(ids, [100, 102, 103, 104, 101])


def test_a_hundred_thousand_wishes_for_one_pixel_are_quick() -> None:
    ids = found_ids(np.full(100_000, 5), taken=np.arange(50_000))
    np.testing.assert_array_equal(ids, np.arange(50_000, 150_000))


def test_a_dense_field_of_one_component_costs_no_more_than_its_neighbours() -> None:
    """60,000 detections, several within each radius, one component; listing all pairs would take hours."""
    rng = np.random.default_rng(5)
    at = near(rng, 60_000, place=(30.0, 40.0), width_arcsec=150.0, grid=False)
    detections = Detections(at[:, 0], at[:, 1], np.arange(60_000) % 6, np.arange(60_000), pixel_of(at[:, 0], at[:, 1]))
    links = link(detections, Images(np.ones(6)), NOTHING)
    assert links.n_components < 20
    objects = np.where(links.founder >= 0, links.founder, 0)
    assert len(np.unique(objects * 6 + detections.rank)) == 60_000
    apart = separation_arcsec(detections.ra, detections.dec, detections.ra[objects], detections.dec[objects])
    np.testing.assert_allclose(links.separation_arcsec, apart, atol=1e-9)
    assert apart.max() < 1.0


def test_nothing_at_all_is_associated_with_nothing() -> None:
    empty = part(detections_at((0, 0, 0.0, 0.0)), np.zeros(0, dtype=np.int64))
    assert not len(associate(empty, Images(np.ones(1)), NOTHING).object_id)
    assert not len(associate(empty, Images(np.zeros(0)), seeds_at((0.0, 0.0))).object_id)


def test_founders_come_in_the_order_of_association() -> None:
    detections = detections_at((1, 1, 50.0, 0.0), (0, 9, 30.0, 0.0), (0, 2, 10.0, 0.0))
    links = link(detections, Images(np.ones(2)), NOTHING)
    np.testing.assert_array_equal(founders_in_order(detections, links), [2, 1, 0])


def test_bad_input_is_refused_with_its_row() -> None:
    good = detections_at((0, 0, 0.0, 0.0), (0, 1, 5.0, 0.0))
    with pytest.raises(DataError, match=r"detection 1: no ra"):
        link(replace(good, ra=np.array([1.0, np.nan])), Images(np.ones(1)), NOTHING)
    with pytest.raises(DataError, match="beyond a pole"):
        link(replace(good, dec=np.array([1.0, 90.1])), Images(np.ones(1)), NOTHING)
    with pytest.raises(DataError, match="1 images cannot have ranks 0 to 1"):
        link(replace(good, rank=np.array([0, 1])), Images(np.ones(1)), NOTHING)
    with pytest.raises(UsageError, match="radius"):
        link(good, Images(np.array([np.nan])), NOTHING)
    with pytest.raises(DataError, match="outside its cell"):
        link_cell(good, Images(np.ones(1)), NOTHING, cell=(0, 0))
