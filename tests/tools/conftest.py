"""Simulated surveys that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skydb.tools.simulate import SWITCHES, simulate


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that simulates a survey of 4,000 detections without some switches, once a session."""
    made: dict[frozenset[str], Path] = {}

    def survey(*without: str) -> Path:
        key = frozenset(without)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("tiny") / "survey"
            simulate(made[key], preset="small", detections=4_000, seed=7, without=key)
        return made[key]

    return survey


@pytest.fixture(scope="session")
def ideal(tiny: Callable[..., Path]) -> Path:
    """A survey with everything switched off."""
    return tiny(*SWITCHES)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset `small`, as it is."""
    out = tmp_path_factory.mktemp("small") / "survey"
    simulate(out, preset="small", seed=3)
    return out
