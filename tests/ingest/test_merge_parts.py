"""Merging a part of a database: a region, some photcodes, what matches; and the rest of it later."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skydb
from skydb.calibration.columns import float_column, int_column
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.ingest.addstar import addstar
from skydb.ingest.merge import merge
from skydb.sky.partition import separation_arcsec
from skydb.store.history import catalog_table
from tests.ingest.catalog_files import TAN, Chip, rows, write_smf
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
from tests.ingest.test_merge import (
    PLACES,
    all_rows,
    declare_shapes,
    ingested,
    objects_of_measurements,
    paired_slowly,
    partition,
    write_shapes,
)
from tests.parallel.simulated import SimulatedExecutor

Keys = set[tuple[int, int]]


def check_sound(db: Database) -> None:
    check_conservation(db)
    check_nothing_is_left_over(db)
    assert fsck(db, deep=True, workers=1).findings == ()


def within(db: Database, ra: float, dec: float, radius_deg: float) -> Keys:
    """The measurements of objects whose association position lies in a cone, by the haversine."""
    seeds = all_rows(db, "object_seeds")
    away = separation_arcsec(float_column(seeds, "assoc_ra"), float_column(seeds, "assoc_dec"), ra, dec)
    near = set(int_column(seeds, "object_id")[away <= radius_deg * 3600].tolist())
    return {key for key, owner in objects_of_measurements(db).items() if owner in near}


def measured(db: Database) -> Keys:
    return set(objects_of_measurements(db))


def log_of(db: Database) -> dict[str, dict[str, Any]]:
    """The ingest log by file name."""
    return {Path(row["file"]).name: row for row in catalog_table(db.snapshot(), "ingest_log").to_pylist()}


def check_log_of_parts(db: Database, source: Database) -> None:
    """The log's row counts: what is not here of a file is in n_deleted."""
    here, there = (Counter(image for image, _ in measured(d)) for d in (db, source))
    for name, theirs in log_of(source).items():
        entry = log_of(db).get(name)
        if entry is None or theirs["n_deleted_images"]:
            continue
        images = {i for i, digest in image_digests(source).items() if digest == theirs["digest"]}
        missing = sum(there[i] - here[i] for i in images)
        assert (entry["n_deleted_measurements"], entry["n_deleted"]) == (missing, missing)
        assert entry["n_in"] == theirs["n_in"]


