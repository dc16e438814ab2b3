"""What the catalog remembers of ingested files and images, asked for a few of many."""

from __future__ import annotations

from pathlib import Path

import pytest

import skydb.database as database
from skydb.store.catalog import reading
from skydb.store.changes import Changes, ImageKey, LogEntry
from skydb.store.history import known_images, logged_files, lookup_query

COUNT = 2_000


@pytest.fixture
def db(tmp_path: Path) -> database.Database:
    """A database whose catalog has a file of two images for each of many digests, half of them in a second commit."""
    made = database.create(tmp_path / "t.sky")
    for base, numbers in enumerate((range(COUNT // 2), range(COUNT // 2, COUNT))):
        log = tuple(LogEntry(f"{n}.smf", f"d{n}", 1, "smf", 2, 0, 0, 0, 0, 0, 0, {}) for n in numbers)
        images = tuple(ImageKey(2**62 + 2 * n + k, f"{n},{k}", n, f"d{n}") for n in numbers for k in (0, 1))
        made.commit(Changes("test", "test", base, log=log, images=images))
    return made


def test_only_what_is_asked_for_is_answered(db: database.Database) -> None:
    asked = [2**62 + 1, 2**62 + 2 * COUNT - 1, 2**62 + 2 * COUNT, 7]
    assert known_images(db.snapshot(), asked) == {2**62 + 1: "0.smf", 2**62 + 2 * COUNT - 1: f"{COUNT - 1}.smf"}
    found = logged_files(db.snapshot(), ["d3", "d", "D3"])
    assert {digest: entry.file for digest, entry in found.items()} == {"d3": "3.smf"}
    assert known_images(db.snapshot(), []) == logged_files(db.snapshot(), []) == {}


def test_a_snapshot_knows_nothing_of_later_ones(db: database.Database) -> None:
    late = 2**62 + 2 * COUNT - 1
    assert known_images(db.snapshot(1), [late, 2**62]) == {2**62: "0.smf"}
    assert logged_files(db.snapshot(1), [f"d{COUNT - 1}"]) == {}


@pytest.mark.parametrize(
    ("table", "columns"), [("image_index", ("image_id", "digest")), ("ingest_log", ("digest", "file"))]
)
def test_catalog_is_searched_and_not_read_whole(db: database.Database, table: str, columns: tuple[str, str]) -> None:
    with reading(db.root) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {lookup_query(table, columns, 2)}", ("[]", "[]")).fetchall()
    steps = [step for *_, step in plan if table in step]
    assert len(steps) == 2
    assert all(step.startswith(f"SEARCH {table} USING INDEX") for step in steps)
