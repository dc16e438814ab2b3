"""What a repair mends is as it was before the damage; what it cannot mend it says, and keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skydb.checks.fsck import fsck
from skydb.checks.report import FsckReport
from skydb.database import Database
from skydb.deletion import delete
from skydb.ingest.addstar import addstar
from skydb.schema.tables import TABLES
from skydb.snapshots import gc
from skydb.store.files import DataFile
from skydb.store.history import catalog_table, known_images
from skydb.store.motion import stored_bound
from skydb.store.tags import delete_tag
from tests.checks.damages import DAMAGES, aliased, backwards, file_of, flip, path_of, rows_of, with_table, written_as
from tests.ingest.skies import assert_same, check_conservation, contents
from tests.store.test_aliases import add_aliases

QUICK = {"manifest-missing", "tag-unpublished", "pair-misaligned", "seed-missing", "drift-exceeded"}
MENDED = [
    pytest.param(kind, number, marks=() if kind in QUICK and not number else pytest.mark.slow) for kind in (
        "manifest-missing", "tag-unpublished", "file-foreign", "file-schema", "file-bounds", "file-unsorted",
        "pair-broken", "pair-misaligned", "object-twice", "seed-missing", "founder-missing", "objects-differ",
        "drift-exceeded", "image-count", "calibrated-differ", "derived-differ", "image-twice",
    ) for number in range(len(DAMAGES[kind]))
]  # fmt: skip
"""Damages after which everything can be had again; some of them quickly."""
FOLLOWING = ("objects", "object_bands", "measurements_cal", "object_seeds")


def repaired(db: Database) -> FsckReport:
    report = fsck(db, deep=True, repair=True, workers=1)
    assert report.found
    return report


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), MENDED)
def test_what_follows_from_the_rest_is_made_again_as_it_was(db: Database, kind: str, number: int) -> None:
    before = contents(db)
    DAMAGES[kind][number](db)
    report = repaired(db)
    assert report.clean, report.text()
    assert report.lost == ()
    assert_same(contents(db), before)


def test_bound_of_motions_that_an_object_exceeds_is_raised(db: Database) -> None:
    assert stored_bound(db.root) is None
    DAMAGES["motion-exceeded"][0](db)
    before = contents(db)
    report = repaired(db)
    assert report.clean, report.text()
    bound = stored_bound(db.root)
    assert bound is not None
    assert bound.speed_arcsec == 2**-6  # 9 mas a year, rounded up to a power of two
    assert_same(contents(db), before)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [flip, Path.unlink], ids=["flipped", "missing"])
@pytest.mark.parametrize("table", FOLLOWING)
def test_file_that_follows_from_others_is_made_again(db: Database, table: str, harm: Callable[[Path], None]) -> None:
    before = contents(db)
    file = file_of(db, table)
    harm(path_of(db, file))
    report = repaired(db)
    assert report.clean, report.text()
    assert report.lost == ()
    assert_same(contents(db), before)
    assert {f.kind for f in report.findings} <= {"quarantined"}
    kept = db.root / "quarantine" / file.path
    assert kept.exists() or kept.with_name(f"{kept.name}.missing").exists()


@pytest.mark.parametrize("table", ["measurements", "images"])
def test_file_that_cannot_be_read_is_waited_for(db: Database, tmp_path: Path, table: str) -> None:
    """Here it is a link to itself, as it might be a file of another user, or a bad disk."""
    path, head = path_of(db, file_of(db, table)), db.snapshot().id
    kept = path.rename(tmp_path / "kept")
    path.symlink_to(path.name)
    report = fsck(db, repair=True, workers=1)
    (found,) = report.damage
    assert (found.kind, found.table) == ("file-unread", table)
    assert (report.mended, report.lost, db.snapshot().id) == ((), (), head)
    kept.rename(path)
    assert fsck(db, deep=True, workers=1).findings == ()


def test_lost_raw_rows_are_said_and_kept_and_counted(db: Database) -> None:
    file = file_of(db, "measurements")
    flip(path_of(db, file))
    damaged = path_of(db, file).read_bytes()
    report = repaired(db)
    assert report.clean, report.text()
    (loss,) = (loss for loss in report.lost if loss.table == "measurements")
    assert (loss.cell, loss.rows) == (f"{file.norder}/{file.npix}", file.rows)
    assert len(loss.images) > 0
    assert loss.files
    assert (db.root / str(loss.quarantine)).read_bytes() == damaged
    log = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    assert sum(entry["n_deleted_measurements"] for entry in log) == file.rows
    assert sum(f.rows for f in db.snapshot().files("measurements")) == sum(
        e["n_measurements"] - e["n_deleted_measurements"] for e in log
    )


def test_lost_raw_rows_come_back_when_their_files_are_deleted_and_ingested_again(db: Database) -> None:
    rows = sum(f.rows for f in db.snapshot().files("measurements"))
    flip(path_of(db, db.snapshot().files("measurements")[0]))
    (loss,) = (loss for loss in repaired(db).lost if loss.table == "measurements")
    files = [f for f in loss.files if f.endswith(".cmf")]
    assert files == list(loss.files)
    delete(db, files=files, workers=1)
    addstar(db, files, workers=1)
    assert fsck(db, deep=True, workers=1).clean
    assert sum(f.rows for f in db.snapshot().files("measurements")) == rows


def test_images_that_lost_their_rows_come_back_when_their_files_are_ingested_again(
    db: Database, pristine: Database
) -> None:
    before = contents(pristine)
    flip(path_of(db, file_of(db, "images", 1)))
    report = repaired(db)
    assert report.clean, report.text()
    (loss,) = (loss for loss in report.lost if loss.table == "images")
    assert loss.files
    assert set(loss.images).isdisjoint(contents(db, ["images"])["images"]["image_id"].to_pylist())
    addstar(db, [f for f in loss.files if f.endswith(".cmf")], workers=1)
    assert fsck(db, deep=True, workers=1).clean
    came = set(contents(db, ["images"])["images"]["image_id"].to_pylist())
    assert set(loss.images) & set(before["images"]["image_id"].to_pylist()) <= came


def test_solutions_come_back_from_the_calibrated_measurements(db: Database) -> None:
    before = contents(db)
    flip(path_of(db, file_of(db, "images_cal")))
    report = repaired(db)
    assert report.clean, report.text()
    after = contents(db)
    for name in ("mcal", "zero_point", "mcal_slope"):
        was, now = (held["images_cal"][name].to_pylist() for held in (before, after))
        assert now == pytest.approx(was, abs=1e-6)
    was, now = (held["measurements"]["mag"].to_pylist() for held in (before, after))
    assert now == pytest.approx(was, abs=1e-6)
    assert after["images_cal"]["n_measurements"].equals(before["images_cal"]["n_measurements"])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number", "lost"), [
    ("exposure-missing", 0, [("exposures", 1)]), ("photcode-missing", 0, []), ("null-required", 0, []),
    ("solution-missing", 0, [("images_cal", 1)]), ("solution-missing", 1, []), ("object-empty", 0, []),
    ("image-missing", 0, [("measurements", 1)]), ("id-outside", 0, [("object_seeds", 1)]),
    *(("alias-broken", number, [("object_aliases", 1)]) for number in range(3)),
    ("log-differs", 1, []), ("log-differs", 2, [("notes", 5)]),
    ("images-differ", 0, [("images", 2)]), ("images-differ", 1, []),
])  # fmt: skip
def test_what_a_repair_gives_up_it_says(db: Database, kind: str, number: int, lost: list[tuple[str, int]]) -> None:
    DAMAGES[kind][number](db)
    report = repaired(db)
    assert report.clean, report.text()
    assert [(loss.table, loss.rows) for loss in report.lost] == lost


@pytest.mark.slow
def test_image_without_its_row_is_given_up_and_said(db: Database) -> None:
    row = rows_of(db, file_of(db, "images")).slice(0, 1).to_pylist()[0]
    DAMAGES["image-unindexed"][0](db)
    report = repaired(db)
    assert report.clean, report.text()
    (loss,) = (loss for loss in report.lost if loss.table == "images")
    assert loss.images == (row["image_id"],)


@pytest.mark.slow
def test_measurements_of_one_name_are_put_right_by_their_file(db: Database) -> None:
    rows = sum(f.rows for f in db.snapshot().files("measurements"))
    DAMAGES["measurement-twice"][0](db)
    (found,) = fsck(db, repair=True, workers=1).damage
    assert found.kind == "measurement-twice"
    image = int(found.what.split()[1])
    file = known_images(db.snapshot(), [image])[image]
    delete(db, images=image, workers=1)
    addstar(db, [file], workers=1)
    assert fsck(db, deep=True, workers=1).clean
    assert sum(f.rows for f in db.snapshot().files("measurements")) == rows


@pytest.mark.slow
def test_entry_whose_rows_do_not_add_up_is_left_and_said(db: Database) -> None:
    DAMAGES["log-differs"][0](db)
    report = repaired(db)
    assert [f.kind for f in report.damage] == ["log-differs"]


@pytest.mark.slow
def test_rows_of_a_declared_table_that_went_with_their_images_are_no_loss(db: Database) -> None:
    with_table("measurement")(db)
    rows = file_of(db, "notes").rows
    delete(db, files=catalog_table(db.snapshot(), "ingest_log")["file"][0].as_py(), workers=1)
    assert sum(f.rows for f in db.snapshot().files("notes")) < rows
    assert fsck(db, deep=True, workers=1).findings == ()


EVERYTHING = [name for name, table in TABLES.items() if table.kind in {"sky", "global"} and name != "photcodes"]
"""Every table of files but one: the last photcodes are in no older file."""


@pytest.mark.slow
@pytest.mark.parametrize("harm", [flip, Path.unlink], ids=["flipped", "missing"])
@pytest.mark.parametrize("table", [*EVERYTHING, "notes"])
def test_file_of_any_table_is_mended_or_said_to_be_lost(db: Database, table: str, harm: Callable[[Path], None]) -> None:
    with_table("measurement")(db)
    aliased(db)
    before = contents(db)
    file = file_of(db, table)
    harm(path_of(db, file))
    report = repaired(db)
    assert report.clean, report.text()
    rows = [(loss.table, loss.rows) for loss in report.lost if not loss.part]
    if table in {"notes", "object_aliases", "measurements"}:
        assert (table, file.rows) in rows
    elif table != "images":
        assert rows == []
    if not report.lost:
        assert_same(contents(db), before)
    assert fsck(db, deep=True, workers=1).findings == report.findings


def without_survey(db: Database) -> tuple[DataFile, list[int]]:
    """Delete the reference survey; return a file with seeds of objects that retired, and their ids."""
    log = catalog_table(db.snapshot(), "ingest_log").to_pylist()
    delete(db, files=[entry["file"] for entry in log if entry["file"].endswith(".csv")], workers=1)
    retired = {f: rows_of(db, f).filter(rows_of(db, f)["retired"]) for f in db.snapshot().files("object_seeds")}
    file = max(retired, key=lambda f: len(retired[f]))
    return file, retired[file]["object_id"].to_pylist()


def test_objects_that_retired_come_back_from_older_files(db: Database) -> None:
    file, _ = without_survey(db)
    before = contents(db)
    flip(path_of(db, file))
    report = repaired(db)
    assert report.clean, report.text()
    assert report.lost == ()
    assert_same(contents(db), before)


def test_objects_that_retired_and_are_nowhere_are_said_to_be_lost_with_their_old_ids(db: Database) -> None:
    file, gone = without_survey(db)
    add_aliases(db, {gone[0] + 1: gone[0]})
    delete_tag(db.root, "halfway")
    gc(db, grace="0s")
    flip(path_of(db, file))
    report = repaired(db)
    assert report.clean, report.text()
    seeds, aliases = report.lost
    assert (seeds.table, seeds.rows, seeds.quarantine) == ("object_seeds", len(gone), f"quarantine/{file.path}")
    assert (aliases.table, aliases.rows, aliases.names) == ("object_aliases", 1, (str(gone[0] + 1),))
    assert str(gone[0] + 1) in report.text()


def test_photcodes_that_are_lost_are_all_named(db: Database) -> None:
    file = file_of(db, "photcodes")
    flip(path_of(db, file))
    report = repaired(db)
    assert [f.kind for f in report.damage] == ["photcode-missing"]
    (loss,) = report.lost
    assert (loss.table, loss.rows, loss.quarantine) == ("photcodes", 3, f"quarantine/{file.path}")
    assert loss.names == ("R.B", "R.C", "R.G")


@pytest.mark.parametrize(("kind", "number", "lost"), [
    pytest.param("row-unlinked", 0, 1, marks=pytest.mark.slow), ("row-unlinked", 1, 1),
    pytest.param("row-twice", 0, 0, marks=pytest.mark.slow), pytest.param("row-twice", 1, 0, marks=pytest.mark.slow),
])  # fmt: skip
def test_rows_of_further_tables_are_sifted(db: Database, kind: str, number: int, lost: int) -> None:
    DAMAGES[kind][number](db)
    report = repaired(db)
    assert report.clean, report.text()
    assert [(loss.table, loss.rows) for loss in report.lost] == [("notes", 1)] * lost


@pytest.mark.parametrize("keyed_by", [pytest.param("object", marks=pytest.mark.slow), "measurement"])
@pytest.mark.parametrize("harm", [flip, pytest.param(Path.unlink, marks=pytest.mark.slow)], ids=["flipped", "missing"])
def test_damaged_file_of_a_declared_table_is_given_up_and_all_else_mended(
    db: Database, keyed_by: str, harm: Callable[[Path], None]
) -> None:
    before = contents(db)
    with_table(keyed_by)(db)
    file = file_of(db, "notes")
    harm(path_of(db, file))
    flip(path_of(db, file_of(db, "objects")))
    report = repaired(db)
    assert report.clean, report.text()
    (loss,) = report.lost
    assert (loss.table, loss.cell, loss.rows) == ("notes", f"{file.norder}/{file.npix}", file.rows)
    assert (loss.quarantine is None) == (harm is Path.unlink)
    assert_same(contents(db), before)


@pytest.mark.slow
def test_unsorted_file_of_a_declared_table_is_sorted(db: Database) -> None:
    with_table("object")(db)
    file = file_of(db, "notes")
    before = rows_of(db, file)
    written_as(db, file, backwards(before), db.snapshot().table("notes"))
    report = repaired(db)
    assert report.clean, report.text()
    assert report.lost == ()
    assert rows_of(db, file_of(db, "notes")).equals(before)


@pytest.mark.slow
@pytest.mark.parametrize("keyed_by", ["object", "measurement"])
def test_rows_about_what_a_repair_gave_up_go_with_it(db: Database, keyed_by: str) -> None:
    with_table(keyed_by)(db)
    flip(path_of(db, file_of(db, "measurements")))
    report = repaired(db)
    assert report.clean, report.text()
    gone = {"measurements", "notes"} if keyed_by == "measurement" else {"measurements"}  # retired objects are known
    assert {loss.table for loss in report.lost} == gone


def test_several_damages_at_once_are_mended(db: Database) -> None:
    before = contents(db)
    for table, number in (("objects", 0), ("measurements_cal", 0), ("object_seeds", 1), ("object_bands", 2)):
        flip(path_of(db, file_of(db, table, number)))
    report = repaired(db)
    assert report.clean, report.text()
    assert_same(contents(db), before)


def test_report_after_a_repair_is_what_another_check_says(db: Database) -> None:
    flip(path_of(db, file_of(db, "objects")))
    assert repaired(db).findings == fsck(db, deep=True, workers=1).findings


def test_sound_database_is_left_alone(db: Database) -> None:
    head = db.snapshot().id
    report = fsck(db, repair=True, workers=1)
    assert (report.clean, report.found, report.mended) == (True, (), ())
    assert db.snapshot().id == head


def test_older_snapshots_are_not_mended_and_said(db: Database) -> None:
    DAMAGES["old-file-damaged"][0](db)
    report = fsck(db, repair=True, workers=1)
    assert {f.kind for f in report.findings} == {"old-file-damaged"}
    assert not report.clean


def test_conservation_holds_after_a_repair(db: Database) -> None:
    flip(path_of(db, file_of(db, "measurements_cal")))
    assert repaired(db).clean
    check_conservation(db)
