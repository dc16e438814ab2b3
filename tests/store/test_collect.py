"""Garbage collection: it removes what no kept snapshot sees, that and nothing else, however often it is interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skydb
import skydb.database as database
from skydb.database import Database
from skydb.errors import CommitConflict, UsageError
from skydb.hosts import add_host, remove_host
from skydb.snapshots import time_span
from skydb.store import collect, leftovers
from skydb.store import commit as commit_module
from skydb.store.catalog import reading
from skydb.store.changes import Changes, Tag
from skydb.store.collect import GcReport
from skydb.store.layout import DATA, new_name, tag_path
from skydb.store.parquet import store_rows
from skydb.store.scratch import scratch
from skydb.store.tags import delete_tag, live_tags, set_tag
from skydb.tools.cli import main
from tests.ingest.skies import check_nothing_is_left_over, named_files, stored_files
from tests.store.test_commit import CELL, add_seeds, seeds

LATER = timedelta(days=8)


def replace_all(db: Database, ids: list[int]) -> int:
    """Commit other rows in the place of all that are there."""
    base = db.snapshot().id
    old = tuple(f.name for f in db.snapshot().files("object_seeds"))
    return add_seeds(db, ids, base=base, replaces=old)


def rows(db: Database, at: int | str | None = None) -> list[int]:
    found: list[int] = db.snapshot(at).read_cell("object_seeds", CELL)["object_id"].to_pylist()
    return found


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """Four snapshots after the empty one, each with a file of its own in the place of the one before."""
    made = database.create(tmp_path / "t.sky")
    for number in range(1, 5):
        assert replace_all(made, list(range(CELL.lo, CELL.lo + number))) == number
    return made


def reasons(report: GcReport) -> dict[int, str]:
    return {k.snapshot: k.reason for k in report.kept}


def test_old_snapshots_go_and_the_newest_stays_whole(db: Database) -> None:
    before = stored_files(db)
    report = skydb.gc(db, grace="0")
    assert (report.snapshot, report.given_up, reasons(report)) == (5, (0, 1, 2, 3), {4: "newest"})
    (freed,) = report.freed
    assert (freed.table, freed.files, report.files) == ("object_seeds", 3, 3)
    assert freed.bytes == report.bytes > 0
    assert len(rows(db)) == 4
    assert len(before) - len(stored_files(db)) == 3
    check_nothing_is_left_over(db)
    with reading(db.root) as connection:
        assert connection.execute("SELECT COUNT(*) FROM removals").fetchone() == (0,)
        assert connection.execute("SELECT COUNT(*) FROM files").fetchone() == (1,)


def test_second_collection_does_nothing(db: Database) -> None:
    skydb.gc(db, grace="0")
    report = skydb.gc(db, grace="0")
    assert (report.snapshot, report.given_up, report.files) == (None, (), 0)
    assert db.snapshot().id == 5


def test_tag_keeps_its_snapshot_until_it_is_deleted(db: Database) -> None:
    set_tag(db.root, "PV1", 2)
    assert skydb.gc(db, grace="0").given_up == (0, 1, 3, 4)
    assert len(rows(db, "PV1")) == 2
    assert tag_path(db.root, "PV1").exists()
    assert delete_tag(db.root, "PV1") == 2
    assert not tag_path(db.root, "PV1").exists()
    assert 2 in skydb.gc(db, grace="0").given_up
    check_nothing_is_left_over(db)


def test_deleted_tag_is_none(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(db.root)
    assert main(["tag", root, "PV1", "--at", "2"]) == 0
    assert main(["tag", root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"rows": [{"tag": "PV1", "snapshot": 2}]}
    assert main(["tag", root, "--delete", "PV1"]) == 0
    assert live_tags(db.root) == {}
    assert main(["tag", root, "--delete", "PV1"]) == 2
    assert "no tag named 'PV1'" in capsys.readouterr().err
    set_tag(db.root, "PV1", 3)
    assert len(rows(db, "PV1")) == 3


def test_grace_counts_from_when_another_followed(db: Database) -> None:
    """A snapshot that was the newest for a year, until a minute ago, is young."""
    with reading(db.root) as connection:
        found = connection.execute("SELECT time FROM snapshots ORDER BY snapshot").fetchall()
    times = [datetime.fromisoformat(time) for (time,) in found]
    at = times[3] + timedelta(days=7, microseconds=1)
    report = skydb.gc(db, grace="7d", now=at)
    assert report.given_up == tuple(n for n in range(4) if times[n + 1] <= at - timedelta(days=7))
    assert 2 in report.given_up
    young = skydb.gc(db, grace="7d", now=times[3])
    assert set(reasons(young).values()) == {"grace", "newest"}


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00:00.000+00:00", "2999-01-01T00:00:00.000+00:00"])
def test_grace_holds_though_a_clock_was_set_wrong(
    db: Database, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Who followed at an unknown time did so when the next one was made, or just now."""
    with monkeypatch.context() as patched:
        patched.setattr(commit_module, "now", lambda: wrong)
        replace_all(db, [CELL.lo])
    now = datetime.now(UTC)
    later = skydb.gc(db, grace="7d", now=now + LATER, dry_run=True)
    assert (later.given_up, reasons(later)) == ((0, 1, 2, 3), {4: "grace", 5: "newest"})
    replace_all(db, [CELL.lo])
    assert skydb.gc(db, grace="7d", now=now, dry_run=True).given_up == ()
    assert skydb.gc(db, grace="7d", now=now + LATER).given_up == (0, 1, 2, 3, 4, 5)


