"""Rows of declared tables that come with detections: in the same commit, with the same objects, and counted."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import skydb
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.ingest.addstar import addstar
from skydb.ingest.companion_log import sum_of
from skydb.ingest.companions import DUPLICATE, CompanionCounts
from skydb.ingest.readers.interface import DetectionFilter
from skydb.kernels.distinct import by_value
from skydb.schema.tables import MEASUREMENTS
from skydb.store.history import catalog_table
from skydb.tools.cli import main
from tests.ingest.catalog_files import Chip, add_siblings, rows, write_cmf, write_smf
from tests.ingest.skies import check_conservation, check_nothing_is_left_over, new_database, write_night

Made = dict[str, dict[str, dict[str, np.ndarray]]]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Made]]:
    """Four exposures of one chip, with XRAD and XSRC tables."""
    files = write_night(tmp_path_factory.mktemp("night"), exposures=4, stars=60)
    return files, [add_siblings(path, seed=k) for k, path in enumerate(files)]


def declared(path: Path, *tables: str, cell_rows: int = 100) -> Database:
    db = new_database(path, cell_rows=cell_rows)
    for table in tables:
        skydb.declare_table(db, table)
    return db


def stored(db: Database, table: str, columns: str) -> list[tuple[Any, ...]]:
    with skydb.connect(db) as con:
        found = con.sql(
            f"SELECT i.name, t.det_id, {columns} FROM {table} t JOIN images i USING (image_id)"
            " JOIN measurements m USING (object_id, image_id, det_id) ORDER BY ALL"
        ).arrow()
        (count,) = con.sql(f"SELECT count(*) AS n FROM {table}").arrow()["n"].to_pylist()
    assert count == found.num_rows, "rows without their measurement"
    return list(zip(*(found[name].to_pylist() for name in found.column_names), strict=True))


def wanted_xrad(files: list[Path], made: list[Made], dropped: set[int] = frozenset()) -> list[tuple[Any, ...]]:
    """Slow and plain: of every detection the rows that have its number, of equal ones the first."""
    found = []
    for path, tables in zip(files, made, strict=True):
        (table,) = tables["XRAD"].values()
        seen = set()
        columns = (table[n] for n in ("IPP_IDET", "PSF_FWHM", "X_APER", "APER_FLUX"))
        for number, size, x, flux in zip(*columns, strict=True):
            key = int(number), float(size)
            if key in seen or number == 99_999 or number in dropped:
                continue
            seen.add(key)
            plain = [float(v) if np.isfinite(v) else None for v in flux]
            found.append((path.name, *key, float(x), plain))
    return sorted(found, key=lambda row: row[:3])


def check_sound(db: Database) -> None:
    report = fsck(db, deep=True, workers=1)
    assert report.findings == (), report.findings
    check_conservation(db)
    check_nothing_is_left_over(db)


XRAD = "psf_fwhm, x_aper, aper_flux"


@pytest.mark.parametrize("how", [{"workers": 1}, {"workers": 2}, {"defer": True, "workers": 1}])
def test_siblings_come_with_their_detections(
    night: tuple[list[Path], list[Made]], tmp_path: Path, how: dict[str, Any]
) -> None:
    files, made = night
    db = declared(tmp_path / "t.sky", "xrad", "xsrc")
    report = addstar(db, files, **how)
    assert report.complete
    assert stored(db, "xrad", XRAD) == wanted_xrad(files, made)
    for file, tables in zip(report.files, made, strict=True):
        (xrad,), (xsrc,) = tables["XRAD"].values(), tables["XSRC"].values()
        n = len(xrad["IPP_IDET"])
        assert file.companions["xrad"] == {"in": n, "stored": n - 2, "no measurement": 1, "duplicate": 1}
        assert file.companions["xsrc"]["stored"] == len(xsrc["IPP_IDET"]) - 2
    errors = [row[2] for row in stored(db, "xsrc", "petro_mag_err")]
    assert None in errors
    assert min(e for e in errors if e is not None) >= 0
    n = sum(f.companions["xrad"]["in"] for f in report.files)
    assert f"with them, xrad: rows in {n} = stored {n - 8} + duplicate 4 + no measurement 4" in report.text()
    if not how.get("defer"):
        check_sound(db)
    assert [f.status for f in addstar(db, files, workers=1).files] == ["known"] * 4


def test_one_batch_or_many_give_the_same(night: tuple[list[Path], list[Made]], tmp_path: Path) -> None:
    files, _ = night
    one, many = declared(tmp_path / "one.sky", "xrad"), declared(tmp_path / "many.sky", "xrad", cell_rows=40)
    addstar(one, files, workers=1)
    for file in files:
        addstar(many, [file], workers=1)
    columns = f"t.object_id, {XRAD}"
    assert stored(one, "xrad", columns) == stored(many, "xrad", columns)
    check_sound(many)


def test_nothing_comes_to_tables_that_are_not_declared(night: tuple[list[Path], list[Made]], tmp_path: Path) -> None:
    files, made = night
    db = declared(tmp_path / "t.sky", "xsrc")
    report = addstar(db, files[:1], workers=1)
    assert report.files[0].companions.keys() == {"xsrc"}
    skydb.declare_table(db, "xrad")
    addstar(db, files, workers=1)
    assert stored(db, "xrad", XRAD) == wanted_xrad(files[1:], made[1:])
    check_sound(db)


def test_rows_of_detections_that_are_filtered_out_are_by_value(
    night: tuple[list[Path], list[Made]], tmp_path: Path
) -> None:
    files, made = night
    db = declared(tmp_path / "t.sky", "xrad")
    (report,) = addstar(db, files[:1], workers=1, keep=DetectionFilter(max_mag_err=0.1)).files
    with fits.open(files[0]) as hdus:
        faint = hdus["Chip.psf"].data["PSF_INST_MAG_SIG"] > 0.1
        dropped = set(hdus["Chip.psf"].data["IPP_IDET"][faint].tolist())
    assert stored(db, "xrad", XRAD) == wanted_xrad(files[:1], made[:1], dropped)
    assert report.companions["xrad"]["no measurement"] == 2 * len(dropped) + 1
    check_sound(db)


def test_they_go_and_come_back_with_their_image(night: tuple[list[Path], list[Made]], tmp_path: Path) -> None:
    files, made = night
    db = declared(tmp_path / "t.sky", "xrad")
    addstar(db, files, workers=1)
    skydb.delete(db, files=[str(files[1])], workers=1)
    assert stored(db, "xrad", XRAD) == wanted_xrad([files[0], *files[2:]], [made[0], *made[2:]])
    check_sound(db)
    (report,) = addstar(db, [files[1]], workers=1).files
    assert report.companions["xrad"]["stored"] > 0
    assert stored(db, "xrad", XRAD) == wanted_xrad(files, made)
    check_sound(db)
    entries = [e for e in catalog_table(db.snapshot(), "ingest_log").to_pylist() if e["format"].startswith("xrad:")]
    assert len(entries) == 4
    assert all(e["n_deleted"] == 0 and e["n_in"] == e["n_matched"] + e["n_rejected"] for e in entries)


def test_one_chip_of_a_mosaic_goes_and_comes_back(tmp_path: Path) -> None:
    chips = [Chip("XY01", rows(25, seed=1)), Chip("XY02", rows(30, seed=2), {"CRVAL1": 5000.0})]
    path = write_smf(tmp_path / "m.smf", chips)
    made = add_siblings(path, ("XRAD",))
    db = declared(tmp_path / "t.sky", "xrad")
    addstar(db, path, workers=1)
    before = stored(db, "xrad", XRAD)
    assert len(before) == sum(len(t["IPP_IDET"]) - 2 for t in made["XRAD"].values())
    skydb.delete(db, images=["m.smf[XY02.hdr]"], workers=1)
    assert {row[0] for row in stored(db, "xrad", XRAD)} == {"m.smf[XY01.hdr]"}
    addstar(db, path, workers=1)
    assert stored(db, "xrad", XRAD) == before
    check_sound(db)


def test_columns_of_the_detections_own_table_come_too(tmp_path: Path) -> None:
    """PS1_V5 has lensing moments, where they were measured."""
    names = [c.psphot for c in skydb.schema.declaration.read_declaration("lensing") if c.psphot and "LENS" in c.psphot]
    more = {n: np.random.default_rng(k).normal(size=20).astype("f4") for k, n in enumerate(names)}
    for values in more.values():
        values[::3] = np.nan
    path = write_cmf(tmp_path / "v5.cmf", rows(20) | more, exttype="PS1_V5")
    db = declared(tmp_path / "t.sky", "lensing", "xrad")
    (report,) = addstar(db, path, workers=1).files
    assert report.companions == {"lensing": {"in": 13, "stored": 13}}
    found = stored(db, "lensing", "e1_sm_obj")
    assert found == [("v5.cmf", k, float(more["LENS_E1_SM_OBJ"][k])) for k in range(20) if k % 3]
    assert "e1_sm_obj" not in MEASUREMENTS
    check_sound(db)


def test_merge_carries_them(night: tuple[list[Path], list[Made]], tmp_path: Path) -> None:
    files, made = night
    one, other = declared(tmp_path / "one.sky", "xrad"), declared(tmp_path / "other.sky", "xrad")
    addstar(one, files[:2], workers=1)
    addstar(other, files[2:], workers=1)
    skydb.merge(one, other, workers=1)
    assert stored(one, "xrad", XRAD) == wanted_xrad(files, made)
    check_sound(one)


@pytest.mark.parametrize(("damage", "words"), [
    ("absent", "its table 'Chip.xrad' (XRADNAME) is missing"), ("number", "the table has no column IPP_IDET"),
    ("key", "the table has no column PSF_FWHM"), ("text", "(Chip.xrad): the values of APER_FLUX are no numbers"),
])  # fmt: skip
def test_file_whose_sibling_is_damaged_is_refused(
    night: tuple[list[Path], list[Made]], tmp_path: Path, damage: str, words: str
) -> None:
    files, _ = night
    path = Path(shutil.copy(files[0], tmp_path / "bad.cmf"))
    with fits.open(path, memmap=False) as hdus:
        place = hdus.index_of("Chip.xrad")
        if damage == "absent":
            del hdus[place]
        else:
            old = {"number": "IPP_IDET", "key": "PSF_FWHM", "text": "APER_FLUX"}[damage]
            kept = [c for c in hdus[place].columns if c.name != old]
            more = [fits.Column(old, "3A", array=["abc"] * len(hdus[place].data))] if damage == "text" else []
            header = hdus[place].header
            hdus[place] = fits.BinTableHDU.from_columns([*kept, *more])
            hdus[place].header["EXTNAME"] = header["EXTNAME"]
        hdus.writeto(path, overwrite=True)
    db = declared(tmp_path / "t.sky", "xrad")
    report = addstar(db, [files[1], path], workers=1)
    assert [f.status for f in report.files] == ["ingested", "failed"]
    assert words in (report.files[1].error or "")
    assert len(stored(db, "xrad", XRAD)) == report.files[0].companions["xrad"]["stored"]
    check_sound(db)


def test_sibling_is_found_by_name_where_no_keyword_says_it(tmp_path: Path) -> None:
    path = write_cmf(tmp_path / "a.cmf")
    made = add_siblings(path, ("XRAD",), named=False)
    db = declared(tmp_path / "t.sky", "xrad")
    addstar(db, path, workers=1)
    assert stored(db, "xrad", XRAD) == wanted_xrad([path], [made])


def test_command_says_what_came(
    night: tuple[list[Path], list[Made]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, _ = night
    db = declared(tmp_path / "t.sky", "xrad")
    assert main(["addstar", str(db.root), str(files[0]), "--workers", "1"]) == 0
    assert "with them, xrad: rows in " in capsys.readouterr().out


def test_counts_by_file_of_all_cells_are_those_of_counting_row_by_row() -> None:
    rng = np.random.default_rng(7)
    cells = [{name: (rng.integers(0, 40, n), rng.integers(0, 40, n // 3)) for name in ("xrad", "xsrc")[: 1 + n % 2]}
             for n in (0, 1, 50, 301)]  # fmt: skip
    total = sum_of(
        {name: CompanionCounts(by_value(stored), {DUPLICATE: by_value(again)})
         for name, (stored, again) in cell.items()}
        for cell in cells
    )
    for name in ("xrad", "xsrc"):
        rows = [cell[name] for cell in cells if name in cell]
        assert total[name].stored == Counter(int(file) for stored, _ in rows for file in stored)
        assert total[name].rejected[DUPLICATE] == Counter(int(file) for _, again in rows for file in again)
