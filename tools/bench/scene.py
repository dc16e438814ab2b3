"""What the cases work on: a simulated survey, its database, and the copies that peers were given. Made once, kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skydb import database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes

from ..simulate import simulate

SEED = 1

HELD_BACK = 12
"""Exposures, the last ones, that the database of the survey lacks: they are what is appended to it."""

_MADE = "survey.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scene:
    """A folder with a simulated survey (`survey`), its database (`survey.sky`) and whatever a case leaves to the next.

    `say` is told what is being prepared.
    """

    folder: Path
    preset: str
    detections: int | None
    workers: int | None
    say: Say

    @cached_property
    def exposures(self) -> list[Path]:
        """The SMF files of the survey, simulated if they are not there."""
        made = self.folder / _MADE
        asked = {"preset": self.preset, "detections": self.detections, "seed": SEED}
        if made.exists():
            if json.loads(made.read_text()) != asked:
                raise UsageError("another survey is there", str(self.folder), "name another folder, or empty this one")
        else:
            self._simulate()
            made.write_text(json.dumps(asked))
        return sorted((self.folder / "survey" / "exposures").glob("*.smf"))

    def _simulate(self) -> None:
        self.say(f"simulating the {self.preset} survey")
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "survey", ignore_errors=True)
        simulate(
            self.folder / "survey", preset=self.preset, detections=self.detections, seed=SEED, workers=self.workers or 1
        )  # fmt: skip

    def new_database(self, name: str) -> Database:
        """Return a fresh database with the photcodes of the survey."""
        assert self.exposures
        db = self.fresh_database(name)
        import_photcodes(db, self.folder / "survey" / "photcodes.dat")
        return db

    def fresh_database(self, name: str) -> Database:
        """Return an empty database, in the place of an earlier one of that name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return database.create(self.folder / name)

    @cached_property
    def db(self) -> Database:
        """The database of the survey, calibrated, without the exposures held back; made if it is not there."""
        path = self.folder / "survey.sky"
        if not (self.folder / "survey.done").exists():
            from skydb.calib.relcal import relcal

            db = self.new_database(path.name)
            self.say(f"ingesting and calibrating {len(self.exposures)} exposures")
            addstar(db, self.exposures[:-HELD_BACK], workers=self.workers)
            relcal(db, workers=self.workers)
            (self.folder / "survey.done").touch()
        return database.open(path)


def random_numbers(name: str) -> np.random.Generator:
    """Return the random numbers of one case: the same in every run, whichever other cases are run."""
    return np.random.default_rng([SEED, *name.encode()])


def machine() -> dict[str, Any]:
    """Return what a time depends on: cores, memory, load, versions."""
    import os
    import platform
    from importlib.metadata import version

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(), "memory_gb": round(memory / 1e9, 1), "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("skydb", "duckdb", "pyarrow", "numpy", "numba")},
    }  # fmt: skip
