"""Peak memory of a job: of this process and of all that it starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_PROC = Path("/proc")
_EVERY_S = 0.1
_NAMES = ("Pss_Anon", "Pss_Shmem", "Pss_File")


class Peak:
    """The most memory at one time, in bytes: `own` of the processes alone, `mapped` with the files that they map.

    Pages that processes share count once. A mapped file's pages can be given up at any time.
    """

    def __init__(self) -> None:
        self.own = 0
        self.mapped = 0

    def note(self, numbers: dict[str, float], whose: str = "") -> None:
        """Put both, in MB, among the numbers of a case."""
        numbers[f"MB{whose}"] = self.own / 1e6
        numbers[f"MB{whose} with mapped files"] = self.mapped / 1e6

    def look(self, root: int) -> None:
        """Look at a process and its descendants."""
        sizes = [_sizes(number) for number in _tree(root)]
        own = sum(size["Pss_Anon"] + size["Pss_Shmem"] for size in sizes)
        self.own = max(self.own, own)
        self.mapped = max(self.mapped, own + sum(size["Pss_File"] for size in sizes))


@contextmanager
def peak_memory(root: int) -> Iterator[Peak]:
    """Watch the memory of a process and its descendants during a block; where there is no /proc, it stays 0."""
    peak, done = Peak(), Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            peak.look(root)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _tree(root: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for status in _PROC.glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):  # it has ended
            continue
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _sizes(number: int) -> dict[str, int]:
    sizes = dict.fromkeys(_NAMES, 0)
    try:
        lines = (_PROC / str(number) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or is not ours
        return sizes
    for line in lines:
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes
