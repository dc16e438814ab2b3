"""Damage to stored files: SQL, cones and light curves raise, or answer as before; never otherwise."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import methodcaller
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.ingest.addstar import addstar
from skydb.query.connection import Connection, connect
from skydb.query.failures import clear_errors
from skydb.query.results import Result
from skydb.schema.tables import TABLES
from tests.ingest.skies import write_night
from tests.query.databases import new_database

FLIPS = 2
"""Bits flipped in every region of every file."""

SQL = {
    "objects": "SELECT * FROM objects ORDER BY ALL",
    "object_bands": "SELECT * FROM object_bands ORDER BY ALL",
    "measurements_cal": f"SELECT {', '.join(TABLES['measurements_cal'].names)} FROM measurements ORDER BY ALL",
    "measurements": "SELECT * FROM measurements ORDER BY ALL",
    "images": "SELECT * FROM images ORDER BY ALL",
    "images_cal": "SELECT * FROM images ORDER BY ALL",
    "photcodes": "SELECT * FROM photcodes ORDER BY ALL",
}
"""For every stored table a question that reads all its columns, but for those of `images_cal` that `images` has too."""

Ask = Callable[[Connection], Result]

_ticks = itertools.count(1)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """One field seen four times, in one cell."""
    folder = tmp_path_factory.mktemp("damage")
    db = new_database(folder / "d.sky", cell_rows=100_000)
    addstar(db, write_night(folder / "night", exposures=4, stars=60), workers=1)
    return db


def file_of(db: Database, table: str) -> Path:
    """The one file of a stored table."""
    (file,) = db.snapshot().files(table)
    return db.snapshot().path_of(file)


def bytes_of(path: Path) -> dict[str, list[int]]:
    """Bytes of every region of a Parquet file of one row group: three of its column chunks, four of its tail."""
    metadata, size = pq.read_metadata(path), path.stat().st_size
    chunks = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in chunks]
    ends = [start + c.total_compressed_size for start, c in zip(starts, chunks, strict=True)]
    footer = size - metadata.serialized_size - 8
    sums = footer - 4 * len(chunks)
    pages = sorted({*starts, *(c.data_page_offset for c in chunks)})
    return {
        "page headers": [byte for page in pages for byte in range(page, page + 16)],
        "dictionaries": [c.data_page_offset - 1 for c in chunks if c.dictionary_page_offset],
        "data": [end - 1 for end in ends],
        "page index": list(range(ends[-1], sums)),
        "sums": list(range(sums, footer)),
        "footer": list(range(footer, size - 8)),
        "end": list(range(size - 8, size)),
    }


@contextmanager
def flipped(path: Path, byte: int, bit: int) -> Iterator[None]:
    """Flip one bit of a file for as long as the block lasts; each time it looks like a file just changed."""
    content = path.read_bytes()
    bad = bytearray(content)
    bad[byte] ^= 1 << bit
    try:
        _rewrite(path, bytes(bad))
        yield
    finally:
        _rewrite(path, content)


def _rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(0, next(_ticks)))


@pytest.fixture(scope="module")
def questions(night: Database) -> dict[str, Ask]:
    """A question in SQL to every stored table, cones and a light curve of all columns."""
    with connect(night) as con:
        rows = con.sql("SELECT object_id, ra, dec FROM objects ORDER BY n_measurements DESC LIMIT 1").arrow()
    star, ra, dec = (rows[name][0].as_py() for name in ("object_id", "ra", "dec"))
    return {
        **{table: methodcaller("sql", query) for table, query in SQL.items()},
        "cone": methodcaller("cone", ra, dec, 0.05, columns="*"),
        "cone of measurements": methodcaller("cone", ra, dec, 0.05, table="measurements", columns="*"),
        "light curve": methodcaller("lightcurve", star, columns="*"),
    }


@pytest.fixture(scope="module")
def answers(night: Database, questions: dict[str, Ask]) -> dict[str, str]:
    """What the sound database answers."""
    return {name: answer(night, ask) for name, ask in questions.items()}


def answer(db: Database, ask: Ask) -> str:
    """The answer to a question, as text; "damage" if it was refused for that."""
    try:
        with connect(db) as con:
            return repr(ask(con).arrow().to_pylist())
    except DataError:
        return "damage"


@pytest.mark.parametrize("region", ["page headers", "dictionaries", "data", "page index", "sums", "footer", "end"])
@pytest.mark.parametrize("table", list(SQL))
def test_flipped_bit_is_refused_in_sql_and_changes_no_other_answer(
    night: Database, questions: dict[str, Ask], answers: dict[str, str], table: str, region: str
) -> None:  # fmt: skip
    path = file_of(night, table)
    where = bytes_of(path)[region]
    rng = np.random.default_rng(len(table) + len(region))
    for byte in rng.choice(where, FLIPS).tolist():
        with flipped(path, byte, int(rng.integers(8))):
            found = answer(night, questions[table])
            assert found == "damage" or (table == "images_cal" and found == answers[table])
            for name in ("cone", "cone of measurements", "light curve"):
                assert answer(night, questions[name]) in ("damage", answers[name])


def test_sound_database_answers_every_question(answers: dict[str, str]) -> None:
    assert "damage" not in answers.values()
    assert "[]" not in answers.values()


def test_flip_in_a_column_that_a_cone_reads_is_refused(night: Database, questions: dict[str, Ask]) -> None:
    path = file_of(night, "objects")
    for byte in np.random.default_rng(5).choice(bytes_of(path)["data"], 5).tolist():
        with flipped(path, byte, 0):
            assert answer(night, questions["cone"]) == "damage"


def test_flip_in_a_column_that_is_not_asked_does_not_matter(night: Database) -> None:
    ask, ask_flux = (methodcaller("sql", f"SELECT avg({name}) FROM measurements") for name in ("mag", "flux"))
    path = file_of(night, "measurements_cal")
    right = answer(night, ask)
    with flipped(path, bytes_of(path)["data"][pq.read_schema(path).names.index("flux")], 0):
        assert answer(night, ask) == right
        assert answer(night, ask_flux) == "damage"


def test_limit_of_open_files_is_no_fault_of_the_query() -> None:
    with pytest.raises(UsageError, match="too many files are open at once; raise"), clear_errors():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.parquet")
