"""Watching a folder, setting bad files aside, and dry runs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import skydb
from skydb import database
from skydb.database import Database
from skydb.errors import CommitConflict, UsageError
from skydb.ingest import routing
from skydb.ingest.addstar import addstar
from skydb.ingest.readers import contents as inputs
from skydb.ingest.readers.interface import Chunk, ReadRequest
from skydb.ingest.readers.smf import SmfReader
from skydb.ingest.report import AddstarReport
from skydb.ingest.watch import Watched, watch
from skydb.store.history import catalog_table
from skydb.tools.cli import main
from tests.ingest.catalog_files import add_siblings, write_cmf
from tests.ingest.skies import (
    check_conservation,
    check_nothing_is_left_over,
    contents,
)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


class Rounds:
    """Does something before each look, and ends the watch after the last."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        self._actions: Iterator[Callable[[], object]] = iter(actions)

    def __call__(self, seconds: float) -> None:
        action = next(self._actions, None)
        if action is None:
            raise KeyboardInterrupt
        action()


def nothing() -> None:
    """Let a round pass."""


def came(rounds: list[Watched]) -> list[list[tuple[str, str]]]:
    return [[(Path(f.file).name, f.status) for f in r.report.files] for r in rounds if r.report]


def collected(
    db: Database, inbox: Path, *actions: Callable[[], object], pattern: str = "*", quarantine: str | None = None,
    apart: Sequence[Path] = (),
) -> list[Watched]:  # fmt: skip
    found: list[Watched] = []

    def ingest(paths: Sequence[str]) -> AddstarReport:
        return addstar(db, paths, workers=1, quarantine=quarantine)

    try:
        for done in watch(inbox, ingest, pattern=pattern, apart=apart, sleep=Rounds(*actions)):
            found.append(done)
    except KeyboardInterrupt:
        return found
    raise AssertionError("a watch has no end")


def test_files_come_when_they_have_come_to_rest_each_once(db: Database, inbox: Path, night: list[Path]) -> None:
    names = [path.name for path in night]

    def first_half() -> None:
        (inbox / names[1]).write_bytes(night[1].read_bytes()[:20_000])

    def the_rest() -> None:
        with (inbox / names[1]).open("ab") as file:
            file.write(night[1].read_bytes()[20_000:])

    rounds = collected(
        db, inbox, lambda: shutil.copy(night[0], inbox), first_half, the_rest, nothing, nothing, nothing,
    )  # fmt: skip
    assert came(rounds) == [[(names[0], "ingested")], [(names[1], "ingested")]]
    check_conservation(db)
    check_nothing_is_left_over(db)


def test_a_watch_that_was_killed_is_started_again(db: Database, inbox: Path, night: list[Path]) -> None:
    for path in night[:3]:
        shutil.copy(path, inbox)
    assert came(collected(db, inbox, nothing, nothing))[0] == [(p.name, "ingested") for p in night[:3]]
    shutil.copy(night[3], inbox)
    again = came(collected(db, inbox, nothing, nothing, nothing))
    assert [status for _, status in again[0]] == ["known"] * 3 + ["ingested"]
    assert len(again) == 1, "what is there is not looked at again"
    assert len(catalog_table(db.snapshot(), "ingest_log")) == 4


def test_unfinished_hidden_and_other_files_are_left(db: Database, inbox: Path, night: list[Path]) -> None:
    for name in (".hidden.cmf", "a.cmf.part", "b.cmf.tmp", "readme.txt"):
        shutil.copy(night[0], inbox / name)
    (inbox / "sub.cmf").mkdir()
    shutil.copy(night[1], inbox / "sub.cmf" / "deep.cmf")
    assert came(collected(db, inbox, nothing, nothing, pattern="*.cmf")) == []
    assert came(collected(db, inbox, nothing, nothing, pattern="**/*.cmf")) == [[("deep.cmf", "ingested")]]


def test_a_bad_file_is_tried_again_when_it_changes(db: Database, inbox: Path, night: list[Path]) -> None:
    (inbox / "x.cmf").write_bytes(night[0].read_bytes()[:20_000])
    rounds = came(collected(
        db, inbox, nothing, nothing, nothing, lambda: shutil.copy(night[0], inbox / "x.cmf"), nothing, nothing,
    ))  # fmt: skip
    assert rounds == [[("x.cmf", "failed")], [("x.cmf", "ingested")]]


