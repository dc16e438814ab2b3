"""The demo: a small survey from simulation to release, every step with its command line, its counts and its seconds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from skydb.errors import UsageError
from skydb.parallel.steps import StepProgress
from skydb.store.layout import given_path

from .demo_steps import PARTS, STEPS, Scene

Watch = Callable[[], AbstractContextManager[StepProgress | None]]


@dataclass(frozen=True)
class Step:
    """One step of the demo: the command line that does the same, what came of it, how long it took."""

    name: str
    command: str
    text: str
    numbers: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class DemoReport:
    """What a demo did; `seconds` is the whole of it."""

    folder: str
    steps: tuple[Step, ...]
    seconds: float


@contextmanager
def unwatched() -> Iterator[None]:
    """Show no progress."""
    yield None


def run_demo(
    folder: str | PathLike[str], *, seed: int = 7, detections: int | None = None, workers: int = 1,
    overwrite: bool = False, watch: Watch = unwatched, on_step: Callable[[Step], None] | None = None,
) -> DemoReport:  # fmt: skip
    """Simulate a small survey, ingest, calibrate, query and release it, and compare it with its truth.

    Parameters
    ----------
    folder
        Where the survey, the database, the release and two plots go; new or empty.
    seed, detections
        Of the simulated survey; None: the small survey's own number of detections.
    workers
        Worker processes. On a new machine each compiles the kernels for itself, which takes longer than the work.
    overwrite
        Remove what an earlier demo wrote into the folder; nothing else is touched.
    watch
        Makes the progress display of a step.
    on_step
        Called with every step that is done.

    Raises
    ------
    UsageError
        The folder holds something, or is a file.
    DataError
        So few detections that no star is measured twice.
    """
    start = time.perf_counter()
    given_path(folder)  # refuses an empty one, which is the current directory to Path
    scene = Scene(_emptied(Path(fspath(folder)), overwrite=overwrite), seed, detections, workers)
    steps = []
    for name, action in STEPS.items():
        begin = time.perf_counter()
        with watch() as progress:
            outcome = action(scene, progress)
        step = Step(name, outcome.command, outcome.text, outcome.numbers, round(time.perf_counter() - begin, 3))
        steps.append(step)
        if on_step:
            on_step(step)
    return DemoReport(str(folder), tuple(steps), round(time.perf_counter() - start, 3))


def _emptied(folder: Path, *, overwrite: bool) -> Path:
    """Make the folder; what an earlier demo wrote is removed if that may go."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("is not a folder", str(folder), "name another")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in there if name not in PARTS]
    if foreign or (there and not overwrite):
        advice = "name a new one" if foreign else "name a new one, or replace the earlier demo with --overwrite"
        raise UsageError(f"the folder is not empty: it holds {(foreign or there)[0]}", str(folder), advice)
    for name in there:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
