"""Pieces of stored files are read wherever a copy is whole, and what no place has is named."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from skydb.errors import BusyError, DataError, UsageError
from skydb.store import copies, fetching
from skydb.store.checksums import is_whole_here
from skydb.store.fetching import MOST_BETWEEN, Span, fetch
from skydb.store.files import DataFile, StoredFile
from skydb.store.layout import HOST_FILE
from skydb.store.parquet import read_file, read_pair, read_selected, store_rows
from skydb.store.roots import Place, filesystem_of, is_url, root_named

ROWS = 150_000
"""Three row groups."""


def seeds() -> pa.Table:
    """Rows of a table with sorted keys and noisy numbers."""
    rng = np.random.default_rng(4)
    return pa.table({
        "object_id": rng.integers(1, 14, ROWS).cumsum(), "assoc_ra": rng.random(ROWS), "assoc_dec": rng.random(ROWS),
        "founder_image_id": rng.integers(0, 5, ROWS), "founder_det_id": np.arange(ROWS),
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def file(folder: Path) -> DataFile:
    return store_rows(folder, "db", seeds(), "object_seeds", cell=(0, 0))


@pytest.fixture(scope="module")
def here(folder: Path, file: DataFile) -> StoredFile:
    return file.at(Place("local", str(folder), file.path))


@pytest.fixture
def memory(folder: Path, file: DataFile) -> Iterator[Place]:
    """A copy in fsspec's memory."""
    place = Place("m", "memory://skydb-copies", file.path)
    fsspec.filesystem("memory").pipe_file(place.url, (folder / file.path).read_bytes())
    yield place
    fsspec.filesystem("memory").rm("/skydb-copies", recursive=True)


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test learns of hosts is no business of the next."""
    monkeypatch.setattr(copies, "_told", set())
    monkeypatch.setattr(fetching, "_away", {})


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The ranges that were asked of fsspec's memory."""
    asked: list[tuple[str, int, int]] = []
    kind = type(fsspec.filesystem("memory"))
    own = kind.cat_file

    def counted(self: object, path: str, start: int | None = None, end: int | None = None, **more: object) -> bytes:
        asked.append((path, start or 0, end or 0))
        body: bytes = own(self, path, start=start, end=end, **more)
        return body

    monkeypatch.setattr(kind, "cat_file", counted)
    return asked


def gone(file: DataFile, folder: Path) -> Place:
    """A place of a host that has lost its files."""
    return Place("a", str(folder / "gone"), file.path)


RANGES = np.array([[7_000, 7_700], [700_000, 700_070]])


def test_remote_file_reads_as_the_local_one(here: StoredFile, file: DataFile, memory: Place) -> None:
    far = file.at(memory)
    assert read_file(far).equals(read_file(here))
    names = ["assoc_ra", "object_id"]
    near, there = (pa.concat_tables(read_selected([f], names, RANGES)) for f in (here, far))
    assert 0 < near.num_rows < 200
    assert there.equals(near)


