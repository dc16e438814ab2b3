"""Killed at a named point of the write path, a verb leaves the database whole, and done again it ends as if alone."""

from __future__ import annotations

import re

import pytest

from skydb.store.crashpoints import POINTS
from tests.test_architecture import sources

from .cases import Story
from .workload import STEPS

REACHED = re.compile(r'reached\("([^"]+)"\)')


def kill(story: Story, step: str, point: str, passing: int) -> str | None:
    """Kill a step there and recover; returns what is wrong."""
    ran = story.disturbed(step, crash=f"{point}:{passing}")
    assert ran["code"] == -9, f"{point} was not passed for the {passing}. time: {ran}"
    found = story.check(step, ran)
    return found and f"{step}, {point}:{passing}: {found}"


def shortest(story: Story, point: str) -> str:
    """The shortest step that passes a point twice; where none does, the shortest that passes it."""
    passed = {step: stage.passed for step, stage in story.stages.items()}
    often = max(min(passed[step][point], 2) for step in STEPS)
    return min((s for s in STEPS if passed[s][point] >= often), key=lambda step: sum(passed[step].values()))


def test_points_of_the_sources_are_those_declared() -> None:
    found = [name for path in sources().values() for name in REACHED.findall(path.read_text())]
    assert set(found) == set(POINTS)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("time", ["last", pytest.param("first", marks=pytest.mark.slow)])
def test_killed_at_a_point_for_the_first_and_for_the_last_time(story: Story, point: str, time: str) -> None:
    step = shortest(story, point)
    passings = story.stages[step].passed[point]
    assert passings, "no step of the workload passes it"
    assert kill(story, step, point, passings if time == "last" else 1) is None


@pytest.mark.scale
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_passing_of_every_point(story: Story, step: str) -> None:
    passings = [(point, n + 1) for point, times in story.stages[step].passed.items() for n in range(times)]
    wrong = [kill(story, step, *passing) for passing in passings]
    print(f"{step}: {len(wrong)} kills")
    assert [w for w in wrong if w] == []


@pytest.mark.slow
@pytest.mark.parametrize(("step", "point"), [
    ("relcal", "store.noted"), ("relcal", "store.stored"), ("refresh", "file.filled"), ("refresh", "file.renamed"),
    ("batches", "store.noted"), ("batches", "file.filled"), ("batches", "file.renamed"), ("batches", "store.stored"),
])  # fmt: skip
def test_worker_that_is_killed_fails_its_verb_and_nothing_else(story: Story, step: str, point: str) -> None:
    """At the first passing of a point that the coordinator does not pass before."""
    ran = story.disturbed(step, crash=f"{point}:1", workers=2)
    assert "a worker process died" in ran.get("refused", ""), ran
    assert story.check(step, ran) is None
