"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import skydb.database as database
from skydb.database import Database

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real test data, or skip with the reason."""
    path = Path(os.environ.get("SKYDB_TEST_DATA", PROJECT / ".." / "shared" / "data")).resolve()
    if not path.is_dir():
        pytest.skip(f"no real test data at {path}: set SKYDB_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def tycho2(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database of Tycho-2, 1.87 million stars of the whole sky in 45 cells; 10 s once a session. Only to be read."""
    from skydb.ingest.addstar import addstar

    db = database.create(tmp_path_factory.mktemp("tycho2") / "tycho2.sky", cell_rows=100_000)
    addstar(db, data_dir / "tycho2" / "tycho2.parquet", mapping="tycho2", workers=1, compact=False)
    return db
