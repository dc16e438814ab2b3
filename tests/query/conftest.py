"""Databases that several tests ask."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from skydb.database import Database
from skydb.query.connection import Connection, connect
from tests.query.databases import nights, plain_duckdb, scattered


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Three fields seen six times, in 39 cells."""
    return nights(tmp_path_factory.mktemp("nights") / "n.sky")


@pytest.fixture(scope="session")
def whole_sky(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Stars of the whole sky whose measurements lie far from where they were founded, in 48 cells."""
    return scattered(tmp_path_factory.mktemp("scattered") / "s.sky")


@pytest.fixture(scope="session")
def con(survey: Database) -> Iterator[Connection]:
    """A connection to the three fields."""
    with connect(survey) as connection:
        yield connection


@pytest.fixture(scope="session")
def plain(survey: Database) -> Iterator[duckdb.DuckDBPyConnection]:
    """The rows of the three fields in plain tables."""
    with plain_duckdb(survey.snapshot()) as connection:
        yield connection
