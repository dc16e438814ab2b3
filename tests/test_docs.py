"""The examples of README, tutorials and of some how-to pages run, page by page, top to bottom, in an empty folder.

Every ```python and ```console block of a page is run in order; Python blocks of a page share their names. What must
not run says why on the line before it: <!-- not run: why -->. In a console block, lines that begin with `$ ` are
commands; lines after a command, if any, must be its output (`...` stands for any text). A Python block written with
`>>>` is checked in the same way.

What takes time is done once: `skydb …` runs in this process where no shell is needed, and what a page begins with (it
simulates a survey and ingests it) is copied where another page began alike.
"""

from __future__ import annotations

import doctest
import glob
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skydb.tools.cli import main

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
HOW_TO = (
    "add-a-survey", "ask", "back-up-and-restore", "calibrate", "delete-images", "extension-tables", "ingest-nights",
    "merge", "move-hosts", "psphot-files", "read-from-anywhere", "recover-from-damage", "release-a-catalog",
    "snapshots",
)  # fmt: skip
PAGES = [PROJECT / "README.md", *sorted((DOCS / "tutorials").glob("*.md")), *(DOCS / f"how-to/{n}.md" for n in HOW_TO)]
BLOCK = re.compile(
    r"(?P<skip><!-- not run: (?P<why>[^>]*?) -->\n)?^```(?P<kind>python|console)\n(?P<text>.*?)^```$", re.M | re.S
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FIRST = 4
"""Commands that many pages begin with: they simulate a survey and ingest it."""


@dataclass(frozen=True)
class Block:
    """One example of a page."""

    kind: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The examples of a page that run."""
    found = []
    for match in BLOCK.finditer(page):
        if match["skip"] is None:
            found.append(Block(match["kind"], match["text"], page.count("\n", 0, match.start("text")) + 1))
        assert match["why"] != "", "say why the block is not run"
    return found


def run_page(path: Path, begun: dict[Any, Path] | None = None) -> None:
    """Run the examples of a page in the current folder; `begun` keeps what the first commands of others left."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(path.read_text())):
        where = f"{path.name}, line {block.line}"
        if block.kind == "console":
            run_console(block.text, where, begun if number == 0 else None)
        elif block.text.lstrip().startswith(">>>"):
            run_session(block.text, names, where)
        else:
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), names)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that the page shows."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        lines = re.sub(r"\\\n", "", part).split("\n", 1)
        yield lines[0], lines[1] if len(lines) > 1 else ""


def run_console(text: str, where: str, begun: dict[Any, Path] | None = None) -> None:
    """Run the commands of a block; each must succeed and print what the page shows."""
    listed = list(commands(text))
    first, rest = tuple(listed[:FIRST]), listed[FIRST:]
    if begun is None or first not in begun:
        for command, shown in first:
            run_command(command, shown, where)
        if begun is not None and rest:
            begun[first] = Path(shutil.copytree(".", Path.cwd().with_name(f"begun-{len(begun)}")))
    else:
        shutil.copytree(begun[first], ".", dirs_exist_ok=True)
    for command, shown in rest:
        run_command(command, shown, where)


def run_command(command: str, shown: str, where: str) -> None:
    code, said, complaint = in_process(words) if (words := words_of(command)) else in_shell(command)
    assert code == 0, f"{where}: {command}\n{complaint}"
    if shown.strip():
        assert doctest.OutputChecker().check_output(shown, said, FLAGS), f"{where}: {command}\n{said}"


def words_of(command: str) -> list[str]:
    """The words of a command of skydb as a shell splits them; none if only a shell can run it."""
    split = shlex.shlex(command, posix=True, punctuation_chars=True)
    split.whitespace_split = True  # a comma, say, is no punctuation of shells
    words = list(split)
    if words[0] != "skydb" or "$" in command or any(set(word) <= set("();<>|&") for word in words):
        return []
    return [found for word in words[1:] for found in (sorted(glob.glob(word)) if "*" in word else []) or [word]]


