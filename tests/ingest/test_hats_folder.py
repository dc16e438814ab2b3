"""A HATS catalog as input: its folder, a collection, its leaf files; images that lie in several leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skydb
from skydb.errors import DataError, UsageError
from skydb.ingest.readers.hats_folder import files_of, is_hats, leaf_files
from tests.ingest.skies import contents, new_database
from tests.ingest.tables import mapping_of

SOURCES = """
name = "sources"
kind = "detections"
det_id = "source_id"
[file]
format = "parquet"
[time]
column = "mjd"
scale = "tai"
exptime = 1
[photcode]
column = "band"
values = { g = "CAM.r", r = "CAM.r" }
[measurements]
ra_raw = { column = "source_ra", unit = "deg" }
dec_raw = { column = "source_dec", unit = "deg" }
inst_mag = { column = "mag", unit = "mag", calibrated = true }
[[photcodes]]
name = "T.g"
kind = "DEP"
band = "g"
zero_point_mmag = 25000
[[photcodes]]
name = "T.r"
kind = "DEP"
band = "r"
zero_point_mmag = 25000
""".replace('"CAM.r", r = "CAM.r"', '"T.g", r = "T.r"')
STARS = """
name = "stars"
kind = "reference"
det_id = "id"
[file]
format = "any"
[time]
value = 2010.0
format = "jyear"
scale = "tt"
[photcode]
name = "R.G"
[measurements]
ra_raw = { column = "ra", unit = "deg" }
dec_raw = { column = "dec", unit = "deg" }
[[photcodes]]
name = "R.G"
kind = "REF"
"""


def catalog(folder: Path, leaves: dict[str, dict[str, list[Any]]], *, kind: str = "object") -> Path:
    """A HATS catalog with these leaf files."""
    for name, columns in leaves.items():
        path = folder / "dataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    (folder / "dataset" / "_metadata").write_bytes(b"PAR1")
    (folder / "hats.properties").write_text(f"#HATS catalog\ndataproduct_type={kind}\nhats_col_ra=ra\n")
    pixels = [name.replace("=", "/").replace(".parquet", "").split("/") for name in leaves]
    rows = [f"{p[1]},{p[5]}" for p in pixels]
    (folder / "partition_info.csv").write_text("\n".join(["Norder,Npix", *dict.fromkeys(rows), ""]))
    return folder


def stars(first: int, n: int = 2) -> dict[str, list[Any]]:
    ids = list(range(2**60 + first, 2**60 + first + n))
    return {"id": ids, "ra": [10.0 + first + i for i in range(n)], "dec": [1.0] * n, "_healpix_29": [0] * n}


LEAVES = {
    "Norder=1/Dir=0/Npix=9.parquet": stars(0), "Norder=0/Dir=0/Npix=11/part1.parquet": stars(20),
    "Norder=0/Dir=0/Npix=11/part0.parquet": stars(10), "Norder=1/Dir=0/Npix=10.parquet": stars(30),
}  # fmt: skip


def test_leaves_come_in_order_of_pixels_and_nothing_else_does(tmp_path: Path) -> None:
    folder = catalog(tmp_path / "cat", LEAVES)
    names = [leaf.relative_to(folder / "dataset").as_posix() for leaf in leaf_files(folder)]
    zero, one = "Norder=0/Dir=0/Npix=11/part{}.parquet", "Norder=1/Dir=0/Npix={}.parquet"
    assert names == [zero.format(0), zero.format(1), one.format(9), one.format(10)]
    assert is_hats(folder)
    assert not is_hats(tmp_path)
    assert files_of(tmp_path / "t.parquet") == (tmp_path / "t.parquet",)


def test_collection_is_its_primary_catalog(tmp_path: Path) -> None:
    catalog(tmp_path / "all" / "cat", LEAVES)
    (tmp_path / "all" / "collection.properties").write_text("#HATS Collection\nhats_primary_table_url=cat\n")
    assert leaf_files(tmp_path / "all") == leaf_files(tmp_path / "all" / "cat")
    (tmp_path / "all" / "collection.properties").write_text("hats_primary_table_url=gone\n")
    with pytest.raises(DataError, match="primary catalog 'gone' is not there"):
        leaf_files(tmp_path / "all")


@pytest.mark.parametrize("kind", ["margin", "index", "association"])
def test_margin_or_index_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=f"a HATS {kind} holds no rows of its own"):
        leaf_files(catalog(tmp_path / "cat", LEAVES, kind=kind))


def test_catalog_that_lacks_a_leaf_is_refused(tmp_path: Path) -> None:
    folder = catalog(tmp_path / "cat", LEAVES)
    (folder / "dataset" / "Norder=1" / "Dir=0" / "Npix=9.parquet").unlink()
    with pytest.raises(DataError, match=r"pixels \(order, number\) \[\(1, 9\)\] of 1 have no file"):
        leaf_files(folder)
    (folder / "partition_info.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"partition_info.csv: it cannot be read"):
        leaf_files(folder)


def test_catalog_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it has no rows"):
        leaf_files(catalog(tmp_path / "cat", {}))


def test_reference_catalog_goes_in_leaf_by_leaf_and_a_leaf_is_known_again(tmp_path: Path) -> None:
    folder, mapping = catalog(tmp_path / "cat", LEAVES), mapping_of(tmp_path, STARS)
    db = new_database(tmp_path / "sky.sky")
    report = skydb.addstar(db, folder, mapping=mapping, workers=1)
    assert (report.n_ingested, report.count("n_in"), report.count("n_new")) == (4, 8, 8)
    found = contents(db, ["measurements"])["measurements"]["det_id"].to_pylist()
    assert sorted(found) == sorted(i for leaf in LEAVES.values() for i in leaf["id"])
    again = skydb.addstar(db, [folder, leaf_files(folder)[0]], mapping=mapping, workers=1)
    assert (again.n_known, again.n_ingested) == (4, 0)


def test_folder_without_a_mapping_or_of_no_catalog_is_refused_by_name(tmp_path: Path) -> None:
    db = new_database(tmp_path / "sky.sky")
    (tmp_path / "empty").mkdir()
    report = skydb.addstar(db, [tmp_path / "empty"], mapping=mapping_of(tmp_path, STARS), workers=1)
    assert (report.n_failed, report.exit_code) == (1, 2)
    assert str(tmp_path / "empty") in str(report.files[0].error)
    report = skydb.addstar(db, [catalog(tmp_path / "cat", LEAVES)], workers=1)
    assert report.n_failed == 1
    assert "needs --mapping or --survey" in str(report.files[0].error)


def sources(ids: list[int], mjd: list[float], ra: float) -> dict[str, list[Any]]:
    n = len(ids)
    return {"source_id": ids, "source_ra": [ra] * n, "source_dec": [5.0] * n, "mjd": mjd, "band": ["g"] * n,
            "mag": [18.0] * n}  # fmt: skip


def test_image_that_lies_in_several_leaves_is_one_image_when_the_folder_is_given(tmp_path: Path) -> None:
    leaves = {
        "Norder=1/Dir=0/Npix=9.parquet": sources([1, 2], [59000.0, 59001.0], 10.0),
        "Norder=1/Dir=0/Npix=10.parquet": sources([3, 4], [59000.0, 59001.0], 20.0),
    }
    folder, mapping = catalog(tmp_path / "cat", leaves, kind="source"), mapping_of(tmp_path, SOURCES)
    db = new_database(tmp_path / "sky.sky")
    report = skydb.addstar(db, folder, mapping=mapping, workers=1)
    assert (report.n_ingested, report.count("n_images"), report.count("n_in")) == (1, 2, 4)
    with skydb.connect(db) as con:
        rows = con.sql("SELECT image_id, count(*) AS n FROM measurements GROUP BY ALL").arrow().to_pylist()
        mags = con.sql("SELECT DISTINCT band, mag FROM measurements").arrow().to_pylist()
    assert [row["n"] for row in rows] == [2, 2]
    assert mags == [{"band": "g", "mag": 18.0}]
    assert skydb.addstar(db, folder, mapping=mapping, workers=1).n_known == 1
    single = skydb.addstar(new_database(tmp_path / "leaf.sky"), leaf_files(folder), mapping=mapping, workers=1)
    assert (single.n_ingested, single.n_failed) == (1, 1)
    assert "give the folder of the HATS catalog" in next(f.error for f in single.files if f.error)


def test_image_that_was_deleted_comes_back_from_its_folder(tmp_path: Path) -> None:
    leaves = {
        "Norder=1/Dir=0/Npix=9.parquet": sources([1, 2], [59000.0, 59001.0], 10.0),
        "Norder=1/Dir=0/Npix=10.parquet": sources([3, 4], [59000.0, 59001.0], 20.0),
    }
    folder, mapping = catalog(tmp_path / "cat", leaves, kind="source"), mapping_of(tmp_path, SOURCES)
    db = new_database(tmp_path / "sky.sky")
    skydb.addstar(db, folder, mapping=mapping, workers=1)
    image = contents(db, ["images"])["images"]["image_id"].to_pylist()[0]
    skydb.delete(db, images=[image], workers=1)
    assert contents(db, ["measurements"])["measurements"].num_rows == 2
    report = skydb.addstar(db, folder, mapping=mapping, workers=1)
    assert (report.n_ingested, report.n_failed) == (1, 0), report.text()
    assert sorted(contents(db, ["measurements"])["measurements"]["det_id"].to_pylist()) == [1, 2, 3, 4]


def test_rows_of_a_folder_are_numbered_through(tmp_path: Path) -> None:
    text = STARS.replace('det_id = "id"\n', "").replace('kind = "reference"', 'kind = "detections"')
    text = text.split("[[photcodes]]")[0].replace('"R.G"', '"CAM.r"')
    db = new_database(tmp_path / "sky.sky")
    report = skydb.addstar(db, catalog(tmp_path / "cat", LEAVES), mapping=mapping_of(tmp_path, text), workers=1)
    assert report.n_failed == 0, report.text()
    assert sorted(contents(db, ["measurements"])["measurements"]["det_id"].to_pylist()) == list(range(8))
