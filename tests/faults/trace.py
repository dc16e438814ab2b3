"""What a process did to its files, call by call, as `shim.c` records it; and the states that a power cut may leave.

The model is that of POSIX, stricter than most file systems are. What is written to a file is safe once the file was
synced; a name that appears, disappears or changes, once its folder was. Until then any of it may be lost, whatever came
after it. A rename is one change, of the folder that the name comes to. Nothing else is lost, and nothing is torn.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = 0
"""The node of the folder that was recorded."""

KEPT = 1000
"""Contents that are kept: most files are the same on most disks."""


@dataclass(frozen=True)
class Call:
    """One recorded call: its name, its path below the root, the old path of a rename; where and what it wrote.

    `end` is where its record ends.
    """

    name: str
    path: str
    old: str
    offset: int
    data: bytes
    end: int


def calls_in(trace: bytes, root: str) -> Iterator[Call]:
    """Yield the recorded calls that had an effect below a root."""
    end = 0
    while end < len(trace):
        line = trace.index(b"\n", end) + 1
        name, offset, *sizes = trace[end:line].split()
        path, old, data = _cut(trace, line, *map(int, sizes))
        end = line + sum(map(int, sizes))
        if not path.endswith(b" (deleted)"):
            came, went = os.path.relpath(path.decode(), root), os.path.relpath(old.decode() or root, root)
            yield Call(name.decode(), came, went, int(offset), data, end)


def _cut(text: bytes, start: int, *sizes: int) -> Iterator[bytes]:
    for size in sizes:
        yield text[start : start + size]
        start += size


Name = tuple[int, str]
"""A folder's node, and a name in it."""


@dataclass(eq=False)
class Change:
    """One change of a disk: names that come and go, or bytes of a node; a sync is none of both.

    `names` are set to nodes, or removed (None). `node`, `offset` and `data` are a write; without `data` the node is cut
    off at `offset`. `safe_at` counts the changes up to the sync that made it safe; None: none did. `end` is where its
    record ends.
    """

    names: Mapping[Name, int | None] = field(default_factory=dict)
    node: int | None = None
    offset: int = 0
    data: bytes | None = None
    safe_at: int | None = None
    end: int = 0

    @property
    def does_something(self) -> bool:
        """Whether it is no sync."""
        return bool(self.names) or self.node is not None


class Recording:
    """The changes that recorded calls made to an empty folder, one after another."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.changes: list[Change] = []
        self.syncs: list[int] = []
        self._folders, self._nodes = {ROOT}, {".": ROOT}
        self._count = 1
        for call in calls:
            getattr(self, f"_{call.name}")(call)
        self._naming = [i for i, change in enumerate(self.changes) if change.names]
        self._writing: dict[int, list[int]] = {}
        for number, change in enumerate(self.changes):
            if change.node is not None:
                self._writing.setdefault(change.node, []).append(number)
        self._content = lru_cache(KEPT)(self._made)

    def _add(self, call: Call, **what: Any) -> None:
        self.changes.append(Change(end=call.end, **what))

    def _named(self, path: str) -> Name:
        return self._nodes[os.path.dirname(path) or "."], os.path.basename(path)

    def _make(self, call: Call) -> int:
        node = self._nodes[call.path] = self._count
        self._count += 1
        self._add(call, names={self._named(call.path): node})
        return node

    def _mkdir(self, call: Call) -> None:
        self._folders.add(self._make(call))

    def _open(self, call: Call) -> None:
        if call.path not in self._nodes:
            self._make(call)
        elif call.offset:
            self._add(call, node=self._nodes[call.path])

    def _write(self, call: Call) -> None:
        self._add(call, node=self._nodes[call.path], offset=call.offset, data=call.data)

    def _ftruncate(self, call: Call) -> None:
        self._add(call, node=self._nodes[call.path], offset=call.offset)

    def _unlink(self, call: Call) -> None:
        self._add(call, names={self._named(call.path): None})
        del self._nodes[call.path]

    _rmdir = _unlink

    def _rename(self, call: Call) -> None:
        self._add(call, names={self._named(call.old): None, self._named(call.path): self._nodes[call.old]})
        for path in [p for p in self._nodes if p == call.old or p.startswith(f"{call.old}/")]:
            self._nodes[call.path + path.removeprefix(call.old)] = self._nodes.pop(path)

    def _link(self, call: Call) -> None:
        node = self._nodes[call.path] = self._nodes[call.old]
        self._add(call, names={self._named(call.path): node})

    def _fsync(self, call: Call) -> None:
        node = self._nodes[call.path]
        self.syncs.append(len(self.changes))
        self._add(call)
        for change in self.changes:
            if change.safe_at is None and node in (change.node, _folder_of(change)):
                change.safe_at = len(self.changes)

    def at_risk(self, cut: int) -> list[int]:
        """Return the numbers of the changes that a cut after so many of them may undo."""
        done = enumerate(self.changes[:cut])
        return [i for i, c in done if c.does_something and (c.safe_at is None or c.safe_at > cut)]

    def left(self, cut: int, lost: Iterable[int] = ()) -> dict[str, bytes | None]:
        """Return what the disk holds after so many changes, less those that are lost: bytes, or None of a folder."""
        gone, names = set(lost), dict[Name, int | None]()
        for number in self._naming:
            if number < cut and number not in gone:
                names.update(self.changes[number].names)
        return self._held(names, ROOT, "", lambda numbers: tuple(n for n in numbers if n < cut and n not in gone))

    def _held(
        self, names: Mapping[Name, int | None], folder: int, prefix: str, kept: Callable[[list[int]], tuple[int, ...]]
    ) -> dict[str, bytes | None]:
        """Return what a folder holds, folders before what is in them."""
        held: dict[str, bytes | None] = {}
        for (parent, name), node in names.items():
            if parent == folder and node is not None:
                is_folder = node in self._folders
                held[prefix + name] = None if is_folder else self._content(kept(self._writing.get(node, [])))
                held.update(self._held(names, node, f"{prefix}{name}/", kept) if is_folder else {})
        return held

    def _made(self, numbers: tuple[int, ...]) -> bytes:
        """Return what some changes make of an empty file."""
        content = bytearray()
        for change in map(self.changes.__getitem__, numbers):
            end = change.offset + len(change.data or b"")
            content.extend(bytes(max(0, end - len(content))))
            if change.data is None:
                del content[end:]
            else:
                content[change.offset : end] = change.data
        return bytes(content)


def _folder_of(change: Change) -> int | None:
    """Return the folder whose sync makes names safe: for a rename, that of the new one."""
    return list(change.names)[-1][0] if change.names else None


def write_to(folder: Path, held: Mapping[str, bytes | None]) -> None:
    """Have a folder hold that and nothing else."""
    shutil.rmtree(folder)
    folder.mkdir()
    for path, content in held.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def held_in(folder: Path) -> dict[str, bytes | None]:
    """Return what a folder on this machine holds."""
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in folder.rglob("*")}
