"""Many databases of one survey merged into an empty one are one ingest of all files, wherever order does not matter."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import skydb
from skydb.calibration.columns import float_column
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.ingest.components import linked_components
from skydb.ingest.merge import merge
from skydb.photcodes import import_photcodes
from skydb.sky.partition import separation_arcsec
from skydb.store.arrow_files import write_arrow
from skydb.store.history import catalog_table
from skydb.store.parquet import read_file
from skydb.tools.simulate import simulate
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import assert_same, check_conservation, check_nothing_is_left_over, contents, write_night
from tests.ingest.test_merge import ingested, partition
from tests.stateful.killing import killed_at

Star = frozenset[tuple[int, int]]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exposures about RA 0, about a pole, and of a crowded field; and four of stars at RA 0, seen on either side."""
    out = tmp_path_factory.mktemp("survey") / "sim"
    simulate(out, preset="small", detections=4000, seed=5, workers=1)
    code = next(word for word in (out / "photcodes.dat").read_text().split() if ".XY" in word)
    rng = np.random.default_rng(5)
    for number in range(4):
        x, y = 500 + rng.normal(0, 0.3, 20), 100.0 + 30 * np.arange(20)
        table = rows(20, seed=number, X_PSF=x.astype("f4"), Y_PSF=y.astype("f4"))
        header = {"MJD-OBS": 57900.25 + 0.01 * number, "OBS_ID": f"m{number}", "CRVAL1": 0.0, "PHOTCODE": code}
        write_cmf(out / "exposures" / f"m{number}.smf", table, header)
    return out


def exposures_of(survey: Path) -> list[Path]:
    return sorted((survey / "exposures").glob("*.smf"))


def database_of(survey: Path, path: Path, files: list[Path], *, cell_rows: int = 700) -> Database:
    db = skydb.create(path, cell_rows=cell_rows)
    import_photcodes(db, survey / "photcodes.dat")
    if files:
        assert addstar(db, files, workers=1).complete
    return db


