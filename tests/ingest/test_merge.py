"""Merged databases: objects, ids, solutions and rows as a slow pairing, or one ingest of all files, gives them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skydb
from skydb.calibration.columns import float_column, int_column
from skydb.calibration.recalibrate import apply_to_all
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.deletion import delete
from skydb.errors import CommitConflict, DataError, UsageError
from skydb.ingest.addstar import addstar
from skydb.ingest.associate import Detections
from skydb.ingest.components import linked_components
from skydb.ingest.merge import merge
from skydb.ingest.tracks import Images, Seeds
from skydb.parallel.executor import SerialExecutor, executor_for
from skydb.photcodes import import_photcodes
from skydb.sky.partition import pixel_of, separation_arcsec
from skydb.store.aliases import current_ids
from skydb.store.history import catalog_table
from skydb.store.snapshot import Snapshot
from tests.calibration.test_recalibrate import SOLVED, applied, shifted
from tests.ingest.association_oracle import associate_slowly
from tests.ingest.skies import (
    SURVEY_CODES,
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
    write_survey,
)
from tests.ingest.tables import REFERENCE, mapping_of
from tests.parallel.simulated import SimulatedExecutor
from tests.store.test_aliases import add_aliases

PLACES = [(0.0, 10.0), (360.0, -41.0), (45.0, 0.0), (0.0, 89.9995)]
"""Fields in which cells of several orders meet; one about a pole."""


def ingested(path: Path, files: list[Path], **more: Any) -> Database:
    db = new_database(path, **more)
    report = addstar(db, files, workers=1)
    assert report.complete
    return db


def all_rows(db: Database, table: str) -> pa.Table:
    """All rows of a sky table, cell after cell."""
    snapshot = db.snapshot()
    parts = [snapshot.read_cell(table, cell) for cell in snapshot.cells()]
    return pa.concat_tables(parts, promote_options="default")


def objects_of_measurements(db: Database) -> dict[tuple[int, int], int]:
    """The object of every measurement, by image and detection."""
    rows = contents(db, ["measurements"])["measurements"]
    columns = (rows[name].to_pylist() for name in ("image_id", "det_id", "object_id"))
    return {(image, det): owner for image, det, owner in zip(*columns, strict=True)}


def partition(db: Database) -> set[frozenset[tuple[int, int]]]:
    """Which measurements are of one object, whatever its id."""
    groups: dict[int, set[tuple[int, int]]] = {}
    for key, owner in objects_of_measurements(db).items():
        groups.setdefault(owner, set()).add(key)
    return {frozenset(group) for group in groups.values()}


def paired_slowly(base: Database, source: Database) -> dict[int, int]:
    """The id that every object of the source gets in the base, by the rules of association spelled out."""
    seeds = [all_rows(db, "object_seeds") for db in (base, source)]
    ours, theirs = (rows.filter(pc.invert(rows["retired"])) for rows in seeds)
    ids = int_column(theirs, "object_id")
    ra, dec = float_column(theirs, "assoc_ra"), float_column(theirs, "assoc_dec")
    answer = associate_slowly(
        Detections(ra, dec, np.zeros(len(ids), dtype=np.int64), ids, ids), Images(np.array([1.0])),
        Seeds(int_column(ours, "object_id"), float_column(ours, "assoc_ra"), float_column(ours, "assoc_dec")),
    )  # fmt: skip
    return dict(zip(ids.tolist(), answer.object_id.tolist(), strict=True))


@pytest.mark.parametrize("place", [PLACES[0], *(pytest.param(p, marks=pytest.mark.slow) for p in PLACES[1:])])
def test_objects_are_those_of_a_slow_pairing_and_every_id_resolves(tmp_path: Path, place: tuple[float, float]) -> None:
    files = write_night(tmp_path / "n", exposures=4, stars=70, ra=place[0], dec=place[1])
    base, source = ingested(tmp_path / "a.sky", files[:2], cell_rows=90), ingested(tmp_path / "b.sky", files[2:])
    expected, theirs = paired_slowly(base, source), objects_of_measurements(source)
    before = objects_of_measurements(base)
    report = merge(base, source, workers=1)
    after = objects_of_measurements(base)
    assert after == before | {key: expected[owner] for key, owner in theirs.items()}
    old = np.array(sorted(expected))
    assert current_ids(base.snapshot(), old).tolist() == [expected[i] for i in old.tolist()]
    assert report.n_matched + report.n_new == len(expected)
    assert report.n_matched > 20
    assert report.n_new > 5
    check_conservation(base)
    check_nothing_is_left_over(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def test_merge_into_an_empty_database_gives_the_same_one(tmp_path: Path) -> None:
    source = ingested(tmp_path / "b.sky", write_night(tmp_path / "n", exposures=3, stars=60), cell_rows=60)
    empty = skydb.create(tmp_path / "a.sky", cell_rows=100)
    merge(empty, source, workers=1)
    assert_same(contents(empty), contents(source))
    assert all_rows(empty, "object_aliases").num_rows == 0


def test_nightly_databases_merged_are_one_ingest_where_stars_stand_apart(tmp_path: Path) -> None:
    files = write_night(tmp_path / "n", exposures=4, stars=60)
    direct, whole = ingested(tmp_path / "direct.sky", files), new_database(tmp_path / "whole.sky")
    for night in range(2):
        merge(whole, ingested(tmp_path / f"{night}.sky", files[2 * night : 2 * night + 2]), workers=1)
    apart = standing_apart(direct)
    assert len(apart) > 30
    assert apart <= partition(whole)
    assert apart <= partition(direct)
    for table in ("images", "images_cal", "exposures", "photcodes"):
        assert_same({table: contents(whole)[table]}, {table: contents(direct)[table]})
    check_conservation(whole)


def standing_apart(db: Database) -> set[frozenset[tuple[int, int]]]:
    """The measurements that are one star whatever the order: all within a radius, nothing else near, one per image."""
    rows = contents(db, ["measurements"])["measurements"]
    ra, dec = float_column(rows, "ra"), float_column(rows, "dec")
    keys = list(zip(rows["image_id"].to_pylist(), rows["det_id"].to_pylist(), strict=True))
    groups = linked_components(ra, dec, 3.0)
    found = set()
    for first, last in zip(groups.starts[:-1], groups.starts[1:], strict=True):
        mine = groups.members[first:last]
        near = separation_arcsec(ra[mine, None], dec[mine, None], ra[None, mine], dec[None, mine]).max() < 0.99
        if near and len({keys[i][0] for i in mine}) == len(mine):
            found.add(frozenset(keys[i] for i in mine))
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Files of two databases of one crowded field, at the corner of cells."""
    folder = tmp_path_factory.mktemp("pair")
    files = write_night(folder / "n", exposures=4, stars=60, ra=45.0, dec=0.0)
    return files[:2], files[2:]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pair: tuple[list[Path], list[Path]]) -> tuple[Path, Path]:
    """A database of each half of the files."""
    folder = tmp_path_factory.mktemp("made")
    return ingested(folder / "a.sky", pair[0]).root, ingested(folder / "b.sky", pair[1]).root


