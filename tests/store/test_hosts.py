"""Hosts: what a root must be, where files go, moves back and forth, second copies, and hosts that are lost."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from skydb import hosts
from skydb.database import Database
from skydb.errors import BusyError, CommitConflict, DataError, UsageError
from skydb.hosts import add_host, balance, drain, lose_host, remove_host, set_copies, set_host
from skydb.ingest.addstar import addstar
from skydb.parallel.executor import SerialExecutor
from skydb.snapshots import gc
from skydb.store import transfer
from skydb.store.catalog import reading
from skydb.store.cells import LOCAL, Cell
from skydb.store.changes import Changes, Move
from skydb.store.commit import transact
from skydb.store.compact import compact
from skydb.store.copies import BackupWarning
from skydb.store.host_report import host_rows, unreadable
from skydb.store.hosts import storage_of, worker_of_hosts
from skydb.store.layout import HOST_FILE, tag_path
from skydb.store.scratch import MissingCopyWarning, scratch
from skydb.store.tags import set_tag
from skydb.store.turns import only_mover
from skydb.tools import cli
from tests.ingest.skies import assert_same, check_conservation, contents, new_database, write_night
from tests.store.test_manifest import replayed, stored

CELL_ROWS = 25


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=2, stars=40)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("later"), exposures=1, stars=40, seed=3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, night: list[Path]) -> Database:
    """The same night on one host; not to be changed."""
    db = new_database(tmp_path_factory.mktemp("alone") / "t.sky", cell_rows=CELL_ROWS)
    addstar(db, night, workers=1)
    return db


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, night: list[Path]) -> Path:
    """A folder with a database on three hosts, whose roots lie beside it."""
    folder = tmp_path_factory.mktemp("template")
    db = new_database(folder / "t.sky", cell_rows=CELL_ROWS)
    add_host(db, "b", folder / "b")
    add_host(db, "c", folder / "c", worker="w3")
    addstar(db, night, workers=1)
    return folder


@pytest.fixture
def db(template: Path, tmp_path: Path) -> Database:
    """A copy of that database, which uses copies of those roots."""
    from skydb import database

    for name in ("t.sky", "b", "c"):
        shutil.copytree(template / name, tmp_path / name)
    db = database.open(tmp_path / "t.sky")
    set_host(db, "b", root=tmp_path / "b")
    set_host(db, "c", root=tmp_path / "c")
    return db


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://roots/m"
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def lying(db: Database) -> set[tuple[str, str]]:
    """Every file under data/ of every folder or URL that is or was a host's, with the host."""
    found = set()
    with reading(db.root) as connection:
        roots = dict(connection.execute("SELECT name, root FROM hosts ORDER BY begin_snapshot"))
    for name, root in {**roots, LOCAL: str(db.root)}.items():
        if "://" in root:
            every = fsspec.filesystem("memory").find(f"{root}/data")
            found |= {(name, path.split("/m/")[1]) for path in every}
        else:
            found |= {(name, str(p.relative_to(root))) for p in Path(root, "data").rglob("*") if p.is_file()}
    return found


def named(db: Database) -> set[tuple[str, str]]:
    """Every copy that the catalog knows, needed or not."""
    query = "SELECT host, path FROM files UNION SELECT backup, path FROM files WHERE backup IS NOT NULL"
    with reading(db.root) as connection:
        return set(connection.execute(f"{query} UNION SELECT host, path FROM removals"))


def check_whole(db: Database, alone: Database) -> None:
    """Fail unless all rows are there, and every copy that is named, and no other."""
    assert_same(contents(db), contents(alone))
    assert lying(db) == named(db)
    assert list(db.work.iterdir()) == []


def hosts_of_files(db: Database) -> set[str]:
    with reading(db.root) as connection:
        return {host for (host,) in connection.execute("SELECT host FROM files WHERE npix IS NOT NULL")}


def test_cells_spread_over_hosts_and_no_answer_depends_on_it(db: Database, alone: Database) -> None:
    rows = {row.name: row for row in host_rows(db.root)}
    assert min(row.cells for row in rows.values()) >= 2
    assert sum(row.cells for row in rows.values()) == len(db.snapshot().cells())
    assert {row.reachable for row in rows.values()} == {"yes"}
    assert worker_of_hosts(db.root) == {"c": "w3"}
    check_whole(db, alone)
    check_conservation(db)


