"""`skydb bench`: systems take turns and must agree; every case runs on a small survey."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skydb.errors import DataError, UsageError
from skydb.tools.bench import BenchReport, bench, many_cells, tasks
from skydb.tools.bench.case import OURS, Case, Figure, Timing, measure
from skydb.tools.bench.run import GROUPS, duration, line_of, text_row
from skydb.tools.cli import main


def case(calls: list[str], *, answer: int = 1, **more: int) -> Case:
    def system(name: str, found: int):
        return lambda: calls.append(name) or found

    return Case("one", "group", "a job", {OURS: system(OURS, 1), "peer": system("peer", answer)}, **more)


def test_systems_take_turns_after_a_round_that_does_not_count() -> None:
    calls: list[str] = []
    figure = measure(case(calls), repeat=3)
    assert calls == [OURS, "peer"] * 4
    assert [len(t.seconds) for t in figure.timings.values()] == [3, 3]


def test_long_job_is_done_once() -> None:
    calls: list[str] = []
    measure(case(calls, repeat=1), repeat=5)
    assert calls == [OURS, "peer"]


def test_no_time_counts_when_answers_differ() -> None:
    with pytest.raises(DataError, match="peer and skydb disagree: 2 against 1"):
        measure(case([], answer=2), repeat=1)


def test_ratio_is_that_within_rounds() -> None:
    figure = Figure(case([]), {OURS: Timing((1.0, 20.0, 3.0)), "peer": Timing((2.0, 40.0, 1.0))})
    assert figure.ratio("peer") == 0.5
    assert text_row(figure)["ratio"] == "0.50"
    assert line_of(figure) == "one (a job): skydb 3 s, peer 2 s"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def report(folder: Path) -> BenchReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many_cells, "CELLS", 300)
        patch.setattr(many_cells, "REWRITTEN", 50)
        patch.setattr(tasks, "TASKS", 50)
        return bench(folder, detections=10_000, repeat=1, workers=1)


def test_every_case_runs_and_all_systems_agree(report: BenchReport, folder: Path) -> None:
    named = {figure.case.name: figure for figure in report.figures}
    assert list(named) == [name for module in GROUPS.values() for name in module.NAMES]
    assert all(seconds > 0 for figure in report.figures for t in figure.timings.values() for seconds in t.seconds)
    assert named["cone 1'"].peers == ["DuckDB, tuned"]
    assert json.loads((folder / "bench.json").read_text()) == json.loads(json.dumps(report.as_dict()))


def test_second_run_takes_what_the_first_made(
    report: BenchReport, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["bench", str(folder), "--detections", "10000", "--repeat", "1", "--only", "scan", "--only", "light*"]
    assert main([*asked, "--json"]) == 0
    captured = capsys.readouterr()
    assert [row["case"] for row in json.loads(captured.out)["cases"]] == ["light curve", "scan"]
    assert "simulating" not in captured.err
    assert main(asked) == 0
    assert "DuckDB, tuned" in capsys.readouterr().out


def test_other_survey_in_the_folder_is_refused(report: BenchReport, folder: Path) -> None:
    with pytest.raises(UsageError, match="another survey is there"):
        bench(folder, detections=30_000, repeat=1)


def test_case_that_does_not_exist_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="no case or group is named 'nothing'"):
        bench(folder, detections=10_000, only=["nothing"])


def test_durations_have_a_unit_that_suits_them() -> None:
    assert [duration(s) for s in (0.00042, 0.31, 1.0, 114.2)] == ["0.42 ms", "310 ms", "1 s", "114 s"]
