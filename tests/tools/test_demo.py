"""`skydb demo`, small: every step runs, says what it did, and leaves what it promises."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import skydb
from skydb.errors import UsageError
from skydb.tools import demo_steps
from skydb.tools.cli import main
from skydb.tools.demo import DemoReport, Step, run_demo
from skydb.tools.demo_steps import PARTS, STEPS, Scene, plot


@pytest.fixture(scope="module")
def shown() -> list[Step]:
    """The steps as they were shown while the demo ran."""
    return []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, shown: list[Step]) -> DemoReport:
    return run_demo(tmp_path_factory.mktemp("demo") / "here", detections=8_000, on_step=shown.append)


def numbers(report: DemoReport, name: str) -> dict:
    return next(step.numbers for step in report.steps if step.name == name)


def test_every_step_is_shown_with_its_command_and_seconds(report: DemoReport, shown: list[Step]) -> None:
    assert [step.name for step in report.steps] == list(STEPS)
    assert list(report.steps) == shown
    assert all(line.startswith(f"skydb {s.name}") for s in shown[:-1] for line in s.command.splitlines()[:1])
    assert all(step.text and step.seconds > 0 for step in shown)
    assert sum(step.seconds for step in shown) <= report.seconds + 0.01  # they are rounded


def test_folder_holds_what_the_demo_promises(report: DemoReport) -> None:
    assert {path.name for path in Path(report.folder).iterdir()} == set(PARTS)
    for name in PARTS[-2:]:
        assert (Path(report.folder) / name).read_bytes()[:4] == b"\x89PNG"
        assert (Path(report.folder) / name).stat().st_size > 20_000


def test_counts_are_the_databases_own(report: DemoReport) -> None:
    made, stored, released = (numbers(report, name) for name in ("simulate", "addstar", "release"))
    assert stored["n_in"] == made["detections"] == stored["n_matched"] + stored["n_new"] + stored["n_rejected"]
    with skydb.connect(Path(report.folder) / "survey.sky") as connection:
        query = "SELECT count(*) AS objects, sum(n_measurements) AS measurements FROM objects"
        counts = connection.sql(query).arrow().to_pylist()[0]
        star = numbers(report, "lightcurve")
        assert len(connection.lightcurve(star["object_id"]).arrow()) == star["measurements"]
    assert (released["objects"], released["measurements"]) == (counts["objects"], counts["measurements"])


def test_calibration_is_nearer_to_the_truth_than_the_headers(report: DemoReport) -> None:
    score = numbers(report, "score")
    assert score["rms_mmag"] < score["header_rms_mmag"]
    assert score["fraction_right"] > 0.99


def test_commands_that_are_shown_give_the_same(report: DemoReport, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("sql", "cone", "lightcurve"):
        step = next(s for s in report.steps if s.name == name)
        assert main([*shlex.split(step.command)[1:], "--format", "csv"]) == 0
        rows = list(csv.DictReader(capfd.readouterr().out.splitlines()))
        if name == "sql":
            assert [{k: v if k == "band" else float(v) for k, v in r.items()} for r in rows] == step.numbers["rows"]
        else:
            assert len(rows) == step.numbers["objects" if name == "cone" else "measurements"]


def test_release_is_a_hats_collection(report: DemoReport) -> None:
    files = sorted((Path(report.folder) / "dr1").rglob("Npix=*.parquet"))
    assert files
    assert {"object_id", "ra", "dec"} <= set(pq.read_schema(files[0]).names)


def test_without_matplotlib_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_steps, "find_spec", lambda name: None)
    outcome = plot(Scene(tmp_path, 1, None, 1), None)
    assert "matplotlib is not installed" in outcome.text
    assert outcome.numbers == {"plots": []}


def test_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="it holds mine"):
            run_demo(tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match="is not a folder"):
        run_demo(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "keep"


def test_earlier_demo_is_replaced_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skydb.tools.demo.STEPS", {})
    (tmp_path / "survey.sky").mkdir()
    (tmp_path / "survey.sky" / "catalog.sqlite").write_text("")
    with pytest.raises(UsageError, match="--overwrite"):
        run_demo(tmp_path)
    run_demo(tmp_path, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_command_prints_steps_or_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {name: STEPS[name] for name in ("simulate", "create")}
    monkeypatch.setattr("skydb.tools.demo.STEPS", first)
    words = ["demo", str(tmp_path / "d"), "--detections", "500"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert f"\n$ skydb simulate {tmp_path / 'd'}/survey --preset small --detections 500 --seed 7\n    " in text
    assert "all of it is in" in text
    assert main([*words, "--overwrite", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in said["steps"]] == list(first)
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