@pytest.mark.slow
def test_further_nights_compaction_and_calibration_give_the_same_on_three_hosts(
    db: Database, night: list[Path], later: list[Path], tmp_path: Path
) -> None:
    import skydb

    one = new_database(tmp_path / "one.sky", cell_rows=CELL_ROWS)
    addstar(one, night, workers=1)
    answers = []
    for each in (db, one):
        addstar(each, later, workers=1)
        compact(each.snapshot, each.commit, each.snapshot().cells(), cell_rows=40, executor=SerialExecutor())
        skydb.relcal(each, workers=1)
        hashed = "SELECT COUNT(*), SUM(hash(object_id, image_id, det_id, mag, ra, mcal)) FROM measurements"
        answers.append(skydb.connect(each.root).sql(hashed).arrow().to_pylist())
        skydb.release(each, tmp_path / each.root.stem / "dr", as_="hats")
    assert answers[0] == answers[1]
    check_whole(db, one)
    assert len(hosts_of_files(db)) == 3
    released = [sorted((tmp_path / name / "dr").rglob("Npix=*.parquet")) for name in ("t", "one")]
    assert [pq.read_table(p) for p in released[0]] == [pq.read_table(p) for p in released[1]] != []


def test_round_trip_of_a_host_leaves_no_file_behind(db: Database, alone: Database, tmp_path: Path) -> None:
    before = lying(db)
    add_host(db, "d", tmp_path / "d")
    assert balance(db).files > 0
    check_whole(db, alone)
    with pytest.raises(UsageError, match=r"the host 'd' still has \d+ cells, \d+ files of \d+ bytes .*drain d"):
        remove_host(db, "d")
    drain(db, "d")
    check_whole(db, alone)
    remove_host(db, "d")
    gc(db, grace=0)
    assert not [p for p in (tmp_path / "d").rglob("*") if p.is_file()]
    assert {path for _, path in lying(db)} == {path for _, path in before}
    check_whole(db, alone)


def test_manifests_tell_of_hosts_settings_and_moves(db: Database, tmp_path: Path) -> None:
    """All but `removals`, which lists what is still there."""
    set_copies(db, 2)
    balance(db, by="random")
    drain(db, "b")
    remove_host(db, "b")
    set_copies(db, 1)
    shutil.rmtree(tmp_path / "c")
    lose_host(db, "c", accept_loss=True)
    told, kept = replayed(db.root), stored(db.root)
    assert {**told, "removals": []} == {**kept, "removals": []}
    assert len(kept["settings"]) == 3


def test_balance_moves_little_and_once(db: Database, tmp_path: Path) -> None:
    add_host(db, "d", tmp_path / "d")
    moved = balance(db)
    rows = {row.name: row for row in host_rows(db.root)}
    assert moved.bytes == rows["d"].bytes, "only the new host was given something"
    assert rows["d"].bytes > 0.6 * sum(row.bytes for row in rows.values()) / 4
    assert balance(db).files == 0


def test_cells_go_where_rules_say_now_and_later(db: Database, alone: Database, later: list[Path]) -> None:
    cells = db.snapshot().cells()
    (db.root.parent / "r.toml").write_text(
        f'order = {cells[0].norder}\notherwise = ["b"]\n[[rules]]\npixels = [{cells[0].npix}]\nhosts = ["c"]\n'
    )
    balance(db, by="rule", rules=db.root.parent / "r.toml")
    assert {c.key: c.host for c in db.snapshot().cells()} == {
        c.key: "c" if c.key == cells[0].key else "b" for c in cells
    }
    check_whole(db, alone)
    addstar(db, write_night(db.root.parent / "far", exposures=1, stars=9, ra=90, seed=5), workers=1)
    assert {c.host for c in db.snapshot().cells()} == {"b", "c"}
    balance(db, by="bytes")
    assert {c.host for c in db.snapshot().cells()} == {"b", "c", LOCAL}


def test_local_is_drained_of_cells_and_keeps_the_global_tables(db: Database, alone: Database) -> None:
    drain(db, LOCAL)
    check_whole(db, alone)
    assert hosts_of_files(db) == {"b", "c"}
    with reading(db.root) as connection:
        assert connection.execute("SELECT DISTINCT host FROM files WHERE npix IS NULL").fetchall() == [(LOCAL,)]
    with pytest.raises(UsageError, match="cannot be removed"):
        remove_host(db, LOCAL)


