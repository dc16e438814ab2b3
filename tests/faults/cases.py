"""Cases of stopped steps: every one begins from a kept copy of the database as it was before the step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skydb.store.layout import LEASES

from .workload import STEPS


class Server:
    """The process that runs the cases; see `server.py`."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.inputs = folder / "inputs"
        self.inputs.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server", str(self.inputs)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})},
        )  # fmt: skip
        assert self._line() == "ready\n"

    def ask(self, do: str, **case: Any) -> dict[str, Any]:
        """Run one case in a child of the server and return what it said, and how it ended."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, "inputs": str(self.inputs), **case}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@dataclass(frozen=True)
class Stage:
    """A step, a copy of the database before it, and the digests of the states that it may leave."""

    step: str
    before: Path
    allowed: tuple[str | None, ...]
    after: str
    passed: dict[str, int]


class Story:
    """The undisturbed life of a database, kept stage by stage; and what becomes of it when a stage is disturbed."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server, self._folder = server, folder
        self.root = folder / "now" / "t.sky"
        self.root.parent.mkdir()
        self._found_whole: set[tuple[str, str]] = set()
        self.stages = {step: self._stage(number, step) for number, step in enumerate(STEPS)}
        self.end = self._state()

    def _state(self, since: int | None = None) -> dict[str, Any]:
        """The newest state, and all that there were since a snapshot."""
        return self.server.ask("describe", root=str(self.root), since=since)

    def _stage(self, number: int, step: str) -> Stage:
        kept = self._folder / f"before-{number}"
        began = self._state()["newest"] if self.root.exists() else None
        shutil.copytree(self.root.parent, kept)
        ran = self.server.ask("run", root=str(self.root), steps=[step], count=True)
        assert ran["acknowledged"] == [step], ran
        now = self._state(since=began["snapshot"] + 1 if began else 0)
        allowed = [began and began["digest"], *(s["digest"] for s in now["since"]), now["newest"]["digest"]]
        return Stage(step, kept, tuple(allowed), now["newest"]["digest"], ran["passed"])

    def disturbed(self, step: str, **how: Any) -> dict[str, Any]:
        """Run a step on a copy of the database as it was before."""
        self.go_back(step)
        return self.run([step], **how)

    def go_back(self, step: str) -> None:
        """Have the database, and its other host, as they were before a step."""
        shutil.rmtree(self.root.parent)
        shutil.copytree(self.stages[step].before, self.root.parent)
        self.come_home()

    def come_home(self) -> None:
        """Let the database keep its other host, as a copy at the same place does not by itself."""
        said = self.root.parent / "far" / "host.json"
        if said.exists() and self.root.exists() and (words := json.loads(said.read_text() or "{}")):
            said.write_text(json.dumps({**words, "inode": self.root.stat().st_ino}))

    def run(self, steps: Sequence[str], **how: Any) -> dict[str, Any]:
        """Run steps on the database as it is."""
        return self.server.ask("run", root=str(self.root), steps=steps, **how)

    def check(self, step: str, ran: Mapping[str, Any], **how: Any) -> str | None:
        """Recover from what a step left that was stopped, do it again, and return what is wrong; None if nothing is."""
        stage, acknowledged = self.stages[step], step in ran["acknowledged"]
        if ran["ended"] == "hung" or "broken" in ran:
            return f"{ran['ended']}: {ran.get('where')}"
        left = step, digest_of_tree(self.root.parent)
        if not acknowledged and left in self._found_whole:  # most often nothing at all
            return None
        checked = self.server.ask(
            "recover", root=str(self.root), step=step, allowed=stage.allowed, after=stage.after,
            acknowledged=acknowledged, **how,
        )  # fmt: skip
        if checked["code"] != 0:
            return str(checked.get("where", checked))
        if not acknowledged:
            self._found_whole.add(left)
        return None

    def compare(self) -> str | None:
        """Say how the database differs from one whose life was not disturbed."""
        found = self._state()["newest"]
        return None if found["digest"] == self.end["newest"]["digest"] else f"{found} instead of {self.end['newest']}"


def digest_of_tree(folder: Path) -> str:
    """Return a digest of the names and bytes of all files below a folder, but for those of leases, which are empty."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name != LEASES:
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