def image_digests(db: Database) -> dict[int, str]:
    from skydb.store.history import digests_of_images

    return digests_of_images(db.snapshot(), contents(db, ["images"])["images"]["image_id"].to_pylist())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Files of two databases of one crowded field, at the corner of cells."""
    files = write_night(tmp_path_factory.mktemp("pair") / "n", exposures=4, stars=60, ra=45.0, dec=0.0)
    return files[:2], files[2:]


def both(tmp_path: Path, pair: tuple[list[Path], list[Path]], **more: Any) -> tuple[Database, Database]:
    return ingested(tmp_path / "a.sky", pair[0], **more), ingested(tmp_path / "b.sky", pair[1], **more)


def middle(db: Database) -> tuple[float, float, float]:
    """A cone that parts a database's objects, and its images, in two."""
    seeds = all_rows(db, "object_seeds").sort_by("object_id").to_pylist()
    ra, dec = seeds[len(seeds) // 2]["assoc_ra"], seeds[len(seeds) // 2]["assoc_dec"]
    away = [separation_arcsec(s["assoc_ra"], s["assoc_dec"], ra, dec) for s in seeds]
    return ra, dec, float(np.median(away)) / 3600 + 1e-9


@pytest.mark.parametrize("place", [PLACES[2], *(pytest.param(p, marks=pytest.mark.slow) for p in PLACES)])
def test_region_brings_its_objects_and_a_later_merge_the_others(tmp_path: Path, place: tuple[float, float]) -> None:
    files = write_night(tmp_path / "n", exposures=4, stars=60, ra=place[0], dec=place[1])
    base, source = ingested(tmp_path / "a.sky", files[:2], cell_rows=90), ingested(tmp_path / "b.sky", files[2:])
    cone = middle(source)
    inside, before, theirs = within(source, *cone), objects_of_measurements(base), objects_of_measurements(source)
    assert 20 < len(inside) < len(theirs) - 20
    report = merge(base, source, region=skydb.sky.regions.Cone(*cone), workers=1)
    assert measured(base) == before.keys() | inside
    assert before.items() <= objects_of_measurements(base).items()
    assert (report.n_images, report.n_images_in_part, report.n_images_left_out) == (2, 2, 0)
    assert (report.n_measurements, report.left_out) == (len(inside), {"outside": len(theirs) - len(inside)})
    check_log_of_parts(base, source)
    check_sound(base)
    again = merge(base, source, region="cone " + " ".join(map(repr, cone)), workers=1)
    assert (again.snapshot, again.n_images_in_part) == (None, 2)
    assert "here in part" in again.text()
    rest = merge(base, source, workers=1)
    assert measured(base) == before.keys() | theirs.keys()
    assert (rest.n_images, rest.n_images_completed, rest.n_images_in_part, rest.left_out) == (0, 2, 0, {})
    assert rest.n_measurements == len(theirs) - len(inside)
    check_log_of_parts(base, source)
    check_sound(base)
    assert merge(base, source, workers=1).snapshot is None


def test_parts_make_the_same_objects_as_the_whole_into_an_empty_database(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    source = ingested(tmp_path / "b.sky", pair[1], cell_rows=60)
    ra, dec, radius = middle(source)
    parts = new_database(tmp_path / "parts.sky", cell_rows=40)
    steps: list[dict[str, Any]] = [
        {"region": f"cone {ra} {dec} {radius}", "photcodes": "r"}, {"region": f"box 40 {ra} -1 1"},
        {"photcodes": "g"}, {},
    ]  # fmt: skip
    for options in steps:
        merge(parts, source, workers=1, **options)
        check_sound(parts)
    assert_same(contents(parts), contents(source))


def test_only_what_matches_comes(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    base, source = both(tmp_path, pair, cell_rows=90)
    before, theirs = objects_of_measurements(base), objects_of_measurements(source)
    ours, expected = set(before.values()), paired_slowly(base, source)
    comes = {key: expected[owner] for key, owner in theirs.items() if expected[owner] in ours}
    report = merge(base, source, only_matches=True, workers=1)
    assert objects_of_measurements(base) == before | comes
    assert (report.n_new, report.n_measurements) == (0, len(comes))
    assert report.left_out == {"no_match": len(theirs) - len(comes)}
    assert report.n_objects_unmatched == len({o for o in theirs.values() if expected[o] not in ours}) > 5
    assert set(all_rows(base, "object_seeds")["object_id"].to_pylist()) == ours
    check_log_of_parts(base, source)
    check_sound(base)
    assert merge(base, source, only_matches=True, workers=1).snapshot is None
    rest = merge(base, source, workers=1)
    assert measured(base) == before.keys() | theirs.keys()
    assert rest.n_images_completed == 2
    check_log_of_parts(base, source)
    check_sound(base)
    whole = ingested(tmp_path / "whole.sky", pair[0])
    merge(whole, source, workers=1)
    assert partition(whole) == partition(base)


def test_into_an_empty_database_nothing_matches_and_no_image_comes(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    base, source = new_database(tmp_path / "a.sky"), ingested(tmp_path / "b.sky", pair[1])
    head = base.snapshot().id
    report = merge(base, source, only_matches=True, workers=1)
    assert (report.snapshot, report.n_images, report.n_images_left_out) == (None, 0, 2)
    assert report.left_out == {"no_match": len(measured(source))}
    far = merge(base, source, region="box 200 210 -5 5", workers=1)
    assert (far.snapshot, far.n_images_left_out, far.left_out) == (None, 2, {"outside": len(measured(source))})
    assert base.snapshot().id == head
    check_sound(base)


@pytest.mark.parametrize("name", ["CAM.g.XY01", "g"])
def test_photcode_or_band_brings_whole_images(
    tmp_path: Path, pair: tuple[list[Path], list[Path]], name: str
) -> None:
    base, source = both(tmp_path, pair)
    codes = {r["image_id"]: r["code"] for r in contents(source)["images"].to_pylist()}
    before, theirs = measured(base), measured(source)
    green = {key for key in theirs if codes[key[0]] == 100}
    report = merge(base, source, photcodes=name, workers=1)
    assert measured(base) == before | green
    assert (report.n_images, report.n_images_left_out, report.n_images_in_part) == (1, 1, 0)
    assert report.left_out == {"photcode": len(theirs) - len(green)}
    check_sound(base)
    assert merge(base, source, photcodes=[name], workers=1).snapshot is None
    rest = merge(base, source, workers=1)
    assert (rest.n_images, rest.n_images_known, rest.n_images_completed) == (1, 1, 0)
    assert measured(base) == before | theirs
    check_sound(base)


def test_photcode_that_is_unknown_is_refused(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    base, source = both(tmp_path, pair)
    head = base.snapshot().id
    with pytest.raises(UsageError, match=r"no photcode named 'CAM.g'; did you mean"):
        merge(base, source, photcodes=["CAM.g"], workers=1)
    with pytest.raises(UsageError, match="no region"):
        merge(base, source, region="circle 1 2 3", workers=1)
    assert base.snapshot().id == head


def test_survey_is_parted_by_objects_and_never_by_photcodes(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    """A row makes two or three measurements; the log counts rows and measurements apart."""
    base, source = ingested(tmp_path / "a.sky", pair[0]), skydb.create(tmp_path / "b.sky")
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    stars = [(n, 45.0 + 0.01 * n, 0.005) for n in range(10)]
    addstar(source, write_survey(tmp_path / "r.csv", stars), mapping=mapping, workers=1)
    with pytest.raises(UsageError, match=r"r\.csv.*only some of its photcodes"):
        merge(base, source, photcodes=["R.G", "R.B"], workers=1)
    merge(base, source, region="box 45 45.025 -1 1", workers=1)  # stars 0, 1 and 2: an odd one has no R.B
    entry = log_of(base)["r.csv"]
    assert (entry["n_in"], entry["n_deleted"]) == (10, 7)
    assert (entry["n_measurements"], entry["n_deleted_measurements"]) == (25, 25 - 8)
    check_sound(base)
    merge(base, source, photcodes=["R.G", "R.B", "R.C"], workers=1)
    entry = log_of(base)["r.csv"]
    assert (entry["n_deleted"], entry["n_deleted_measurements"], entry["n_deleted_images"]) == (0, 0, 0)
    check_sound(base)


def test_image_in_part_is_deleted_and_comes_back_whole_from_its_file(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    base, source = both(tmp_path, pair)
    merge(base, source, only_matches=True, workers=1)
    assert all(f.status == "known" for f in addstar(base, pair[1], workers=1).files)
    skydb.delete(base, files=str(pair[1][0]), workers=1)
    entry = log_of(base)[pair[1][0].name]
    assert entry["n_deleted_measurements"] == entry["n_measurements"]
    check_sound(base)
    addstar(base, pair[1][0], workers=1)
    entry = log_of(base)[pair[1][0].name]
    assert (entry["n_deleted"], entry["n_deleted_measurements"]) == (0, 0)
    check_sound(base)
    rest = merge(base, source, workers=1)
    assert rest.n_images_completed == 1
    assert measured(base) >= measured(source)
    check_sound(base)


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of three chips."""
    header = [{"MJD-OBS": 56900.25, "CHIPNAME": f"XY0{n}", "CRVAL1": 10.0 + 0.2 * n} for n in range(3)]
    return write_smf(tmp_path_factory.mktemp("chips") / "chips.smf", [
        Chip(f"XY0{n}", rows(25, seed=n), header=TAN | header[n]) for n in range(3)
    ])  # fmt: skip


def test_chips_of_one_file_come_in_part_whole_and_not_at_all(tmp_path: Path, chips: Path) -> None:
    base, source = new_database(tmp_path / "a.sky"), ingested(tmp_path / "b.sky", [chips])
    ras = sorted(seed["assoc_ra"] for seed in all_rows(source, "object_seeds").to_pylist())
    box = f"box 5 {(ras[35] + ras[36]) / 2} -25 -15"
    report = merge(base, source, region=box, workers=1)
    assert (report.n_images, report.n_images_in_part, report.n_images_left_out) == (2, 1, 1)
    entry = log_of(base)["chips.smf"]
    assert (entry["n_deleted_images"], entry["n_deleted"], entry["n_deleted_measurements"]) == (1, 39, 39)
    check_sound(base)
    (file,) = addstar(base, chips, workers=1).files
    assert file.status == "failed"
    assert "a merge brought only a part" in file.error
    whole = merge(base, source, workers=1)
    assert (whole.n_images, whole.n_images_completed) == (1, 1)
    assert_same(contents(base), contents(source))
    entry = log_of(base)["chips.smf"]
    assert (entry["n_deleted_images"], entry["n_deleted"], entry["n_deleted_measurements"]) == (0, 0, 0)
    check_sound(base)


def test_image_that_was_deleted_comes_back_in_part(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    """Objects that it founded here live by other images: that their founder stays out is no fault."""
    base, source = ingested(tmp_path / "a.sky", [*pair[1], *pair[0]]), ingested(tmp_path / "b.sky", pair[1])
    skydb.delete(base, files=[str(path) for path in pair[1]], workers=1)
    ra, dec, radius = middle(source)
    report = merge(base, source, region=f"cone {ra} {dec} {radius}", workers=1)
    assert report.n_images_in_part == 2
    check_sound(base)
    merge(base, source, workers=1)
    assert measured(base) >= measured(source)
    check_sound(base)


def test_what_two_databases_have_in_part_makes_the_whole(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    source = ingested(tmp_path / "s.sky", pair[1])
    ra, _, _ = middle(source)
    west, east = (new_database(tmp_path / f"{name}.sky") for name in ("west", "east"))
    merge(west, source, region=f"box 40 {ra + 0.01} -1 1", workers=1)
    merge(east, source, region=f"box {ra - 0.01} 50 -1 1", workers=1)
    assert not measured(west) >= measured(east)
    assert not measured(east) >= measured(west)
    report = merge(west, east, workers=1)
    assert (report.n_images_known, report.n_images_completed) == (2, 2)
    assert_same(contents(west), contents(source))
    check_sound(west)


def test_image_that_was_read_otherwise_stays_as_it_is(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    """What addstar has rejected is no part that is missing."""
    base, source = ingested(tmp_path / "a.sky", pair[0]), ingested(tmp_path / "b.sky", pair[1])
    addstar(base, pair[1], only_match=True, workers=1)
    before = measured(base)
    assert before < measured(base) | measured(source)
    report = merge(base, source, workers=1)
    assert (report.n_images_known, report.n_images_completed) == (2, 0)
    assert measured(base) == before
    check_sound(base)


def test_answer_does_not_depend_on_how_the_work_was_cut(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    answers: list[list[dict[str, pa.Table]]] = []
    for number, (mine, theirs, executor) in enumerate(((500_000, 500_000, 1), (40, 30, SimulatedExecutor(7)))):
        base = ingested(tmp_path / f"a{number}.sky", pair[0], cell_rows=mine)
        source = ingested(tmp_path / f"b{number}.sky", pair[1], cell_rows=theirs)
        ra, dec, radius = middle(source)
        answers.append([])
        for options in ({"region": f"cone {ra} {dec} {radius}", "only_matches": True}, {"photcodes": "g"}, {}):
            merge(base, source, workers=executor, **options)
            answers[-1].append(contents(base))
    for one, other in zip(*answers, strict=True):
        assert_same(one, other)


def test_rows_of_declared_tables_come_with_what_they_are_about(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    base, source = both(tmp_path, pair)
    declare_shapes(source, tmp_path)
    skydb.declare_table(source, "starpar")
    pq.write_table(
        pa.table({"object_id": sorted(set(objects_of_measurements(source).values()))}), tmp_path / "s.parquet"
    )
    skydb.addrows(source, "starpar", str(tmp_path / "s.parquet"), workers=1)
    skydb.addrows(source, "shapes", write_shapes(tmp_path, sorted(measured(source))), workers=1)
    ra, dec, radius = middle(source)
    steps: list[dict[str, Any]] = [
        {"photcodes": "g", "region": f"cone {ra} {dec} {radius}"}, {"region": f"cone {ra} {dec} {radius}"},
        {"only_matches": True}, {},
    ]  # fmt: skip
    for options in steps:
        merge(base, source, workers=1, **options)
        here, owners = measured(base) & measured(source), objects_of_measurements(base)
        shapes = {(r["image_id"], r["det_id"]): r["object_id"] for r in all_rows(base, "shapes").to_pylist()}
        assert shapes == {key: owners[key] for key in here}
        assert fsck(base, workers=1).findings == ()
    assert merge(base, source, workers=1).snapshot is None
    assert len(all_rows(base, "starpar")) == len(all_rows(source, "starpar"))


def test_photometry_of_a_completed_image_is_by_its_solution_here(
    tmp_path: Path, pair: tuple[list[Path], list[Path]]
) -> None:
    from tests.calibration.test_recalibrate import applied

    base, source = both(tmp_path, pair)
    ra, dec, radius = middle(source)
    merge(base, source, region=f"cone {ra} {dec} {radius}", workers=1)
    applied(base, 0.125)
    applied(source, 0.5)
    solved = {r["image_id"]: r["mcal"] for r in contents(base)["images_cal"].to_pylist()}
    assert merge(base, source, workers=1).n_images_completed == 2
    assert {r["image_id"]: r["mcal"] for r in contents(base)["images_cal"].to_pylist()} == solved
    check_sound(base)


def test_source_whose_counts_are_wrong_is_refused(
    tmp_path: Path, pair: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from skydb.ingest.merging.coming import Coming

    base, source = both(tmp_path, pair)
    head, counts = base.snapshot().id, Coming.counts
    monkeypatch.setattr(Coming, "counts", lambda self: {i: n + 1 for i, n in counts(self).items()})
    with pytest.raises(DataError, match="2 images have others than their count says"):
        merge(base, source, workers=1)
    assert base.snapshot().id == head
    check_nothing_is_left_over(base)


def test_command_takes_all_three_and_the_log_has_them(tmp_path: Path, pair: tuple[list[Path], list[Path]]) -> None:
    from skydb.tools.commands.merge import command

    base, source = both(tmp_path, pair)
    words = [str(base.root), str(source.root), "--workers", "1", "--region", "cone 45 0 20arcmin", "--photcode", "g"]
    made = CliRunner().invoke(command, [*words, "--photcode", "CAM.r", "--only-matches", "--json"])
    (report,) = json.loads(made.stdout)["merges"]
    assert (report["n_images"], report["n_new"], set(report["left_out"])) == (2, 0, {"no_match"})
    ran = catalog_table(base.snapshot(), "snapshots")
    (command_line,) = [r["command"] for r in ran.to_pylist() if r["kind"] == "merge"]
    assert "--photcode g --photcode CAM.r --region 'cone 45 0 0.3333333333333333' --only-matches" in command_line
    again = CliRunner().invoke(command, [*words, "--only-matches"])
    assert "nothing to bring, of what was asked for" in again.stdout
    assert isinstance(CliRunner().invoke(command, [*words[:2], "--region", "cone 1"]).exception, UsageError)
    shown = CliRunner().invoke(command, ["--help"]).stdout
    assert "--only-matches" in shown
    assert "Examples: skydb merge" in shown