def test_last_host_cannot_be_drained(db: Database) -> None:
    drain(db, LOCAL)
    drain(db, "b")
    with pytest.raises(UsageError, match="no other hosts take what lies on 'c'; add one"):
        drain(db, "c")


def test_reader_of_before_the_move_reads_on_after_gc(db: Database, alone: Database) -> None:
    pinned = db.snapshot()
    cell = next(c for c in pinned.cells() if c.host == "b")
    wanted = pinned.read_cell("measurements", cell).num_rows
    pinned._files.clear()
    pinned.files("measurements", cell), pinned.files("measurements_cal", cell)
    drain(db, "b")
    assert pinned.read_cell("measurements", cell).num_rows == wanted, "the copy that was left behind is still there"
    gc(db, grace=0)
    shutil.rmtree(db.root.parent / "b" / "data")
    assert pinned.read_cell("measurements", cell).num_rows == wanted


def test_older_snapshots_move_too(db: Database, later: list[Path]) -> None:
    number, before = db.snapshot().id, contents(db)
    addstar(db, later, workers=1)
    drain(db, "b")
    gc(db, grace="7d")
    shutil.rmtree(db.root.parent / "b")
    old = db.snapshot(number)
    assert sum(old.read_cell("objects", c).num_rows for c in old.cells()) == before["objects"].num_rows


def test_published_tag_says_where_files_lie_after_a_move(db: Database) -> None:
    set_tag(db.root, "PV1")
    before = tag_path(db.root, "PV1").read_bytes()
    drain(db, "b")
    assert tag_path(db.root, "PV1").read_bytes() != before
    import sqlite3

    with sqlite3.connect(f"{tag_path(db.root, 'PV1').as_uri()}?immutable=1", uri=True) as published:
        assert "b" not in {host for (host,) in published.execute("SELECT host FROM files")}


def test_new_root_is_checked(db: Database, alone: Database, tmp_path: Path) -> None:
    for name, root, what in (
        ("b", tmp_path / "x", "there is a host named 'b' already"), ("9", tmp_path / "x", "'9' is no name"),
        ("d", tmp_path / "b" / "in", "lies in the storage root of host 'b'"),
        ("d", tmp_path, "or around it"), ("d", db.root / "data" / "in", "storage root of host 'local'"),
        ("d", tmp_path / "no" / "such", "there is no such folder"), ("d", " ", "the root is empty"),
        ("d", "nosuch://x", "nothing reads nosuch://"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=what):
            add_host(db, name, root)
    add_host(alone_copy := copy_of(alone, tmp_path), "e", tmp_path / "e")
    with pytest.raises(UsageError, match=f"this is host 'e' of the database {alone.id}"):
        add_host(db, "d", tmp_path / "e")
    written = {"database": alone_copy.id, "host": "e", "catalog": str(alone_copy.root.resolve())}
    assert json.loads((tmp_path / "e" / HOST_FILE).read_text()) == {**written, "inode": alone_copy.root.stat().st_ino}
    assert sorted(storage_of(db.root).hosts) == ["b", "c", LOCAL]


def copy_of(db: Database, folder: Path) -> Database:
    from skydb import database

    return database.open(shutil.copytree(db.root, folder / "copy.sky"))


def test_disk_that_is_not_mounted_is_not_written_to(db: Database, tmp_path: Path) -> None:
    (tmp_path / "b").rename(tmp_path / "away")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"no host's files are here .*set b --root"):
        balance(db, by="rule", rules=_all_on(db, "b"))
    with pytest.raises(DataError, match="no host's files are here"):
        addstar(db, write_night(tmp_path / "far", exposures=1, stars=9, ra=90, seed=5), workers=1)
    assert list((tmp_path / "b").iterdir()) == []
    assert next(row.reachable for row in host_rows(db.root) if row.name == "b").startswith("no host's files")


def _all_on(db: Database, name: str) -> Path:
    path = db.root.parent / "all.toml"
    path.write_text(f'order = 0\nrules = []\notherwise = ["{name}"]\n')
    return path


def test_wrong_disk_is_recognised(db: Database, tmp_path: Path) -> None:
    (tmp_path / "b").rename(tmp_path / "x")
    (tmp_path / "c").rename(tmp_path / "b")
    with pytest.raises(DataError, match="this is host 'c' of the database"):
        balance(db, by="rule", rules=_all_on(db, "b"))
    with pytest.raises(DataError, match="this is host 'b' of the database"):
        set_host(db, "c", root=tmp_path / "x")


