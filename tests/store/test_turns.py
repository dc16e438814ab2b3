"""Who has lost several races commits next: other writers give way."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread, current_thread

import pytest

import skydb
import skydb.store.commit as commit_module
from skydb.errors import CommitConflict
from skydb.store.changes import Changes
from skydb.store.retries import ATTEMPTS, RACES, until_committed
from skydb.store.turns import give_way, turn
from tests.ingest.skies import check_conservation, new_database, write_night
from tests.store.test_concurrency import applied


def ended(thread: Thread, seconds: float = 60.0) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


def test_others_wait_for_who_has_the_turn_and_it_does_not_wait_for_itself(tmp_path: Path) -> None:
    db, other = new_database(tmp_path / "a.sky"), new_database(tmp_path / "b.sky")
    waiting = Thread(target=give_way, args=(db.root,))
    with turn(db.root):
        waiting.start()
        give_way(db.root)
        elsewhere = Thread(target=give_way, args=(other.root,))
        elsewhere.start()
        assert ended(elsewhere)
        assert not ended(waiting, 0.1)
    assert ended(waiting)


def test_where_no_lock_can_be_had_nobody_waits(tmp_path: Path) -> None:
    with turn(tmp_path / "nowhere"):
        other = Thread(target=give_way, args=(tmp_path / "nowhere",))
        other.start()
        assert ended(other)


def test_turn_is_taken_after_some_lost_races_and_given_back(tmp_path: Path) -> None:
    root = new_database(tmp_path / "t.sky").root
    free: list[bool] = []

    def attempt() -> None:
        other = Thread(target=give_way, args=(root,), daemon=True)
        other.start()
        free.append(ended(other, 0.05))
        raise CommitConflict("another writer came first")

    with pytest.raises(CommitConflict):
        until_committed(root, attempt)
    assert free == [True] * RACES + [False] * (ATTEMPTS - RACES)
    give_way(root)


def test_apply_finishes_although_somebody_ingests_whenever_it_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_night(tmp_path / "night", exposures=ATTEMPTS + 1, stars=20)
    db = new_database(tmp_path / "t.sky")
    skydb.addstar(db, files.pop(), workers=1)
    original, ingesting, lost = commit_module.transact, list[Thread](), list[bool]()
    about_to_commit = Event()

    def noted(root: Path) -> None:
        if current_thread() in ingesting:
            about_to_commit.set()
        give_way(root)

    def transact(root: Path, changes: Changes) -> int:
        if changes.calibration is not None:
            about_to_commit.clear()
            ingesting.append(Thread(target=lambda: skydb.addstar(db, files.pop(), compact=False, workers=1)))
            ingesting[-1].start()
            assert about_to_commit.wait(60.0)
            lost.append(ended(ingesting[-1], 60.0 if len(lost) < RACES else 1.0))
        return original(root, changes)

    monkeypatch.setattr(commit_module, "transact", transact)
    monkeypatch.setattr(commit_module, "give_way", noted)
    applied(db, 0.125)
    assert lost == [True] * RACES + [False]
    assert all(ended(thread) for thread in ingesting)
    assert db.snapshot().read_global("images").num_rows == RACES + 2
    check_conservation(db)
