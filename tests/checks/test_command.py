"""`skydb fsck`: what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest

from skydb.database import Database
from skydb.store.layout import CATALOG
from skydb.tools.cli import main
from tests.checks.damages import file_of, flip, path_of


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["fsck", *words, "--workers", "1"])
    return code, capsys.readouterr().out


def test_sound_database_ends_with_0_and_one_line(pristine: Database, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, str(pristine.root))
    assert code == 0
    assert said.startswith("clean: 4 cells, ")
    assert said.count("\n") == 1


def test_damage_ends_with_3_until_it_is_mended(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    file = file_of(db, "objects")
    flip(path_of(db, file))
    code, said = run(capsys, str(db.root), "--json")
    assert code == 3
    (finding,) = json.loads(said)["findings"]
    assert (finding["kind"], finding["file"], finding["severity"]) == ("file-damaged", file.path, "damage")
    code, said = run(capsys, str(db.root), "--repair")
    assert code == 0
    assert f"damage  file-damaged: cell {file.norder}/{file.npix}, {file.path}" in said
    assert "after the repair:" in said
    assert run(capsys, str(db.root))[0] == 0


def test_repair_that_gave_rows_up_ends_with_3_and_the_next_check_with_0(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    path_of(db, file_of(db, "measurements")).unlink()
    code, said = run(capsys, str(db.root), "--repair")
    assert code == 3
    assert "lost    table measurements" in said
    assert run(capsys, str(db.root))[0] == 0


def test_lost_catalog_says_how_it_comes_back(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    (db.root / CATALOG).unlink()
    code, said = run(capsys, str(db.root))
    assert code == 3
    assert "--rebuild-catalog" in said
    code, said = run(capsys, str(db.root), "--rebuild-catalog")
    assert code == 0
    assert said.startswith("rebuilt the catalog from ")
