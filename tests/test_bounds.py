"""What pyproject.toml promises to work with is what was tested."""

from __future__ import annotations

import re
import tomllib

from tests.test_architecture import PROJECT


def test_lower_bounds_are_the_versions_that_the_tests_run_with() -> None:
    """To the minor version: an older one may work, and nobody has seen it."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    bounds = dict(match.groups() for d in named if (match := re.match(r"([A-Za-z-]+)>=([0-9.]+)", d)))
    lines = [line for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {name.lower(): version for name, version in (line.split("==") for line in lines)}
    assert len(bounds) > 10
    assert bounds == {name: ".".join(pins[name.lower()].split(".")[:2]) for name in bounds}
