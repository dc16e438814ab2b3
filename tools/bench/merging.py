"""Two databases, of half the survey each, made one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from skydb import database
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.ingest.merge import merge

from .building import linked_copy
from .case import OURS, Case
from .memory import peak_memory
from .scene import Scene

GROUP = "merging"
NAMES = ("merge", "merge, folded", "merge again")
CONCATENATION = "DuckDB, concatenation"
HALVES = ("first.sky", "second.sky")


def cases(scene: Scene) -> Iterator[Case]:
    """Yield the cases; the halves are made once and kept."""
    first, second = (_half(scene, number) for number in range(2))
    peaks: dict[str, float] = {}
    folded: dict[str, float] = {}
    copies = iter([linked_copy(scene, first, "merged.sky"), linked_copy(scene, first, "folded.sky")])
    yield Case(
        "merge", GROUP, "half the survey into the other half, associated anew, averaged, committed",
        {OURS: lambda: _merge(scene, next(copies), second, peaks), CONCATENATION: lambda: _concatenate(scene, peaks)},
        goal="25 s", peer_does="puts the rows of both in order of their ids in one file; nothing else", repeat=1,
        numbers=lambda: peaks,
    )  # fmt: skip
    yield Case(
        "merge, folded", GROUP, "the same; cells that became too full are split",
        {OURS: lambda: _merge(scene, next(copies), second, folded, compact=True)}, repeat=1, numbers=lambda: folded,
    )  # fmt: skip
    merged = database.open(scene.folder / "merged.sky")
    yield Case(
        "merge again", GROUP, "nothing new to bring",
        {OURS: lambda: merge(merged, second, compact=False).n_measurements},
    )  # fmt: skip


def _half(scene: Scene, number: int) -> Database:
    path = scene.folder / HALVES[number]
    done = path.with_suffix(".done")
    if not done.exists():
        files = scene.exposures[number::2]
        db = scene.new_database(path.name)
        scene.say(f"ingesting {len(files)} exposures into {path.name}")
        addstar(db, files, workers=scene.workers)
        done.touch()
    return database.open(path)


def _merge(scene: Scene, into: Database, other: Database, peaks: dict[str, float], *, compact: bool = False) -> int:
    with peak_memory(os.getpid()) as peak:
        merge(into, other, compact=compact, workers=scene.workers)
    peak.note(peaks)
    return sum(file.rows for file in into.snapshot().files("measurements"))


def _concatenate(scene: Scene, peaks: dict[str, float]) -> int:
    """Let DuckDB put the measurements of both databases into one sorted file; return the rows."""
    import duckdb

    path = scene.folder / "concatenated.parquet"
    snapshots = [database.open(scene.folder / name).snapshot() for name in HALVES]
    files = [str(s.path_of(f)) for s in snapshots for f in s.files("measurements")]
    with (
        peak_memory(os.getpid()) as peak,
        duckdb.connect(config={"temp_directory": str(path.with_suffix(".tmp"))}) as con,
    ):
        con.execute(
            f"COPY (SELECT * FROM read_parquet({files}) ORDER BY object_id, mjd) TO '{path}'"
            " (FORMAT parquet, COMPRESSION zstd)"
        )
        (count,) = con.execute(f"SELECT count(*) FROM '{path}'").fetchall()[0]
    peak.note(peaks, " of DuckDB")
    path.unlink()
    return int(count)