def test_when_others_are_busy_it_tries_again(db: Database, inbox: Path, night: list[Path]) -> None:
    shutil.copy(night[0], inbox)
    tried: list[Sequence[str]] = []

    def ingest(paths: Sequence[str]) -> AddstarReport:
        tried.append(paths)
        if len(tried) == 1:
            raise CommitConflict("other writers came first again and again")
        return addstar(db, paths, workers=1)

    looks = watch(inbox, ingest, sleep=Rounds(nothing, nothing))
    busy, done = next(looks), next(looks)
    assert busy.report is None
    assert "other writers" in (busy.busy or "")
    assert done.report is not None
    assert done.report.complete


def test_what_a_failing_disk_did_not_give_is_tried_again_in_the_next_round(
    db: Database, inbox: Path, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in night[:2]:
        shutil.copy(path, inbox)
    whole = SmfReader.read

    def read(self: SmfReader, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        if path.name == night[0].name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(self, path, request)

    monkeypatch.setattr(SmfReader, "read", read)
    rounds = came(collected(
        db, inbox, nothing, nothing, monkeypatch.undo, nothing, nothing, quarantine=str(tmp_path / "bad"),
    ))  # fmt: skip
    names = [path.name for path in night[:2]]
    assert rounds == [[(names[0], "failed"), (names[1], "ingested")], [(names[0], "failed")], [(names[0], "ingested")]]
    assert not (tmp_path / "bad").exists()


def test_full_disk_of_the_database_does_not_end_a_watch(
    db: Database, inbox: Path, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(night[0], inbox)

    def write_spill(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(routing, "write_spill", write_spill)
    full, done = collected(db, inbox, nothing, monkeypatch.undo, nothing)
    assert "no space left on device" in (full.busy or "")
    assert done.report is not None
    assert done.report.complete
    check_nothing_is_left_over(db)


def test_nothing_that_appears_in_a_folder_ends_a_watch(db: Database, inbox: Path, night: list[Path]) -> None:
    shutil.copy(night[0], inbox / "good.cmf")
    shutil.copy(night[1], os.fsdecode(bytes(inbox / "caf") + b"\xe9.cmf"))
    (inbox / "loop.cmf").symlink_to("loop.cmf")
    (inbox / "to-nothing.cmf").symlink_to("absent")
    (inbox / "folder.cmf").mkdir()
    (inbox / "empty.cmf").touch()
    os.mkfifo(inbox / "pipe.cmf")
    rounds = collected(db, inbox, nothing, nothing, nothing)
    assert came(rounds) == [[("empty.cmf", "failed"), ("good.cmf", "ingested"), ("loop.cmf", "failed")]]
    assert rounds[0].refused == (rf"{inbox}/caf\xe9.cmf: the file's name is no text in UTF-8; rename it",)


def test_file_that_goes_away_before_it_is_read_and_comes_back(
    db: Database, inbox: Path, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in night[:2]:
        shutil.copy(path, inbox)
    digest, gone = inputs.digest_of, []

    def digest_of(path: Path) -> str:
        if not gone:
            gone.append(path)
            path.unlink()
        return digest(path)

    monkeypatch.setattr(inputs, "digest_of", digest_of)
    rounds = collected(db, inbox, nothing, nothing, lambda: shutil.copy(night[0], inbox), nothing, nothing)
    names = [path.name for path in night[:2]]
    assert came(rounds) == [[(names[0], "failed"), (names[1], "ingested")], [(names[0], "ingested")]]


def test_folder_that_goes_away_is_waited_for(db: Database, inbox: Path, night: list[Path]) -> None:
    away = inbox.with_name("away")
    shutil.copy(night[0], inbox)
    rounds = collected(db, inbox, lambda: inbox.rename(away), lambda: away.rename(inbox), nothing, nothing)
    assert "it cannot be looked at" in (rounds[0].busy or "")
    assert came(rounds) == [[(night[0].name, "ingested")]]


def test_what_is_set_aside_and_the_database_are_not_watched(db: Database, inbox: Path, night: list[Path]) -> None:
    """Both lie in the folder that is watched, with all below it."""
    moved = database.open(shutil.move(db.root, inbox / "t.sky"))
    shutil.copy(night[0], inbox)
    (inbox / "x.cmf").write_bytes(night[1].read_bytes()[:20_000])
    before = {path for path in (inbox / "t.sky").rglob("*") if path.is_file()}
    rounds = came(collected(
        moved, inbox, nothing, nothing, nothing, nothing, nothing, pattern="**/*", quarantine=str(inbox / "bad"),
        apart=[inbox / "t.sky", inbox / "bad"],
    ))  # fmt: skip
    assert rounds == [[(night[0].name, "ingested"), ("x.cmf", "failed")]]
    assert {path.name for path in (inbox / "bad").iterdir()} == {"x.cmf", "x.cmf.why.txt"}
    assert all(path.exists() for path in before)


def test_file_that_may_not_be_read_is_taken_when_it_may(
    db: Database, inbox: Path, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(night[0], inbox / "a.cmf")
    shutil.copy(night[1], inbox / "b.cmf")
    (inbox / "a.cmf").chmod(0)
    digest = inputs.digest_of

    def digest_of(path: Path) -> str:
        if not path.stat().st_mode & 0o444:  # so that root is refused too
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return digest(path)

    monkeypatch.setattr(inputs, "digest_of", digest_of)
    rounds = came(collected(
        db, inbox, nothing, nothing, nothing, lambda: (inbox / "a.cmf").chmod(0o644), nothing, nothing,
    ))  # fmt: skip
    assert rounds == [[("a.cmf", "failed"), ("b.cmf", "ingested")], [("a.cmf", "ingested")]]


def test_bad_files_are_set_aside_with_their_reason(
    db: Database, inbox: Path, night: list[Path], tmp_path: Path
) -> None:
    aside = tmp_path / "bad"
    for _ in range(2):
        (inbox / "x.cmf").write_bytes(night[0].read_bytes()[:20_000])
        report = addstar(db, [inbox / "x.cmf", inbox / "absent.cmf", night[1]], quarantine=aside, workers=1)
    assert [f.status for f in report.files] == ["failed", "failed", "known"]
    assert report.exit_code == 3
    assert not (inbox / "x.cmf").exists()
    assert {p.name for p in aside.iterdir()} == {"x.cmf", "x.cmf.why.txt", "x.cmf.1", "x.cmf.1.why.txt"}
    assert report.files[0].quarantined == str(aside / "x.cmf.1")
    assert report.files[1].quarantined is None
    assert "bytes before the end" in (aside / "x.cmf.why.txt").read_text()
    assert f"(set aside as {aside / 'x.cmf.1'})" in report.text()
    (tmp_path / "file").write_text("")
    (inbox / "y.cmf").write_bytes(b"SIMPLE  =")
    with pytest.raises(UsageError, match="cannot be set aside"):
        addstar(db, inbox / "y.cmf", quarantine=tmp_path / "file", workers=1)


def test_a_dry_run_says_what_would_happen_and_does_nothing(db: Database, night: list[Path], tmp_path: Path) -> None:
    addstar(db, night[:1], workers=1)
    before, head = contents(db), db.snapshot().id
    files = [*night, tmp_path / "absent.cmf"]
    told = addstar(db, files, dry_run=True, quarantine=tmp_path / "bad", workers=1)
    assert (db.snapshot().id, told.snapshot) == (head, head)
    assert contents(db) == before
    check_nothing_is_left_over(db)
    done = addstar(db, files, workers=1)
    assert [(f.status, f.n_in, f.n_matched, f.n_new) for f in told.files] == [
        (f.status, f.n_in, f.n_matched, f.n_new) for f in done.files
    ]
    assert told.text().startswith("dry run: nothing is stored\n3 files would be ingested, 1 known already, 1 failed")
    assert told.as_dict()["dry_run"] is True


def test_a_dry_run_of_files_with_siblings_counts_none(db: Database, night: list[Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(night[0], tmp_path / "a.cmf"))
    add_siblings(path)
    skydb.declare_table(db, "xrad")
    assert addstar(db, path, dry_run=True, workers=1).files[0].companions == {}


def test_lists_of_files_are_read(
    db: Database, night: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").write_text(f"# the night\n{night[0]}\n\n  {night[1]}  \n")
    words = ["addstar", str(db.root), f"@{tmp_path / 'list'}", str(night[2]), "--workers", "1", "--json"]
    assert main(words) == 0
    assert [f["file"] for f in json.loads(capsys.readouterr().out)["files"]] == [str(p) for p in night[:3]]
    assert main(["addstar", str(db.root), f"@{tmp_path / 'absent'}"]) == 2
    assert "the list cannot be read" in capsys.readouterr().err


def test_lists_are_read_as_they_come(
    db: Database, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """As Windows writes them, with paths from where the command runs, a file twice, and one that is not there."""
    (tmp_path / "night 1").mkdir()
    odd = shutil.copy(night[0], tmp_path / "night 1" / "a\u2028#b.cmf")
    shutil.copy(night[1], tmp_path / "b.cmf")
    lines = ["# the night", "", "night 1/a\u2028#b.cmf", "\t", "b.cmf", " # b2.cmf", "absent.cmf", "./b.cmf", "b.cmf"]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "night").write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    monkeypatch.chdir(tmp_path)
    assert main(["addstar", str(db.root), "@lists/night", "--workers", "1", "--json"]) == 2
    files = json.loads(capsys.readouterr().out)["files"]
    assert [(f["file"], f["status"]) for f in files] == [
        ("night 1/a\u2028#b.cmf", "ingested"), ("b.cmf", "ingested"), ("absent.cmf", "failed"), ("./b.cmf", "known"),
    ]  # fmt: skip
    assert Path(odd).exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "names no"), (b"# none\n\n", "names no"), (b"caf\xe9.cmf", "cannot be read"), (None, "cannot be read")],
)
def test_list_that_is_none_is_refused(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    path = tmp_path / "list"
    path.mkdir() if content is None else path.write_bytes(content)
    assert main(["addstar", str(db.root), f"@{path}"]) == 2
    assert f"{path}: the list {said}" in capsys.readouterr().err


def test_what_a_dry_run_announces_comes_true_whatever_the_files(
    db: Database, night: list[Path], tmp_path: Path
) -> None:
    """Known, new, damaged, absent, empty, a copy, a copy of a damaged one, an image a second time, no photcode."""
    addstar(db, night[:1], workers=1)
    cut, cut_copy, second = (tmp_path / f"{name}.cmf" for name in ("cut", "cut-copy", "second"))
    for path in (cut, cut_copy):
        path.write_bytes(night[1].read_bytes()[:20_000])
    second.write_bytes(night[0].read_bytes() + bytes(2880))
    (tmp_path / "empty.cmf").touch()
    copy = shutil.copy(night[2], tmp_path / "copy.cmf")
    unknown = write_cmf(tmp_path / "unknown.cmf", header={"PHOTCODE": "CAM.u"})
    files = [*night, cut, cut_copy, second, tmp_path / "empty.cmf", copy, unknown, tmp_path / "absent", tmp_path]
    told = addstar(db, files, dry_run=True, quarantine=tmp_path / "bad", workers=1)
    assert not (tmp_path / "bad").exists()
    done = addstar(db, files, quarantine=tmp_path / "bad", workers=1)
    assert told.files == tuple(replace(f, quarantined=None) for f in done.files)
    assert [f.fault for f in done.files] == [
        *[None] * 4, "content", "content", "database", "content", None, "call", "call", "call",
    ]  # fmt: skip
    assert told.exit_code == done.exit_code == 3


def test_command_watches_until_it_is_stopped(db: Database, inbox: Path, night: list[Path], tmp_path: Path) -> None:
    shutil.copy(night[0], inbox)
    words = ["addstar", str(db.root), str(inbox), "--watch", "--every", "0.2", "--workers", "1", "--json"]
    words += ["--quarantine", str(tmp_path / "bad")]
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from skydb.tools.cli import main; sys.exit(main())", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["n_ingested"] == 1
    (inbox / "bad.cmf").write_bytes(b"SIMPLE  = nothing")
    shutil.copy(night[1], inbox / ".coming")
    os.replace(inbox / ".coming", inbox / "b.cmf")
    assert json.loads(process.stdout.readline())["files"]
    until = time.monotonic() + 30
    while not (tmp_path / "bad" / "bad.cmf").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # whoever starts the tests may ignore SIGINT, which is inherited
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert f"watching {inbox}" in errors
    assert (tmp_path / "bad" / "bad.cmf.why.txt").exists()
    check_nothing_is_left_over(db)


@pytest.mark.parametrize("words", [["a", "b", "--watch"], ["a", "--watch", "--dry-run"], ["absent", "--watch"],
                                   [".", "--watch", "--every", "0"], [".", "--watch", "--pattern", "/*"],
                                   [".", "--watch", "--pattern", ""], [".", "--watch", "--pattern", "**.cmf"],
                                   [".", "--watch", "--quarantine", "."]])  # fmt: skip
def test_watching_what_cannot_be_watched_is_refused(db: Database, words: list[str]) -> None:
    assert main(["addstar", str(db.root), *words]) == 2
