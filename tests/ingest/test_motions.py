"""Objects that move: the whole way from files to objects, against a slow oracle, however the work is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time

import skydb
from skydb.database import Database
from skydb.ingest import batches, roaming
from skydb.ingest.addstar import addstar
from skydb.ingest.merge import merge
from skydb.ingest.reach import PLAN_ORDER, sky_around
from skydb.sky.partition import in_ranges, pixel_of
from skydb.store.motion import stored_bound

from .motion_oracle import RADIUS_ARCSEC, Catalog, Row, associated, merged, survey_of_surveys
from .skies import assert_same, check_conservation, check_nothing_is_left_over, contents, new_database
from .tables import mapping_of

PLACES = {"ra 0, where four base pixels meet": (0.0, 0.0), "north pole": (200.0, 89.98), "elsewhere": (211.3, -37.2)}
TABLES = ("object_seeds", "measurements", "objects")


def ingested(
    folder: Path, catalogs: list[Catalog], *, cell_rows: int, workers: int = 1, name: str = "m.sky"
) -> Database:  # fmt: skip
    db = new_database(folder / name, cell_rows=cell_rows)
    for catalog in catalogs:
        report = addstar(db, catalog.files(folder), mapping=mapping_of(folder, catalog.mapping()), workers=workers)
        assert report.n_failed == 0, report.text()
    return db


def founders(db: Database) -> dict[int, int]:
    """The number of each row, and that of the row which founded its object."""
    held = contents(db, ["object_seeds", "measurements"])
    seeds = held["object_seeds"]
    founder = dict(zip(seeds["object_id"].to_pylist(), seeds["founder_det_id"].to_pylist(), strict=True))
    rows = held["measurements"]
    return {n: founder[o] for n, o in zip(rows["det_id"].to_pylist(), rows["object_id"].to_pylist(), strict=True)}


@pytest.mark.parametrize("place", PLACES)
def test_objects_are_the_oracles_however_the_sky_is_cut(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogs = survey_of_surveys(PLACES[place])
    wanted = associated(catalogs)
    assert wanted != associated(catalogs, motions=False)
    assert {wanted[number] for number in (1000, 4000, 10_800, 23_600)} == {1000}  # 10 arcsec a year
    one = ingested(tmp_path, catalogs, cell_rows=10**6)
    assert founders(one) == wanted
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    many = ingested(tmp_path, catalogs, cell_rows=8, name="many.sky")
    assert len(many.snapshot().cells()) > 4 * len(one.snapshot().cells())
    assert_same(contents(one, TABLES), contents(many, TABLES))
    assert skydb.fsck(many, deep=True, workers=1).clean
    check_conservation(many)
    check_nothing_is_left_over(many)
    assert_a_cone_finds_the_fastest_where_it_is(many)


def assert_a_cone_finds_the_fastest_where_it_is(db: Database) -> None:
    """Ask for its surroundings at each epoch: its measurement there lies far from where the object was founded."""
    rows = contents(db, ["measurements"])["measurements"].to_pylist()
    (fastest,) = {row["object_id"] for row in rows if row["det_id"] == 1000}
    with skydb.connect(db) as con:
        for row in (row for row in rows if row["object_id"] == fastest):
            near = con.cone(row["ra"], row["dec"], "0.01arcsec", table="measurements").arrow()
            assert row["det_id"] in near["det_id"].to_pylist()
    assert max(cell.drift_arcsec for cell in db.snapshot().cells()) > 300


def test_an_object_that_comes_from_beyond_the_new_rows_is_found(tmp_path: Path) -> None:
    """A night that sees one star, 350 arcsec from where it was founded: cells about that place are far from the row."""
    catalogs = survey_of_surveys(PLACES["elsewhere"], seed=7)
    there = [row for row in catalogs[4].rows if row.number == 23_600]
    db = ingested(tmp_path, [catalogs[0]], cell_rows=1)
    (home,) = contents(db, ["object_seeds"])["object_seeds"].filter(pc.field("founder_det_id") == 1000).to_pylist()
    reach = sky_around(pixel_of([there[0].degrees[0]], [there[0].degrees[1]], PLAN_ORDER), RADIUS_ARCSEC)
    assert not in_ranges(np.array([home["object_id"]]), reach).any()
    night = Catalog("night-c", there)
    assert associated([catalogs[0], night])[23_600] == 1000
    assert addstar(db, night.files(tmp_path), mapping=mapping_of(tmp_path, night.mapping()), workers=1).n_failed == 0
    assert founders(db)[23_600] == 1000
    assert skydb.fsck(db, deep=True, workers=1).clean


def test_workers_do_not_change_the_answer(tmp_path: Path) -> None:
    catalogs = survey_of_surveys(PLACES["elsewhere"], seed=5)[:3]
    db = ingested(tmp_path, catalogs, cell_rows=20, workers=2)
    assert founders(db) == associated(catalogs)


def test_without_motions_nothing_is_looked_up_and_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for objects that move")

    monkeypatch.setattr(roaming, "movers_of_cell", refuse)
    catalogs = [replace(c, with_motions=False) for c in survey_of_surveys(PLACES["elsewhere"])[:3]]
    db = ingested(tmp_path, catalogs, cell_rows=20)
    assert founders(db) == associated(catalogs)
    assert stored_bound(db.root) is None
    seeds = contents(db, ["object_seeds"])["object_seeds"]
    assert seeds["assoc_pm_ra"].null_count == seeds["assoc_pm_dec"].null_count == seeds.num_rows
    assert {f.schema_version for f in db.snapshot().files("measurements")} == {1}


def test_merge_moves_objects_here_to_the_epochs_of_those_that_come(tmp_path: Path) -> None:
    catalogs = survey_of_surveys(PLACES["elsewhere"], seed=2)
    ours, theirs, later = catalogs[:2], [catalogs[2], catalogs[4]], [catalogs[3]]
    wanted, answers = merged(ours, theirs), []
    assert wanted[4000] == wanted[23_600] == 1000
    for cell_rows in (10**6, 8):
        db = ingested(tmp_path, ours, cell_rows=cell_rows, name=f"ours-{cell_rows}.sky")
        other = ingested(tmp_path, theirs, cell_rows=cell_rows, name=f"theirs-{cell_rows}.sky")
        merge(db, other, workers=1)
        assert founders(db) == wanted
        assert merge(db, other, workers=1).snapshot is None
        answers.append(contents(db, ("measurements", "objects", "object_seeds")))
    assert_same(*answers)
    seeds, here = (contents(d, ["object_seeds"])["object_seeds"].to_pylist() for d in (other, db))
    motions = {row["founder_det_id"]: (row["assoc_pm_ra"], row["assoc_epoch"]) for row in seeds}
    came = [row for row in here if row["founder_det_id"] in motions]
    assert came
    assert all(motions[row["founder_det_id"]] == (row["assoc_pm_ra"], row["assoc_epoch"]) for row in came)
    assert skydb.fsck(db, deep=True, workers=1).clean
    mapping = mapping_of(tmp_path, later[0].mapping())
    assert addstar(db, later[0].files(tmp_path), mapping=mapping, workers=1).n_failed == 0
    assert founders(db)[6000] == 1000


def test_founders_give_their_motion_and_no_others(tmp_path: Path) -> None:
    place = np.array([1.0, 0.0, 0.0])
    rows = [Row(1, 2000.0, place, 120.5, -7.0), Row(2, 2000.0, turned(place, 30), 0.0, 0.0),
            Row(3, 2000.0, turned(place, 60), 20_001.0, 0.0), Row(4, 2000.0, turned(place, 90), np.nan, 5.0),
            Row(5, 2000.0, turned(place, 120))]  # fmt: skip
    later = [Row(11, 2000.0, turned(place, 120.2), 50.0, 0.0), Row(12, 2000.0, turned(place, 0.1), 1.0, 1.0)]
    db = ingested(tmp_path, [Catalog("a", rows, with_motions=True), Catalog("b", later, with_motions=True)],
                  cell_rows=10**6)  # fmt: skip
    held = contents(db, ["object_seeds", "measurements"])
    seeds = {r["founder_det_id"]: (r["assoc_pm_ra"], r["assoc_pm_dec"]) for r in held["object_seeds"].to_pylist()}
    assert seeds == {1: (120.5, -7.0), 2: (0.0, 0.0), 3: (None, None), 4: (None, None), 5: (None, None)}
    bound = stored_bound(db.root)
    assert bound is not None
    assert bound.speed_arcsec == 0.125  # the next power of two
    assert 1999 <= bound.first <= 2000 <= bound.last <= 2001
    raw = {r["det_id"]: (r["pm_ra"], r["pm_dec"]) for r in held["measurements"].to_pylist()}
    assert raw[3] == (20_001.0, 0.0)
    assert raw[4] == (None, 5.0)
    assert raw[11] == (50.0, 0.0)
    with skydb.connect(db) as con:
        assert con.sql("SELECT pm_ra FROM measurements WHERE photcode = 'b' ORDER BY pm_ra").arrow().to_pylist() == [
            {"pm_ra": 1.0}, {"pm_ra": 50.0},
        ]  # fmt: skip


def turned(place: np.ndarray, arcsec: float) -> np.ndarray:
    angle = arcsec * np.pi / 648_000
    return np.array([place[0] * np.cos(angle), place[0] * np.sin(angle), 0.0])


@pytest.mark.data
def test_fast_stars_of_hipparcos_are_found_in_tycho2_where_they_have_moved_to(data_dir: Path, tmp_path: Path) -> None:
    """Of 813 stars over 0.3 arcsec a year, 14 lie within 1 arcsec of a Tycho-2 star unmoved, 742 at its epoch."""
    stars = Table.read(data_dir / "hipparcos" / "hipparcos_star_catalog.fits.gz")
    stars = stars[np.hypot(np.ma.filled(stars["pmRA"], 0.0), np.ma.filled(stars["pmDE"], 0.0)) > 300]
    assert len(stars) == 813
    stars.write(tmp_path / "hipparcos.fits")
    moved = SkyCoord(
        stars["RAICRS"], stars["DEICRS"], pm_ra_cosdec=stars["pmRA"], pm_dec=stars["pmDE"], distance=10 * u.pc,
        obstime=Time(1991.25, format="jyear", scale="tt"),
    ).apply_space_motion(Time(2000.0, format="jyear", scale="tt"))  # fmt: skip
    tycho = pq.read_table(data_dir / "tycho2" / "tycho2.parquet", columns=["ra", "dec", "mag_vt"])
    sky = SkyCoord(tycho["ra"].to_numpy() * u.deg, tycho["dec"].to_numpy() * u.deg)
    near = np.unique(sky.search_around_sky(SkyCoord(moved.ra, moved.dec), 60 * u.arcsec)[1])
    pq.write_table(tycho.take(pa.array(near)), tmp_path / "tycho2.parquet")
    nearest, apart, _ = SkyCoord(moved.ra, moved.dec).match_to_catalog_sky(sky[near])
    db = new_database(tmp_path / "fast.sky")
    for name, file in (("hipparcos", "hipparcos.fits"), ("tycho2", "tycho2.parquet")):
        assert skydb.addstar(db, tmp_path / file, mapping=name, workers=1).n_failed == 0
    with skydb.connect(db) as con:
        pairs = con.sql(
            "SELECT DISTINCT h.det_id AS hip, t.det_id AS tyc FROM measurements h JOIN measurements t USING (object_id)"
            " WHERE h.photcode = 'HIP.V' AND t.photcode = 'TYCHO2.VT'"
        ).arrow()  # fmt: skip
    wanted = {(int(stars["HIP"][i]), int(nearest[i])) for i in np.flatnonzero(apart.arcsec < 1.0)}
    assert set(zip(pairs["hip"].to_pylist(), pairs["tyc"].to_pylist(), strict=True)) == wanted
    assert len(wanted) > 735
    assert skydb.fsck(db, deep=True, workers=1).clean
