"""`kill -9` at any time, of an ingester that goes on after each: nothing torn, nothing lost."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from .cases import Story
from .inbox import inbox_of
from .workload import STEPS

SECONDS = {1: 0.6, 2: 6.0}
"""About as long as three or four steps take, by the number of worker processes: these have to start."""


@dataclass(frozen=True)
class Ingester:
    """Does the steps of a database's life, is killed again and again, and goes on where it is after each."""

    story: Story
    workers: int = 1

    def killed(self, kills: int, seed: int) -> list[str]:
        """Kill it so many times, from a new database whenever one is complete; returns what was wrong."""
        chance, wrong, todo = random.Random(seed), [], list(STEPS)
        self.story.go_back(todo[0])
        left = kills
        while left:
            after = chance.uniform(0.0, SECONDS[self.workers])
            ran = self.story.run(todo, kill_after=after, workers=self.workers)
            assert "broken" not in ran, ran
            assert "refused" not in ran, ran
            left -= ran["ended"] == "killed"
            done = ran["acknowledged"]
            found = self.story.check(todo[len(done)], ran) if len(done) < len(todo) else self.story.compare()
            wrong += [f"{done} done of {todo}: {found}"] if found else []
            todo = todo[len(done) + 1:]
            if found or not todo:
                todo = list(STEPS)
                self.story.go_back(todo[0])
        return wrong


def test_ingester_that_is_killed_five_times_loses_nothing(story: Story) -> None:
    assert Ingester(story).killed(5, seed=1) == []


@pytest.mark.slow
def test_ingester_whose_workers_die_with_it_loses_nothing(story: Story) -> None:
    assert Ingester(story, workers=2).killed(10, seed=2) == []


@pytest.mark.scale
@pytest.mark.parametrize("seed", range(10))
def test_ingester_that_is_killed_five_hundred_times_loses_nothing(story: Story, seed: int) -> None:
    """Fifty times for each seed."""
    assert Ingester(story).killed(50, seed=seed) == []


def watched(story: Story, starts: int, seed: int) -> str | None:
    """Let files appear one by one, while what watches for them is killed again and again; returns what is wrong."""
    chance = random.Random(seed)
    story.go_back("watch")
    inbox, outside = inbox_of(story.root), story.root.parent / "outside"
    outside.mkdir()
    coming = [path.rename(outside / path.name) for path in sorted(inbox.glob("2-*"))]
    chance.shuffle(coming)
    for number in range(starts):
        if coming and not number % 2:
            path = coming.pop()
            path.rename(inbox / path.name)
        ran = story.run(["watch"], kill_after=chance.uniform(0.0, 0.4))
        assert not {"broken", "refused"} & ran.keys(), ran
    assert not coming
    ran = story.run(["watch"])
    assert ran["acknowledged"] == ["watch"]
    return story.check("watch", ran)


def test_watch_that_is_killed_again_and_again_brings_every_file_once(story: Story) -> None:
    """The database ends as that of a watch that nobody disturbed."""
    assert watched(story, 8, seed=1) is None


@pytest.mark.scale
@pytest.mark.parametrize("seed", range(10))
def test_watch_that_is_killed_two_hundred_times_brings_every_file_once(story: Story, seed: int) -> None:
    """Twenty times for each seed."""
    assert watched(story, 20, seed=seed) is None
