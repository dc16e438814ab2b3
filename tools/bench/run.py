"""One run of the benchmarks: cases chosen by name, measured, compared, kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from skydb.errors import UsageError

from . import associating, building, many_cells, merging, queries, tasks
from .case import OURS, Case, Figure, measure
from .scene import Scene, machine

GROUPS = {module.GROUP: module for module in (building, associating, merging, queries, many_cells, tasks)}
"""The modules that make the cases (`cases`), by group; their `NAMES` are known before anything is prepared."""

RESULTS = "bench.json"


@dataclass(frozen=True)
class BenchReport:
    """What one run measured, on which survey and machine."""

    survey: Mapping[str, Any]
    machine: Mapping[str, Any]
    figures: tuple[Figure, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON knows it: seconds of every round, medians, ratios."""
        return {"survey": dict(self.survey), "machine": dict(self.machine), "cases": [row_of(f) for f in self.figures]}


def bench(
    folder: str | PathLike[str], *, preset: str = "small", detections: int | None = None, only: Sequence[str] = (),
    repeat: int = 7, workers: int | None = None, say: Callable[[str], None] = lambda _: None,
    on_figure: Callable[[Figure], None] = lambda _: None,
) -> BenchReport:  # fmt: skip
    """Measure skydb and its peers on a simulated survey, which is made in a folder and kept there for the next run.

    Parameters
    ----------
    only
        Names of cases or groups, with wildcards; none: all.
    repeat
        Rounds of short cases; in each every system has one turn, after one round that is not counted.
    say
        Told what is being prepared.
    on_figure
        Called with every case that is done.

    Raises
    ------
    UsageError
        No case has such a name, or the folder holds another survey.
    DataError
        Two systems answer differently.
    """
    if repeat < 1:
        raise UsageError(f"{repeat} rounds", "repeat", "give 1 or more")
    _require_known(only)
    scene = Scene(Path(fspath(folder)), preset, detections, workers, say)
    survey = {"preset": preset, "detections": detections, "exposures": len(scene.exposures)}
    figures = []
    for case in _chosen(scene, only):
        figures.append(measure(case, repeat=repeat))
        on_figure(figures[-1])
    report = BenchReport(survey, machine(), tuple(figures))
    (scene.folder / RESULTS).write_text(json.dumps(report.as_dict(), indent=1))
    return report


def _chosen(scene: Scene, only: Sequence[str]) -> Iterator[Case]:
    """Yield the cases that are asked for; what a group needs is prepared only if one of it is."""
    for group, module in GROUPS.items():
        wanted = {name for name in module.NAMES if not only or _named(only, group) or _named(only, name)}
        if wanted:
            yield from (case for case in module.cases(scene) if case.name in wanted)


def _require_known(only: Sequence[str]) -> None:
    known = [*GROUPS, *(name for module in GROUPS.values() for name in module.NAMES)]
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UsageError(f"no case or group is named {pattern!r}", "only", f"there are {', '.join(known)}")


def _named(only: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in only)


def row_of(figure: Figure) -> dict[str, Any]:
    """Return one case as JSON knows it."""
    case = figure.case
    return {
        "case": case.name, "group": case.group, "job": case.job, "goal": case.goal, "peer_does": case.peer_does,
        "seconds": {name: list(timing.seconds) for name, timing in figure.timings.items()},
        "median": {name: timing.median for name, timing in figure.timings.items()},
        "ratio": {peer: figure.ratio(peer) for peer in figure.peers}, "numbers": dict(figure.numbers),
    }  # fmt: skip


def text_row(figure: Figure) -> dict[str, Any]:
    """Return one case for people."""
    peer = figure.peers[0] if figure.peers else None
    return {
        "case": figure.case.name, OURS: duration(figure.timings[OURS].median), "goal": figure.case.goal,
        "peer": peer, "its time": duration(figure.timings[peer].median) if peer else None,
        "ratio": f"{figure.ratio(peer):.2f}" if peer else None, "rounds": len(figure.timings[OURS].seconds),
        "besides": _besides(figure),
    }  # fmt: skip


def line_of(figure: Figure) -> str:
    """Return one case as a line: what it is, and what every system took."""
    times = (f"{name} {duration(timing.median)}" for name, timing in figure.timings.items())
    return "; ".join(filter(None, [f"{figure.case.name} ({figure.case.job}): {', '.join(times)}", _besides(figure)]))


def _besides(figure: Figure) -> str:
    return ", ".join(f"{name} {number:,.0f}" for name, number in figure.numbers.items())


def duration(seconds: float) -> str:
    """Return a time with a unit that suits it.

    >>> duration(0.0042), duration(0.31), duration(114.2)
    ('4.2 ms', '310 ms', '114 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
