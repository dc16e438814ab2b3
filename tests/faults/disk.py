"""The disk that fails on demand: `shim.c`, compiled, and the struct that says what it does."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

OFF, NOTE, NO_SPACE, IO_ERROR, SHORT, FULL, KILL, TORN, RECORD = range(9)
"""What the disk does at the call that it is told: nothing; write all calls down; refuse it with ENOSPC or EIO; take
half of a write and refuse the rest; refuse all that needs space from then on; kill the process before it, or in it.
With RECORD, all calls and what they write go to `trace`."""

_HEAD = struct.Struct("5q")
_PATH = 4096
_NOTES = 1 << 22
_SIZE = _HEAD.size + _PATH + _NOTES


NAMES = ("off", "note", "no space", "I/O error", "short write", "full from there", "kill", "torn write")


@dataclass(frozen=True)
class Call:
    """One call that changes files: its number, its name, and its path below the root."""

    number: int
    name: str
    path: str


def compiler() -> str | None:
    """The C compiler, if the machine has one that makes a library to be loaded before others."""
    return shutil.which("cc") if os.uname().sysname == "Linux" else None


class FaultyDisk:
    """A folder whose calls are counted, and one of them spoiled, in every process that runs with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._library, self._control = folder / "shim.so", folder / "shim.control"
        self._trace = folder / "shim.control.trace"
        self._trace.touch()
        source = Path(__file__).with_name("shim.c")
        words = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl"]
        subprocess.run(words, check=True, capture_output=True)
        self._control.write_bytes(bytes(_SIZE))
        with self._control.open("rb+") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use this disk."""
        return {"LD_PRELOAD": str(self._library), "SKYDB_FAULTS": str(self._control)}

    def set(self, how: int, root: Path | str = "", at: int = 0) -> None:
        """Begin to count the calls below a root, and do so at the call of that number."""
        self._map[: _HEAD.size] = _HEAD.pack(OFF, 0, 0, 0, 0)
        self._map[_HEAD.size : _HEAD.size + _PATH] = str(root).encode().ljust(_PATH, b"\0")
        self._map[: _HEAD.size] = _HEAD.pack(how, at, 0, 0, 0)

    @contextmanager
    def recording(self, root: Path) -> Iterator[None]:
        """Record what is done below a root, anew."""
        os.truncate(self._trace, 0)
        self.set(RECORD, root)
        yield
        self.set(OFF)

    @property
    def trace(self) -> bytes:
        """What was recorded."""
        return self._trace.read_bytes()

    @property
    def spoiled(self) -> int:
        """How many calls were spoiled."""
        return int(_HEAD.unpack(self._map[: _HEAD.size])[3])

    def calls(self) -> list[Call]:
        """What was written down since `set(NOTE, root)`."""
        used = int(_HEAD.unpack(self._map[: _HEAD.size])[4])
        assert used < _NOTES
        start = _HEAD.size + _PATH
        root = self._map[_HEAD.size : start].rstrip(b"\0").decode()
        lines = self._map[start : start + used].decode().splitlines()
        parts = (line.split(" ", 2) for line in lines)
        return [Call(int(number), name, path.removeprefix(root).lstrip("/")) for number, name, path in parts]


def distinct(calls: Sequence[Call]) -> list[Call]:
    """Of each run of equal calls of one file, such as its writes, return the first, the middle and the last."""
    chosen = []
    for _, run in groupby(calls, key=lambda call: (call.name, call.path)):
        same = list(run)
        chosen += [same[place] for place in sorted({0, len(same) // 2, len(same) - 1})]
    return chosen


WAYS = 6
"""In how many ways a call can be spoiled at most."""


def ways_of(call: Call) -> list[int]:
    """How a call can be spoiled."""
    return [NO_SPACE, IO_ERROR, FULL, KILL, *((SHORT, TORN) if call.name == "write" else ())]
