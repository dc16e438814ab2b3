"""What many tests of ingest begin with: an empty database, a night of files, and processes that end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loky import get_reusable_executor

from skydb.database import Database
from tests.ingest.skies import new_database, write_night


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """An empty database that knows the photcodes of the files that tests make."""
    return new_database(tmp_path / "t.sky")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of four exposures of one small field; only to be read."""
    return write_night(tmp_path_factory.mktemp("night"), exposures=4, stars=40)


@pytest.fixture(scope="module")
def workers_end() -> Iterator[None]:
    """Ends the worker processes after the tests of a module."""
    yield
    get_reusable_executor(2).shutdown(wait=True)