def test_host_is_found_where_its_disk_was_mounted(db: Database, alone: Database, tmp_path: Path) -> None:
    (tmp_path / "b").rename(tmp_path / "new")
    with pytest.raises(UsageError, match="lies in the storage root of host 'c', or around it"):
        set_host(db, "b", root=tmp_path / "c")
    set_host(db, "b", root=tmp_path / "new", worker="w2")
    check_whole(db, alone)
    assert worker_of_hosts(db.root) == {"b": "w2", "c": "w3"}
    some = next((tmp_path / "new").rglob("*.parquet"))
    some.write_bytes(b"x" * some.stat().st_size)
    set_host(db, "b", root=tmp_path / "new")
    with pytest.raises(DataError, match=r"1 of \d+ files that were looked for are not there, or are damaged"):
        set_host(db, "b", check=True)
    shutil.rmtree(tmp_path / "new" / "data")
    with pytest.raises(DataError, match="are not there"):
        set_host(db, "b", root=tmp_path / "new")


def test_second_copies_are_made_now_and_for_new_files(db: Database, alone: Database, later: list[Path]) -> None:
    moved = set_copies(db, 2)
    assert moved.copies == moved.files > 0
    check_whole(db, alone)
    addstar(db, later, workers=1)
    with reading(db.root) as connection:
        assert connection.execute("SELECT COUNT(*) FROM files WHERE backup IS NULL OR backup = host").fetchone() == (0,)
    assert lying(db) == named(db)
    assert {row.only_copies for row in host_rows(db.root)} == {0}
    assert set_copies(db).files == 0
    set_copies(db, 1)
    gc(db, grace=0)
    assert lying(db) == named(db)
    assert sum(row.backup_bytes for row in host_rows(db.root)) == 0


def test_drained_host_loses_its_second_copies_too(db: Database, alone: Database) -> None:
    set_copies(db, 2)
    drain(db, "b")
    remove_host(db, "b")
    check_whole(db, alone)
    assert {row.only_copies for row in host_rows(db.root)} == {0}
    with pytest.raises(UsageError, match="no two other hosts take what lies on 'c'"):
        drain(db, "c")


def test_host_of_second_copies_may_be_away_at_night(db: Database, later: list[Path], tmp_path: Path) -> None:
    drain(db, "b")
    set_host(db, "b", state="active")
    set_copies(db, 2)
    balance(db, by="rule", rules=_all_on(db, "c"))
    (tmp_path / "b").rename(tmp_path / "away")
    with pytest.warns(MissingCopyWarning, match="no second copy on host b"):
        addstar(db, later, workers=1)
    assert sum(row.only_copies for row in host_rows(db.root)) > 0
    (tmp_path / "away").rename(tmp_path / "b")
    set_copies(db)
    assert sum(row.only_copies for row in host_rows(db.root)) == 0


def test_lost_host_is_replaced_by_second_copies(db: Database, alone: Database, tmp_path: Path) -> None:
    set_copies(db, 2)
    shutil.rmtree(tmp_path / "b")
    moved, lost = lose_host(db, "b")
    assert (lost, moved.files > 0) == ([], True)
    assert sorted(storage_of(db.root).hosts) == ["c", LOCAL]
    check_whole(db, alone)
    assert {row.only_copies for row in host_rows(db.root)} == {0}, "two copies again, on the hosts that are left"


@pytest.mark.filterwarnings("ignore::skydb.store.copies.BackupWarning")
def test_reads_fall_back_to_the_second_copy(db: Database, alone: Database, tmp_path: Path) -> None:
    set_copies(db, 2)
    shutil.rmtree(tmp_path / "b")
    assert_same(contents(db), contents(alone))
    assert unreadable(db.root, ["b"]) == []
    assert BackupWarning.__name__ == "BackupWarning"


