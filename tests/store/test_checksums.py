"""Checksums of stored files: no flipped bit passes, whoever reads, and what was checked is not checked again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skydb.errors import DataError
from skydb.schema.tables import TABLES
from skydb.store import checksums
from skydb.store.checksums import footer_of, require_whole_columns
from skydb.store.files import StoredFile
from skydb.store.parquet import read_file, store_rows
from skydb.store.roots import Place

PAGE_HEADER = 40
"""Bytes from the start of a column chunk that hold its first page header, and little else."""


def seeds(count: int) -> pa.Table:
    """Rows of a table with sorted keys, noisy numbers, repeating ones and NULLs."""
    rng = np.random.default_rng(2)
    return pa.table({
        "object_id": np.arange(count) * 7, "assoc_ra": rng.random(count), "assoc_dec": rng.random(count),
        "founder_image_id": rng.integers(0, 5, count), "founder_det_id": np.arange(count),
    })  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> StoredFile:
    """A file of a few rows: 200 of the seeds of objects."""
    root = tmp_path_factory.mktemp("sound")
    file = store_rows(root, "db", seeds(200), "object_seeds", cell=(0, 0))
    return file.at(Place.of(root / file.path))


def flipped(sound: StoredFile, folder: Path, byte: int, bit: int) -> StoredFile:
    """A copy of a file with one bit flipped, under a name of its own."""
    content = bytearray(sound.path.read_bytes())
    content[byte] ^= 1 << bit
    path = folder / f"{byte}_{bit}.parquet"
    path.write_bytes(content)
    return StoredFile((Place.of(path),), sound.bytes, sound.tail)


def chunk_starts(file: StoredFile) -> dict[str, tuple[int, int]]:
    """First byte, and the byte after the last, of every column of a file of one row group."""
    group = pq.read_metadata(file.path).row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in chunks]
    return {
        c.path_in_schema: (s, s + c.total_compressed_size) for c, s in zip(chunks, starts, strict=True)
    }


def test_no_byte_lies_outside_of_the_magic_the_chunks_and_the_tail(sound: StoredFile) -> None:
    at = len(b"PAR1")
    for start, end in chunk_starts(sound).values():
        assert start == at
        at = end
    assert sound.tail.start == at
    assert sound.bytes == sound.path.stat().st_size


def test_sums_before_the_footer_do_not_disturb_parquet_readers(sound: StoredFile) -> None:
    rows = read_file(sound)
    assert pq.read_table(sound.path).equals(rows)
    ((total,),) = duckdb.sql(f"SELECT sum(assoc_ra) FROM '{sound.path}'").fetchall()
    assert total == pytest.approx(rows["assoc_ra"].to_numpy().sum())


def test_flip_of_any_byte_is_found_by_both_ways_of_reading(sound: StoredFile, tmp_path: Path) -> None:
    names = read_file(sound).column_names
    rng = np.random.default_rng(3)
    for byte in range(len(b"PAR1"), sound.bytes):
        bad = flipped(sound, tmp_path, byte, int(rng.integers(8)))
        with pytest.raises(DataError, match="damaged"):
            read_file(bad)
        with pytest.raises(DataError, match="damaged"):
            require_whole_columns(bad, names)
        bad.path.unlink()


def test_flips_in_page_headers_that_parquet_checksums_miss_are_found(sound: StoredFile, tmp_path: Path) -> None:
    """Why the sums cover page headers: pyarrow's own verification passes some that change its answer."""
    missed = 0
    for column, (start, _) in chunk_starts(sound).items():
        whole = pq.ParquetFile(sound.path).read([column])
        for byte in range(start, start + PAGE_HEADER):
            for bit in range(8):
                bad = flipped(sound, tmp_path, byte, bit)
                missed += answers_otherwise(bad, column, whole)
                with pytest.raises(DataError, match=f"damaged: column {column}"):
                    read_file(bad, [column])
                bad.path.unlink()
    assert missed > 0


def answers_otherwise(file: StoredFile, column: str, whole: pa.Table) -> bool:
    """Say whether pyarrow, verifying page checksums, reads other values and raises nothing."""
    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as opened:
            return not opened.read([column]).equals(whole)
    except (OSError, pa.ArrowException):
        return False


