"""What addstar promises: rows are conserved, files are known again, a damaged one harms no other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import loky
import numpy as np
import pytest

import skydb
import skydb.database as database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest import job
from skydb.ingest.addstar import addstar
from skydb.ingest.readers.interface import DetectionFilter
from skydb.store.history import catalog_table
from skydb.tools.cli import main
from tests.ingest.catalog_files import Chip, rows, write_cmf, write_smf
from tests.ingest.skies import (
    SURVEY_CODES,
    check_conservation,
    check_nothing_is_left_over,
    contents,
    new_database,
    write_night,
    write_survey,
)
from tests.ingest.tables import REFERENCE, mapping_of


@pytest.fixture
def night(tmp_path: Path) -> list[Path]:
    return write_night(tmp_path / "night")


def test_every_row_is_matched_new_or_rejected(db: Database, night: list[Path]) -> None:
    table = rows(40, seed=9)
    table["X_PSF"][:5], table["IPP_IDET"][7] = np.nan, 6
    report = addstar(db, [*night, write_cmf(night[0].with_name("odd.cmf"), table, {"MJD-OBS": 56899.0})], workers=1)
    assert [f.status for f in report.files] == ["ingested"] * 7
    assert report.files[-1].reasons == {"no_position": 5, "duplicate": 1}
    assert report.count("n_matched") > 500
    assert report.count("n_in") == report.count("n_matched") + report.count("n_new") + 6
    check_conservation(db)
    check_nothing_is_left_over(db)


def test_known_file_changes_nothing(db: Database, night: list[Path]) -> None:
    first = addstar(db, night, workers=1)
    before = contents(db)
    copy = shutil.copy(night[0], night[0].with_name("other name.cmf"))
    again = addstar(db, [night[1], copy, night[1]], workers=1)
    assert [f.status for f in again.files] == ["known", "known"]
    assert again.snapshot == first.snapshot == db.snapshot().id
    assert contents(db) == before
    assert len(catalog_table(db.snapshot(), "ingest_log")) == len(night)


def test_file_named_twice_in_one_call_counts_once(db: Database, night: list[Path]) -> None:
    copy = shutil.copy(night[0], night[0].with_name("copy.cmf"))
    report = addstar(db, [night[0], night[0], copy], workers=1)
    assert [(f.file, f.status) for f in report.files] == [(str(night[0]), "ingested"), (copy.__fspath__(), "known")]
    check_conservation(db)


def test_damaged_file_is_reported_and_the_others_go_on(db: Database, night: list[Path]) -> None:
    (night[0].with_name("cut.cmf")).write_bytes(night[1].read_bytes()[:9000])
    (night[0].with_name("text.cmf")).write_text("no FITS")
    bad = [night[0].with_name(name) for name in ("cut.cmf", "text.cmf", "absent.cmf")]
    report = addstar(db, [bad[0], night[0], *bad[1:]], workers=1)
    assert [f.status for f in report.files] == ["failed", "ingested", "failed", "failed"]
    assert all(str(path) in (file.error or "") for path, file in zip(bad, report.with_status("failed"), strict=True))
    assert len(catalog_table(db.snapshot(), "ingest_log")) == 1
    check_conservation(db)
    repaired = shutil.copy(night[1], bad[0])
    assert addstar(db, repaired, workers=1).files[0].status == "ingested"


def test_only_failures_make_no_snapshot(db: Database, tmp_path: Path) -> None:
    before = db.snapshot().id
    report = addstar(db, [tmp_path / "absent.smf", tmp_path], workers=1)
    assert [f.status for f in report.files] == ["failed", "failed"]
    assert report.snapshot == before == db.snapshot().id


def test_command_says_who_has_to_act_where_a_file_failed(
    db: Database, night: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    absent, broken = night[0].with_name("absent.cmf"), night[0].with_name("broken.cmf")
    broken.write_bytes(b"SIMPLE  =")
    call = ["addstar", str(db.root), str(night[0]), "--workers", "1", "--json"]
    for files, code in (((absent,), 2), ((absent, broken), 3), ((broken,), 3), ((), 0)):
        assert main([*call, *map(str, files)]) == code
        said = json.loads(capsys.readouterr().out)
        assert (said["n_failed"], said["complete"]) == (len(files), code == 0)
        assert all(f["error"] for f in said["files"] if f["status"] == "failed")


def test_second_copy_of_an_image_is_refused(db: Database, night: list[Path]) -> None:
    """The same header, other rows: another file, but the same image."""
    again = write_cmf(night[0].with_name("again.cmf"), rows(30), {"OBS_ID": "o0-0", "MJD-OBS": 56900.25})
    here = addstar(db, [night[0], again], workers=1)
    assert [f.status for f in here.files] == ["ingested", "failed"]
    later = addstar(db, [again, night[1]], workers=1)
    assert [f.status for f in later.files] == ["failed", "ingested"]
    for report, place in ((here, 1), (later, 0)):
        assert "in the database already" in (report.files[place].error or "")
        assert str(night[0]) in (report.files[place].error or "")
        assert "(start 2014-08-31T06:00:00.000 UTC, photcode CAM.g.XY01, " in (report.files[place].error or "")
        assert "exposure o0-0)" in (report.files[place].error or "")
        assert "tell the two apart by what makes an image" in (report.files[place].error or "")
    check_conservation(db)


def test_unknown_photcode_of_a_header_fails_with_advice(db: Database, night: list[Path]) -> None:
    odd = write_cmf(night[0].with_name("odd.cmf"), header={"PHOTCODE": "CAM.g.XY10", "OBS_ID": "x"})
    report = addstar(db, [odd, night[0]], workers=1)
    assert [f.status for f in report.files] == ["failed", "ingested"]
    assert "did you mean 'CAM.g.XY01'?" in (report.files[0].error or "")


def test_bad_calls_are_refused(db: Database, night: list[Path]) -> None:
    for radius in (0, -1.0, float("nan"), float("inf"), 601):
        with pytest.raises(UsageError, match="association radius"):
            addstar(db, night, radius_arcsec=radius, workers=1)
    with pytest.raises(UsageError, match="no files"):
        addstar(db, [])
    for files in ([3], 3, [b"a.cmf"], None, [None]):
        with pytest.raises(UsageError, match="is no path of a file"):
            addstar(db, files)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UsageError, match="workers must be a whole number, not '2'"):
        addstar(db, night, workers="2")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UsageError, match=r"did you mean 'CAM.r'\?"):
        addstar(db, night, photcode="CAM.R")
    with pytest.raises(UsageError, match="one-to-one"):
        addstar(db, night, association="nearest")
    with pytest.raises(UsageError, match="no skydb database"):
        addstar(night[0].parent, night)
    assert db.snapshot().id == 1


@pytest.mark.parametrize("cell_rows", ["5", 2.5, 0, True, None])
def test_cell_size_that_is_no_count_makes_no_database(tmp_path: Path, cell_rows: Any) -> None:
    with pytest.raises(UsageError, match=f"cell_rows must be .*{cell_rows}"):
        database.create(tmp_path / "c.sky", cell_rows=cell_rows)
    assert not (tmp_path / "c.sky").exists()
    assert database.create(tmp_path / "c.sky", cell_rows=np.int64(7)).cell_rows == 7  # type: ignore[arg-type]  # NumPy


def test_file_whose_name_is_no_text_is_refused_with_advice(
    db: Database, night: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    latin = os.fsdecode(bytes(night[0].with_name("caf")) + b"\xe9.cmf")
    shutil.copy(night[0], latin)
    for name, shown in ((latin, r"caf\\xe9.cmf"), ("a\0.cmf", r"a\\0.cmf")):
        with pytest.raises(UsageError, match=f"{shown}: the file's name is no text in UTF-8; rename it"):
            addstar(db, [night[1], name])
    assert main(["addstar", str(db.root), latin]) == 2
    assert r"caf\xe9.cmf: the file's name is no text in UTF-8; rename it" in capsys.readouterr().err
    assert addstar(db, shutil.copy(night[0], night[0].with_name("café.cmf")), workers=1).n_ingested == 1


def test_file_without_rows_brings_its_image(db: Database, tmp_path: Path) -> None:
    empty = write_cmf(tmp_path / "empty.cmf", rows(0), {"OBS_ID": "e"})
    report = addstar(db, empty, workers=1)
    assert (report.files[0].status, report.files[0].n_images, report.files[0].n_in) == ("ingested", 1, 0)
    assert contents(db)["images"]["n_detections"].to_pylist() == [0]
    assert addstar(db, empty, workers=1).files[0].status == "known"
    chips = Chip("XY01", rows(0)), Chip("XY02", rows(12), {"CRVAL1": 9000.0})
    mixed = addstar(db, write_smf(tmp_path / "mixed.smf", chips), workers=1)
    assert (mixed.files[0].n_images, mixed.files[0].n_new) == (2, 12)
    check_conservation(db)


def test_filtered_detections_are_counted(db: Database, night: list[Path]) -> None:
    keep = DetectionFilter(max_mag_err=0.2, exclude_photflags=0x8, x_range=(100, 900))
    report = addstar(db, night, keep=keep, workers=1)
    assert set(report.files[0].reasons) == {"magnitude_error", "photflags", "window"}
    check_conservation(db)
    held = contents(db)["measurements"]
    assert max(held["inst_mag_err"].to_pylist()) <= np.float32(0.2)
    assert not any(flags & 0x8 for flags in held["photflags"].to_pylist())
    assert all(100 <= x <= 900 for x in held["x"].to_pylist())


def test_images_associate_by_start_unless_order_is_kept(tmp_path: Path, night: list[Path]) -> None:
    def founders(order: list[Path], *, keep_order: bool) -> list[int]:
        db = new_database(tmp_path / f"{keep_order}{len(list(tmp_path.iterdir()))}.sky")
        report = addstar(db, order, keep_order=keep_order, workers=1)
        news = {Path(f.file).name: f.n_new for f in report.files}
        return [news[p.name] for p in night]

    forward, backward = founders(night, keep_order=False), founders(night[::-1], keep_order=False)
    assert forward == backward
    assert forward[0] == max(forward)
    assert founders(night, keep_order=True) == forward
    kept = founders(night[::-1], keep_order=True)
    assert kept[-1] == max(kept) > forward[-1]


def test_dvo_association_lets_detections_share_an_object(tmp_path: Path, night: list[Path]) -> None:
    one, many = new_database(tmp_path / "one.sky"), new_database(tmp_path / "many.sky")
    single = addstar(one, night, radius_arcsec=2, workers=1)
    shared = addstar(many, night, radius_arcsec=2, association="dvo", workers=1)
    assert shared.count("n_new") < single.count("n_new")
    check_conservation(many)

    def most_of_one_image(db: Database) -> int:
        held = contents(db, ["measurements"])["measurements"]
        pairs = zip(held["object_id"].to_pylist(), held["image_id"].to_pylist(), strict=True)
        counts: dict[tuple[int, int], int] = {}
        for pair in pairs:
            counts[pair] = counts.get(pair, 0) + 1
        return max(counts.values())

    assert most_of_one_image(one) == 1
    assert most_of_one_image(many) > 1


def test_survey_row_associates_once_and_makes_one_measurement_per_photcode(db: Database, tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    stars = [(i, 359.9999 + 0.0002 * i, 10.0) for i in range(10)]
    report = addstar(db, write_survey(tmp_path / "a.csv", stars), mapping=mapping, workers=1)
    file = report.files[0]
    assert (file.n_images, file.n_in, file.n_new, file.n_matched, file.n_measurements) == (3, 10, 10, 0, 25)
    held = contents(db)
    assert held["objects"]["n_measurements"].to_pylist().count(3) == 5
    assert set(held["object_bands"]["source"].to_pylist()) == {"reference"}
    assert len(set(held["measurements"]["object_id"].to_pylist())) == 10


def test_second_file_of_a_survey_does_not_join_objects_that_hold_a_row_of_it(db: Database, tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, REFERENCE + SURVEY_CODES)
    first = [(i, 10.0 + 0.01 * i, 5.0) for i in range(6)]
    close = [(100 + i, ra + 0.1 / 3600, dec) for i, ra, dec in first]
    paths = [write_survey(tmp_path / "a.csv", first), write_survey(tmp_path / "b.csv", close)]
    apart, together = new_database(tmp_path / "apart.sky"), new_database(tmp_path / "together.sky")
    for path in paths:
        assert addstar(apart, path, mapping=mapping, workers=1).files[0].n_new == 6
    assert [f.n_new for f in addstar(together, paths, mapping=mapping, workers=1).files] == [6, 6]
    assert contents(apart)["object_seeds"].equals(contents(together)["object_seeds"])
    own = write_cmf(tmp_path / "own.cmf", rows(1, X_PSF=np.array([500.0], "f4"), Y_PSF=np.array([400.0], "f4")),
                    {"CRVAL1": 10.0, "CRVAL2": 5.0})  # fmt: skip
    assert addstar(apart, own, workers=1).files[0].n_matched == 1
    check_conservation(apart)


def test_deferred_cells_wait_and_a_refresh_gives_the_same_tables(tmp_path: Path, night: list[Path]) -> None:
    straight, deferred = new_database(tmp_path / "straight.sky"), new_database(tmp_path / "deferred.sky")
    addstar(straight, night[:3], workers=1)
    addstar(straight, night[3:], workers=1)
    addstar(deferred, night[:3], workers=1)
    addstar(deferred, night[3:], defer=True, workers=1)
    assert all(cell.stale for cell in deferred.snapshot().cells())
    assert not contents(deferred)["objects"].equals(contents(straight)["objects"])
    snapshot = skydb.refresh(deferred, workers=1)
    assert snapshot == deferred.snapshot().id
    assert not any(cell.stale for cell in deferred.snapshot().cells())
    assert contents(deferred) == contents(straight)
    assert skydb.refresh(deferred, workers=1) is None
    check_nothing_is_left_over(deferred)


def test_refresh_command_says_how_many_cells_it_did(
    db: Database, night: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    addstar(db, night, defer=True, workers=1)
    n_cells = len(db.snapshot().cells())
    for expected in (n_cells, 0):
        assert main(["refresh", str(db.root), "--workers", "1", "--json"]) == 0
        assert f'"refreshed": {expected}' in capsys.readouterr().out


def test_progress_and_seconds_cover_every_step(db: Database, night: list[Path]) -> None:
    seen: list[tuple[str, int, int]] = []
    report = addstar(database.open(db.root), night, workers=1, progress=lambda *step: seen.append(step))
    assert list(report.seconds) == ["digest", "read", "associate", "write", "commit", "compact"]
    assert {step for step, _, _ in seen} == {"digest", "read", "associate", "write"}
    assert all(0 < done <= total for _, done, total in seen)


def test_small_ingest_starts_no_workers_unless_asked(
    db: Database, night: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        pass

    def start(*args: object, **more: object) -> None:
        raise Started

    monkeypatch.setattr(loky, "get_reusable_executor", start)
    assert addstar(db, night[:3], compact=False).count("n_in") > 0
    with pytest.raises(Started):
        addstar(db, night[3:], workers=2)
    monkeypatch.setattr(job, "WORKERS_WORTH_SECONDS", 0.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(Started):
        addstar(db, night[3:])