@pytest.fixture(scope="module")
def direct(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    return database_of(survey, tmp_path_factory.mktemp("direct") / "d.sky", exposures_of(survey))


@pytest.fixture(scope="module")
def apart(direct: Database) -> set[Star]:
    """Measurements that are one star whatever the order, by raw positions alone.

    All lie within a radius (1 arcsec) of each other, one of an image, and nothing else within three.
    """
    held = contents(direct, ["measurements"])["measurements"]
    ra, dec = float_column(held, "ra_raw"), float_column(held, "dec_raw")
    keys = list(zip(held["image_id"].to_pylist(), held["det_id"].to_pylist(), strict=True))
    groups, found = linked_components(ra, dec, 3.0), set()
    for first, last in zip(groups.starts[:-1], groups.starts[1:], strict=True):
        mine = groups.members[first:last]
        spread = separation_arcsec(ra[mine, None], dec[mine, None], ra[None, mine], dec[None, mine]).max()
        if spread < 0.99 and len({keys[i][0] for i in mine}) == len(mine):
            found.add(frozenset(keys[i] for i in mine))
    return found


def stars_of(db: Database, wanted: set[Star]) -> dict[Star, list[dict[str, Any]]]:
    """What the database derives of some stars, whatever their ids: the row of `objects`, and those of its bands."""
    held = contents(db)
    keys: dict[int, set[tuple[int, int]]] = {}
    for row in held["measurements"].select(["object_id", "image_id", "det_id"]).to_pylist():
        keys.setdefault(row["object_id"], set()).add((row["image_id"], row["det_id"]))
    mine = {owner: frozenset(its) for owner, its in keys.items() if frozenset(its) in wanted}
    ids, found = pa.array(sorted(mine), pa.int64()), {star: [] for star in mine.values()}
    for table in ("objects", "object_bands"):
        part = held[table].filter(pc.is_in(held[table]["object_id"], ids))
        for row in part.to_pylist():
            found[mine[row.pop("object_id")]].append(row)
    return found


def differing(one: dict[Star, list[dict[str, Any]]], other: dict[Star, list[dict[str, Any]]]) -> dict[str, float]:
    """The columns that differ, and by how much at most."""
    found: dict[str, float] = {}
    for star, rows_of_star in one.items():
        assert len(rows_of_star) == len(other[star])
        for mine, theirs in zip(rows_of_star, other[star], strict=True):
            for name in mine:
                if mine[name] != theirs[name] and not (mine[name] is None and theirs[name] is None):
                    found[name] = max(found.get(name, 0.0), abs(mine[name] - theirs[name]))
    return found


def log_of(db: Database) -> dict[str, tuple[int, ...]]:
    names = ("n_images", "n_in", "n_rejected", "n_measurements", "n_nulled", "n_deleted", "n_deleted_measurements")
    entries = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    return {e["digest"]: (*(e[n] for n in names), e["n_matched"] + e["n_new"]) for e in entries}


def check_same_survey(db: Database, direct: Database, apart: set[Star]) -> None:
    """Every image, measurement and log entry; and of stars that stand apart every mean.

    Means are equal to the last bit, but for the last digits of positions: these are means on the plane that touches the
    sky where the object was founded, which is by another of its measurements.
    """
    one, other = stars_of(db, apart), stars_of(direct, apart)
    assert one.keys() == other.keys()
    found = differing(one, other)
    assert found.keys() <= {"ra", "dec"}
    assert max(found.values(), default=0.0) < 1e-10, "deg: 4e-4 mas, beside a pole; elsewhere 1e-7 mas"
    mine, theirs = contents(db), contents(direct)
    for table in ("images", "images_cal", "exposures", "photcodes"):
        assert_same({table: mine[table]}, {table: theirs[table]})
    raw = [t["measurements"].drop_columns(["object_id", "link_flags", "db_flags"]) for t in (mine, theirs)]
    keys = [(name, "ascending") for name in ("image_id", "det_id")]
    assert raw[0].sort_by(keys).equals(raw[1].sort_by(keys))
    assert log_of(db) == log_of(direct)
    check_conservation(db)
    check_nothing_is_left_over(db)
    assert fsck(db, deep=True, workers=1).findings == ()


def test_stars_that_stand_apart_are_most_and_lie_about_the_pole_and_ra_0(direct: Database, apart: set[Star]) -> None:
    held = contents(direct, ["measurements"])["measurements"]
    assert sum(map(len, apart)) > 0.7 * held.num_rows
    assert stars_of(direct, apart).keys() == apart, "the direct ingest has them all"
    place = {
        (r["image_id"], r["det_id"]): (r["ra_raw"], r["dec_raw"])
        for r in held.select(["image_id", "det_id", "ra_raw", "dec_raw"]).to_pylist()
    }  # fmt: skip
    spans = [[place[key] for key in star] for star in apart if len(star) > 1]
    assert max(dec for span in spans for _, dec in span) > 89.9
    assert any(max(ra for ra, _ in span) - min(ra for ra, _ in span) > 300 for span in spans), "across RA 0"


@pytest.mark.parametrize(("n", "seed"), [(2, 1), (2, 2), (3, 3), pytest.param(5, 4, marks=pytest.mark.slow)])
def test_mini_databases_merged_in_any_order_are_one_ingest(
    survey: Path, direct: Database, apart: set[Star], tmp_path: Path, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    files = exposures_of(survey)
    owner = rng.permutation(np.arange(len(files)) % n)
    minis = [
        database_of(survey, tmp_path / f"{k}.sky", [f for f, o in zip(files, owner, strict=True) if o == k])
        for k in range(n)
    ]
    whole = database_of(survey, tmp_path / "whole.sky", [], cell_rows=500)
    for k in rng.permutation(n):
        merge(whole, minis[k], workers=1)
    check_same_survey(whole, direct, apart)
    assert all(merge(whole, mini, workers=1).snapshot is None for mini in minis)


def test_either_order_gives_the_same_and_so_do_parts(
    survey: Path, direct: Database, apart: set[Star], tmp_path: Path
) -> None:
    """A then B, B then A; and both by band and by halves of the sky, which are then completed."""
    files = exposures_of(survey)
    halves = [database_of(survey, tmp_path / f"{k}.sky", files[k::2]) for k in range(2)]
    for order in ((0, 1), (1, 0)):
        whole = database_of(survey, tmp_path / f"whole{order[0]}.sky", [])
        for k in order:
            merge(whole, halves[k], workers=1)
        check_same_survey(whole, direct, apart)
    parts = database_of(survey, tmp_path / "parts.sky", [])
    steps: list[dict[str, Any]] = [
        {"photcodes": "g", "region": "box 300 20 -90 90"}, {"only_matches": True}, {"photcodes": "r"}, {},
    ]  # fmt: skip
    for options in steps:
        for half in halves:
            merge(parts, half, workers=1, **options)
    check_same_survey(parts, direct, apart)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A database that has another in part, and that other one."""
    folder = tmp_path_factory.mktemp("two")
    files = write_night(folder / "n", exposures=4, stars=60, ra=0.0, dec=10.0)
    base = ingested(folder / "a.sky", files[:2], cell_rows=90)
    source = ingested(folder / "b.sky", files[2:], cell_rows=90)
    merge(base, source, region="box 359 0 9 11", only_matches=True, workers=1)
    return base.root, source.root


def files_of(db: Database) -> list[tuple[str, int | None, int | None, str]]:
    """What every file of the newest snapshot holds, by table and cell."""
    snapshot, found = db.snapshot(), []
    sky = [f for cell in snapshot.cells() for table in snapshot.sky_tables for f in snapshot.files(table, cell)]
    for file in [*sky, *(f for table in ("images", "images_cal", "exposures") for f in snapshot.files(table))]:
        path = db.work / "rows.arrow"
        write_arrow(read_file(snapshot.stored(file)).replace_schema_metadata().combine_chunks(), path)
        found.append((file.table, file.norder, file.npix, hashlib.sha256(path.read_bytes()).hexdigest()))
        path.unlink()
    return sorted(found, key=str)


def test_one_worker_and_two_write_the_same_files(two: tuple[Path, Path], tmp_path: Path) -> None:
    written = []
    for workers in (1, 2):
        db = skydb.open(shutil.copytree(two[0], tmp_path / f"{workers}.sky"))
        assert merge(db, two[1], compact=False, workers=workers).n_images_completed == 2
        written.append(files_of(db))
    assert written[0] == written[1]


@pytest.mark.parametrize("point", ["merge.matched", "merge.written", "commit.added", "commit.committed"])
def test_merge_that_was_killed_and_is_repeated_ends_as_if_alone(
    two: tuple[Path, Path], tmp_path: Path, point: str
) -> None:
    """Also where images that are here in part are being completed."""
    alone, killed = (skydb.open(shutil.copytree(two[0], tmp_path / name)) for name in ("alone.sky", "killed.sky"))
    head = killed.snapshot().id
    assert killed_at(f"{point}:1", lambda: merge(skydb.open(killed.root), two[1], workers=1))
    done = point == "commit.committed"
    assert skydb.open(killed.root).snapshot().id == head + done
    report = merge(skydb.open(killed.root), two[1], workers=1)
    assert (report.snapshot is None) == done
    merge(alone, two[1], workers=1)
    again = skydb.open(killed.root)
    assert partition(again) == partition(alone)
    tables = ("objects", "object_bands", "measurements", "object_seeds", "images", "images_cal")
    assert_same(contents(again, tables), contents(alone, tables))
    check_conservation(again)
    assert fsck(again, deep=True, workers=1).findings == ()
