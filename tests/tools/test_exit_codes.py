"""Whatever command fails, its exit code says who has to act."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
import pytest

import skydb.database as database
from skydb.tools.cli import Commands, cli, main

ON_A_DATABASE = {
    "photcodes": "", "status": "", "log": "", "snapshots": "", "tag": "PV1", "addstar": "a.smf", "refresh": "",
    "compact": "", "relcal": "", "calibrations": "", "sql": "SELECT", "explain": "SELECT", "cone": "1 2 3",
    "lightcurve": "7", "report": "", "release": "out", "score": "truth", "diff": "0", "rollback": "0", "gc": "",
    "fsck": "", "hosts": "", "delete": "--image 7", "table": "", "addrows": "starpar a.parquet",
    "merge": "other.sky", "import-dvo": "catdir",
}  # fmt: skip
"""Commands whose first argument is a database, with the arguments that follow."""
MAKE_A_FOLDER = {"create", "demo", "simulate", "bench"}


def all_commands() -> list[str]:
    return Commands().list_commands(click.Context(cli))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an empty database `t.sky` in it."""
    monkeypatch.chdir(tmp_path)
    database.create("t.sky")
    return tmp_path


def test_every_command_is_in_the_tables_here() -> None:
    assert {*ON_A_DATABASE, *MAKE_A_FOLDER} >= set(all_commands())


@pytest.mark.parametrize("name", sorted(ON_A_DATABASE))
@pytest.mark.parametrize("where", ["absent.sky", "", "folder"])
def test_missing_database_is_the_callers_to_mend(
    name: str, where: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty / "folder").mkdir()
    assert main([name, where, *ON_A_DATABASE[name].split()]) == 2
    said = capsys.readouterr().err
    assert ("there is no skydb database here; make one with" if where else "the path is empty; name a") in said
    assert sorted(p.name for p in empty.iterdir()) == ["folder", "t.sky"]


def test_folder_whose_name_is_no_text_is_refused_with_advice(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.fsdecode(b"l\xe4t")
    os.mkdir(folder)
    for words in (["create", folder], ["status", f"{folder}/t.sky"], ["hosts", "t.sky", "add", "b", folder]):
        assert main(words) == 2
        assert re.search(r"l\\xe4t.* no text in UTF-8; rename the folder", capsys.readouterr().err)


@pytest.mark.parametrize("name", all_commands())
def test_unknown_option_is_the_callers_to_mend(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--no-such-option"]) == 2
    assert f"(see skydb {name} --help)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        "photcodes t.sky --import absent", "addstar t.sky absent", "addstar t.sky t.sky",
        "addstar t.sky absent --mapping m", "score t.sky absent", "status t.sky --at 99", "log t.sky --at nope",
        "relcal t.sky --bands q", "relcal t.sky", "release t.sky out", "release t.sky t.sky", "create t.sky",
        "simulate t.sky", "hosts t.sky drain x", "hosts t.sky add b no/such/folder", "hosts t.sky backup --copies 2",
        "hosts t.sky add m memory://x", "merge t.sky absent", "merge t.sky t.sky", "merge t.sky u.sky --radius=-1",
        "import-dvo t.sky absent", "import-dvo t.sky t.sky",
    ],
)  # fmt: skip
def test_what_is_not_there_is_the_callers_to_mend(call: str, empty: Path) -> None:
    assert main(call.split()) == 2


@pytest.mark.parametrize(
    "call",
    [
        "addstar t.sky a --exclude-photflags zz", "addstar t.sky a --exclude-photflags=-1",
        "addstar t.sky a --radius=-1", "addstar t.sky a --radius wide", "addstar t.sky a --max-mag-err 0",
        "addstar t.sky a --association x", "relcal t.sky --exclude-photflags 0x100000000",
        "relcal t.sky --max-mag-err nan", "relcal t.sky --brightest 0", "cone t.sky 1 2 3furlong",
        "release t.sky out --margin x", "tag t.sky 9x", "create u.sky --cell-rows 0",
        "photcodes t.sky --add R --zero-point 25", "simulate out --preset x",
    ],
)  # fmt: skip
def test_malformed_option_is_the_callers_to_mend(call: str, empty: Path) -> None:
    assert main(call.split()) == 2


@pytest.mark.parametrize("call", [["create", ""], ["release", "t.sky", " "], ["simulate", ""], ["demo", ""]])
def test_empty_path_is_not_the_current_folder(
    call: list[str], empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(empty.iterdir())
    assert main(call) == 2
    assert "the path is empty; name a directory" in capsys.readouterr().err
    assert sorted(empty.iterdir()) == before


def test_full_directory_is_left_alone_and_nobody_is_told_to_remove_it(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty / "mine").mkdir()
    (empty / "mine" / "thesis.tex").touch()
    for call in ("create mine", "release t.sky mine", "simulate mine", "demo mine"):
        assert main(call.split()) == 2
        assert "remove it" not in capsys.readouterr().err
    assert (empty / "mine" / "thesis.tex").exists()


def test_damaged_file_is_for_its_maker_to_mend(empty: Path) -> None:
    (empty / "broken.smf").write_bytes(b"SIMPLE  =")
    (empty / "table").write_text("1 g sec\n")
    assert main(["addstar", "t.sky", "broken.smf"]) == 3
    assert main(["photcodes", "t.sky", "--import", "table"]) == 3