def test_clock_that_is_wrong_at_the_collection_gives_nothing_up(db: Database) -> None:
    assert skydb.gc(db, grace="7d", now=datetime(1970, 1, 1, tzinfo=UTC)).given_up == ()


def test_dry_run_does_nothing_and_says_what_would_go(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    before, head = stored_files(db), db.snapshot().id
    assert main(["gc", str(db.root), "--grace", "0", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (stored_files(db), db.snapshot().id) == (before, head)
    done = skydb.gc(db, grace="0")
    assert (told["given_up"], told["files"], told["bytes"]) == (list(done.given_up), done.files, done.bytes)
    assert told["dry_run"]


def test_command_says_what_it_kept_and_why(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    set_tag(db.root, "PV1", 2)
    reader = db.snapshot(3)
    assert main(["gc", str(db.root), "--grace", "0"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "gave up snapshots 0-1, 4", "kept 5: the newest", "kept 2: tagged (2: PV1)",
        f"kept 3: read by a process (3: process {os.getpid()})" if Path("/proc/locks").exists()
        else "kept 3: read by a process",
    ]  # fmt: skip
    assert reader.id == 3


def test_given_up_snapshot_is_refused_with_what_is_still_there(db: Database) -> None:
    set_tag(db.root, "PV1", 2)
    skydb.gc(db, grace="0")
    for at in (1, "3"):
        with pytest.raises(UsageError, match=rf"snapshot {at} was given up by snapshot 6 .*there are still 2, 5-6$"):
            skydb.connect(db, at=at)
    with pytest.raises(CommitConflict, match="snapshot 1 was given up by another commit"):
        db.commit(Changes("tag", "tag", 1, tags=(Tag("PV2", 1),)))


def test_base_of_a_running_job_is_kept_and_the_job_commits(db: Database) -> None:
    with scratch(db.root) as place:
        base = db.snapshot()
        file = place.store(base, seeds([CELL.lo + 9]), "object_seeds", cell=CELL)
        replace_all(db, [CELL.lo])
        replace_all(db, [CELL.lo + 1])
        report = skydb.gc(db, grace="0")
        assert (reasons(report)[4], report.orphans) == ("read", ())
        assert len(base.read_cell("object_seeds", CELL)) == 4
        db.commit(Changes("test", "test", base.id, adds=(file,)))
    assert CELL.lo + 9 in rows(db)
    check_nothing_is_left_over(db)


def orphan(db: Database) -> Path:
    """Store a file that no note and no commit names."""
    return db.root / store_rows(db.root, db.id, seeds([CELL.lo]), "object_seeds", cell=CELL.key, name=new_name()).path


def test_old_orphans_go_and_young_ones_stay(db: Database) -> None:
    lost = orphan(db)
    assert skydb.gc(db, grace="1d").orphans == ()
    assert lost.exists()
    (found,) = skydb.gc(db, grace="1d", now=datetime.now(UTC) + LATER, dry_run=True).orphans
    assert (found.table, found.files, found.bytes) == ("object_seeds", 1, lost.stat().st_size)
    assert lost.exists()
    skydb.gc(db, grace="1d", now=datetime.now(UTC) + LATER)
    assert not lost.exists()
    check_nothing_is_left_over(db)


def test_files_of_others_and_noted_ones_stay_and_empty_folders_go(db: Database) -> None:
    foreign, empty = db.root / DATA / "README", db.root / DATA / "objects" / "Norder=3" / "Dir=0"
    foreign.write_text("mine")
    empty.mkdir(parents=True)
    with scratch(db.root) as place:
        file = place.store(db.snapshot(), seeds([CELL.lo]), "object_seeds", cell=CELL)
        skydb.gc(db, grace="0", now=datetime.now(UTC) + LATER)
        assert (db.root / file.path).exists()
    assert foreign.exists()
    assert not empty.exists()


@pytest.mark.parametrize("as_host", [True, False], ids=["host", "database"])
def test_files_of_another_database_where_a_host_was_stay(db: Database, tmp_path: Path, *, as_host: bool) -> None:
    add_host(db, "b", tmp_path / "b")
    remove_host(db, "b")
    if as_host:
        other = skydb.create(tmp_path / "other.sky")
        add_host(other, "c", tmp_path / "b")
    else:
        (tmp_path / "b").rmdir()
        other = skydb.create(tmp_path / "b")
    file = store_rows(tmp_path / "b", other.id, seeds([CELL.lo]), "object_seeds", cell=CELL.key, name=new_name())
    assert skydb.gc(db, grace="0", now=datetime.now(UTC) + LATER).orphans == ()
    assert (tmp_path / "b" / file.path).exists()


def test_half_written_file_of_a_killed_writer_goes(db: Database) -> None:
    lost = orphan(db)
    part = lost.rename(lost.with_name(f".{new_name()}.parquet.tmp"))
    skydb.gc(db, grace="0")
    assert part.exists()
    skydb.gc(db, grace="0", now=datetime.now(UTC) + LATER)
    assert not part.exists()


def test_folder_that_is_removed_under_a_writer_is_made_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from skydb.store import files

    original, removed = files.make_directory, []

    def make_directory(path: Path) -> None:
        original(path)
        if path.name.startswith("Npix") and not removed:
            removed.append(path)
            path.rmdir()

    monkeypatch.setattr(files, "make_directory", make_directory)
    store_rows(db.root, db.id, seeds([CELL.lo]), "object_seeds", cell=(3, 77))
    assert len(removed) == 1


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def kill_at_unlink(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = leftovers._removed, []

    def removed(*args: object) -> object:
        calls.append(args)
        if len(calls) == number:
            raise Killed
        return original(*args)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(leftovers, "_removed", removed)


def kill_before(module: object, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    return lambda monkeypatch: monkeypatch.setattr(module, name, killed)


@pytest.mark.parametrize(
    "interrupt",
    [
        kill_before(collect, "commit"), kill_before(collect, "forget_leases"), kill_before(collect, "remove_listed"),
        *(lambda m, n=n: kill_at_unlink(n, m) for n in (1, 2, 3)),
        kill_before(collect, "orphans"), kill_before(collect, "remove_empty_folders"),
    ],
    ids=["commit", "leases", "unlink", "first file", "second file", "third file", "orphans", "folders"],
)  # fmt: skip
def test_interrupted_collection_is_finished_by_the_next(
    db: Database, monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch)
        with pytest.raises(Killed):
            skydb.gc(db, grace="0")
    opened = database.open(db.root)
    assert len(rows(opened)) == 4
    skydb.gc(opened, grace="0")
    assert len(rows(opened)) == 4
    check_nothing_is_left_over(opened)
    with reading(db.root) as connection:
        assert connection.execute("SELECT COUNT(*) FROM removals").fetchone() == (0,)


def test_many_files_are_removed_in_portions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "AT_ONCE", 2)
    assert skydb.gc(db, grace="0").files == 3
    check_nothing_is_left_over(db)


@pytest.mark.parametrize("text", ["7", "-1d", "d", "1y", "", "nan d", "1e9d"])
def test_other_than_a_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no span of time"):
        time_span(text)


def test_spans_of_time_are_read() -> None:
    assert [time_span(t) for t in ("90s", "15min", "2w", "0s", timedelta(1))] == [
        timedelta(seconds=90), timedelta(minutes=15), timedelta(days=14), timedelta(0), timedelta(1),
    ]  # fmt: skip


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.just(0)), st.tuples(st.just("replace"), st.just(0)),
        st.tuples(st.just("tag"), st.integers(0, 30)), st.tuples(st.just("untag"), st.integers(0, 5)),
        st.tuples(st.just("rollback"), st.integers(0, 30)), st.tuples(st.just("pin"), st.integers(0, 30)),
        st.tuples(st.just("release"), st.integers(0, 5)), st.tuples(st.just("gc"), st.just(0)),
    ),
    min_size=4, max_size=14,
)  # fmt: skip


class Model:
    """What every snapshot has, and which of them cannot have gone."""

    def __init__(self, root: Path) -> None:
        self.db = database.create(root)
        self.rows: dict[int, list[int]] = {0: []}
        self.pinned: list[object] = []
        self.count = 0

    def kept(self) -> list[int]:
        with reading(self.db.root) as connection:
            return [n for (n,) in connection.execute("SELECT snapshot FROM snapshots WHERE expired_by IS NULL")]

    def note(self, content: list[int]) -> None:
        """Commits that change no row have the rows of the one before."""
        head = self.db.snapshot().id
        for number in range(max(self.rows) + 1, head + 1):
            self.rows[number] = self.rows[number - 1]
        self.rows[head] = content

    def step(self, what: str, which: int) -> None:
        kept, head = self.kept(), max(self.rows)
        match what:
            case "add" | "replace":
                self.count += 1
                old = self.db.snapshot().files("object_seeds") if what == "replace" else []
                add_seeds(self.db, [CELL.lo + self.count], base=head, replaces=tuple(f.name for f in old))
                self.note([*([] if old or what == "replace" else self.rows[head]), CELL.lo + self.count])
            case "tag":
                set_tag(self.db.root, f"t{head}", kept[which % len(kept)])
                self.note(self.rows[head])
            case "untag" if tags := sorted(live_tags(self.db.root)):
                delete_tag(self.db.root, tags[which % len(tags)])
                self.note(self.rows[head])
            case "rollback":
                to = kept[which % len(kept)]
                skydb.rollback(self.db, to)
                self.note(self.rows[to])
            case "pin":
                self.pinned.append(self.db.snapshot(kept[which % len(kept)]))
            case "release" if self.pinned:
                self.pinned.pop(which % len(self.pinned))
            case "gc":
                skydb.gc(self.db, grace="0")
                self.note(self.rows[head])

    def check(self) -> None:
        kept = set(self.kept())
        needed = {max(self.rows), *live_tags(self.db.root).values(), *(s.id for s in self.pinned)}  # type: ignore[attr-defined]  # snapshots
        assert needed <= kept
        for number in kept:
            assert sorted(rows(self.db, number)) == sorted(self.rows[number])
        assert named_files(self.db) == stored_files(self.db)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_history_loses_a_file_that_a_kept_snapshot_sees(steps: list[tuple[str, int]], tmp_path: Path) -> None:
    model = Model(tmp_path / f"{new_name()}.sky")
    for what, which in steps:
        model.step(what, which)
        model.check()
