"""`skydb simulate`: what it accepts, says and writes."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from skydb.errors import UsageError
from skydb.tools.cli import main
from skydb.tools.commands.simulate import switch_names
from skydb.tools.simulate import SWITCHES, simulate

SMALL = ["--detections", "600", "--seed", "5"]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def test_survey_is_written_with_its_truth_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path / "sim"), *SMALL, "--workers", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(list((tmp_path / "sim" / "exposures").glob("*.smf"))) == said["exposures"]
    assert {p.name for p in (tmp_path / "sim").iterdir()} == {"exposures", "photcodes.dat", "survey.toml", "truth"}
    assert said["detections"] == pytest.approx(600, rel=0.2)


def test_same_seed_writes_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    for name, workers in (("one", "1"), ("two", "2")):
        assert main(["simulate", str(tmp_path / name), *SMALL, "--workers", workers]) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_survey_in_the_place_of_another_is_its_own(tmp_path: Path) -> None:
    for name, seed in (("old", 5), ("new", 6)):
        simulate(tmp_path / name, preset="small", detections=600, seed=seed)
    shutil.rmtree(tmp_path / "old")
    simulate(tmp_path / "old", preset="small", detections=600, seed=6)
    assert digests(tmp_path / "old") == digests(tmp_path / "new")


def test_help_lists_every_switch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert set(SWITCHES) <= {words[0] for words in lines if words}


def test_switches_reach_the_survey(tmp_path: Path) -> None:
    assert main(["simulate", str(tmp_path / "sim"), *SMALL, "--without", "flats, clouds", "--workers", "1"]) == 0
    assert 'without = ["clouds", "flats"]' in (tmp_path / "sim" / "survey.toml").read_text()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--preset", "smal"], "did you mean 'small'?"),
        (["--without", "cloud"], "did you mean 'clouds'?"),
        (["--detections", "0"], "give a positive number"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_wrong_call_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert main(["simulate", str(tmp_path / "sim"), *words]) == 2
    assert text in capsys.readouterr().err


def test_folder_with_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert main(["simulate", str(tmp_path), *SMALL]) == 2
    assert "not empty" in capsys.readouterr().err


def test_list_with_an_empty_name_is_refused() -> None:
    with pytest.raises(UsageError, match="a name is empty"):
        switch_names("flats,,clouds")
