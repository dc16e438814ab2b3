"""Tasks that the tests of executors run."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skydb.calib import relcal as relcal_module
from skydb.calib.relcal_report import RelcalReport
from skydb.calib.select import SelectionRules
from skydb.database import Database
from skydb.errors import DataError
from skydb.parallel.executor import executor_for


@dataclass(frozen=True)
class Part:
    """An item that lies on a host, and its backup."""

    number: int
    host: str
    backup: str | None = None

    def at_backup(self) -> Part:
        assert self.backup is not None
        return replace(self, host=self.backup, backup=None)


def square(x: int) -> int:
    return x * x


def late_first(x: int) -> int:
    time.sleep(0.2 if x == 0 else 0.0)
    return x


def fail_at_three(x: int) -> int:
    if x == 3:
        raise DataError("three is bad", "item 3", "leave it out")
    return x


def time_out(x: int) -> int:
    raise TimeoutError(f"the task's own, at {x}")


def ones(_: int, megabytes: int = 4) -> np.ndarray:
    return np.ones(megabytes << 17)


def folder_of(_: int) -> str:
    return os.getcwd()


def process_of(_: object) -> int:
    return os.getpid()


def where(part: Part) -> tuple[int, str, int]:
    """The item's number and host, as the task sees them, and its process."""
    return part.number, part.host, os.getpid()


def die_at_two(x: int) -> int:
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_once(x: int, *, folder: Path) -> int:
    """The worker that comes first to item 2 is killed there; the next one finds its trace and goes on."""
    trace = folder / "died"
    if x == 2 and not trace.exists():
        trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def leave_trace(x: int, *, folder: Path, seconds: float = 0.0) -> int:
    (folder / f"{x}-{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return x


def solve(db: Database, **asked: Any) -> RelcalReport:
    """Run relcal on files whose made-up rows have every flag and quality there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relcal_module, "SelectionRules", partial(SelectionRules, min_psf_qf=-1.0))
        report = relcal_module.relcal(db, exclude_photflags=0, max_mag_err=1.0, **asked)
    assert report.n_solved
    return report


def map_inside(x: int) -> list[int]:
    """A task that runs tasks."""
    return list(executor_for(1).map(square, range(x)))