def test_damage_is_named_by_file_and_column(sound: StoredFile, tmp_path: Path) -> None:
    _, end = chunk_starts(sound)["assoc_ra"]
    bad = flipped(sound, tmp_path, end - 1, 0)
    with pytest.raises(DataError, match=rf"{bad.path}: a stored file is damaged: column assoc_ra, checksum"):
        require_whole_columns(bad, ["object_id", "assoc_ra"])


def test_columns_that_are_not_read_are_not_checked(sound: StoredFile, tmp_path: Path) -> None:
    _, end = chunk_starts(sound)["assoc_ra"]
    bad = flipped(sound, tmp_path, end - 1, 0)
    require_whole_columns(bad, ["object_id", "assoc_dec"])
    assert read_file(bad, ["assoc_dec"]).equals(read_file(sound, ["assoc_dec"]))


@pytest.mark.parametrize("change", [-1, 1])
def test_file_of_another_length_is_refused(sound: StoredFile, tmp_path: Path, change: int) -> None:
    path = tmp_path / "f.parquet"
    path.write_bytes((sound.path.read_bytes() + b"\0")[: sound.bytes + change])
    bad = StoredFile((Place.of(path),), sound.bytes, sound.tail)
    with pytest.raises(DataError, match=f"it has {sound.bytes + change} bytes of {sound.bytes}"):
        read_file(bad)
    with pytest.raises(DataError, match="damaged"):
        require_whole_columns(bad, ["assoc_ra"])


@pytest.mark.parametrize("first_bytes", [0, 100])
def test_disk_that_cannot_be_read_is_said_as_damage(
    sound: StoredFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_bytes: int
) -> None:
    """Of the tail, or of a column chunk once the tail was read."""
    copy = flipped(sound, tmp_path, 0, 0)

    def bad_sector(file: int, size: int, start: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    if first_bytes:
        footer_of(copy)
    monkeypatch.setattr(checksums.os, "pread", bad_sector)
    with pytest.raises(DataError, match=r"damaged: .*Input/output error"):
        require_whole_columns(copy, ["assoc_ra"])


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes every reading for a checksum took."""
    read: list[int] = []
    pread = os.pread

    def counted(file: int, size: int, start: int) -> bytes:
        read.append(size)
        return pread(file, size, start)

    monkeypatch.setattr(checksums.os, "pread", counted)
    return read


def test_what_was_checked_is_not_checked_again(sound: StoredFile, tmp_path: Path, bytes_read: list[int]) -> None:
    copy = flipped(sound, tmp_path, 0, 0)
    start, end = chunk_starts(copy)["assoc_ra"]
    require_whole_columns(copy, ["assoc_ra"])
    assert bytes_read == [copy.bytes - copy.tail.start, end - start]
    require_whole_columns(copy, ["assoc_ra"])
    read_file(copy, ["assoc_ra"])
    assert len(bytes_read) == 2
    read_file(copy, ["assoc_ra", "assoc_dec"])
    require_whole_columns(copy, ["assoc_ra", "assoc_dec"])
    assert len(bytes_read) == 3


def test_file_that_was_changed_is_checked_again(sound: StoredFile, tmp_path: Path) -> None:
    copy = flipped(sound, tmp_path, 0, 0)
    require_whole_columns(copy, ["assoc_ra"])
    bad = flipped(sound, tmp_path, chunk_starts(sound)["assoc_ra"][0], 0)
    bad.path.rename(copy.path)
    os.utime(copy.path, ns=(0, 0))
    with pytest.raises(DataError, match="damaged: column assoc_ra"):
        require_whole_columns(copy, ["assoc_ra"])


def test_lists_are_checked_too(tmp_path: Path) -> None:
    """The column that a list fills in a Parquet file has a name of its own."""
    zeros = {c.name: pa.array(["0"]).cast(c.arrow.type) for c in TABLES["images"] if c.required}
    file = store_rows(tmp_path, "db", pa.table({**zeros, "corner_ra": [[1.0, 2.0]]}), "images")
    stored = file.at(Place.of(tmp_path / file.path))
    start, _ = chunk_starts(stored)["corner_ra.list.element"]
    with pytest.raises(DataError, match="column corner_ra"):
        require_whole_columns(flipped(stored, tmp_path, start, 0), ["corner_ra"])