@pytest.fixture
def two(tmp_path: Path, made: tuple[Path, Path]) -> tuple[Database, Database]:
    """Copies of them: the base and the source of a merge."""
    one, other = (skydb.open(shutil.copytree(root, tmp_path / root.name)) for root in made)
    return one, other


def test_answer_does_not_depend_on_how_the_work_was_cut(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    answers = []
    for number, (mine, theirs, executor) in enumerate((
        (500_000, 500_000, executor_for(1)), (40, 30, SimulatedExecutor(7)),
    )):  # fmt: skip
        base = ingested(tmp_path / f"a{number}.sky", pair[0], cell_rows=mine)
        source = ingested(tmp_path / f"b{number}.sky", pair[1], cell_rows=theirs)
        merge(base, source, workers=executor)
        answers.append(contents(base) | {"aliases": all_rows(base, "object_aliases").select(["object_id", "stands_for"])
                                         .sort_by("object_id")})  # fmt: skip
    assert_same(*answers)


def test_second_merge_brings_only_what_came_since_and_pairs_stay(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    base, source = ingested(tmp_path / "a.sky", pair[0]), ingested(tmp_path / "b.sky", pair[1][:1])
    first = merge(base, source, workers=1)
    was, head = objects_of_measurements(base), base.snapshot().id
    again = merge(base, source, workers=1)
    assert (again.snapshot, base.snapshot().id, again.n_images_known) == (None, head, 1)
    lives_here = {key: was[key] for key in objects_of_measurements(source)}
    addstar(source, pair[1][1:], workers=1)
    second = merge(base, source, workers=1)
    now, there = objects_of_measurements(base), objects_of_measurements(source)
    assert was.items() <= now.items()
    assert (first.n_images, second.n_images) == (1, 1)
    here = {there[key]: owner for key, owner in lives_here.items()}
    assert all(now[key] == here.get(owner, now[key]) for key, owner in there.items()), "an object was torn apart"
    assert all_rows(base, "object_aliases").num_rows == len(set(zip(
        *(all_rows(base, "object_aliases")[n].to_pylist() for n in ("object_id", "database_id")), strict=True
    )))  # fmt: skip
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def test_images_that_both_have_stay_as_they_are(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    base = ingested(tmp_path / "a.sky", [*pair[0], pair[1][0]])
    source = ingested(tmp_path / "b.sky", pair[1])
    was = objects_of_measurements(base)
    report = merge(base, source, workers=1)
    assert (report.n_images, report.n_images_known) == (1, 1)
    assert was.items() <= objects_of_measurements(base).items()
    assert len(objects_of_measurements(base)) == len(was) + report.n_measurements
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def test_deleted_image_comes_back_by_a_merge(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    base, source = ingested(tmp_path / "a.sky", [*pair[0], *pair[1]]), ingested(tmp_path / "b.sky", pair[1])
    skydb.delete(base, files=str(pair[1][0]), workers=1)
    merge(base, source, workers=1)
    assert len(objects_of_measurements(base)) == len(objects_of_measurements(
        ingested(tmp_path / "c.sky", [*pair[0], *pair[1]])
    ))  # fmt: skip
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()


@pytest.mark.parametrize("what", ["what came", "what was here", "all"])
def test_objects_whose_measurements_were_deleted_live_again_under_their_ids(
    two: tuple[Database, Database], pair: tuple[list[Path], list[Path]], what: str
) -> None:
    """They had retired: a second merge brings them back, with those that they had joined, and nobody else."""
    base, source = two
    merge(base, source, workers=1)
    was, aliases = objects_of_measurements(base), all_rows(base, "object_aliases").num_rows
    gone = {"what came": pair[1], "what was here": pair[0], "all": [*pair[0], *pair[1]]}[what]
    skydb.delete(base, files=[str(path) for path in gone], workers=1)
    merge(base, source, workers=1)
    theirs = objects_of_measurements(source)
    now = objects_of_measurements(base)
    assert {key: now[key] for key in theirs} == {key: was[key] for key in theirs}
    assert all_rows(base, "object_aliases").num_rows == aliases
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def test_solutions_of_both_are_kept(two: tuple[Database, Database]) -> None:
    base, source = two
    applied(source, 0.125)
    mags = {}
    for db in (base, source):
        with skydb.connect(db) as con:
            rows = con.sql("SELECT image_id, det_id, mag FROM measurements").arrow().to_pylist()
            mags |= {(row["image_id"], row["det_id"]): row["mag"] for row in rows}
    merge(base, source, workers=1)
    with skydb.connect(base) as con:
        rows = con.sql("SELECT image_id, det_id, mag FROM measurements").arrow().to_pylist()
        kinds = con.sql("SELECT kind FROM calibrations ORDER BY calibration_id").arrow()["kind"].to_pylist()
    assert {(row["image_id"], row["det_id"]): row["mag"] for row in rows} == mags
    assert kinds == ["nominal", "merge"]


def test_components_of_solutions_made_apart_stay_apart(two: tuple[Database, Database]) -> None:
    base, source = two

    def in_one(snapshot: Snapshot, _: pa.Table) -> pa.Table:
        rows = shifted(snapshot, 0.1)
        numbers = pa.array([None, *[0] * (rows.num_rows - 1)], pa.int32())
        at = rows.column_names.index("component")
        return rows.set_column(at, rows.field(at), numbers)

    for db in two:
        apply_to_all(db.snapshot, db.commit, SOLVED, in_one, executor=SerialExecutor())

    def by_component(db: Database) -> dict[int | None, set[int]]:
        groups: dict[int | None, set[int]] = {}
        for row in db.snapshot().read_global("images_cal", ["image_id", "component"]).to_pylist():
            groups.setdefault(row["component"], set()).add(row["image_id"])
        return groups

    ours, theirs = by_component(base), by_component(source)
    assert set(ours) == set(theirs) == {None, 0}
    merge(base, source, workers=1)
    assert by_component(base) == ours | {1: theirs[0], None: ours[None] | theirs[None]}


def write_shapes(folder: Path, keys: list[tuple[int, int]]) -> str:
    """A file of rows about measurements."""
    path = folder / f"shapes-{len(list(folder.glob('shapes-*')))}.parquet"
    pq.write_table(pa.table({
        "image_id": [k[0] for k in keys], "det_id": [k[1] for k in keys], "e1": np.array([k[1] for k in keys], "f4")
    }), path)  # fmt: skip
    return str(path)


def declare_shapes(db: Database, folder: Path) -> None:
    """A table that is keyed by measurement."""
    (folder / "shapes.toml").write_text(
        'name = "shapes"\nkeyed_by = "measurement"\nmeaning = "shapes"\n'
        '[[columns]]\nname = "e1"\ntype = "float32"\nucd = "src.morph.param"\nmeaning = "ellipticity"\n'
    )
    skydb.declare_table(db, folder / "shapes.toml")


@pytest.mark.parametrize(("here", "there"), [(1.0, 0.1), (0.1, 1.0)])
def test_rows_about_measurements_come_though_both_have_their_images(
    tmp_path: Path, pair: tuple[list[Path], list[Path]], here: float, there: float
) -> None:
    """The objects are others in one of them, which did not link what lay further apart."""
    base, source = new_database(tmp_path / "a.sky"), new_database(tmp_path / "b.sky")
    addstar(base, [*pair[0], *pair[1]], workers=1, radius_arcsec=here)
    addstar(source, [*pair[0], *pair[1][:-1]], workers=1, radius_arcsec=there)
    declare_shapes(source, tmp_path)
    ours, theirs = objects_of_measurements(base), objects_of_measurements(source)
    keys = sorted(theirs)
    for some in (keys[::2], keys[1::2]):
        skydb.addrows(source, "shapes", write_shapes(tmp_path, some), workers=1)
        report = merge(base, source, workers=1)
        assert report.declared == {"shapes": len(some)}
    shapes = {(r["image_id"], r["det_id"]): (r["object_id"], r["e1"]) for r in all_rows(base, "shapes").to_pylist()}
    assert shapes == {key: (ours[key], float(key[1])) for key in keys}
    assert abs(len(set(theirs.values())) - len({ours[key] for key in keys})) > 5
    assert merge(base, source, workers=1).snapshot is None
    check_nothing_is_left_over(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def test_rows_of_declared_tables_come_under_the_ids_of_here(
    tmp_path: Path, two: tuple[Database, Database]
) -> None:
    base, source = two
    declare_shapes(source, tmp_path)
    skydb.declare_table(source, "starpar")
    ids = np.array(sorted(set(objects_of_measurements(source).values())))
    keys = sorted(objects_of_measurements(source))
    pq.write_table(pa.table({"object_id": ids}), tmp_path / "s.parquet")
    skydb.addrows(source, "starpar", str(tmp_path / "s.parquet"), workers=1)
    skydb.addrows(source, "shapes", write_shapes(tmp_path, keys), workers=1)
    report = merge(base, source, workers=1)
    assert report.declared == {"starpar": len(ids), "shapes": len(keys)}
    now = objects_of_measurements(base)
    shapes = all_rows(base, "shapes").to_pylist()
    assert {(r["image_id"], r["det_id"], r["e1"]) for r in shapes} == {(*k, float(k[1])) for k in keys}
    assert all(now[r["image_id"], r["det_id"]] == r["object_id"] for r in shapes)
    assert sorted(all_rows(base, "starpar")["object_id"].to_pylist()) == sorted(
        current_ids(base.snapshot(), ids).tolist()
    )
    assert merge(base, source, workers=1).snapshot is None
    assert fsck(base, deep=True, workers=1).findings == ()
    delete(base, files=catalog_table(source.snapshot(), "ingest_log")["file"][0].as_py(), workers=1)
    assert all_rows(base, "shapes").num_rows < len(keys)
    assert fsck(base, workers=1).findings == ()
    merge(base, source, workers=1)
    assert all_rows(base, "shapes").num_rows == len(keys)
    assert fsck(base, workers=1).findings == ()


def test_reference_survey_and_photcodes_come_along(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    base, source = ingested(tmp_path / "a.sky", pair[0]), skydb.create(tmp_path / "b.sky")
    stars = [(n, ra, dec) for n, (ra, dec) in enumerate(_positions(base)[:10], 1)]
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    addstar(source, write_survey(tmp_path / "r.csv", stars), mapping=mapping, workers=1)
    report = merge(base, source, workers=1)
    assert (report.n_matched, report.n_new) == (10, 0)
    assert {"R.G", "R.B", "R.C"} <= set(contents(base)["photcodes"]["name"].to_pylist())
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def _positions(db: Database) -> list[tuple[float, float]]:
    """Association positions that are more than a radius apart."""
    seeds = all_rows(db, "object_seeds")
    found: list[tuple[float, float]] = []
    for ra, dec in zip(seeds["assoc_ra"].to_pylist(), seeds["assoc_dec"].to_pylist(), strict=True):
        if all(abs(dec - d) > 2 / 3600 or abs(ra - r) > 2 / 3600 for r, d in found):
            found.append((ra, dec))
    return found


def test_id_that_is_taken_here_moves_to_the_next_free_one(tmp_path: Path) -> None:
    """Two stars in one pixel, or an alias in it: the newcomer's own id leads to where it is now."""
    files = write_night(tmp_path / "n", exposures=2, stars=30)
    base, source = ingested(tmp_path / "a.sky", files[:1]), ingested(tmp_path / "b.sky", files[1:])
    lonely = next(old for old, new in paired_slowly(base, source).items() if old == new)
    assert int(pixel_of(*_place_of(source, lonely))) == lonely
    add_aliases(base, {lonely: sorted(set(objects_of_measurements(base).values()))[0]})
    merge(base, source, workers=1)
    key = next(k for k, owner in objects_of_measurements(source).items() if owner == lonely)
    assert objects_of_measurements(base)[key] == lonely + 1


def _place_of(db: Database, object_id: int) -> tuple[float, float]:
    (row,) = (r for r in all_rows(db, "object_seeds").to_pylist() if r["object_id"] == object_id)
    return row["assoc_ra"], row["assoc_dec"]


def test_writer_that_comes_first_is_heeded(
    two: tuple[Database, Database], pair: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, source = two
    commit, calls = Database.commit, []

    def late(db: Database, changes: Any) -> int:
        calls.append(changes.kind)
        if len(calls) == 1:
            addstar(base, pair[1][0], compact=False, workers=1)
        return commit(db, changes)

    monkeypatch.setattr(Database, "commit", late)
    report = merge(base, source, compact=False, workers=1)
    assert calls == ["merge", "addstar", "merge"]
    assert (report.n_images, report.n_images_known) == (1, 1)
    check_conservation(base)
    check_nothing_is_left_over(base)


def test_copy_of_the_database_and_itself_are_refused(tmp_path: Path) -> None:
    base = new_database(tmp_path / "a.sky")
    shutil.copytree(base.root, tmp_path / "copy.sky")
    with pytest.raises(UsageError, match="the same database"):
        merge(base, base.root)
    with pytest.raises(UsageError, match="one is a copy of the other"):
        merge(base, tmp_path / "copy.sky")
    with pytest.raises(UsageError, match="radius of -1"):
        merge(base, new_database(tmp_path / "b.sky"), radius_arcsec=-1)


def test_photcode_that_is_another_here_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    base, source = new_database(tmp_path / "a.sky"), new_database(tmp_path / "b.sky")
    for db, zero_point in ((base, 21.0), (source, 20.0)):
        (tmp_path / "q.txt").write_text(f"3 q sec 0 0 0 - - 0 0 -\n103 X.q dep {zero_point} -0.1 0 - - 0 0 q\n")
        import_photcodes(db, tmp_path / "q.txt")
    head = base.snapshot().id
    with pytest.raises(DataError, match=r"X.q.*zero_point_mmag 21000 against 20000"):
        merge(base, source, workers=1)
    assert base.snapshot().id == head


def test_command_says_what_came_and_what_was_there(two: tuple[Database, Database]) -> None:
    from skydb.tools.commands.merge import command

    base, source = two
    words = [str(base.root), str(source.root), "--workers", "1"]
    head = base.snapshot().id
    assert isinstance(CliRunner().invoke(command, [*words, "nowhere.sky"]).exception, UsageError)
    assert base.snapshot().id == head
    made = CliRunner().invoke(command, [*words, "--json"])
    assert [merged["n_images"] for merged in json.loads(made.stdout)["merges"]] == [2]
    again = CliRunner().invoke(command, words)
    assert "nothing to bring, all 2 images are here" in again.stdout


def test_conflicts_are_told_after_many_attempts(
    tmp_path: Path, pair: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, source = ingested(tmp_path / "a.sky", pair[0][:1]), ingested(tmp_path / "b.sky", pair[1][:1])

    def refused(db: Database, changes: Any) -> int:
        raise CommitConflict("another writer came first")

    monkeypatch.setattr(Database, "commit", refused)
    monkeypatch.setattr("skydb.store.retries.ATTEMPTS", 2)
    with pytest.raises(CommitConflict):
        merge(base, source, workers=1)
    check_nothing_is_left_over(base)


def test_database_that_took_this_one_in_brings_only_its_own(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    """There and back: every object meets the one that it is."""
    base, other = ingested(tmp_path / "a.sky", pair[0]), ingested(tmp_path / "b.sky", pair[1])
    was = objects_of_measurements(base)
    merge(other, base, workers=1)
    there = objects_of_measurements(other)
    merge(base, other, workers=1)
    now = objects_of_measurements(base)
    assert was.items() <= now.items()
    met = {there[key]: owner for key, owner in was.items()}
    assert all(now[key] == met[owner] for key, owner in there.items() if owner in met)
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()


def test_ids_of_databases_merged_before_lead_on(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    """Three databases, one into the next: whatever the first published resolves in the last."""
    first, second = ingested(tmp_path / "a.sky", pair[1][:1]), ingested(tmp_path / "b.sky", pair[1][1:])
    third = ingested(tmp_path / "c.sky", pair[0])
    published = objects_of_measurements(first)
    merge(second, first, workers=1)
    merge(third, second, workers=1)
    now = objects_of_measurements(third)
    keys = sorted(published)
    ids = np.array([published[key] for key in keys])
    own = set(objects_of_measurements(third).values())
    found = current_ids(third.snapshot(), ids).tolist()
    assert [f for f, i in zip(found, ids.tolist(), strict=True) if i not in own] == [
        now[key] for key, i in zip(keys, ids.tolist(), strict=True) if i not in own
    ]
    assert fsck(third, deep=True, workers=1).findings == ()


def test_databases_of_little_or_nothing_merge(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    """Photcodes alone; a cell that waits for a refresh; objects that have all retired; an empty base."""
    base = skydb.create(tmp_path / "a.sky")
    bare = new_database(tmp_path / "bare.sky")
    assert merge(base, bare, workers=1).n_images == 0
    assert contents(base)["photcodes"].num_rows == 4
    assert merge(base, bare, workers=1).snapshot is None
    deferred = new_database(tmp_path / "deferred.sky")
    addstar(deferred, pair[1][:1], defer=True, workers=1)
    merge(base, deferred, workers=1)
    assert len(objects_of_measurements(base)) == len(objects_of_measurements(deferred))
    emptied = ingested(tmp_path / "emptied.sky", pair[1][1:])
    skydb.delete(emptied, files=str(pair[1][1]), workers=1)
    before = objects_of_measurements(base)
    merge(base, emptied, workers=1)
    assert objects_of_measurements(base) == before
    check_conservation(base)
    assert fsck(base, deep=True, workers=1).findings == ()
