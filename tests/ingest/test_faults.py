"""Whose fault it is that a file fails: a good one stays where it is, and is tried again if its trouble may pass."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skydb.database import Database
from skydb.errors import BusyError, DataError, DiskFullError, UsageError
from skydb.ingest.addstar import addstar
from skydb.ingest.faults import Fault, fault_of
from skydb.ingest.readers import avro_files, fits_tables, table_files
from skydb.ingest.readers import contents as inputs
from skydb.ingest.readers.dvo import repeats
from skydb.ingest.readers.fits_tables import reading
from skydb.ingest.readers.interface import MissingError
from skydb.ingest.report import FileReport
from tests.ingest.alert_packets import archive, candidate, container, ztf_packet
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.packed import write_packed
from tests.ingest.skies import (
    SURVEY_CODES,
    check_nothing_is_left_over,
    contents,
    write_night,
    write_survey,
)
from tests.ingest.tables import REFERENCE, mapping_of
from tests.ingest.test_difference import difference_rows


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_night(tmp_path_factory.mktemp("night"), exposures=3, stars=30)


def failing(number: int) -> Callable[..., Any]:
    def fail(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def raised(number: int | None, *through: type[Exception]) -> BaseException:
    """An error of the system, and what other errors were made of it."""
    error: BaseException = OSError("no Parquet") if number is None else OSError(number, os.strerror(number))
    for kind in through:
        outer = kind("cannot be read")
        outer.__cause__ = error
        error = outer
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (DataError("the header has no END"), "content"), (ValueError("no number"), "content"),
        (raised(None, DataError), "content"), (raised(errno.EINVAL, DataError), "content"),
        (raised(errno.EIO), "disk"), (raised(errno.EIO, RuntimeError, DataError), "disk"),
        (raised(errno.ESTALE, DataError), "disk"), (raised(errno.EMFILE, DataError), "disk"),
        (DiskFullError("no space left on device"), "disk"), (raised(errno.ENOSPC, DiskFullError), "disk"),
        (raised(errno.ENOENT, DataError), "call"), (raised(errno.EACCES, DataError), "call"),
        (raised(errno.ELOOP), "call"), (MemoryError(), "call"), (UsageError("no mapping"), "call"),
        (MissingError("no photcode"), "call"), (BusyError("it is written"), "busy"),
    ],
)  # fmt: skip
def test_fault_is_that_of_what_is_behind_an_error(error: BaseException, fault: Fault) -> None:
    assert fault_of(error) == fault


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EIO, DataError),
                                              (errno.EACCES, UsageError)])  # fmt: skip
def test_what_a_disk_refuses_is_not_said_of_the_content(tmp_path: Path, number: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^(?!.*write or copy it again)") as told, reading(tmp_path / "a.cmf"):
        failing(number)()
    assert type(told.value) is kind


def tried(db: Database, file: Path, aside: Path, **how: Any) -> FileReport:
    """Ingest a file that is to fail, and see that it stays."""
    report = addstar(db, file, quarantine=aside, workers=1, **how).files[0]
    assert (report.status, report.quarantined) == ("failed", None)
    assert file.exists()
    assert not aside.exists()
    check_nothing_is_left_over(db)
    return report


def test_file_that_a_failing_disk_does_not_give_stays_and_comes_later(
    db: Database, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((fits_tables.mmap, "mmap"), (inputs, "digest_of")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(errno.EIO))
            report = tried(db, night[0], tmp_path / "bad")
        assert (report.fault, report.exit_code) == ("disk", 3)
        assert "input/output error; check the disk" in (report.error or "")
    assert addstar(db, night[0], workers=1).files[0].status == "ingested"


class FullFile(io.BytesIO):
    """A temporary file on a full disk."""

    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_compressed_table_for_which_there_is_no_room_stays(
    db: Database, night: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_packed(tmp_path / "packed.cmf", night[0])
    monkeypatch.setattr(fits_tables, "TemporaryFile", FullFile)
    report = tried(db, tmp_path / "packed.cmf", tmp_path / "bad")
    assert report.fault == "disk"
    assert f"{tempfile.gettempdir()}: no space left on device; free some space" in (report.error or "")


def test_keys_of_a_dvo_database_for_which_there_is_no_room_name_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "TemporaryFile", FullFile)
    with pytest.raises(DiskFullError, match=f"{tempfile.gettempdir()}: no space left on device"):
        repeats.Repeats.of([np.arange(3, dtype=np.uint64)])


def test_packets_for_which_there_is_no_room_are_not_counted_as_damaged(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = archive(tmp_path / "night.tar", {"1.avro": container([ztf_packet(candidate(1))])})
    monkeypatch.setattr(avro_files, "SpooledTemporaryFile", lambda limit: FullFile())
    report = tried(db, night, tmp_path / "bad", mapping="ztf_alerts")
    assert report.fault == "disk"
    monkeypatch.undo()
    monkeypatch.setattr("fastavro.reader", failing(errno.EIO))
    assert tried(db, night, tmp_path / "bad", mapping="ztf_alerts").fault == "disk"


def test_table_that_a_failing_disk_does_not_give_stays(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = write_survey(tmp_path / "a.csv", [(1, 10.0, 5.0)])
    monkeypatch.setattr(table_files, "open_text", failing(errno.EIO))
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    assert tried(db, survey, tmp_path / "bad", mapping=mapping).fault == "disk"


def test_file_whose_image_is_there_already_stays(db: Database, tmp_path: Path) -> None:
    addstar(db, write_cmf(tmp_path / "a.cmf", rows(20, seed=1)), workers=1)
    report = tried(db, write_cmf(tmp_path / "b.cmf", rows(20, seed=2)), tmp_path / "bad")
    assert (report.fault, report.exit_code) == ("database", 3)
    difference = write_cmf(tmp_path / "c.cmf", difference_rows(3), exttype="PS1_DV3")
    assert tried(db, difference, tmp_path / "bad").fault == "database"


def test_file_whose_photcode_is_not_known_yet_stays(db: Database, tmp_path: Path) -> None:
    for value in ("CAM.u", None):
        path = write_cmf(tmp_path / "a.cmf", rows(20), {"PHOTCODE": value})
        assert tried(db, path, tmp_path / "bad").fault == "call"


def growing(path: Path, content: bytes) -> Callable[[str, int, int], None]:
    """Append to a file after its content was looked at, before it is read."""

    def progress(step: str, done: int, total: int) -> None:
        if step == "digest" and done == total:
            with path.open("ab") as file:
                file.write(content)

    return progress


@pytest.mark.parametrize("cut", [20_000, None])
def test_file_that_grows_while_it_is_read_stays_and_comes_when_it_is_complete(
    db: Database, night: list[Path], tmp_path: Path, cut: int | None
) -> None:
    """Once it is damaged as it is, once whole: but then it is not what it will be known by."""
    whole = night[0].read_bytes()
    path = tmp_path / "a.cmf"
    path.write_bytes(whole[:cut])
    report = tried(db, path, tmp_path / "bad", progress=growing(path, whole[cut:] if cut else bytes(2880)))
    assert (report.fault, report.exit_code) == ("busy", 4)
    assert "it was changed while it was read" in (report.error or "")
    assert addstar(db, path, workers=1).files[0].status == "ingested"


def test_file_that_is_gone_when_it_is_read_fails_alone(db: Database, night: list[Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(night[0], tmp_path / "a.cmf"))

    def gone(step: str, done: int, total: int) -> None:
        if step == "digest":
            path.unlink(missing_ok=True)

    report = addstar(db, [path, night[1]], quarantine=tmp_path / "bad", workers=1, progress=gone)
    assert [(f.status, f.fault) for f in report.files] == [("failed", "call"), ("ingested", None)]


def test_copy_of_a_file_that_fails_has_failed_too(db: Database, night: list[Path], tmp_path: Path) -> None:
    cut, copy = tmp_path / "a.cmf", tmp_path / "b.cmf"
    for path in (cut, copy):
        path.write_bytes(night[0].read_bytes()[:20_000])
    good = shutil.copy(night[1], tmp_path / "c.cmf")
    report = addstar(db, [cut, copy, night[1], good], workers=1, quarantine=tmp_path / "bad")
    assert [f.status for f in report.files] == ["failed", "failed", "ingested", "known"]
    assert str(copy) in (report.files[1].error or "")
    assert {p.name for p in (tmp_path / "bad").iterdir()} >= {"a.cmf", "b.cmf"}


@pytest.mark.parametrize("workers", [1, 2])
def test_pipe_is_refused_at_once(db: Database, night: list[Path], tmp_path: Path, workers: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    report = addstar(db, [tmp_path / "pipe", night[0]], workers=workers)
    assert [f.status for f in report.files] == ["failed", "ingested"]
    assert "a pipe or a device is no file" in (report.files[0].error or "")


def test_loop_of_links_fails_alone(db: Database, night: list[Path], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    report = addstar(db, [tmp_path / "loop", night[0]], workers=1, quarantine=tmp_path / "bad")
    assert [(f.status, f.exit_code, f.fault) for f in report.files] == [("failed", 2, "call"), ("ingested", 0, None)]


def test_reports_say_the_fault(db: Database, tmp_path: Path) -> None:
    (tmp_path / "a.cmf").write_bytes(b"SIMPLE  = nothing")
    files = addstar(db, [tmp_path / "a.cmf", tmp_path / "absent"], workers=1).as_dict()["files"]
    assert [f["fault"] for f in files] == ["content", "call"]
    assert contents(db)["images"].num_rows == 0
