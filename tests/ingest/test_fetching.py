"""Files at URLs: fetched, ingested under their names, and known again."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

import skydb
from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest.addstar import addstar
from tests.ingest.skies import (
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
)
from tests.servers import http_server


def test_a_url_gives_what_the_file_gives(db: Database, night: list[Path], tmp_path: Path) -> None:
    near = new_database(tmp_path / "near.sky")
    addstar(near, night, workers=1)
    with http_server(night[0].parent) as served:
        urls = [f"{served.url}/{path.name}" for path in night]
        report = addstar(db, urls, workers=2)
        assert [(f.file, f.status) for f in report.files] == [(url, "ingested") for url in urls]
        assert_same(contents(db), contents(near))
        assert [f.status for f in addstar(db, [*urls, night[0]], workers=1).files] == ["known"] * 5
    check_conservation(db)
    check_nothing_is_left_over(db)
    assert skydb.delete(db, files=urls[0], workers=1).n_images == 1


def test_what_cannot_be_had_is_reported_and_the_others_go_on(db: Database, night: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "served"
    shutil.copytree(night[0].parent, folder)
    (folder / "cut.cmf").write_bytes(night[0].read_bytes()[:20_000])
    names = ["absent.cmf", "forbidden.cmf", "broken.cmf", "cut.cmf", night[0].name]
    answers = {"/forbidden.cmf": 403, "/broken.cmf": 500}
    with http_server(folder) as served:
        served.answers = answers.get
        urls = [f"{served.url}/{name}" for name in names]
        report = addstar(db, urls, workers=1, quarantine=tmp_path / "bad")
    assert [(f.status, f.exit_code) for f in report.files] == [
        ("failed", 2), ("failed", 3), ("failed", 4), ("failed", 3), ("ingested", 0),
    ]  # fmt: skip
    assert all(url in (f.error or url) for url, f in zip(urls, report.files, strict=True)), "errors name the URL"
    assert "/work/" not in (report.files[3].error or "")
    assert not (tmp_path / "bad").exists()
    check_nothing_is_left_over(db)


def test_wildcards_are_those_of_the_server(db: Database, night: list[Path]) -> None:
    memory = fsspec.filesystem("memory")
    for path in night:
        memory.pipe(f"/night-of-{id(db)}/{path.name}", path.read_bytes())
    report = addstar(db, f"memory://night-of-{id(db)}/*.cmf", workers=1)
    assert [f.status for f in report.files] == ["ingested"] * 4
    with pytest.raises(UsageError, match="nothing matches"):
        addstar(db, f"memory://night-of-{id(db)}/*.smf", workers=1)
    with pytest.raises(UsageError, match="nothing reads nowhere://"):
        addstar(db, "nowhere://x/*.smf", workers=1)
    assert addstar(db, "nowhere://x/y.smf", workers=1).files[0].status == "failed"


def test_patterns_of_paths_are_the_files_that_match(
    db: Database, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "all" / "night2" / "late"
    deep.mkdir(parents=True)
    shutil.copy(night[0], tmp_path / "all" / "a.cmf")
    shutil.copy(night[1], deep / "b.cmf")
    shutil.copy(night[2], deep / "c[1].cmf")
    monkeypatch.chdir(tmp_path)
    assert [f.file for f in addstar(db, "all/*.cmf", workers=1, dry_run=True).files] == ["all/a.cmf"]
    both = addstar(db, ["all/**", "all/*.smf", "all/?.cmf"], workers=1, dry_run=True).files
    assert [f.file for f in both[:3]] == ["all/a.cmf", "all/night2/late/b.cmf", "all/night2/late/c[1].cmf"]
    assert (both[3].status, both[3].exit_code) == ("failed", 2)
    assert "all/*.smf: cannot be opened: No such file or directory, and nothing matches" in str(both[3].error)
    assert len(both) == 4, "what two patterns match comes once"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(db: Database, night: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "c[1].cmf"
    shutil.copy(night[0], odd)
    shutil.copy(night[1], tmp_path / "c1.cmf")
    assert [f.file for f in addstar(db, str(odd), workers=1).files] == [str(odd)]
    odd.unlink()
    (gone,) = addstar(db, odd, workers=1).files
    assert (gone.file, gone.status) == (str(odd), "failed"), "what is given as a path is no pattern"
