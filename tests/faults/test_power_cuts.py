"""The power is cut at any time, and takes with it what was not synced: what was acknowledged is there all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from .cases import Story
from .disk import FaultyDisk
from .trace import Recording, calls_in, held_in, write_to
from .workload import STEPS

QUICK_STEPS = ("create", "photcodes", "companions", "replace", "match", "arrive", "quarantine")
QUICK_CASES = 6


@dataclass(frozen=True)
class Cut:
    """The power goes after so many changes, in a step or when it is acknowledged, and takes some changes along."""

    step: str
    acknowledged: bool
    at: int
    how: str
    lost: tuple[int, ...]


@dataclass(frozen=True)
class Life:
    """What was recorded of some steps of a database's life, and how many changes had been made as each returned."""

    story: Story
    recording: Recording
    ends: dict[str, int]

    def cuts(self) -> Iterator[Cut]:
        """Yield the cuts before every sync, when most is at risk, and those when a step has returned."""
        begin = 0
        for step, end in self.ends.items():
            for at in (*(s for s in self.recording.syncs if begin < s < end), end):
                risk = tuple(self.recording.at_risk(at))
                for how, lost in self._losses(risk):
                    yield Cut(step, at == end, at, how, lost)
                for name in self._names(i for i in risk if i >= begin or at == end):
                    yield Cut(step, at == end, at, "one name lost", (name,))
                begin = at

    def _losses(self, risk: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield what a cut may take of what is at risk."""
        contents = tuple(i for i in risk if self.recording.changes[i].node is not None)
        yield "nothing lost", ()
        yield "all lost", risk
        yield "names kept, contents lost", contents
        yield "contents kept, names lost", self._names(risk)
        yield "every second write lost", contents[::2]

    def _names(self, changes: Iterable[int]) -> tuple[int, ...]:
        return tuple(i for i in changes if self.recording.changes[i].names)

    def distinct(self, step: str) -> list[Cut]:
        """Return those in a step, one of each that leave the same disk but for leases: nobody has one afterwards."""
        found: dict[tuple[bool, bytes], Cut] = {}
        for cut in (cut for cut in self.cuts() if cut.step == step):
            digest = hashlib.blake2b()
            for path, content in sorted(without_memory(self.recording.left(cut.at, cut.lost)).items()):
                digest.update(repr((path, content and len(content))).encode() + (content or b""))
            found.setdefault((cut.acknowledged, digest.digest()), cut)
        return list(found.values())

    def wrong(self, cut: Cut) -> str | None:
        """Cut, recover, and return what is wrong."""
        write_to(self.story.root.parent, self.recording.left(cut.at, cut.lost))
        self.story.come_home()
        ran = {"acknowledged": [cut.step] if cut.acknowledged else [], "ended": "killed"}
        found = self.story.check(cut.step, ran, cut=True)
        return found and f"{cut.step}, after {cut.at} changes, {cut.how}: {found}"


def life_of(story: Story, disk: FaultyDisk, steps: Sequence[str]) -> Life:
    """Record the first steps of a life."""
    root, ends = story.root.parent, {}
    story.go_back(steps[0])
    with disk.recording(root):
        for step in steps:
            assert story.run([step])["acknowledged"] == [step]
            ends[step] = len(disk.trace)
    recording = Recording(calls_in(disk.trace, str(root)))
    done = {step: sum(change.end <= end for change in recording.changes) for step, end in ends.items()}
    return Life(story, recording, done)


def without_memory(held: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Leave out what SQLite writes into shared memory, and makes anew after a power cut; and leases."""
    return {path: content for path, content in held.items() if not path.endswith("-shm") and "/leases/" not in path}


def check_recording(life: Life) -> None:
    """Fail unless all that was recorded makes what is on the disk: then no way of writing was overlooked."""
    told = life.recording.left(len(life.recording.changes))
    assert without_memory(told) == without_memory(held_in(life.story.root.parent))


def test_ingest_survives_some_power_cuts(story: Story, disk: FaultyDisk) -> None:
    life = life_of(story, disk, QUICK_STEPS)
    check_recording(life)
    cuts = list(life.cuts())
    assert {cut.how for cut in cuts} >= {"all lost", "every second write lost", "one name lost"}
    chosen = cuts[len(cuts) // QUICK_CASES // 2 :: len(cuts) // QUICK_CASES]
    assert [wrong for cut in chosen if (wrong := life.wrong(cut))] == []


@pytest.fixture(scope="module")
def whole_life(story: Story, any_disk: FaultyDisk | None) -> Life:
    if any_disk is None:
        pytest.skip("no C compiler here, or no Linux: what is written cannot be recorded")
    life = life_of(story, any_disk, tuple(STEPS))
    check_recording(life)
    return life


@pytest.mark.scale
@pytest.mark.parametrize("step", STEPS)
def test_step_survives_every_power_cut(whole_life: Life, step: str) -> None:
    cuts = whole_life.distinct(step)
    print(f"{step}: {len(cuts)} disks")
    assert [wrong for cut in cuts if (wrong := whole_life.wrong(cut))] == []
