"""What DuckDB spills goes with its connection, or is removed by the next one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from skydb.database import Database
from skydb.query.connection import connect


def test_folder_for_spilled_rows_goes_with_the_connection(
    survey: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"skydb-{'0' * 32}"
    left.mkdir()
    (left / "duckdb_temp_storage-0.tmp").write_text("of a killed process")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with connect(survey, memory_limit="1GB") as first:
        first.sql("SELECT COUNT(*) FROM objects").arrow()
        (folder,) = tmp_path.iterdir()
        assert folder != left
        with connect(survey) as second:
            second.sql("SELECT COUNT(*) FROM objects").arrow()
            assert len(list(tmp_path.iterdir())) == 2
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []
