"""Files of the store: what is written is what is read, pairs stay aligned, damage is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skydb.errors import DataError
from skydb.schema.tables import MEASUREMENTS, MEASUREMENTS_CAL, TABLES
from skydb.store.files import DataFile, StoredFile, Tail
from skydb.store.parquet import read_file, read_pair, store_rows
from skydb.store.roots import Place

ROWS = 70_000


def placed(root: Path, file: DataFile) -> StoredFile:
    """A file where `store_rows` put it under a root."""
    return file.at(Place.of(root / file.path), table=TABLES[file.table])


def raw_rows() -> pa.Table:
    rng = np.random.default_rng(1)
    ids = np.sort(rng.integers(0, 5_000, ROWS)) * 10
    return pa.table({
        "object_id": ids, "image_id": rng.integers(0, 50, ROWS), "det_id": np.arange(ROWS),
        "code": pa.array(np.full(ROWS, 3), pa.int32()), "mjd": np.full(ROWS, 55000.0),
        "inst_mag": pa.array(rng.normal(-8, 1, ROWS).astype(np.float32)), "x": pa.array(rng.random(ROWS, np.float32)),
    })  # fmt: skip


def pair(root: Path) -> tuple[pa.Table, DataFile, DataFile]:
    raw = raw_rows()
    keys = raw.select(["object_id", "image_id", "det_id", "code", "mjd"])
    cal = keys.append_column("mag", raw.column("inst_mag"))
    first = store_rows(root, "db", raw, "measurements", cell=(0, 0))
    second = store_rows(root, "db", cal, "measurements_cal", cell=(0, 0), base=first.name)
    return raw, first, second


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    raw, file, _ = pair(tmp_path)
    back = read_file(placed(tmp_path, file))
    assert back.replace_schema_metadata().equals(MEASUREMENTS.conform(raw).replace_schema_metadata())
    assert (file.rows, file.min_key, file.max_key) == (ROWS, 0, int(raw["object_id"][-1].as_py()))


def test_column_that_came_later_takes_no_place_where_nothing_fills_it(tmp_path: Path) -> None:
    raw = raw_rows()
    moving = raw.append_column("pm_ra", pa.array(np.where(np.arange(ROWS) == 7, 1.5, np.nan), from_pandas=True))
    still, moved = (store_rows(tmp_path, "db", rows, "measurements", cell=(0, 0)) for rows in (raw, moving))
    names = [pq.read_schema(tmp_path / file.path).names for file in (still, moved)]
    assert [file.schema_version for file in (still, moved)] == [1, 2]
    assert set(names[1]) - set(names[0]) == {
        "pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err", "parallax", "parallax_err",
    }  # fmt: skip
    for file, count in ((still, 0), (moved, 1)):
        assert len(read_file(placed(tmp_path, file), ["pm_ra"])["pm_ra"].drop_null()) == count
    with pq.ParquetFile(tmp_path / still.path) as file:
        assert file.schema_arrow.metadata[b"skydb.schema_version"] == b"1"


def test_pair_is_aligned_row_by_row(tmp_path: Path) -> None:
    raw, first, second = pair(tmp_path)
    paths = placed(tmp_path, first), placed(tmp_path, second)
    both = pa.concat_tables(read_pair(*paths, ["det_id", "x", "mag", "inst_mag"]))
    assert both["mag"].combine_chunks().equals(both["inst_mag"].combine_chunks())
    assert both["det_id"].combine_chunks().equals(raw["det_id"].combine_chunks())
    assert both.schema == pa.schema([MEASUREMENTS[name].arrow for name in ("det_id", "x")] + [
        MEASUREMENTS_CAL["mag"].arrow, MEASUREMENTS["inst_mag"].arrow,
    ])  # fmt: skip


@pytest.mark.parametrize("columns", [["object_id", "mag"], ["det_id", "x", "inst_mag", "mag"], ["x"]])
def test_selected_rows_of_a_pair_equal_a_filter_of_all(tmp_path: Path, columns: list[str]) -> None:
    raw, first, second = pair(tmp_path)
    keys = np.array([0, 10, 25_000, 49_990])
    parts = list(
        read_pair(placed(tmp_path, first), placed(tmp_path, second), columns, ranges=np.stack([keys, keys + 1], axis=1))
    )
    found = pa.concat_tables(parts)
    expected = raw.append_column("mag", raw["inst_mag"]).filter(pa.array(np.isin(raw["object_id"].to_numpy(), keys)))
    assert found.combine_chunks().equals(expected.select(columns).cast(found.schema).combine_chunks())


def test_every_row_group_has_a_page_index_and_checksums(tmp_path: Path) -> None:
    _, file, _ = pair(tmp_path)
    meta = pq.ParquetFile(tmp_path / file.path).metadata
    assert meta.row_group(0).column(0).has_column_index
    assert meta.num_row_groups == -(-ROWS // 16_384)
    assert meta.metadata[b"skydb.table"] == b"measurements"


def test_flipped_byte_is_found(tmp_path: Path) -> None:
    _, file, _ = pair(tmp_path)
    path = tmp_path / file.path
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged"):
        read_file(placed(tmp_path, file))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.parquet: a stored file is missing"):
        read_file(StoredFile((Place.of(tmp_path / "nowhere.parquet"),), 0, Tail(0, 0)))


def test_files_of_different_length_are_refused(tmp_path: Path) -> None:
    raw, first, _ = pair(tmp_path)
    short = store_rows(
        tmp_path, "db", raw.slice(0, 10).select(["object_id", "image_id", "det_id", "code", "mjd"]), "measurements_cal",
        cell=(0, 0), base=first.name,
    )  # fmt: skip
    with pytest.raises(DataError, match="does not match"):
        list(read_pair(placed(tmp_path, first), placed(tmp_path, short), ["x", "mag"]))


@pytest.mark.parametrize("name", [t.name for t in TABLES.values() if t.kind in ("sky", "global")])
def test_empty_table_of_every_kind_is_stored(tmp_path: Path, name: str) -> None:
    cell = (0, 0) if TABLES[name].kind == "sky" else None
    file = store_rows(tmp_path, "db", TABLES[name].empty(), name, cell=cell)
    assert file.rows == 0
    assert read_file(placed(tmp_path, file)).num_rows == 0


def test_calibrated_table_repeats_the_keys_of_the_raw_one() -> None:
    assert MEASUREMENTS.names[:5] == MEASUREMENTS_CAL.names[:5]
