"""Files that hold nothing, nonsense or a contradiction: each is counted or rejected alone, and the others go on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from skydb.database import Database
from skydb.ingest import batches, routing
from skydb.ingest.addstar import addstar
from skydb.ingest.readers.interface import Chunk, DetectionFilter, ReadRequest
from skydb.ingest.readers.smf import SmfReader
from skydb.ingest.routing import InputFile
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import (
    assert_same,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
)
from tests.ingest.tables import REFERENCE, mapping_of

NOWHERE = {"X_PSF": np.full(9, np.nan, "f4")}


def barren(folder: Path) -> list[Path]:
    """A file without rows, and one whose rows are all rejected."""
    return [
        write_cmf(folder / "empty.cmf", rows(0), {"OBS_ID": "e", "MJD-OBS": 56899.0}),
        write_cmf(folder / "nowhere.cmf", rows(9, **NOWHERE), {"OBS_ID": "n", "MJD-OBS": 56898.0}),
    ]


def read_together(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let every reading task take so many files, whatever their size."""
    original = routing.group_files

    def group_files(files: Sequence[InputFile], *, bytes_per_task: int) -> list[tuple[InputFile, ...]]:
        if bytes_per_task == batches.BATCH_BYTES:
            return original(files, bytes_per_task=bytes_per_task)
        return [tuple(files[first : first + count]) for first in range(0, len(files), count)]

    monkeypatch.setattr(batches, "group_files", group_files)


def test_files_without_detections_are_ingested_wherever_they_stand(
    tmp_path: Path, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_together(monkeypatch, 3)
    first = None
    for number, files in enumerate(permutations([*barren(tmp_path), night[0]])):
        db = new_database(tmp_path / f"{number}.sky")
        report = addstar(db, files, workers=1)
        found = {Path(f.file).stem: (f.status, f.n_images, f.n_in, f.reasons) for f in report.files}
        assert found["empty"] == ("ingested", 1, 0, {})
        assert found["nowhere"] == ("ingested", 1, 9, {"no_position": 9})
        assert found["0-0"][:2] == ("ingested", 1)
        check_conservation(db)
        first = first or contents(db)
        assert_same(contents(db), first)


@pytest.mark.usefixtures("workers_end")
def test_files_without_detections_that_workers_read_first_are_ingested(
    db: Database, tmp_path: Path, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_together(monkeypatch, 2)
    empty, nowhere = barren(tmp_path)
    report = addstar(db, [empty, night[0], nowhere, night[1]], workers=2)
    assert [f.status for f in report.files] == ["ingested"] * 4
    check_conservation(db)
    check_nothing_is_left_over(db)


def test_file_of_which_a_filter_keeps_nothing_is_ingested(db: Database, night: list[Path]) -> None:
    report = addstar(db, night[0], keep=DetectionFilter(x_range=(5000, None)), workers=1)
    assert report.files[0].reasons == {"window": report.files[0].n_in}
    assert contents(db)["images"].num_rows == 1


HEADERS: dict[str, dict[str, object]] = {
    "no exposure takes 1e.30 s": {"EXPTIME": 1e30},
    "no exposure takes 4e.09 s": {"EXPTIME": 4e9},
    "no exposure takes 3.7e.09 s": {"EXPTIME": 3.7e9, "MJD-OBS": None, "MJD-AVG": 56900.0},
    "with 1e.30 s per row": {"TRATE": 1e30},
}


@pytest.mark.parametrize("message", HEADERS)
def test_header_whose_times_cannot_be_rejects_its_file_alone(
    db: Database, tmp_path: Path, night: list[Path], message: str
) -> None:
    bad = write_cmf(tmp_path / "bad.cmf", header={"OBS_ID": "bad", **HEADERS[message]})
    report = addstar(db, [night[0], bad, night[1]], workers=1)
    assert [f.status for f in report.files] == ["ingested", "failed", "ingested"]
    error = report.files[1].error or ""
    assert str(bad) in error
    assert re.search(f"{message}.*; correct", error)


@pytest.mark.parametrize("exptime", ["1e30", "1e17", "-60"])
def test_exposure_time_of_a_table_that_cannot_be_rejects_its_row_or_is_nulled(
    db: Database, tmp_path: Path, exptime: str
) -> None:
    text = REFERENCE.split("[[magnitudes]]")[0].replace('kind = "reference"', 'kind = "detections"')
    epoch = 'value = 2000.0\nformat = "jyear"\nscale = "tt"'
    text = text.replace(epoch, 'column = "mjd"\nscale = "utc"\nexptime = "t"')
    mapping = mapping_of(tmp_path, text + 'inst_mag = "mag"\n[photcode]\nname = "CAM.r"\n')
    (tmp_path / "a.csv").write_text(f"id,ra,dec,mjd,t,mag\n1,10,10,57000,30,-9\n2,11,10,57001,{exptime},-9\n")
    (report,) = addstar(db, tmp_path / "a.csv", mapping=mapping, workers=1).files
    if exptime == "-60":
        assert (report.status, report.n_new, report.n_nulled) == ("ingested", 2, 1)
        assert sorted(contents(db)["images"]["exptime"].to_pylist(), key=str) == [30.0, None]
    else:
        assert (report.status, report.n_new, report.reasons) == ("ingested", 1, {"no_time": 1})


def chunks_with(column: str, value: float, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks, with one value of their detections replaced."""
    for chunk in chunks:
        values = chunk.detections[column].to_numpy().copy()
        values[-1] = value
        at = chunk.detections.column_names.index(column)
        yield replace(chunk, detections=chunk.detections.set_column(at, column, pa.array(values)))


@pytest.mark.parametrize(("column", "value"), [("mjd", 1e25), ("mjd", np.nan), ("ra_raw", 360.5), ("dec_raw", -91.0)])
def test_reader_that_gives_what_cannot_be_stored_rejects_its_file_and_skydb_takes_the_blame(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch, column: str, value: float
) -> None:
    original = SmfReader.read

    def read(self: SmfReader, path: Path, request: ReadRequest) -> Iterator[Chunk]:
        chunks = original(self, path, request)
        return chunks_with(column, value, chunks) if path == night[0] else chunks

    monkeypatch.setattr(SmfReader, "read", read)
    report = addstar(db, night, workers=1)
    assert [f.status for f in report.files] == ["failed", "ingested", "ingested", "ingested"]
    blame = f"ValueError: the reader gives {column} = {value:g}: this is a fault of skydb"
    assert blame in (report.files[0].error or "")
    check_conservation(db)


def test_error_that_no_reader_foresaw_rejects_its_file_also_where_starts_are_peeked_at(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SmfReader, path: Path, request: ReadRequest) -> float:
        raise AttributeError("no such thing")

    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    monkeypatch.setattr(SmfReader, "first_start", fail)
    assert addstar(db, night[:2], workers=1).n_ingested == 2
    monkeypatch.setattr(SmfReader, "read", fail)
    report = addstar(db, night[:3], workers=1)
    assert [f.status for f in report.files] == ["known", "known", "failed"]
    assert "AttributeError: no such thing: this is a fault of skydb; report it" in (report.files[2].error or "")


def test_fault_of_writing_is_not_put_on_a_file(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_spill(*args: object) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr(routing, "write_spill", write_spill)
    with pytest.raises(AttributeError, match="no such thing"):
        addstar(db, night, workers=1)
    check_nothing_is_left_over(db)
