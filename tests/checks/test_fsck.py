"""Every kind of finding is found where its damage is, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skydb.checks.findings import DEEP, KINDS
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.snapshots import gc
from skydb.store.layout import WORK, new_name
from tests.checks.damages import (
    DAMAGES,
    Damage,
    aliased,
    backwards,
    file_of,
    flip,
    hold,
    path_of,
    replace_pair,
    stray,
    with_table,
    with_value,
)  # fmt: skip

WITH_OTHERS = {"manifest-ahead": {"orphan"}}
"""Notices that come with a damage, beside that something could not be checked because of it."""
MADE_ELSEWHERE = {"unchecked", "quarantined", "backup-damaged", "host-away", "host-kept", "file-unread"}
"""Kinds whose tests are others."""
CASES = [(kind, number, damage) for kind, made in DAMAGES.items() for number, damage in enumerate(made)]


def kinds(db: Database, *, deep: bool = True) -> set[str]:
    return {finding.kind for finding in fsck(db.root, deep=deep, workers=1).findings}


def test_every_kind_of_finding_has_its_damage() -> None:
    assert set(KINDS) - MADE_ELSEWHERE == set(DAMAGES)


def test_sound_database_is_clean_in_depth(pristine: Database) -> None:
    report = fsck(pristine, deep=True, workers=1)
    assert report.findings == ()
    assert report.clean
    snapshot = pristine.snapshot()
    assert report.cells == len(snapshot.cells()) > 3
    assert report.rows > sum(f.rows for f in snapshot.files("measurements")) > 100


@pytest.mark.parametrize(("kind", "damage"), [(k, d) for k, _, d in CASES], ids=[f"{k}-{n}" for k, n, _ in CASES])
def test_damage_is_found_as_what_it_is(db: Database, kind: str, damage: Damage) -> None:
    damage(db)
    found = kinds(db, deep=KINDS[kind].family == DEEP)
    assert kind in found
    assert found - WITH_OTHERS.get(kind, set()) - {"unchecked"} == {kind}


@pytest.mark.parametrize("more", [with_table("object"), with_table("measurement"), aliased])
def test_rows_that_stand_for_what_is_there_are_no_finding(db: Database, more: Damage) -> None:
    more(db)
    assert kinds(db) == set()


@pytest.mark.parametrize("kind", ["calibrated-differ", "derived-differ"])
def test_what_only_depth_finds_is_not_said_without(db: Database, kind: str) -> None:
    DAMAGES[kind][0](db)
    assert kinds(db, deep=False) == set()


def test_rows_that_are_out_of_order_are_checked_all_the_same(db: Database) -> None:
    replace_pair(db, lambda rows: backwards(with_value(rows, "image_id", 0, 12345)))
    assert kinds(db) - {"unchecked"} >= {"file-unsorted", "image-missing"}


def test_finding_names_the_place(db: Database) -> None:
    file = file_of(db, "measurements_cal")
    flip(path_of(db, file), byte=300)
    (found,) = (f for f in fsck(db, workers=1).findings if f.kind == "file-damaged")
    assert (found.table, found.cell, found.file) == ("measurements_cal", f"{file.norder}/{file.npix}", file.path)
    assert "column" in found.what
    assert "--repair" in found.todo


def test_files_of_a_running_job_are_no_orphans(db: Database) -> None:
    name = new_name()
    job = db.root / WORK / new_name()
    job.mkdir()
    (job / f"{name}.stored").write_text(f"data/objects/{name}.parquet")
    (db.root / "data" / "objects" / f"{name}.parquet").write_bytes(b"x")
    handle = hold(job)
    assert kinds(db) == set()
    os.close(handle)
    assert kinds(db) == {"left-behind"}


def test_orphans_are_told_with_what_removes_them(db: Database) -> None:
    """A file that is not called as skydb calls its own, and one in a wrong place, are for people to look at."""
    stray(db)
    foreign = db.root / "data" / "objects" / "notes.txt"
    foreign.write_text("mine")
    misplaced = foreign.with_name(path_of(db, file_of(db, "objects")).name)
    misplaced.write_bytes(path_of(db, file_of(db, "objects")).read_bytes())
    found = {f.file: f for f in fsck(db, workers=1).findings}
    assert {f.kind for f in found.values()} == {"orphan"}
    by_hand = {file for file, f in found.items() if "leaves it alone" in f.what}
    assert by_hand == {str(path.relative_to(db.root)) for path in (foreign, misplaced)}
    gc(db, grace="0s")
    assert {f.file for f in fsck(db, workers=1).findings} == by_hand
    assert "skydb gc" in found[str(foreign.relative_to(db.root))].todo


def test_check_writes_nothing_into_the_database(db: Database) -> None:
    def state() -> dict[str, int]:
        paths = [p for p in db.root.rglob("*") if p.is_file() and p.parent.name != "leases" and "-shm" not in p.name]
        return {str(p): p.stat().st_mtime_ns for p in paths if "-wal" not in p.name}

    before = state()
    fsck(db, deep=True, workers=1)
    assert state() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_works_where_nothing_may_be_written(db: Database) -> None:
    folders = [db.root, *(p for p in db.root.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert fsck(db.root, deep=True, workers=1).findings == ()
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_workers_find_the_same_as_one_process(db: Database) -> None:
    for kind in ("pair-misaligned", "measurement-twice"):
        DAMAGES[kind][0](db)
    flip(path_of(db, file_of(db, "objects", 1)))
    alone, together = (fsck(db, workers=number) for number in (1, 2))
    assert alone.findings == together.findings
    assert len(alone.damage) >= 3


def test_progress_names_its_steps(db: Database) -> None:
    told: dict[str, tuple[int, int]] = {}
    fsck(db, workers=1, progress=lambda step, done, total: told.__setitem__(step, (done, total)))
    assert set(told) >= {"cells", "names"}
    assert all(done == total for done, total in told.values())


def test_missing_database_is_the_callers_to_mend(tmp_path: Path) -> None:
    from skydb.errors import UsageError

    with pytest.raises(UsageError, match="no skydb database"):
        fsck(tmp_path)
