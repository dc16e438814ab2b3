"""One bit turned over in many stored files: each of them is found, and named, in one check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.store.catalog import reading
from skydb.store.layout import COMMITS
from tests.checks.damages import flip
from tests.query.databases import nights


def stored_paths(db: Database) -> list[str]:
    """Every data file that any snapshot names, and every manifest."""
    with reading(db.root) as connection:
        files = [path for (path,) in connection.execute("SELECT DISTINCT path FROM files ORDER BY path")]
    return files + sorted(str(p.relative_to(db.root)) for p in (db.root / COMMITS).glob("*.json"))


def flip_some(db: Database, count: int, *, seed: int) -> set[str]:
    """Flip one bit at any place of so many files, of every table and of the manifests."""
    rng = np.random.default_rng(seed)
    paths = stored_paths(db)
    folders = sorted({str(Path(path).parts[:2]) for path in paths if path.startswith("data/")})
    first = [next(p for p in paths if str(Path(p).parts[:2]) == folder) for folder in folders]
    rest = [p for p in paths if p not in first]
    chosen = {*first, *rng.choice(rest, count - len(first), replace=False).tolist()}
    for path in chosen:
        size = (db.root / path).stat().st_size
        flip(db.root / path, byte=int(rng.integers(size)), bit=int(rng.integers(8)))
    return chosen


def found_files(db: Database) -> set[str | None]:
    return {f.file for f in fsck(db, workers=1).damage}


def test_flips_in_25_files_are_all_found(db: Database) -> None:
    chosen = flip_some(db, 25, seed=1)
    assert len(chosen) == 25
    assert found_files(db) == chosen


@pytest.mark.parametrize("seed", range(3))
def test_flip_in_a_manifest_is_found(db: Database, seed: int) -> None:
    path = sorted((db.root / COMMITS).glob("*.json"))[seed]
    flip(path, byte=int(np.random.default_rng(seed).integers(path.stat().st_size)))
    assert found_files(db) == {str(path.relative_to(db.root))}


@pytest.mark.scale
@pytest.mark.parametrize("seed", range(5))
def test_flips_in_200_files_are_all_found(tmp_path: Path, seed: int) -> None:
    db = nights(tmp_path / "n.sky")
    chosen = flip_some(db, 200, seed=seed)
    assert len(chosen) == 200
    assert found_files(db) == chosen