def test_pair_of_files_reads_remotely_as_locally(tmp_path: Path) -> None:
    count = 40_000
    required = ("object_id", "image_id", "det_id", "code", "mjd")
    keys = {"object_id": np.repeat(np.arange(count // 8), 8), "image_id": np.arange(count), "det_id": np.arange(count),
            "code": np.ones(count, np.int64), "mjd": 56000 + np.tile(np.arange(8.0), count // 8)}  # fmt: skip
    assert set(keys) == set(required)
    noise = np.random.default_rng(1).random(count)
    raw = store_rows(tmp_path, "db", pa.table({**keys, "inst_mag": noise}), "measurements", cell=(0, 0))
    cal = store_rows(tmp_path, "db", pa.table({**keys, "mag": noise}), "measurements_cal", cell=(0, 0), base=raw.name)
    memory = fsspec.filesystem("memory")
    for each in (raw, cal):
        memory.pipe_file(f"memory://skydb-pair/{each.path}", (tmp_path / each.path).read_bytes())
    names, ranges = ["object_id", "mag", "inst_mag"], np.array([[10, 20], [4900, 4910]])
    for chosen in (None, ranges):
        near = read_pair(*(f.at(Place.of(tmp_path / f.path)) for f in (raw, cal)), names, ranges=chosen)
        far = read_pair(*(f.at(Place("m", "memory://skydb-pair", f.path)) for f in (raw, cal)), names, ranges=chosen)
        expected = pa.concat_tables(near)
        assert expected.num_rows == (count if chosen is None else 160)
        assert pa.concat_tables(far).equals(expected)


def test_selected_rows_cost_two_requests_and_few_bytes(
    file: DataFile, memory: Place, requests: list[tuple[str, int, int]]
) -> None:
    """One for the tail, one for the columns of the row group, which lie side by side."""
    far = file.at(Place("unknown yet", memory.root, memory.path))
    rows = pa.concat_tables(read_selected([far], ["object_id", "assoc_ra"], np.array([[7_000, 7_700]])))
    assert 0 < rows.num_rows < 200
    assert len(requests) == 2
    assert sum(stop - start for _, start, stop in requests) < file.bytes / 3


def test_footer_is_fetched_once(file: DataFile, memory: Place, requests: list[tuple[str, int, int]]) -> None:
    far = file.at(Place("again", memory.root, memory.path))
    read_file(far, ["assoc_ra"])
    first = len(requests)
    read_file(far, ["assoc_ra"])
    assert len(requests) == 2 * first - 1


def test_near_spans_are_one_request_and_far_ones_two(
    memory: Place, here: StoredFile, requests: list[tuple[str, int, int]]
) -> None:
    content = here.path.read_bytes()
    far = 100 + MOST_BETWEEN + 1
    spans = [Span(memory, far, far + 10), Span(memory, 4, 8), Span(memory, 50, 100), Span(memory, 4, 8)]
    assert [bytes(body) for body in fetch(spans) if not isinstance(body, Exception)] == [
        content[s.start: s.stop] for s in spans
    ]
    assert len(requests) == 2


def test_damage_to_a_remote_file_is_found(file: DataFile, here: StoredFile, memory: Place) -> None:
    """In its tail, and in any column that is read; a column that is not read does not matter."""
    content = here.path.read_bytes()
    broken = Place("m", "memory://skydb-copies/broken", file.path)
    for at in (file.bytes - 20, 1000):
        bad = bytearray(content)
        bad[at] ^= 1
        fsspec.filesystem("memory").pipe_file(broken.url, bytes(bad))
        with pytest.raises(DataError, match=rf"host m: {broken.url}: a stored file is damaged"):
            read_file(file.at(broken), ["object_id"])
    assert read_file(file.at(broken), ["assoc_dec"]).num_rows == ROWS


def test_shorter_remote_file_is_refused(file: DataFile, here: StoredFile, memory: Place) -> None:
    short = Place("m", "memory://skydb-copies/short", file.path)
    fsspec.filesystem("memory").pipe_file(short.url, here.path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"damaged: \d+ bytes of \d+"):
        read_file(file.at(short))


@pytest.mark.parametrize("first", ["gone", "short", "flipped"])
@pytest.mark.parametrize("backup", ["memory", "folder"])
def test_backup_is_read_where_the_first_copy_fails(
    file: DataFile, here: StoredFile, memory: Place, tmp_path: Path, first: str, backup: str
) -> None:
    content = bytearray(here.path.read_bytes())
    bad = tmp_path / file.path
    bad.parent.mkdir(parents=True)
    if first != "gone":
        content[1000] ^= 1
        bad.write_bytes(content[:-5] if first == "short" else content)
    stored = file.at(Place("a", str(tmp_path), file.path), memory if backup == "memory" else here.place)
    with pytest.warns(copies.BackupWarning, match="host a"):
        assert read_file(stored, ["object_id"]).equals(read_file(here, ["object_id"]))
    selected = (pa.concat_tables(read_selected([f], ["object_id"], RANGES)) for f in (stored, here))
    assert next(selected).equals(next(selected))
    assert not is_whole_here(stored, ["object_id"])


def test_lost_host_is_told_once(file: DataFile, folder: Path, memory: Place) -> None:
    stored = file.at(gone(file, folder), memory)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            read_file(stored, ["object_id"])
    assert [w.category for w in told] == [copies.BackupWarning]


def test_what_no_host_has_is_named(file: DataFile, folder: Path) -> None:
    stored = file.at(gone(file, folder), Place("b", "memory://skydb-nowhere", file.path))
    with pytest.raises(DataError) as error:
        read_file(stored)
    text = str(error.value)
    assert text.startswith("table object_seeds, cell 0/0: no copy of a stored file can be read: ")
    assert f"host a: {folder / 'gone' / file.path}: a stored file is missing" in text
    assert f"host b: memory://skydb-nowhere/{file.path}: a stored file is missing" in text


def test_file_that_was_moved_is_asked_for_once_more(file: DataFile, here: StoredFile, folder: Path) -> None:
    """And nothing is said of the old host, which lost nothing."""
    asked = []

    def find_again() -> tuple[Place, ...]:
        asked.append(1)
        return (here.place,)

    stored = file.at(gone(file, folder), find_again=find_again)
    assert read_file(stored, ["object_id"]).equals(read_file(here, ["object_id"]))
    assert asked


def test_moved_file_that_is_nowhere_is_missing_where_it_was(file: DataFile, folder: Path) -> None:
    place = gone(file, folder)
    with pytest.raises(DataError, match=rf"host a: {place}: a stored file is missing"):
        read_file(file.at(place, find_again=lambda: (place,)))


def test_missing_file_of_a_disk_that_is_not_mounted_is_not_to_be_repaired(file: DataFile, folder: Path) -> None:
    place = gone(file, folder)
    with pytest.raises(DataError, match="as is all of its host; mount the disk of host a there"):
        read_file(file.at(place))
    Path(place.root).mkdir()
    (Path(place.root) / HOST_FILE).touch()
    with pytest.raises(DataError, match="put this file back from a copy of the database"):
        read_file(file.at(place))


def test_server_that_did_not_answer_is_asked_last(
    file: DataFile, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Silent:
        def cat_ranges(self, urls: list[str], *_: object, **__: object) -> list[Exception]:
            asked.append(urls)
            return [TimeoutError() for _ in urls]

    def silent(url: str) -> object:
        return Silent() if url.startswith("http") else filesystem_of(url)

    monkeypatch.setattr(fetching, "filesystem_of", silent)
    far = Place("far", "http://far.example/s.sky", file.path)
    with pytest.warns(copies.BackupWarning, match=r"far\.example cannot be reached, or broke off \(TimeoutError\)"):
        read_file(file.at(far, memory), ["object_id"])
    assert len(asked) == 1
    read_file(file.at(far, memory), ["assoc_ra"])
    assert len(asked) == 1
    with pytest.raises(BusyError, match=r"host far: http://far.example/s.sky/.*: far\.example cannot be reached"):
        read_file(file.at(far))


def test_unreadable_local_copy_says_so(file: DataFile, here: StoredFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "pread", denied)
    with pytest.raises(DataError, match="no right to read a stored file"):
        read_file(file.at(Place("b", f"{here.place.root}/.", file.path)))


def test_unknown_protocol_is_an_error_of_use() -> None:
    with pytest.raises(UsageError, match="nothing reads gopher://"):
        filesystem_of("gopher://host/survey.sky")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", absent)
    with pytest.raises(UsageError, match=r"`pip install 'skydb\[s3\]'`"):
        filesystem_of("s3://bucket/survey.sky")


def test_backup_is_read_where_what_reads_the_first_copy_is_not_installed(
    file: DataFile, here: StoredFile, folder: Path
) -> None:
    stored = file.at(Place("a", "gopher://host", file.path), here.place)
    with pytest.warns(copies.BackupWarning, match="nothing reads gopher://"):
        assert read_file(stored, ["object_id"]).equals(read_file(here, ["object_id"]))
    with pytest.raises(UsageError, match="nothing reads gopher://"):
        read_file(file.at(Place("a", "gopher://host", file.path)))


def test_roots_are_folders_or_urls() -> None:
    assert not is_url("file:///data/a.sky")
    assert root_named("file:///data/a%20b", "") == "/data/a b"
    assert root_named("s3://bucket/x", "/data") == "s3://bucket/x"
    assert Place("a", "s3://bucket/x/", "data/f").url == "s3://bucket/x/data/f"
