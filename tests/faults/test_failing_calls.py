"""Whichever write, sync, rename, unlink … of a verb fails, or is its last: an error of skydb, and a whole database."""

from __future__ import annotations

from collections import Counter

import pytest

from .cases import Story
from .disk import KILL, NAMES, NOTE, OFF, TORN, WAYS, Call, FaultyDisk, distinct, ways_of
from .workload import STEPS

QUICK_CASES = 2
"""Cases of each step at least."""
QUICK_STEPS = ("addstar", "compact", "tag", "replace", "quarantine")
"""The steps that every run of the tests spoils."""


def calls_of(story: Story, disk: FaultyDisk, step: str) -> list[Call]:
    """The calls of an undisturbed step."""
    disk.set(NOTE, story.root.parent)
    assert story.disturbed(step)["acknowledged"] == [step]
    calls = disk.calls()
    disk.set(OFF)
    return calls


def spoil(story: Story, disk: FaultyDisk, step: str, call: Call, how: int) -> tuple[str, str | None]:
    """Spoil one call of a step and recover; returns how the step ended, and what is wrong."""
    disk.set(how, story.root.parent, call.number)
    ran = story.disturbed(step)
    hit = disk.spoiled
    disk.set(OFF)
    if not hit:
        return "not hit", None
    ended = "killed" if ran["code"] == -9 else "done" if ran["acknowledged"] else "refused"
    found = story.check(step, ran)
    if (ended == "killed") != (how in (KILL, TORN)):
        found = f"it ended {ended}: {ran}"
    return ended, found and f"{step}, {call}, {NAMES[how]}: {found}"


def cases_of(story: Story, disk: FaultyDisk, step: str) -> list[tuple[Call, int]]:
    """Every distinct call of a step, spoiled in every way."""
    return [(call, how) for call in distinct(calls_of(story, disk, step)) for how in ways_of(call)]


@pytest.mark.parametrize(
    "step", [step if step in QUICK_STEPS else pytest.param(step, marks=pytest.mark.slow) for step in STEPS]
)
def test_step_survives_some_calls_that_fail(story: Story, disk: FaultyDisk, step: str) -> None:
    """Spread over the whole step and over all ways."""
    cases = cases_of(story, disk, step)
    chosen = cases[2 * len(step) % 7 :: len(cases) // QUICK_CASES]
    answers = [spoil(story, disk, step, *case) for case in chosen]
    assert [wrong for _, wrong in answers if wrong] == []
    assert sum(ended != "not hit" for ended, _ in answers) >= len(chosen) - 1


@pytest.mark.scale
@pytest.mark.parametrize("turn", range(WAYS))
@pytest.mark.parametrize("step", STEPS)
def test_step_survives_every_call_that_fails(story: Story, disk: FaultyDisk, step: str, turn: int) -> None:
    """Each call fails once in a turn, its neighbours in other ways; all turns together have each call in every way."""
    calls = distinct(calls_of(story, disk, step))
    ways = [(call, ways_of(call)) for call in calls]
    cases = [
        (call, its[(number + turn) % len(its)]) for number, (call, its) in enumerate(ways) if turn < len(its)
    ]  # fmt: skip
    answers = [spoil(story, disk, step, *case) for case in cases]
    counts = Counter(ended for ended, _ in answers)
    print(f"{step}, turn {turn}: {len(cases)} calls: {dict(counts)}")
    assert [wrong for _, wrong in answers if wrong] == []
    assert counts["not hit"] <= 0.01 * len(cases)
