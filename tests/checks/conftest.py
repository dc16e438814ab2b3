"""The small database that the tests here damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skydb import database
from skydb.database import Database
from tests.checks.damages import small_database


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A sound database, to be read and copied only."""
    return small_database(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def db(pristine: Database, tmp_path: Path) -> Database:
    """A copy of the sound database, to damage."""
    shutil.copytree(pristine.root, tmp_path / "d.sky")
    return database.open(tmp_path / "d.sky")