def in_process(words: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command of skydb."""
    said, complaint = io.BytesIO(), io.BytesIO()
    with redirect_stdout(as_text(said)) as out, redirect_stderr(as_text(complaint)) as err:
        code = main(words)
        out.flush(), err.flush()
        return code, said.getvalue().decode(), complaint.getvalue().decode()


def as_text(stream: io.BytesIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, "utf-8", write_through=True)


def in_shell(command: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of any command."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(command, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path})
    return run.returncode, run.stdout, run.stderr


def run_session(text: str, names: dict[str, Any], where: str) -> None:
    """Run a Python block written with prompts."""
    said: list[str] = []
    session = doctest.DocTestParser().get_doctest(text, names, where, None, 0)
    failed = doctest.DocTestRunner(optionflags=FLAGS).run(session, out=said.append, clear_globs=False).failed
    names.update(session.globs)
    assert failed == 0, "".join(said)


@pytest.fixture(scope="module")
def begun() -> dict[Any, Path]:
    """What the first commands of pages left, by those commands and the output that the pages show."""
    return {}


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p.read_text())], ids=lambda p: p.name)
def test_examples_of_the_page_run(
    page: Path, begun: dict[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "import lsdb" in page.read_text():
        pytest.importorskip("lsdb")  # and its import's own warnings are no errors of the page
    run_page(page, begun)


def test_command_runs_in_a_shell_where_it_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.smf").touch(), (tmp_path / "a.smf").touch()
    assert words_of("skydb sql *.smf 'n(*) > 0 | 1' a,b  # all") == ["sql", "a.smf", "b.smf", "n(*) > 0 | 1", "a,b"]
    for command in ("ls", "skydb log | wc", "skydb log >f", "skydb log; ls", "skydb log || ls", "skydb log $DB"):
        assert words_of(command) == []


def write_page(folder: Path, *lines: str) -> Path:
    path = folder / "page.md"
    path.write_text("\n".join(lines))
    return path


def test_blocks_share_names_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ["```python", "n = 1", "```", "```console", "$ echo 2 > n", "$ cat n", "2", "```"]
    session = [">>> import pathlib", ">>> n + int(pathlib.Path('n').read_text())", "3"]
    run_page(write_page(tmp_path, *page, "```python", *session, "```"))


@pytest.mark.parametrize(
    "lines",
    [
        ["```console", "$ false", "```"],
        ["```console", "$ echo a", "b", "```"],
        ["```python", ">>> 1 + 1", "3", "```"],
        ["```python", "assert 1 == 2", "```"],
    ],
    ids=["exit code", "output", "session", "code"],
)
def test_example_that_fails_fails_the_page(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(AssertionError):
        run_page(write_page(tmp_path, *lines))


def test_block_that_says_why_is_not_run(tmp_path: Path) -> None:
    page = write_page(tmp_path, "<!-- not run: for this test -->", "```console", "$ false", "```")
    assert blocks(page.read_text()) == []


def test_commands_behind_the_claims_name_tests_that_are_there() -> None:
    page = (DOCS / "how-to" / "check-the-claims.md").read_text()
    named = [command.split() for command in re.findall(r"\bpytest ([^`\n]+)", page)]
    assert len(named) >= 10
    for words in named:
        paths = [PROJECT / word for word in words if word.startswith("tests/")]
        assert paths, words
        files = [f for path in paths for f in ([path] if path.suffix else sorted(path.glob("test_*.py")))]
        if "test_real_surveys.py" in paths[0].name:  # its tests are sections of the page
            files.append(DOCS / "how-to" / "real-surveys.md")
        chosen = words[words.index("-k") + 1] if "-k" in words else r"def test_|class Test"
        assert any(re.search(chosen, f.read_text()) for f in files), words


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[<>=\[ ]", dependency)[0] for dependency in named} - {"skydb"}
    page = (PROJECT / "docs" / "decisions" / "dependencies.md").read_text()
    assert [name for name in sorted(names) if not re.search(rf"\b{re.escape(name)}\b", page)] == []


def test_pins_name_every_dependency_and_no_place() -> None:
    pins = (PROJECT / "constraints.txt").read_text()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[ ]", d)[0].lower() for d in project["dependencies"]}
    lines = [line for line in pins.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in lines)
    assert names <= {line.split("==")[0].lower() for line in lines}
