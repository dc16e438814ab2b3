"""The frame of the command line: loading, errors, exit codes, output."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skydb.tools import cli, stops
from skydb.tools import commands as package

FAKE = '''
import os
import signal
import time
import warnings

import click
from skydb.errors import BusyError, DataError, SkydbError, UsageError
from skydb.store.scratch import MissingCopyWarning
from skydb.tools.output import emit, json_option, progress, workers_option

ERRORS = {
    "usage": UsageError("no band named 'q'", "photcodes", "did you mean 'g'?"),
    "data": DataError("short file", "a.fits"),
    "busy": BusyError("locked"), "root": SkydbError("a worker\\nprocess died"), "fault": KeyError("x"),
    "os": FileNotFoundError(2, "No such file or directory", "a.fits"), "stop": KeyboardInterrupt(),
    "full": OSError(28, "No space left on device", "a.parquet"),
}

@click.command()
@click.argument("how", default="well")
@json_option
@workers_option
def command(how, as_json, workers):
    """Do something."""
    with progress("doing") as show:
        assert show is None
    if how in ERRORS:
        raise ERRORS[how]
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(0.01)
    if how in ("dropped", "dropped-late"):
        for _ in range(2):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                pass
            if how == "dropped":
                time.sleep(10)
    if how == "many":
        for row in range(100_000):
            emit({"row": row})
    if how == "warned":
        for _ in range(2):
            warnings.warn("no second copy", MissingCopyWarning, stacklevel=1)
    if how == "three":
        return 3
    emit({"how": how, "workers": workers, "mean": float("nan")}, as_json=as_json)
'''


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add a command named fake-verb."""
    (tmp_path / "fake_verb.py").write_text(FAKE)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(cli, "COMMANDS", {"Fakes": {"fake-verb": "Do something.", "not-there": "Is not there."}})
    monkeypatch.delitem(sys.modules, "skydb.tools.commands.fake_verb", raising=False)
    return tmp_path


def test_help_lists_only_commands_that_are_there(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Fakes:\n  fake-verb  Do something." in text
    assert "not-there" not in text


def test_help_loads_no_command(fake: Path) -> None:
    assert cli.main(["--help"]) == 0
    assert "skydb.tools.commands.fake_verb" not in sys.modules


def test_every_command_has_help(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake-verb", "-h"]) == 0
    text = capsys.readouterr().out
    assert "Usage: skydb fake-verb" in text
    assert text.count("--debug") == 1


def test_result_is_text_for_people(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake-verb", "--workers", "2"]) == 0
    assert capsys.readouterr().out == "how      well\nworkers  2\nmean\n"


@pytest.mark.filterwarnings("always")
def test_warning_is_one_line_once(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake-verb", "warned"]) == 0
    assert capsys.readouterr().err == "skydb: no second copy\n"


def test_result_is_one_object_with_json(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake-verb", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"how": "well", "workers": None, "mean": None}


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("usage", 2, "skydb: photcodes: no band named 'q'; did you mean 'g'?\n"),
        ("data", 3, "skydb: a.fits: short file\n"),
        ("busy", 4, "skydb: locked\n"),
        ("root", 1, "skydb: a worker process died\n"),
        ("os", 1, "skydb: a.fits: No such file or directory\n"),
        ("stop", 130, "\nskydb: interrupted\n"),
        ("SIGTERM", 143, "\nskydb: terminated\n"),
        ("SIGHUP", 129, "\nskydb: hung up\n"),
        ("full", 3, "skydb: a.parquet: no space left on device; "
                    "free some space and run the command again: nothing is left half done\n"),
    ],
)
def test_error_is_one_line_and_an_exit_code(
    fake: Path, capsys: pytest.CaptureFixture[str], how: str, code: int, line: str
) -> None:
    assert cli.main(["fake-verb", how]) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(("how", "answer"), [("dropped", False), ("dropped-late", True)])
def test_signal_whose_exception_is_dropped_stops_the_command(
    fake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str, answer: bool
) -> None:
    """By the import of a module that C code finds it can do without; or so late that nothing is left to be stopped."""
    if how == "dropped-late":
        monkeypatch.setattr(stops, "AGAIN_S", 1.0)
    assert cli.main(["fake-verb", how]) == 143
    said = capsys.readouterr()
    assert (bool(said.out), said.err.lstrip()) == (answer, "skydb: terminated\n")


def test_signal_that_the_caller_ignores_stays_ignored(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(["fake-verb", "SIGHUP"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "SIGHUP" in capsys.readouterr().out


def test_signals_mean_afterwards_what_they_meant_before(fake: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["fake-verb", "SIGTERM"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_fault_says_so_in_one_line(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake-verb", "fault"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("skydb: KeyError: 'x' (this is a fault of skydb")
    assert text.count("\n") == 1


@pytest.mark.parametrize("words", [["--debug", "fake-verb", "data"], ["fake-verb", "data", "--debug"]])
def test_debug_shows_the_traceback_in_either_place(
    fake: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert cli.main(words) == 3
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert text.endswith("skydb: a.fits: short file\n")


def test_exit_code_of_a_command_is_that_of_the_process(fake: Path) -> None:
    assert cli.main(["fake-verb", "three"]) == 3


def test_unknown_command_is_answered_with_the_closest(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fakeverb"]) == 2
    assert capsys.readouterr().err == (
        "skydb: no command named 'fakeverb'; did you mean 'fake-verb'? (see skydb --help)\n"
    )


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers", "two"], ["--nonsense"], ["a", "b"]])
def test_wrong_call_points_to_the_help(fake: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert cli.main(["fake-verb", *words]) == 2
    text = capsys.readouterr().err
    assert text.endswith("(see skydb fake-verb --help)\n")
    assert text.count("\n") == 1


def test_closed_pipe_ends_quietly(fake: Path) -> None:
    script = (
        "import sys; from skydb.tools import cli, commands;"
        f"commands.__path__.append({str(fake)!r}); cli.COMMANDS = {{'Fakes': {{'fake-verb': ''}}}};"
        "sys.exit(cli.main(['fake-verb', 'many']))"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"row  0\n"
    run.stdout.close()
    assert run.stderr is not None
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() == 141


def test_answer_that_stdout_does_not_take_is_lost_and_what_was_done_is_not(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        assert cli.main(["fake-verb"]) == 3
    assert capsys.readouterr().err == (
        "skydb: stdout: No space left on device; what was to be printed is lost; what the command has done stands\n"
    )


@pytest.mark.parametrize("how", ["well", "data"])
def test_closed_streams_change_no_exit_code(fake: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    code = cli.main(["fake-verb", how])
    for stream in (sys.stdout, sys.stderr):
        stream.close()
    assert code == {"well": 0, "data": 3}[how]


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    import skydb

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"skydb {skydb.__version__}\n"


def test_every_command_that_is_there_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    names = cli.Commands().list_commands(cli.click.Context(cli.cli))
    for name in names:
        assert cli.main([name, "--help"]) == 0
        assert f"skydb {name} " in capsys.readouterr().out.split("Usage:")[1].split("\n", 1)[1], name


def test_every_command_module_is_in_the_table() -> None:
    modules = {path.stem.replace("_", "-") for path in Path(package.__path__[0]).glob("*.py")} - {"--init--"}
    assert modules <= {name for section in cli.COMMANDS.values() for name in section}
