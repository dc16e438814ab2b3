"""One job that several systems do, and how it is timed: in turns, so that a slow minute of the machine hits all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from skydb.errors import DataError

OURS = "skydb"

Answer = Any
"""What a system found; those of a case are compared with `==`."""

System = Callable[[], Answer]
"""Does the job once."""


@dataclass(frozen=True)
class Case:
    """One job of the benchmark.

    Attributes
    ----------
    name, group
        As `--only` selects them.
    job
        What is done, for people; `peer_does` says what a peer leaves out, if anything.
    systems
        By name, ours among them: does the job once and returns an answer that every system must agree on.
    goal
        What we are after, for people.
    repeat
        Rounds at most: a long job is done once.
    calls
        How many of its like one call does (20 cones); its seconds are divided by that.
    numbers
        Counts afterwards what is of interest beside the times, such as bytes, by name.
    """

    name: str
    group: str
    job: str
    systems: Mapping[str, System]
    goal: str = ""
    peer_does: str = ""
    repeat: int = 1_000
    calls: int = 1
    numbers: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True)
class Timing:
    """Seconds of one system, round by round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Figure:
    """What a case measured: seconds by system, and numbers beside them (bytes)."""

    case: Case
    timings: Mapping[str, Timing]
    numbers: Mapping[str, float] = field(default_factory=dict)

    def ratio(self, peer: str) -> float:
        """Return our time over a peer's: the median of the ratios within each round."""
        pairs = zip(self.timings[OURS].seconds, self.timings[peer].seconds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    @property
    def peers(self) -> list[str]:
        """The systems beside ours."""
        return [name for name in self.timings if name != OURS]


def measure(
    case: Case, *, repeat: int, warm: bool = True, quiet: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Figure:
    """Time every system of a case in turns.

    Parameters
    ----------
    warm
        Do the job once before timing: files are cached, kernels compiled. Long jobs (`repeat` 1) are not repeated.
    quiet
        Entered around every timed call.

    Raises
    ------
    DataError
        Systems disagree about the answer: no time counts then.
    """
    rounds = min(repeat, case.repeat)
    answers: dict[str, Answer] = {}
    seconds: dict[str, list[float]] = {name: [] for name in case.systems}
    for timed in _rounds(rounds, warm=warm and case.repeat > 1):
        for name, system in case.systems.items():
            with quiet():
                begin = time.perf_counter()
                answers[name] = system()
                spent = time.perf_counter() - begin
            if timed:
                seconds[name].append(spent / case.calls)
        _require_agreement(case, answers)
    return Figure(case, {name: Timing(tuple(times)) for name, times in seconds.items()}, case.numbers())


def _rounds(count: int, *, warm: bool) -> Iterator[bool]:
    """Yield, round by round, whether it is timed."""
    if warm:
        yield False
    yield from [True] * count


def _require_agreement(case: Case, answers: Mapping[str, Answer]) -> None:
    ours = answers[OURS]
    for name, answer in answers.items():
        if answer != ours:
            raise DataError(
                f"{name} and {OURS} disagree: {_short(answer)} against {_short(ours)}", f"case {case.name}",
                "one of them is wrong, and no time of this case counts",
            )  # fmt: skip


def _short(answer: Answer) -> str:
    text = repr(answer)
    return text if len(text) <= 200 else text[:200] + " …"
