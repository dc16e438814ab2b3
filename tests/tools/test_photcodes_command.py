"""skydb photcodes, and the page that describes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import skydb.database as database
from skydb.ingest.readers.mapping import load_mapping
from skydb.photcodes import add_photcode, stored_photcodes
from skydb.schema.photcode import Photcode, code_of_name
from skydb.tools.cli import main
from tests.ingest.catalog_files import sources, write_ldac
from tests.test_docs import PROJECT, run_page

PAGE = PROJECT / "docs" / "how-to" / "photcodes.md"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(database.create(tmp_path / "t.sky").root)


def test_examples_of_the_page_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = re.search(r"```text\n(# number.*?)```", PAGE.read_text(), re.S)
    assert table is not None
    (tmp_path / "camera.photcodes").write_text(table[1])
    write_ldac(tmp_path / "night.ldac", [({}, sources(20))])
    monkeypatch.chdir(tmp_path)
    run_page(PAGE)
    chip = stored_photcodes(database.open("camera.sky")).by_name("CAM.R.2")
    assert (chip.zero_point, chip.photometry_err_sys) == (25.0, pytest.approx(0.006))
    assert (chip.astrometry_bad_mask, chip.photometry_poor_mask, chip.photometry_bad_mask) == (4, 3, 4)
    color = stored_photcodes(database.open("camera.sky")).by_name("CAM.g")
    assert (color.color_1, color.color_2, color.color_terms, color.color_offset_mmag) == ("g", "R", (0.03,), 500)


def test_table_in_the_help_can_be_imported(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["photcodes", "--help"]) == 0
    lines = re.findall(r"^ +(\d+ .*)$", capsys.readouterr().out, re.M)
    (tmp_path / "table").write_text("\n".join(lines))
    assert main(["photcodes", path, "--import", str(tmp_path / "table")]) == 0
    assert capsys.readouterr().out == "added     2\nsnapshot  1\n"
    assert stored_photcodes(database.open(path)).by_name("CAM.R").zero_point == 25.1


def test_photcode_is_added_without_a_file(path: str) -> None:
    assert main(["photcodes", path, "--add", "R"]) == 0
    assert main(["photcodes", path, "--add", "C.R", "--band", "R", "--zero-point", "25.1", "--airmass-slope=-0.1"]) == 0
    assert main(["photcodes", path, "--add", "GAIA.G", "--reference"]) == 0
    assert set(stored_photcodes(database.open(path))) == {
        Photcode(code_of_name("R"), "R", "SEC"),
        Photcode(code_of_name("C.R"), "C.R", "DEP", "R", 25_100, -0.1),
        Photcode(code_of_name("GAIA.G"), "GAIA.G", "REF"),
    }


def test_added_photcode_is_the_one_that_a_mapping_declares(tmp_path: Path) -> None:
    db = database.create(tmp_path / "t.sky")
    declared = load_mapping("tycho2").photcodes[0]
    assert declared.code == code_of_name(declared.name)
    assert add_photcode(db, declared) == 1
    assert add_photcode(db, declared) == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("--add C.R --band R", 2, "no band named 'R'; known: r; a band is a photcode too"),
        ("--add C.r --band r --zero-point nan", 2, "the zero point is nan"),
        ("--add C.r --zero-point 25", 2, "a photcode that measures a --band"),
        ("--add C.r --reference --airmass-slope=-1", 2, "a photcode that measures a --band"),
        ("--zero-point 25", 2, "go with --add"),
        ("--add C.r --import x", 2, "not both"),
        ("--add mag", 2, "is no photcode name"),
        ("--add C.g --band r", 3, "it is defined differently already"),
        ("--import absent", 2, "absent: cannot be opened: No such file"),
        ("--import empty", 3, "empty: there is no photcode in it; see `skydb photcodes --help`"),
    ],
)
def test_wrong_call_says_what_to_do(
    path: str, words: str, code: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("# nothing\n")
    db = database.open(path)
    add_photcode(db, Photcode(code_of_name("r"), "r", "SEC"))
    add_photcode(db, Photcode(code_of_name("C.g"), "C.g", "DEP"))
    before = db.snapshot().id
    assert main(["photcodes", path, *words.split()]) == code
    assert text in capsys.readouterr().err
    assert db.snapshot().id == before


def test_ingest_into_a_new_database_says_how_to_get_photcodes(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_ldac(tmp_path / "night.ldac", [({}, sources(5))]))
    assert main(["addstar", path, file, "--photcode", "C.R"]) == 2
    assert "no photcode named 'C.R'; there are no photcodes yet: `skydb photcodes DB` adds" in capsys.readouterr().err
    main(["photcodes", path, "--add", "R"])
    assert main(["addstar", path, file, "--photcode", "C.R"]) == 2
    assert "known: R (`skydb photcodes DB` lists all and adds more" in capsys.readouterr().err
    assert main(["addstar", path, file]) == 3
    assert "give one with --photcode: one that `skydb photcodes DB` lists" in capsys.readouterr().out