def test_what_has_no_other_copy_is_named_before_it_is_given_up(db: Database, tmp_path: Path, capsys: Any) -> None:
    before = contents(db)
    gone = [c for c in db.snapshot().cells() if c.host == "b"]
    rows = sum(db.snapshot().read_cell("measurements", c).num_rows for c in gone)
    (tmp_path / "b").rename(tmp_path / "away")
    assert cli.main(["hosts", str(db.root), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["unreadable"]
    assert {part["cell"] for part in listed} == set(map(str, gone))
    assert sum(part["rows"] for part in listed if part["table"] == "measurements") == rows
    with pytest.raises(DataError, match=rf"no copy is left of measurements: {rows} rows in cell.*--accept-loss"):
        lose_host(db, "b")
    (tmp_path / "away").rename(tmp_path / "b")
    set_host(db, "b", state="active")
    assert_same(contents(db), before)
    shutil.rmtree(tmp_path / "b")
    _, lost = lose_host(db, "b", accept_loss=True)
    assert sum(part.rows for part in lost if part.table == "measurements") == rows
    assert contents(db)["measurements"].num_rows == before["measurements"].num_rows - rows
    assert storage_of(db.root).hosts["b"].state == "lost", "earlier snapshots name it"
    gc(db, grace=0)
    remove_host(db, "b")


@pytest.mark.slow
def test_roots_behind_urls_hold_cells_like_folders(
    db: Database, alone: Database, later: list[Path], tmp_path: Path, memory: str
) -> None:
    one = copy_of(alone, tmp_path)
    add_host(db, "m", memory)
    balance(db)
    assert {host for host, _ in lying(db)} == {"b", "c", LOCAL, "m"}
    check_whole(db, alone)
    for each in (db, one):
        addstar(each, later, workers=1)
    check_whole(db, one)
    set_copies(db, 2)
    assert_same(contents(db), contents(one))
    drain(db, "m")
    remove_host(db, "m")
    gc(db, grace=0)
    check_whole(db, one)
    assert [p for p in fsspec.filesystem("memory").store if "/m/" in p] == []


def test_failed_upload_leaves_nothing(db: Database, memory: str, later: list[Path], monkeypatch: Any) -> None:
    add_host(db, "m", memory)
    balance(db, by="rule", rules=_all_on(db, "m"))
    before, put, calls = lying(db), transfer.filesystem_of(memory).put_file, []

    def put_file(self: object, source: str, to: str, **more: Any) -> None:
        put(source, to)
        calls.append(to)
        if len(calls) == 3:
            raise ConnectionError("reset by peer")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", put_file)
    with pytest.raises(BusyError, match=r"roots cannot be reached, or refuses to write \(reset by peer\); try again"):
        addstar(db, later, workers=1)
    assert lying(db) == before


@pytest.mark.parametrize("number", [1, 7, 12])
def test_full_host_is_an_error_that_names_it_and_nothing_is_lost(
    db: Database, alone: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    add_host(db, "d", tmp_path / "d")
    with monkeypatch.context() as patched:
        patched.setattr(transfer, "_copy", _full_after(number))
        with pytest.raises(DataError, match=f"{tmp_path}/(b|c|d|t.sky)/.*: no space left on device; free some space"):
            drain(db, "b")
    check_whole(db, alone)
    drain(db, "b")
    remove_host(db, "b")
    check_whole(db, alone)


def _full_after(number: int) -> Callable[[Path, Path], None]:
    copy, calls = transfer._copy, []

    def failing(source: Path, target: Path) -> None:
        calls.append(target)
        copy(source, target)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")

    return failing


def test_damaged_file_is_not_moved_over_a_whole_one(db: Database, alone: Database, tmp_path: Path) -> None:
    set_copies(db, 2)
    some = sorted((tmp_path / "b").rglob("measurements/**/*.parquet"))[0]
    some.write_bytes(b"x" * some.stat().st_size)
    drain(db, "b")
    check_whole(db, alone)
    set_copies(db, 1)
    gc(db, grace=0)
    other = tmp_path / "c" / next(f.path for f in db.snapshot().files("measurements") if f.host == "c")
    other.write_bytes(b"x" * other.stat().st_size)
    with pytest.raises(DataError, match=f"{other}: a stored file is damaged: digest; see `skydb fsck`"):
        drain(db, "c")


def test_two_balances_at_once_leave_a_whole_database(db: Database, alone: Database, tmp_path: Path) -> None:
    add_host(db, "d", tmp_path / "d")
    failures: list[BaseException] = []

    def run(name: str) -> None:
        try:
            drain(db, name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert hosts_of_files(db) <= {"d", LOCAL}
    check_whole(db, alone)


def test_mover_waits_for_another_and_gives_up(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(only_mover.__wrapped__, "__defaults__", (0.05,))  # type: ignore[attr-defined]  # contextmanager
    with only_mover(db.root), pytest.raises(BusyError, match="another process is moving files"):
        drain(db, "b")


def test_ingest_that_began_before_a_move_keeps_the_cells_new_host(db: Database) -> None:
    old = next(c for c in db.snapshot().cells() if c.host == "b")
    base = db.snapshot().id
    drain(db, "b")
    now = next(c for c in db.snapshot().cells() if c.key == old.key)
    db.commit(Changes("addstar", "addstar", base, cells=(Cell(*old.key, "b", 7.0),)))
    after = next(c for c in db.snapshot().cells() if c.key == old.key)
    assert (after.host, after.drift_arcsec) == (now.host, 7.0) != ("b", 7.0)


def test_commit_cannot_name_a_host_that_was_removed_meanwhile(db: Database) -> None:
    base, cell = db.snapshot(), next(c for c in db.snapshot().cells() if c.host == "b")
    with scratch(db.root) as place:
        file = place.store(base, base.read_cell("object_seeds", cell), "object_seeds", cell=cell)
        drain(db, "b")
        remove_host(db, "b")
        with pytest.raises(CommitConflict, match="another writer removed the host 'b'"):
            transact(db.root, Changes("addstar", "addstar", base.id, adds=(file,)))


def test_host_cannot_be_removed_under_a_commit(db: Database) -> None:
    base = db.snapshot().id
    with pytest.raises(CommitConflict, match="another writer placed something on the host 'b'"):
        transact(db.root, Changes("hosts", "hosts", base, ends_hosts=("b",)))


def test_files_that_were_moved_meanwhile_are_not_moved(db: Database) -> None:
    file, base = db.snapshot().files("images")[0], db.snapshot().id
    db.commit(Changes("hosts", "hosts", base, moves=(Move(file.name, LOCAL, None),)))
    with pytest.raises(CommitConflict, match="another writer moved or gave up 1 of the same files"):
        transact(db.root, Changes("hosts", "hosts", base, moves=(Move(file.name, "b"),)))


def test_state_and_root_that_can_not_be_are_refused(db: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no host named 'bb'; did you mean 'b'"):
        drain(db, "bb")
    with pytest.raises(UsageError, match="'lost' is no state of a host"):
        set_host(db, "b", state="lost")
    with pytest.raises(UsageError, match="move the database itself"):
        set_host(db, LOCAL, root=tmp_path)
    with pytest.raises(UsageError, match="3 copies of each file are too many"):
        set_copies(db, 3)
    assert hosts.STATES == ("active", "draining")


def test_database_made_anew_at_the_same_path_knows_nothing_of_the_hosts_of_before(
    night: list[Path], tmp_path: Path
) -> None:
    for number in range(2):
        db = new_database(tmp_path / "t.sky", cell_rows=CELL_ROWS)
        if number == 0:
            add_host(db, "b", tmp_path / "b")
        else:
            set_tag(db.root, "as-many-snapshots")
        addstar(db, night, workers=1)
        assert hosts_of_files(db) == ({"b", LOCAL} if number == 0 else {LOCAL})
        shutil.rmtree(db.root)


def test_commands_say_what_they_did(db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> dict[str, Any]:
        assert cli.main(["hosts", str(db.root), *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert run("add", "d", str(tmp_path / "d"), "--worker", "w4")["added"] == "d"
    assert run("balance", "--by", "random")["moved_files"] > 0
    assert run("backup", "--copies", "2")["copied_files"] > 0
    assert run("drain", "d")["commits"] == 1
    assert run("set", "d", "--worker", "")["changed"] == "d"
    assert run("remove", "d")["removed"] == "d"
    shutil.rmtree(tmp_path / "c")
    assert run("remove", "c", "--lost")["lost_rows"] == 0
    listed = run("list")
    assert [row["name"] for row in listed["hosts"]] == ["b", LOCAL]
    assert (listed["copies"], listed["placement"], listed["unreadable"]) == (2, "random", [])
    assert cli.main(["hosts", str(db.root)]) == 0
    assert "only_copies" in capsys.readouterr().out
    assert cli.main(["hosts", str(db.root), "remove", "b", "--accept-loss"]) == 2


@pytest.mark.parametrize("words", [["add", "--help"], ["balance", "-h"]])
def test_help_of_a_command_about_hosts_needs_no_database(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hosts", *words]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: skydb hosts DB {words[0]} ")


def test_forgotten_database_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hosts", "drain", "b"]) == 2
    assert "the database comes before the command: skydb hosts DB drain b" in capsys.readouterr().err
